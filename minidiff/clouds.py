"""Point clouds whose density is known exactly, at every noise level: all of them are Gaussian mixtures.

A picture of two pixels is a point on a plane.  A cloud is drawn as many small Gaussians of one size, on a few
centers (ring, grid) or on so many that no gap is left (moons, roll, heart, checkerboard).  Noise turns a mixture
into a mixture, so density, score and the best possible denoiser have a closed form.  With spread 0 the mixture is
a finite data set, and the same formula is the best possible denoiser of that data set.
"""

import math
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment

from minidiff.inputs import check_finite, check_number, check_shape, check_whole
from minidiff.runtime import generator_for


@dataclass(frozen=True)
class Mixture:
    """K round Gaussians: p(x) = sum_k weights_k N(x; means_k, std^2).

    means (K, ...), std >= 0 (0: exactly the points, a data set), weights (K,) or None for equal ones.

    >>> Mixture(torch.zeros(1, 2), std=0.5).sample(3, generator_for(0)).shape
    torch.Size([3, 2])
    """

    means: torch.Tensor
    std: float = 0.0
    weights: torch.Tensor | None = None

    def __post_init__(self):
        check_whole("the number of means", len(self.means))
        w = self.shares
        fits = len(w) == len(self.means) and bool((w >= 0).all() and self.means.isfinite().all())
        if not (fits and abs(w.sum().item() - 1) <= 1e-4 and 0 <= self.std < math.inf):
            raise ValueError("a mixture needs finite means, a spread of at least 0, and weights that sum to 1, one for "
                             f"each of the {len(self.means)} means; got spread {self.std} and weights {w[:5].tolist()}")

    @property
    def shares(self):
        """The weights (K,), written out where they are equal."""
        return torch.full((len(self.means),), 1 / len(self.means)) if self.weights is None else self.weights

    def sample(self, n, generator):
        """n points (n, ...): choose a Gaussian, then a point of it."""
        check_whole("n", n)
        chosen = torch.multinomial(self.shares, n, replacement=True, generator=generator)
        eps = torch.randn(n, *self.means.shape[1:], generator=generator)
        return self.means[chosen] + self.std * eps


def _looked_at(mixture, xt, t, schedule):
    """Seen from xt at level t: the way to each noisy center (B, K, n), their variance (B, 1), and how well each
    explains xt, as logits (B, K).  Noise moves center k to sqrt(a) mean_k and widens it to a std^2 + 1 - a."""
    a = schedule.at(t, like=xt).flatten(1)                                             # (B, 1)
    means = mixture.means.flatten(1).to(xt)                                            # (K, n)
    if means.shape[1] not in (1, xt.shape[1:].numel()):
        raise ValueError(f"the points of this mixture are {tuple(mixture.means.shape[1:])}, got xt {tuple(xt.shape)}")
    offset = xt.flatten(1)[:, None] - a[:, :, None].sqrt() * means                     # (B, K, n)
    variance = (a * mixture.std**2 + 1 - a).clamp_min(1e-12)                           # (B, 1)
    logits = mixture.shares.to(xt).log() - offset.square().sum(-1) / (2 * variance)    # (B, K)
    return offset, variance, logits


def exact_denoiser(mixture, schedule):
    """The best possible denoiser of a mixture: the mean of all noises that could have led to xt.

    eps(xt) = sqrt(1 - a) sum_k softmax_k(logits) (xt - sqrt(a) mean_k) / (a std^2 + 1 - a),
    logits_k = log weight_k - |xt - sqrt(a) mean_k|^2 / (2 (a std^2 + 1 - a)),  a = alpha_bar[t]
    [Bayes' rule; EDM app. B.3 for std = 0]

    For a data set this says: x0 is the mean of all pictures, weighted by a softmax of how near they are.
    """
    def denoise(xt, t, cond=None):
        offset, variance, logits = _looked_at(mixture, xt, t, schedule)
        toward = torch.einsum("bk,bkn->bn", logits.softmax(1), offset) / variance      # minus the score
        return (1 - schedule.at(t, like=xt)).sqrt() * toward.view_as(xt)

    return denoise


def log_density(mixture, xt, t, schedule):
    """log p_t(xt) of the noisy mixture at level t, exactly.  xt (B, ...), t (B,) -> (B,)

    Its gradient in xt is the score.  At level 0 a mixture of spread 0 has no density: points have no area.
    """
    if mixture.std == 0 and bool((t == 0).any()):
        raise ValueError("a finite data set has no density at level 0: ask for a level of at least 1")
    offset, variance, logits = _looked_at(mixture, xt, t, schedule)
    return logits.logsumexp(1) - offset.shape[-1] / 2 * (2 * math.pi * variance[:, 0]).log()


