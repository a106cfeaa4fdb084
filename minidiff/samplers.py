"""From noise to picture: steps from level t down to level s, and the loop that takes them.

A step is a function  step(denoise, xt, t, s, schedule, cond, noise) -> xs.  t and s are plain integers, t > s >= 0;
`noise` is a function without arguments that draws fresh noise shaped like xt, and only the random steps call it.
"""

import itertools
import math

import torch

from minidiff.inputs import check_finite, check_given, check_mask, check_number, check_whole
from minidiff.runtime import noise_for
from minidiff.schedule import add_noise, check_down, from_eps, to_eps


def _denoise_at(denoise, xt, t, cond):
    return denoise(xt, torch.full((len(xt),), t, device=xt.device), cond)


def ddim_step(denoise, xt, t, s, schedule, cond=None, noise=None, eta=0.0):
    """Jump from t to s: the estimated picture, with the estimated noise put back at level s.

    xs = sqrt(a_s) x0 + sqrt(1 - a_s - sigma^2) eps + sigma z,
    sigma = eta sqrt((1 - a_s) / (1 - a_t)) sqrt(1 - a_t / a_s)                    [DDIM eq. 12 and 16]
    eta = 0 is deterministic; eta = 1 is `ddpm_step`.
    """
    check_down(t, s, schedule, eta)
    eps = _denoise_at(denoise, xt, t, cond)
    x0 = from_eps(eps, xt, torch.full((len(xt),), t, device=xt.device), schedule, "x0")
    a_t, a_s = schedule.alpha_bar[t].double(), schedule.alpha_bar[s].double()
    sigma = eta * ((1 - a_s) / (1 - a_t)).sqrt() * (1 - a_t / a_s).sqrt()
    xs = a_s.sqrt() * x0 + (1 - a_s - sigma**2).clamp_min(0).sqrt() * eps
    if sigma > 0:                                                # zero at s = 0: the last step adds no noise
        xs = xs + sigma * noise()
    return xs.to(xt.dtype)


def ddpm_step(denoise, xt, t, s, schedule, cond=None, noise=None):
    """Draw xs from the posterior q(xs | xt, x0) at the estimated x0.                [DDPM eq. 6 and 7]

    mean = (sqrt(a_s) (1 - a_t/a_s) x0 + sqrt(a_t/a_s) (1 - a_s) xt) / (1 - a_t)
    variance = (1 - a_s) / (1 - a_t) (1 - a_t/a_s), which is zero at s = 0."""
    check_down(t, s, schedule)
    eps = _denoise_at(denoise, xt, t, cond)
    x0 = from_eps(eps, xt, torch.full((len(xt),), t, device=xt.device), schedule, "x0")
    a_t, a_s = schedule.alpha_bar[t].double(), schedule.alpha_bar[s].double()
    step = a_t / a_s                                             # alpha of the whole jump
    mean = (a_s.sqrt() * (1 - step) * x0 + step.sqrt() * (1 - a_s) * xt) / (1 - a_t)
    variance = (1 - a_s) / (1 - a_t) * (1 - step)
    if variance > 0:
        mean = mean + variance.sqrt() * noise()
    return mean.to(xt.dtype)


def heun_step(denoise, xt, t, s, schedule, cond=None, noise=None):
    """A second-order step: look ahead with DDIM, then walk with the mean of both slopes.  [EDM algorithm 1]

    In the coordinates y = x / sqrt(a), k = sqrt(1/a - 1), DDIM is Euler's method for dy/dk = eps.
    The step to level 0 is a plain DDIM step, as in EDM."""
    check_down(t, s, schedule)
    a_t, a_s = schedule.alpha_bar[t].double(), schedule.alpha_bar[s].double()
    k_t, k_s = (1 / a_t - 1).sqrt(), (1 / a_s - 1).sqrt()
    y = xt / a_t.sqrt()
    slope = _denoise_at(denoise, xt, t, cond)
    if s > 0:
        ahead = a_s.sqrt() * (y + (k_s - k_t) * slope)
        slope = (slope + _denoise_at(denoise, ahead.to(xt.dtype), s, cond)) / 2
    return (a_s.sqrt() * (y + (k_s - k_t) * slope)).to(xt.dtype)


def langevin_step(denoise, xt, t, schedule, size, cond=None, noise=None):
    """One Langevin step at level t: x + size/2 score + sqrt(size) z, which leaves the density of level t as it is
    for small sizes.  [Song & Ermon 2019, eq. 4]"""
    check_number("size", size)
    eps = _denoise_at(denoise, xt, t, cond)
    score = from_eps(eps, xt, torch.full((len(xt),), t, device=xt.device), schedule, "score")
    return xt + size / 2 * score + size**0.5 * noise()


def guided(denoise, null, w, below=math.inf):
    """A denoiser that listens w times as much: uncond + w (cond - uncond).  [Ho & Salimans 2022, eq. 6]

    null (1, ...): the condition that says nothing.  w = 0 ignores the condition, w = 1 is the plain conditional
    denoiser, w > 1 exaggerates.  (That paper counts from 0: its w is ours minus 1.)  below: exaggerate only below this
    level; above, where it is decided what will be drawn, listen plainly, so that it stays varied.  w = 0 ignores the
    condition everywhere.  [a limited interval: Kynkäänniemi et al. 2024]"""
    check_number("guidance", w, -math.inf)
    def denoise_guided(xt, t, cond=None):
        check_given("guidance", cond=cond)
        nothing = null.expand_as(cond)
        if w == 0:
            return denoise(xt, t, nothing)
        if w == 1 or bool((t >= below).all()):
            return denoise(xt, t, cond)
        uncond, with_cond = denoise(torch.cat([xt, xt]), torch.cat([t, t]), torch.cat([nothing, cond])).chunk(2)
        return uncond + w * (with_cond - uncond)

    return denoise_guided


