"""Fewer steps: a student learns to arrive where a teacher walks to.  Each method is a few lines on any denoiser."""

import torch

from minidiff.diffusion.samplers import curves_at, ddim_step, level_of
from minidiff.diffusion.schedule import add_noise, from_eps
from minidiff.tools.checks import check_alike


def clean_guess(denoise, xt, t, schedule, cond=None):
    """The picture x0 that a denoiser sees in xt; at level 0 it is xt itself.  xt (B, ...), t (B,) -> (B, ...)

    x0 = cos phi xt - sin phi v: the boundary condition of consistency models holds by itself, c_skip = cos phi = 1 and
    c_out = -sin phi = 0 at level 0.  [Song et al. 2023, eq. 5]
    """
    return from_eps(denoise(xt, t, cond), xt, t, schedule, "x0")


def pair_loss(student, noise, x0, schedule, cond=None):
    """One call from noise to the picture to which the teacher carried it, a value per picture: |guess - x0|^2.

    noise, x0 (B, ...): fixed pairs, noise at level S and where the teacher's flow ended.  With data in place of x0,
    which no flow ties to the noise, the least loss is reached by the mean picture.
    """
    guess = clean_guess(student, noise, level_of(schedule.levels, noise), schedule, cond)
    check_alike(guess=guess, x0=x0)
    return (guess - x0).square().flatten(1).mean(1)


def progressive_target(teacher, xt, t, middle, s, schedule, cond=None):
    """The x0 that a student must guess at level t so that one DDIM step lands where two of the teacher's do.
    [Salimans & Ho 2022, algorithm 2 and app. G]

    xs = signal_s x0 + noise_s (xt - signal_t x0) / noise_t, solved for x0; t > middle > s are integers.
    """
    signal_t, noise_t, signal_s, noise_s = curves_at(schedule, t, s)
    between = ddim_step(teacher, xt, t, middle, schedule, cond)
    xs = ddim_step(teacher, between, middle, s, schedule, cond)
    return (xs - noise_s / noise_t * xt) / (signal_s - noise_s / noise_t * signal_t)


def consistency_target(target, teacher, xt, t, s, schedule, cond=None):
    """What a student must guess at level t: what its slow copy `target` guesses one step of the teacher nearer to the
    picture.  [Song et al. 2023, eq. 7 and algorithm 2]"""
    xs = ddim_step(teacher, xt, t, s, schedule, cond)
    return xs if s == 0 else clean_guess(target, xs, level_of(s, xs), schedule, cond)


@torch.no_grad()
def sample_consistency(student, xt, schedule, levels, cond=None, noise=None):
    """Guess the picture, noise it again to each of the falling `levels`, guess anew; one call per guess.
    [Song et al. 2023, algorithm 1]  `noise()` draws fresh noise."""
    x0 = clean_guess(student, xt, level_of(schedule.levels, xt), schedule, cond)
    for level in levels:
        xt = add_noise(x0, level_of(level, x0), noise(), schedule)
        x0 = clean_guess(student, xt, level_of(level, xt), schedule, cond)
    return x0
