"""How good are the digits of the chapter's UNet?  Three seeds: the asked digit at w = 1 and w = 2, the Frechet distance
against that of real digits to real ones, and how well a classifier learns that has seen generated digits only.
"""

import sys
import time
from pathlib import Path

import torch
from common import DEVICE, SEEDS, by_parts, draw_digits, real_digits, share_right, trained_classifier

from minidiff.data import LabeledDigits, load_digits
from minidiff.diffusion import ddim_step, ddpm_step
from minidiff.evaluation import frechet_with_floor, wilson
from minidiff.pipelines import classifier
from minidiff.pipelines.digits import recipe as digits_recipe
from minidiff.tools import budget, show, study
from minidiff.training import run

N, STEPS = budget(5_000, 5_000, 20), budget(25, 25, 3)
WAYS = {"w = 1": (1, ddpm_step, N), "w = 2": (2, ddim_step, N // 2)}


def learned_from(pictures, labels, digits, seed):
    """How many unseen real digits a small CNN reads that learned from these pictures."""
    known = LabeledDigits(pictures.cpu(), labels.cpu())
    reader = run(classifier.recipe(known, seed, steps=budget(900, 900, 3), batch=128))
    with torch.no_grad():
        return (reader(digits.val).argmax(1) == digits.val_labels).float().mean().item()


def main(path=None):
    digits, reader, runs, first = load_digits(), trained_classifier(), [], None
    asked = torch.arange(N) % 10
    every, labels = real_digits(digits, budget(5_000, 5_000, 20))
    real = by_parts(reader.features, every)
    for seed in SEEDS:
        recipe = digits_recipe(digits.train.to(DEVICE), digits.train_labels.to(DEVICE), seed)
        start = time.perf_counter()
        model = run(recipe)
        found = {"seed": seed, "seconds": time.perf_counter() - start, "ways": {}}
        for name, (w, step, n) in WAYS.items():
            start = time.perf_counter()
            drawn = draw_digits(model, asked[:n], w, step, STEPS)
            seconds = (time.perf_counter() - start) / n
            right = share_right(reader, drawn, asked[:n])
            distance, floor = frechet_with_floor(by_parts(reader.features, drawn), real, labels)
            found["ways"][name] = {"right": right, "pictures": n, "interval": list(wilson(right, n)),
                                   "frechet": distance, "floor": floor, "seconds a picture": seconds}
            if name == "w = 1":
                first = drawn[:40] if seed == 0 else first
                found["learned from generated"] = learned_from(drawn, asked, digits, seed)
        found["learned from real"] = learned_from(digits.train, digits.train_labels, digits, seed)
        print(found, flush=True)
        runs.append(found)
    config = {"pictures": N, "sampling steps": STEPS, "training steps": recipe.steps, "batch": recipe.batch}
    right = share_right(reader, digits.val, digits.val_labels)
    study.keep(__file__, config, {"classifier on unseen real digits": right, "runs": runs}, path)
    if budget(True, True, False):
        show.grid(first, columns=10, size=0.9).savefig(Path(__file__).with_suffix(".png"), dpi=100)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
