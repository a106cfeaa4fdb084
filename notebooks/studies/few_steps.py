"""Ways to few steps, on the trained machine, the same seconds of one thread each, three seeds: regression on pairs of
noise and what the guided teacher makes of it, reflow once and twice, progressive and consistency distillation.  All are
measured at 1, 2, 4, 8 and 14 calls; of the first seed a picture strip is kept.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from common import DEVICE, SEEDS, SHOWN, machine, scored, steps_within

from minidiff.data import load_captioned_digits, sentence
from minidiff.diffusion import consistency_step, ddim_step, guided
from minidiff.pipelines import few_steps, text2image
from minidiff.pipelines.text2image import BELOW, GUIDANCE
from minidiff.tools import budget, show, study
from minidiff.training import run

SECONDS, CALLS = budget(60, 80, 0.5), budget([1, 2, 4, 8, 14], [1, 2, 4, 8, 14], [1])
PAIRS = budget(10_000, 10_000, 200)


def student(parts, teacher, loss, seed, seconds):
    """A student that learns for so many seconds -> the machine with it in place of the UNet, and its steps."""
    def make(steps=None):
        return few_steps.recipe(teacher, loss, {}, seed, steps)

    recipe = make(steps_within(seconds, make))
    return replace(parts, unet=run(recipe)), recipe.steps


def pairs_of(parts, known, seed, **drawing):
    """Pairs, the loss on them as a function of the share of lessons at any level, and the seconds they took."""
    start = time.perf_counter()
    noise, latents, said = few_steps.teacher_pairs(parts, known, PAIRS, seed, **drawing)
    conds = few_steps.told(parts, said)
    return lambda share: few_steps.on_pairs(noise, latents, conds, share), time.perf_counter() - start


def by_pairs(parts, known, seed):
    """Regression at level S, then with three lessons in ten at other levels, then reflow, once and twice."""
    loss, took = pairs_of(parts, known, seed)
    for name, share in (("pairs", 0.0), ("pairs, 3 in 10 anywhere", 0.3), ("reflow", 1.0)):
        one, steps = student(parts, parts.unet, loss(share), seed, SECONDS - took)
        yield name, one, steps, {}
    plain = dict(guidance=1, steps=budget(14, 14, 2), step=ddim_step, temperature=1.0)
    loss, took = pairs_of(one, known, seed + 100, **plain)
    yield "reflow twice", *student(one, one.unet, loss(1.0), seed, SECONDS - took), {}


def by_steps(parts, known, seed):
    """Progressive distillation from 16 steps to 8, 4, 2, 1, a quarter of the seconds each; consistency distillation."""
    latents, attributes = text2image.latents_of(known, parts.autoencoder, budget(20_000, 20_000, 500), seed)
    teacher = guided(parts.unet, parts.clip.text_states([""]), GUIDANCE, BELOW)
    conds = few_steps.told(parts, attributes, text2image.tersely)
    asked, machine_now, stages = teacher, parts, {}
    for steps in (8, 4, 2, 1):
        loss = few_steps.with_half_the_steps(asked, latents, steps, conds)
        machine_now, trained = student(parts, machine_now.unet, loss, seed, SECONDS / 4)
        asked, stages[steps] = machine_now.unet, machine_now
    yield "progressive", stages, trained, {}
    loss = few_steps.consistently(teacher, latents, 16, conds)
    yield "consistency", *student(parts, parts.unet, loss, seed, SECONDS), {"step": consistency_step}


def strip(rows):
    """What each way draws with 1, 2, 4, ... calls, and the teacher with 27."""
    names = [name if i == 0 else f"{calls} call" + "s" * (calls > 1) for name, drawn in rows.items()
             for i, calls in enumerate(drawn)]
    pictures = torch.cat([picture for drawn in rows.values() for picture in drawn.values()])
    show.grid(pictures, names, columns=len(CALLS), size=1.2).savefig(Path(__file__).with_suffix(".png"), dpi=100)


def main(path=None):
    known, unseen = load_captioned_digits(DEVICE)
    results, rows = {}, {}
    for seed in SEEDS:
        parts = machine(seed)
        caption = [sentence(SHOWN[1])]
        results.setdefault("teacher", []).append(scored(parts, known, unseen, seed) | {"calls": 27})
        for way in (by_pairs, by_steps):
            for name, found, steps, drawing in way(parts, known, seed):
                for calls in CALLS if name != "pairs" else [1]:
                    one = found if name != "progressive" else found[min(found, key=lambda n: abs(n - calls))]
                    how = {"guidance": 1, "steps": calls, "step": ddim_step} | drawing
                    results.setdefault(name, []).append(
                        scored(one, known, unseen, seed, **how) | {"calls": calls, "steps": steps})
                    print(name, results[name][-1], flush=True)
                    if seed == SEEDS[0]:
                        rows.setdefault(name, {})[calls] = text2image.draw(caption, [1], one, **how)
    if budget(True, True, False):
        strip({name: drawn for name, drawn in rows.items() if name != "pairs"})
    study.keep(__file__, {"captions": budget(1_000, 1_000, 24), "seconds": SECONDS, "pairs": PAIRS}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
