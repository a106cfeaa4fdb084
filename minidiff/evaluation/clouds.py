"""How far points are from the cloud that they should form, and how far a denoiser is from the best possible one."""

import math

import torch

from minidiff.diffusion.exact import exact_denoiser
from minidiff.diffusion.losses import WEIGHTS
from minidiff.diffusion.schedule import add_noise
from minidiff.tools.checks import check, check_alike
from minidiff.tools.runtime import generator_for


def wasserstein(one, other):
    """W2, the root of the mean squared way when one cloud is carried onto the other, point by point, at the
    least cost:  min over pairings of sqrt(mean |one_i - other_j(i)|^2)        [Peyre & Cuturi 2019, eq. 2.3]

    one, other (n, d), equally many -> a number, in the units of the plane.  Exact, by the assignment solver of
    scipy: a second for 2,000 points.  Two fresh draws of one cloud are not at distance 0; compare with that.

    >>> round(wasserstein(torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [3.0]])) ** 2, 6)    # (1 + 4) / 2
    2.5
    """
    from scipy.optimize import linear_sum_assignment  # here, not above: no command should wait for it

    check_alike(one=one, other=other)
    check(bool((one + other).isfinite().all()), "there is NaN or infinity in the points")
    cost = torch.cdist(one.double(), other.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    rows, columns = linear_sum_assignment(cost.numpy())
    return math.sqrt(cost[rows, columns].mean().item())


def coverage(points, mixture, reach=3.0):
    """How many Gaussians of a mixture were found, and which share of the points is good: within `reach` standard
    deviations of some center.  Found is a center with at least a fifth of its due of good points.

    points (n, d) -> (number of centers, share).  Fresh points of the cloud itself: all centers, and on a plane
    1 - exp(-reach^2 / 2) = 98.9 % good.
    """
    check(mixture.std > 0, "coverage needs Gaussians with a std above 0: points have no deviations to count in")
    distance, nearest = torch.cdist(points, mixture.means).min(1)
    good = distance <= reach * mixture.std
    counts = torch.bincount(nearest[good], minlength=len(mixture.means))
    return int((counts >= mixture.shares * len(points) / 5).sum()), good.float().mean().item()


@torch.no_grad()
def floor_and_excess(denoise, mixture, schedule, levels, n=4_000, seed=0, weight="v"):
    """At each of some levels: the least denoising loss that anything can have, and what `denoise` has above it.

    |eps' - eps|^2 = |best - eps|^2 + |eps' - best|^2 on average, because the best denoiser is the mean of all eps
    that lead to xt: the first term is the floor, the second the excess.  Returns two tensors (len(levels),).
    """
    generator, exact = generator_for(seed), exact_denoiser(mixture, schedule)
    floor, excess = [], []
    for level in levels:
        t = torch.full((n,), int(level))
        x0 = mixture.sample(n, generator)
        eps = torch.randn(x0.shape, generator=generator)
        xt = add_noise(x0, t, eps, schedule)
        best = exact(xt, t)
        times = WEIGHTS[weight](schedule.signal[int(level)], schedule.noise[int(level)]).float()
        floor.append(times * (best - eps).square().mean())
        excess.append(times * (denoise(xt, t) - best).square().mean())
    return torch.stack(floor), torch.stack(excess)