def _evenly(curve, k):
    """k points at equal distances along a curve (N, 2) that is given by many."""
    way = torch.cat([torch.zeros(1), curve.diff(dim=0).norm(dim=1).cumsum(0)])
    return curve[torch.searchsorted(way, torch.linspace(0, way[-1], k)).clamp_max(len(curve) - 1)]


def two_moons():
    """Two half circles, each reaching into the other."""
    angle = torch.linspace(0, math.pi, 100)
    upper = torch.stack([angle.cos(), angle.sin()], 1)
    return torch.cat([upper, torch.tensor([1.0, 0.5]) - upper])


def swiss_roll():
    """A spiral of one and a half turns."""
    angle = torch.linspace(1.5 * math.pi, 4.5 * math.pi, 4_000)
    return _evenly(torch.stack([angle * angle.cos(), angle * angle.sin()], 1), 300)


def ring():
    """Eight centers on a circle."""
    angle = torch.arange(8) * math.pi / 4
    return torch.stack([angle.cos(), angle.sin()], 1)


def grid():
    """Twenty-five centers, five by five."""
    return torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0))


def checkerboard():
    """The eight dark squares of a board of four by four, filled evenly."""
    inside = (torch.arange(12) + 0.5) / 12
    squares = [torch.cartesian_prod(inside + x, inside + y) for x in range(4) for y in range(4) if (x + y) % 2]
    return torch.cat(squares)


def heart():
    """The outline of a heart."""
    t = torch.linspace(0, 2 * math.pi, 4_000)
    y = 13 * t.cos() - 5 * (2 * t).cos() - 2 * (3 * t).cos() - (4 * t).cos()
    return _evenly(torch.stack([16 * t.sin() ** 3, y], 1), 300)[:-1]                   # the last is the first


CLOUDS = {"two moons": (two_moons, 0.10), "swiss roll": (swiss_roll, 0.07), "ring": (ring, 0.07),
          "grid": (grid, 0.07), "checkerboard": (checkerboard, 0.05), "heart": (heart, 0.07)}


def named_mixture(name):
    """A named cloud as the mixture that it is, with mean 0 and variance 1 along each axis, exactly."""
    if name not in CLOUDS:
        raise ValueError(f"no cloud is called {name!r}; there are: {', '.join(CLOUDS)}")
    centers, std = CLOUDS[name][0](), CLOUDS[name][1]
    centered = (centers - centers.mean(0)) / centers.std(0, correction=0)
    return Mixture(centered * math.sqrt(1 - std**2), std)


def cloud(name, n, seed=0):
    """n points (n, 2) of a named cloud: the same name, n and seed, the same points."""
    return named_mixture(name).sample(n, generator_for(seed, n))


def wasserstein(one, other):
    """W2, the root of the mean squared way when one cloud is carried onto the other, point by point, at the
    least cost:  min over pairings of sqrt(mean |one_i - other_j(i)|^2)        [Peyre & Cuturi 2019, eq. 2.3]

    one, other (n, d), equally many -> a number, in the units of the plane.  Exact, by the assignment solver of
    scipy: a second for 2,000 points.  Two fresh draws of one cloud are not at distance 0; compare with that.

    >>> round(wasserstein(torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [3.0]])) ** 2, 6)    # (1 + 4) / 2
    2.5
    """
    if one.shape != other.shape or one.ndim != 2 or not len(one):
        raise ValueError(f"two clouds of equally many points (n, d) are compared; got {tuple(one.shape)} "
                         f"and {tuple(other.shape)}")
    check_finite("one", one)
    check_finite("other", other)
    cost = torch.cdist(one.double(), other.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    rows, columns = linear_sum_assignment(cost.numpy())
    return math.sqrt(cost[rows, columns].mean().item())


def coverage(points, mixture, reach=3.0):
    """How many Gaussians of a mixture were found, and which share of the points is good: within `reach` standard
    deviations of some center.  Found is a center with at least a fifth of its due of good points.

    points (n, d) -> (number of centers, share).  Fresh points of the cloud itself: all centers, and on a plane
    1 - exp(-reach^2 / 2) = 98.9 % good.
    """
    check_shape("points", points, "n", mixture.means.shape[1])
    check_number("reach", reach)
    if not len(points) or mixture.std == 0:
        raise ValueError("coverage needs points, and Gaussians with a spread; "
                         f"got {len(points)} points and spread {mixture.std}")
    distance, nearest = torch.cdist(points, mixture.means).min(1)
    good = distance <= reach * mixture.std
    counts = torch.bincount(nearest[good], minlength=len(mixture.means))
    return int((counts >= mixture.shares * len(points) / 5).sum()), good.float().mean().item()
