"""From noise to picture: steps from level t down to level s, and the loop that takes them.

A step is a function  step(denoise, xt, t, s, schedule, cond, noise) -> xs.  t and s are plain integers, t > s >= 0;
`noise` is a function without arguments that draws fresh noise shaped like xt, and only the random steps call it.
"""

import itertools
import math

import torch

from minidiff.diffusion.levels import spaced_levels
from minidiff.diffusion.schedule import from_eps
from minidiff.tools.checks import check, check_whole, kind_of
from minidiff.tools.runtime import noise_for


def level_of(level, xt):
    """One level for a whole batch: an integer -> (B,)."""
    return torch.full((len(xt),), level, device=xt.device)


def curves_at(schedule, t, s):
    """Signal and noise at both ends of a step, as plain numbers: signal_t, noise_t, signal_s, noise_s."""
    check(0 <= min(t, s) and max(t, s) <= schedule.levels and t != s,
          f"a step goes from one level to another, from 0 to {schedule.levels}; got {t} and {s}")
    return *schedule.curves[t], *schedule.curves[s]


def ddim_step(denoise, xt, t, s, schedule, cond=None, noise=None, eta=0.0):
    """Jump from t to s: the estimated picture, with the estimated noise put back at level s.

    xs = signal_s x0 + sqrt(noise_s^2 - fresh^2) eps + fresh z,
    fresh = eta (noise_s / noise_t) sqrt(noise_t^2 - signal_t^2 noise_s^2 / signal_s^2)    [DDIM eq. 12 and 16]
    eta = 0 is deterministic; eta = 1 is `ddpm_step`.
    """
    signal_t, noise_t, signal_s, noise_s = curves_at(schedule, t, s)
    eps = denoise(xt, level_of(t, xt), cond)
    x0 = from_eps(eps, xt, level_of(t, xt), schedule, "x0")
    added = noise_t**2 - (signal_t / signal_s * noise_s) ** 2    # the variance that a walk from s up to t adds
    fresh = eta * noise_s / noise_t * math.sqrt(added) if eta else 0.0
    xs = signal_s * x0 + math.sqrt(noise_s**2 - fresh**2) * eps
    return xs + fresh * noise() if fresh else xs                 # zero at s = 0: the last step adds no noise


def ddpm_step(denoise, xt, t, s, schedule, cond=None, noise=None):
    """Draw xs from the posterior q(xs | xt, x0) at the estimated x0.                [DDPM eq. 6 and 7]

    mean = (signal_s added x0 + kept noise_s^2 xt) / noise_t^2,  variance = added noise_s^2 / noise_t^2,
    kept = signal_t / signal_s, added = noise_t^2 - kept^2 noise_s^2: what a walk from s up to t does.  DDPM writes
    sqrt(alpha) and 1 - alpha for them.  The variance is zero at s = 0.
    """
    signal_t, noise_t, signal_s, noise_s = curves_at(schedule, t, s)
    eps = denoise(xt, level_of(t, xt), cond)
    x0 = from_eps(eps, xt, level_of(t, xt), schedule, "x0")
    kept = signal_t / signal_s
    added = noise_t**2 - kept**2 * noise_s**2
    mean = (signal_s * added * x0 + kept * noise_s**2 * xt) / noise_t**2
    std = noise_s / noise_t * math.sqrt(added)
    return mean + std * noise() if std else mean


def heun_step(denoise, xt, t, s, schedule, cond=None, noise=None):
    """A second-order step: look ahead with DDIM, then walk with the mean of both slopes.  [EDM algorithm 1]

    In the coordinates y = x / signal, k = noise / signal, DDIM is Euler's method for dy/dk = eps.
    The step to level 0 is a plain DDIM step, as in EDM.
    """
    signal_t, noise_t, signal_s, noise_s = curves_at(schedule, t, s)
    stride = noise_s / signal_s - noise_t / signal_t             # in k
    y = xt / signal_t
    slope = denoise(xt, level_of(t, xt), cond)
    if s > 0:
        ahead = signal_s * (y + stride * slope)
        slope = (slope + denoise(ahead, level_of(s, xt), cond)) / 2
    return signal_s * (y + stride * slope)


def langevin_step(denoise, xt, t, schedule, size, cond=None, noise=None):
    """One Langevin step at level t: x + size/2 score + sqrt(size) z, which leaves the density of level t as it is
    for small sizes.  [Song & Ermon 2019, eq. 4]
    """
    eps = denoise(xt, level_of(t, xt), cond)
    score = from_eps(eps, xt, level_of(t, xt), schedule, "score")
    return xt + size / 2 * score + size**0.5 * noise()


@torch.no_grad()
def sample(denoise, xt, schedule, steps, step=ddim_step, cond=None, seeds=None, start=None, spacing=spaced_levels):
    """Walk from noise xt (B, ...) at level S to level 0, yielding (level, x) at each stop, the start included.

    seeds (B,): the private noise streams of the random steps; only ddpm_step and its kin need them.
    start: the level of xt, where that is not S: how one goes on from a picture that is half noise.
    [Meng et al. 2022, SDEdit]  spacing: how the levels lie between, `spaced_levels` or `karras_levels`.
    """
    check(torch.is_tensor(xt) and xt.is_floating_point() and bool(xt.isfinite().all()), "the noise xt must be a tensor "
          f"of floats without NaN and infinity (a training that went astray?), got {kind_of(xt)}")
    check_whole("steps", steps)
    levels, draws = spacing(schedule, steps, start), itertools.count(1)

    def noise():                                                 # draw 0 is where sampling started
        check(seeds is not None and len(seeds) == len(xt),
              f"this step adds noise: give {len(xt)} `seeds`, one integer per picture, not {seeds!r:.60}")
        return noise_for(seeds, xt.shape[1:], next(draws)).to(xt)

    yield levels[0], xt
    for t, s in zip(levels, levels[1:]):
        xt = step(denoise, xt, t, s, schedule, cond=cond, noise=noise)
        yield s, xt


def last(trajectory):
    """The end of a trajectory: the x of its last stop.

    >>> last([(2, "noise"), (0, "picture")])
    'picture'
    """
    for _, x in trajectory:
        pass
    return x


@torch.no_grad()
def annealed_langevin(denoise, xt, schedule, levels, steps, generator, size=0.1, cond=None):
    """Walk along the score with fresh noise, `steps` times at each of the falling `levels`, yielding (level, x)
    after each.  The step size is size noise^2: long where the noise has made the density smooth.
    [Song & Ermon 2019, algorithm 1]  A single level is plain Langevin dynamics.
    """
    def noise():
        return torch.randn(xt.shape, generator=generator, dtype=xt.dtype, device=xt.device)

    for level in levels:
        for _ in range(steps):
            xt = langevin_step(denoise, xt, level, schedule, size * schedule.curves[level][1] ** 2, cond, noise)
        yield level, xt
