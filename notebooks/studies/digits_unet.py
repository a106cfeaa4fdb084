"""How good are the digits of the chapter's UNet?  Three seeds: the asked digit at w = 1 and w = 2, the Frechet distance
against that of real digits to real ones, and how well a classifier learns that has seen generated digits only.
"""

import os
import time
from pathlib import Path

import torch

from minidiff.data import load_captioned_digits, load_digits
from minidiff.diffusion import clipped, ddim_step, ddpm_step, guided, karras_levels, sample
from minidiff.evaluation import frechet_with_floor, wilson
from minidiff.models import Classifier
from minidiff.pipelines import classifier, digits
from minidiff.tools import autocast, budget, noise_for, pick_device, seed_all, show, study
from minidiff.training import train

SEEDS = budget([0, 1, 2], [0, 1, 2], [0])
N, STEPS = budget(5_000, 5_000, 20), budget(25, 25, 3)
WAYS = {"w = 1": (1, ddpm_step, N), "w = 2": (2, ddim_step, N // 2)}
DEVICE, FOLDER = pick_device(), os.environ.get("MINIDIFF_FOLDER", "runs")


@torch.no_grad()
def draw(model, asked, w, step, steps=STEPS, spacing=karras_levels):
    """Digits as asked (N,) -> pictures (N, 1, 32, 32)."""
    null, parts = torch.zeros(1, 1, 10, device=DEVICE), []
    for rows in torch.arange(len(asked)).split(250 if DEVICE.type == "cpu" else 5_000):
        cond = digits.digit_states(asked[rows].to(DEVICE))
        noise = noise_for(rows.tolist(), (1, 32, 32)).to(DEVICE)
        denoise = clipped(guided(model, null, w), model.schedule)
        with autocast(DEVICE):
            for _, x in sample(denoise, noise, model.schedule, steps, step, cond, rows.tolist(), spacing=spacing):
                pass
        parts.append(x.float().clamp(-1, 1))
    return torch.cat(parts)


def trained_judge():
    """The judge that `make demo` trained; trained here where there is none."""
    judging = classifier.recipe(load_captioned_digits(FOLDER)[0])
    for _ in train(judging, f"{FOLDER}/judge_long.safetensors"):
        pass
    return judging.model.to(DEVICE)


def steps_within(seconds, make):
    """How many steps of the training `make()` take that many seconds, judged by the median of the first ones."""
    measuring, times = train(make()), []
    for _ in range(budget(12, 12, 2)):
        start = time.perf_counter()
        next(measuring)
        times.append(time.perf_counter() - start)
    measuring.close()
    return max(3, round(seconds / sorted(times)[len(times) // 2]))


@torch.no_grad()
def by_parts(function, pictures):
    return torch.cat([function(part) for part in pictures.to(DEVICE).split(500)])


def real_digits(digits, count):
    """Real digits, ten after ten one of each kind, and which they are; at random otherwise."""
    every, labels = torch.cat([digits.train, digits.val]), torch.cat([digits.train_labels, digits.val_labels])
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(0))
    by_class = torch.stack([order[labels[order] == digit] for digit in range(10)], 1)       # (500, 10)
    return every[by_class.flatten()[:count]], labels[by_class.flatten()[:count]]


def learned_from(pictures, labels, digits, seed):
    """How many unseen real digits a small CNN reads that learned from these pictures."""
    seed_all(seed)
    model = Classifier()
    for _ in train(classifier.digits_recipe(model, pictures.cpu(), labels.cpu(), seed, budget(900, 900, 3))):
        pass
    with torch.no_grad():
        return (model(digits.val).argmax(1) == digits.val_labels).float().mean().item()


def main():
    digits, judge, runs, first = load_digits(), trained_judge(), [], None
    asked = torch.arange(N) % 10
    every, labels = real_digits(digits, budget(5_000, 5_000, 20))
    real = by_parts(judge.features, every)
    for seed in SEEDS:
        training = digits.recipe(digits.train.to(DEVICE), digits.train_labels.to(DEVICE), seed)
        start = time.perf_counter()
        for _ in train(training):
            pass
        run = {"seed": seed, "seconds": time.perf_counter() - start, "ways": {}}
        for name, (w, step, n) in WAYS.items():
            start = time.perf_counter()
            drawn = draw(training.model, asked[:n], w, step)
            seconds = (time.perf_counter() - start) / n
            right = (by_parts(judge, drawn).argmax(1).cpu() == asked[:n]).float().mean().item()
            distance, floor = frechet_with_floor(by_parts(judge.features, drawn), real, labels)
            run["ways"][name] = {"right": right, "pictures": n, "interval": list(wilson(right, n)), "frechet": distance,
                                 "floor": floor, "seconds a picture": seconds}
            if name == "w = 1":
                first = drawn[:40] if seed == 0 else first
                run["learned from generated"] = learned_from(drawn, asked, digits, seed)
        run["learned from real"] = learned_from(digits.train, digits.train_labels, digits, seed)
        print(run, flush=True)
        runs.append(run)
    right = (by_parts(judge, digits.val).argmax(1).cpu() == digits.val_labels).float().mean().item()
    study.keep(__file__, {"pictures": N, "sampling steps": STEPS, "training steps": training.steps,
                          "batch": training.batch}, {"judge on unseen real digits": right, "runs": runs})
    if budget(True, True, False):
        show.grid(first, columns=10, size=0.9).savefig(Path(__file__).with_suffix(".png"), dpi=100)


if __name__ == "__main__":
    main()
