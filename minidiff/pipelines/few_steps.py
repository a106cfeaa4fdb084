"""Few steps: a student that draws in one call, or in a few, what its teacher draws in many."""

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from minidiff.data.captions import caption_index, every_caption, sentence
from minidiff.diffusion.distillation import clean_guess, consistency_target, guess_loss, pair_loss, progressive_target
from minidiff.diffusion.flow import angle_step
from minidiff.diffusion.levels import spaced_levels
from minidiff.diffusion.samplers import ddim_step, last
from minidiff.diffusion.schedule import add_noise
from minidiff.models.unet import UNet, UNetConfig
from minidiff.pipelines.text2image import base_of, denoising, tersely
from minidiff.tools.checks import check, check_alike, check_examples, check_whole
from minidiff.tools.runtime import autocast, budget, generator_for
from minidiff.training.checkpoint import CheckpointError, load_model
from minidiff.training.loop import Recipe

PAIRS, ANYWHERE = 20_000, 0.3                                    # how many, and the share of lessons at other levels
TEACHER = dict(steps=7, step=angle_step, guidance=3.75, temperature=1.4)               # how the pairs are drawn
FIRST_SEED = 2**40                                               # noises from which nobody draws


def no_conds(rows, generator):
    """The conditions of a network that takes none."""


def recipe(teacher, loss, objective, seed=0, steps=None, batch=256, lr=1.6e-2):
    """Train a student, which begins as a copy of its teacher, a network.

    loss(student, batch, generator) -> the loss of a batch, such as `on_pairs` makes; objective: what decides what is
    learned, as plain values.
    """
    return Recipe("student", lambda: copy.deepcopy(teacher).requires_grad_(True), teacher.config,
                  lambda student, generator: loss(student, batch, generator),
                  budget(full=1_000, small=400, fast=20, given=steps), batch, lr, seed, decay="linear", ema=0.98,
                  objective=objective, device=next(teacher.parameters()).device)


def on_pairs(noise, x0, conds=no_conds, anywhere=0.0):
    """Regression on pairs: noise, and the x0 to which a teacher carried it.  A share `anywhere` of the lessons is at
    any level between the two, the others at the noise itself; with 1 that is reflow."""
    check_examples("x0", x0, "N", *x0.shape[1:], say="points, or latents of std 1")
    check_alike(noise=noise, x0=x0)

    def loss(student, batch, generator):
        rows = torch.randint(len(noise), (batch,), generator=generator, device=noise.device)
        t = torch.randint(1, student.schedule.levels + 1, (batch,), generator=generator, device=noise.device)
        t[round(anywhere * batch):] = student.schedule.levels
        cond = conds(rows, generator)
        return pair_loss(student, noise[rows], x0[rows], t, student.schedule, cond).mean()

    return loss


def with_half_the_steps(teacher, x0, steps, conds=no_conds):
    """Progressive distillation: a student of so many steps learns from a teacher that takes two for each.
    teacher: any denoiser; x0: data."""
    def loss(student, batch, generator):
        xt, i, levels, cond = lesson(x0, student, 2 * steps, 2, conds, batch, generator)
        goal = progressive_target(teacher, xt, levels[i], levels[i + 1], levels[i + 2], student.schedule, cond)
        guess = clean_guess(student, xt, levels[i], student.schedule, cond)
        return guess_loss(guess, goal, levels[i], student.schedule).mean()

    return loss


def consistently(teacher, x0, points, conds=no_conds):
    """Consistency distillation: at each of so many levels a student learns to guess what it guesses itself one step of
    the teacher further down."""
    def loss(student, batch, generator):
        xt, i, levels, cond = lesson(x0, student, points, 1, conds, batch, generator)
        goal = consistency_target(student, teacher, xt, levels[i], levels[i + 1], student.schedule, cond)
        guess = clean_guess(student, xt, levels[i], student.schedule, cond)
        return guess_loss(guess, goal, levels[i], student.schedule).mean()

    return loss


def lesson(x0, student, points, stride, conds, batch, generator):
    """A batch of data, each noised to one of `points` falling levels, every `stride`-th of them -> xt, the place of
    each in the levels, the levels, the conditions."""
    rows = torch.randint(len(x0), (batch,), generator=generator, device=x0.device)
    levels = torch.tensor(spaced_levels(student.schedule, points), device=x0.device)
    i = stride * torch.randint(points // stride, (batch,), generator=generator, device=x0.device)
    eps = torch.randn(x0[rows].shape, generator=generator, device=x0.device)
    return add_noise(x0[rows], levels[i], eps, student.schedule), i, levels, conds(rows, generator)


# ------------------------------------------------------------------ the whole machine


@torch.no_grad()
def teacher_pairs(parts, captioned, n=PAIRS, seed=0, **drawing):
    """Where the guided machine carries noise -> noise, latents (n, 4, 4, 4), and what was said, attributes (n, 4) of
    trained combinations, one word in ten left out.  The noise has std 1, whatever the teacher's temperature was: the
    student learns its heat, too.  drawing: of `denoising`, where it is not `TEACHER`'s."""
    check_whole("n", n)
    generator = generator_for(seed, 4, device=parts.device)
    rows = torch.randint(len(captioned.allowed), (n,), generator=generator, device=parts.device)
    said = tersely(captioned.allowed[rows], generator)
    noise, latents = [], []
    for part in torch.arange(n).split(500):
        captions = [sentence(row) for row in said[part].tolist()]
        seeds = [FIRST_SEED + seed * 1_000_000 + i for i in part.tolist()]
        with autocast(parts.device):
            walk = denoising(captions, seeds, parts, **TEACHER | drawing)
            noise.append(next(walk)[1])
            latents.append(last(walk).float())
    return torch.cat(noise) / (TEACHER | drawing)["temperature"], torch.cat(latents), said


def told(parts, said, say=lambda said, generator: said):
    """The conditions of pairs or latents with attributes (n, 4): a function of rows, for `on_pairs` and the others.
    say(attributes, generator): which words of them are said."""
    states = parts.clip.text_states([sentence(row) for row in every_caption()])        # (1408, L, D)
    return lambda rows, generator: states[caption_index(say(said[rows], generator))]


def student_recipe(parts, captioned, seed=0, n=None, **settings):
    """Train the machine's student: few calls, no guidance.  The pairs are drawn when the first batch is asked for."""
    n = budget(full=2 * PAIRS, small=PAIRS, fast=200, given=n)

    @cache
    def pairs_loss():
        noise, latents, said = teacher_pairs(parts, captioned, n, seed)
        return on_pairs(noise, latents, told(parts, said), ANYWHERE)

    return recipe(parts.unet, lambda *lesson: pairs_loss()(*lesson), {"base": base_of(parts), "pairs": n}, seed,
                  **settings)


def load(path, parts):
    """A machine with its trained student in place of the UNet."""
    check(Path(path).exists(), f"{path} is missing: `python -m minidiff train --few` makes it")
    student, about = load_model(path, UNet, UNetConfig)
    if about["settings"]["objective"].get("base") != base_of(parts):
        raise CheckpointError(f"{path} is the student of another machine than the one beside it. Move it away; "
                              "`python -m minidiff train --few` trains a new one")
    return replace(parts, unet=student.to(parts.device))


def calls(n):
    """How a student draws in n calls, for `draw`: plain steps without guidance, which it has learned."""
    return {"guidance": 1, "steps": n, "step": ddim_step}
