"""Fewer steps: a student learns to arrive where a teacher walks to.  Each method is a few lines on any denoiser.

The teacher may be guided: then its guidance is in what the student learns, and the student is asked without any.
"""

import torch

from minidiff.diffusion.samplers import level_of
from minidiff.diffusion.schedule import add_noise, from_eps
from minidiff.tools.checks import check_alike


def clean_guess(denoise, xt, t, schedule, cond=None):
    """The picture x0 that a denoiser sees in xt; at level 0 it is xt itself.  xt (B, ...), t (B,) -> (B, ...)

    x0 = cos phi xt - sin phi v: the boundary condition of consistency models holds by itself, c_skip = cos phi = 1 and
    c_out = -sin phi = 0 at level 0.  [Song et al. 2023, eq. 5]
    """
    return from_eps(denoise(xt, t, cond), xt, t, schedule, "x0")


def jump(denoise, xt, t, s, schedule, cond=None):
    """`ddim_step` where each picture has levels of its own: the guessed picture, noised to s with the guessed noise.

    xt (B, ...), t > s (B,) -> xs (B, ...)
    """
    eps = denoise(xt, t, cond)
    x0 = from_eps(eps, xt, t, schedule, "x0")
    return add_noise(x0, s, eps, schedule)


def pair_loss(student, noise, x0, t, schedule, cond=None):
    """Regression on pairs, a value per picture: how far the picture that the student guesses is from x0, in v.

    noise, x0 (B, ...): noise, and where the teacher's flow carried it.  xt lies between them, signal x0 + noise eps.
    At t = S this is one call from noise to picture; at all levels it is reflow.        [Liu et al. 2023, section 2.1]
    With data in place of x0, which no flow ties to its noise, it is ordinary training.
    """
    check_alike(noise=noise, x0=x0)
    xt = add_noise(x0, t, noise, schedule)
    return guess_loss(clean_guess(student, xt, t, schedule, cond), x0, t, schedule)


def guess_loss(guess, x0, t, schedule):
    """The squared error of a guessed picture, divided by noise^2, a value per picture (B,): on the circle that is the
    squared error of v.  [Salimans & Ho 2022, section 4, "SNR + 1"]"""
    _, sigma = schedule.at(t, like=x0)
    return ((guess - x0) / sigma).square().flatten(1).mean(1)


@torch.no_grad()
def progressive_target(teacher, xt, t, middle, s, schedule, cond=None):
    """The x0 that a student must guess at level t so that one DDIM step lands where two of the teacher's do.
    [Salimans & Ho 2022, algorithm 2 and app. G]

    xs = signal_s x0 + noise_s (xt - signal_t x0) / noise_t, solved for x0.   t > middle > s (B,)
    """
    signal_t, noise_t = schedule.at(t, like=xt)
    signal_s, noise_s = schedule.at(s, like=xt)
    between = jump(teacher, xt, t, middle, schedule, cond)
    xs = jump(teacher, between, middle, s, schedule, cond)
    return (xs - noise_s / noise_t * xt) / (signal_s - noise_s / noise_t * signal_t)


@torch.no_grad()
def consistency_target(target, teacher, xt, t, s, schedule, cond=None):
    """What a student must guess at level t: what `target` guesses one step of the teacher nearer to the picture, at
    level 0 the point itself.  [Song et al. 2023, eq. 7 and algorithm 2]   t > s (B,)

    The target may be a slow average of the student, or the student itself, as Song & Dhariwal 2024 have it where there
    is no teacher.
    """
    xs = jump(teacher, xt, t, s, schedule, cond)
    return clean_guess(target, xs, s, schedule, cond)


def consistency_step(denoise, xt, t, s, schedule, cond=None, noise=None):
    """A step of `sample` for a student of consistency: guess the picture, then noise it to level s with fresh noise.
    [Song et al. 2023, algorithm 1]"""
    x0 = clean_guess(denoise, xt, level_of(t, xt), schedule, cond)
    return add_noise(x0, level_of(s, xt), noise(), schedule) if s else x0