def clipped(denoise, schedule):
    """A denoiser whose picture stays among the pictures: its x0 is cut to [-1, 1], and eps is what follows from that.
    For pixels; latents know no such bounds.     [static thresholding: Saharia et al. 2022, section 2.3]"""
    def denoise_clipped(xt, t, cond=None):
        x0 = from_eps(denoise(xt, t, cond), xt, t, schedule, "x0")
        return to_eps(x0.clamp(-1, 1), xt, t, schedule, "x0")

    return denoise_clipped


def inpainting(step, known, mask, again=1):
    """A step that is told a part of the picture: after it the known pixels are put back, noised to its level.
    [RePaint eq. 8]  known (B, ...), mask (B, ...) or (...), True where the picture is known.

    again: how often each step is taken, with noise up from s to t in between, so that what is invented comes to terms
    with what is known.  [RePaint algorithm 1]"""
    check_whole("again", again)
    check_mask(mask)
    def step_inpainting(denoise, xt, t, s, schedule, cond=None, noise=None):
        a = schedule.alpha_bar[t] / schedule.alpha_bar[s]
        for turn in range(again):
            xs = step(denoise, xt, t, s, schedule, cond=cond, noise=noise)
            there = add_noise(known, torch.full((len(xt),), s, device=xt.device), noise(), schedule)
            xs = torch.where(mask, there, xs)
            if turn + 1 < again:
                xt = a.sqrt() * xs + (1 - a).sqrt() * noise()
        return xs

    return step_inpainting


def spaced_levels(schedule, steps, start=None):
    """`steps` + 1 levels from `start` (S if not given) down to 0, evenly spaced.

    >>> from minidiff.schedule import Schedule
    >>> spaced_levels(Schedule.cosine(1000), 4)
    [1000, 750, 500, 250, 0]
    """
    start = schedule.levels if start is None else check_whole("the first level", start)
    if not check_whole("steps", steps) <= start <= schedule.levels:
        raise ValueError(f"steps must be between 1 and the {start} levels on the way, and these at most the "
                         f"{schedule.levels} of the schedule; got {steps} steps from level {start}")
    return torch.linspace(start, 0, steps + 1).round().long().tolist()


def crowded_levels(schedule, steps, start=None, rho=7, highest=80.0, lowest=0.02):
    """At most `steps` + 1 levels from `start` (S if not given) down to 0: long strides where the noise is middling,
    short ones near both ends.  The noise of the i-th, in units of the signal, k = sqrt(1/alpha_bar - 1), is
    (highest^(1/rho) + i / (steps - 1) (lowest^(1/rho) - highest^(1/rho)))^rho     [EDM eq. 5]

    >>> from minidiff.schedule import Schedule
    >>> crowded_levels(Schedule.cosine(1000), 6)
    [1000, 977, 923, 683, 171, 13, 0]
    """
    if not (rho > 0 and 0 < lowest < highest):
        raise ValueError(f"crowded levels need rho > 0 and 0 < lowest < highest, got {rho}, {lowest} and {highest}")
    first = spaced_levels(schedule, 1, start)[0]
    k = (1 / schedule.alpha_bar.double() - 1).sqrt()                                   # (S + 1,)
    ends = torch.tensor([min(highest, k[first].item()), lowest], dtype=torch.float64) ** (1 / rho)
    wanted = torch.lerp(ends[0], ends[1], torch.linspace(0, 1, check_whole("steps", steps), dtype=torch.float64)) ** rho
    nearest = (k - wanted[:, None]).abs().argmin(1).clamp_max(first).tolist()
    return [first, *sorted(set(nearest[1:]) - {0, first}, reverse=True), 0]


@torch.no_grad()
def sample(denoise, xt, schedule, steps, step=ddim_step, cond=None, seeds=None, start=None, spacing=spaced_levels):
    """Walk from noise xt (B, ...) at level S to level 0, yielding (level, x) at each stop, the start included.

    seeds (B,): the private noise streams of the random steps; only ddpm_step and its kin need them.
    start: the level of xt, where that is not S: how one goes on from a picture that is half noise.
    [Meng et al. 2022, SDEdit]  spacing: how the levels lie between, `spaced_levels` or `crowded_levels`."""
    check_finite("the noise xt", xt)
    levels, draws = spacing(schedule, steps, start), itertools.count(1)

    def noise():                                                 # draw 0 is where sampling started
        if seeds is None or len(seeds) != len(xt):
            raise ValueError(f"this step adds noise: give {len(xt)} `seeds`, one integer a picture, not {seeds!r:.60}")
        return noise_for(seeds, xt.shape[1:], next(draws)).to(xt)

    yield levels[0], xt
    for t, s in zip(levels, levels[1:]):
        xt = step(denoise, xt, t, s, schedule, cond=cond, noise=noise)
        yield s, xt


@torch.no_grad()
def annealed_langevin(denoise, xt, schedule, levels, steps, generator, size=0.1, cond=None):
    """Walk along the score with fresh noise, `steps` times at each of the falling `levels`, yielding (level, x)
    after each.  The step size is size (1 - alpha_bar): long where the noise has made the density smooth.
    [Song & Ermon 2019, algorithm 1]  A single level is plain Langevin dynamics."""
    check_whole("steps", steps)
    def noise():
        return torch.randn(xt.shape, generator=generator, dtype=xt.dtype, device=xt.device)

    for level in levels:
        sigma2 = 1 - schedule.alpha_bar[level].item()
        for _ in range(steps):
            xt = langevin_step(denoise, xt, level, schedule, size * sigma2, cond, noise)
        yield level, xt
