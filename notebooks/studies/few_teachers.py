"""Whose pairs should a student learn?  Teachers that draw hotter or colder, by the machine's own sampler or by chance;
pairs as they come, or only those in which CLIP reads what was said.  One call, 10,000 pairs; and, with the last of the
teachers, fewer pairs and more.
"""

import sys
from dataclasses import replace

import torch
from common import DEVICE, SEEDS, machine, scored

from minidiff.data import UNSAID, load_captioned_digits
from minidiff.diffusion import ddpm_step, heun_step
from minidiff.evaluation import read_zero_shot
from minidiff.pipelines import few_steps
from minidiff.pipelines.text2image import GUIDANCE
from minidiff.tools import budget, study
from minidiff.training import run

PAIRS = budget(10_000, 10_000, 20)
PLAIN = dict(guidance=GUIDANCE, temperature=1.0)
TEACHERS = {"its own sampler, 27 calls": (PLAIN | dict(step=heun_step, steps=14), False),
            "DDPM, 27 calls": (PLAIN | dict(step=ddpm_step, steps=27), False),
            "angle, 13 calls": (PLAIN, False),
            "angle, hotter": ({}, False), "angle, hotter, CLIP agrees": ({}, True)}
COUNTS = {str(n): budget(n, n, 20) for n in (500, 2_000, 20_000)}


@torch.no_grad()
def agreeing(parts, latents, said):
    """Which latents (n, ...) show what was said (n, 4), as CLIP reads them."""
    agree = []
    for part, words in zip(latents.split(500), said.split(500), strict=True):
        found = read_zero_shot(parts.clip, parts.autoencoder.decode(part).clamp(-1, 1))
        agree.append(((words == UNSAID) | (found == words)).all(1))
    agree = torch.cat(agree)
    return agree if agree.any() else ~agree                      # the CLIP of the fast budget cannot read


def taught(parts, known, unseen, seed, n, drawing, agree):
    """A student of one call of such a teacher: what it reaches."""
    pairs = few_steps.teacher_pairs(parts, known, n, seed, **drawing)
    if agree:
        pairs = [part[agreeing(parts, *pairs[1:])] for part in pairs]
    noise, latents, said = pairs
    loss = few_steps.on_pairs(noise, latents, few_steps.told(parts, said), few_steps.ANYWHERE)
    student = replace(parts, unet=run(few_steps.recipe(parts.unet, loss, {}, seed, budget(None, None, 3))))
    return {"pairs": len(noise)} | scored(student, known, unseen, seed, **few_steps.calls(1))


def main(path=None):
    known, unseen = load_captioned_digits(DEVICE)
    results = {"teachers": {name: [] for name in TEACHERS}, "pairs": {name: [] for name in COUNTS}}
    for seed in SEEDS:
        parts = machine(seed)
        for name, (drawing, agree) in TEACHERS.items():
            teacher = scored(parts, known, unseen, seed, **few_steps.TEACHER | drawing)
            student = taught(parts, known, unseen, seed, PAIRS, drawing, agree)
            results["teachers"][name].append({"teacher": teacher, "student": student})
            print(name, results["teachers"][name][-1], flush=True)
        for name, n in COUNTS.items():
            results["pairs"][name].append(taught(parts, known, unseen, seed, n, {}, True))
            print(name, results["pairs"][name][-1], flush=True)
    study.keep(__file__, {"captions": budget(1_000, 1_000, 24), "pairs": PAIRS}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
