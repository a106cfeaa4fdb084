"""Point clouds whose density is known exactly: all of them are Gaussian mixtures.

A picture of two pixels is a point on a plane.  A cloud is drawn as many small Gaussians of one size, on a few
centers (ring, grid) or on so many that no gap is left (moons, roll, heart, checkerboard).  Noise turns a mixture
into a mixture, so density, score and the best possible denoiser have a closed form: see `diffusion.exact`.
"""

import math
from dataclasses import dataclass

import torch

from minidiff.tools.checks import check, check_whole, kind_of
from minidiff.tools.runtime import generator_for


@dataclass(frozen=True, eq=False)
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
        check(torch.is_tensor(self.means) and (self.weights is None or torch.is_tensor(self.weights)), "the means and "
              f"weights of a mixture are tensors, got {kind_of(self.means)} and {kind_of(self.weights)}")
        w = self.shares
        fits = len(w) == len(self.means) > 0 and bool((w >= 0).all() and self.means.isfinite().all())
        check(fits and abs(w.sum().item() - 1) <= 1e-4 and 0 <= self.std < math.inf,
              "a mixture needs finite means, a std of at least 0, and weights that sum to 1, one for each of the "
              f"{len(self.means)} means; got std {self.std} and weights {w[:5].tolist()}")

    @property
    def shares(self):
        """The weights (K,), written out where they are equal."""
        return torch.full((len(self.means),), 1 / len(self.means)) if self.weights is None else self.weights

    def sample(self, n, generator):
        """n points (n, ...): choose a Gaussian, then a point of it."""
        chosen = torch.multinomial(self.shares, check_whole("n", n), replacement=True, generator=generator)
        eps = torch.randn(n, *self.means.shape[1:], generator=generator)
        return self.means[chosen] + self.std * eps


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
    check(name in CLOUDS, f"no cloud is called {name!r}; there are: {', '.join(CLOUDS)}")
    centers, std = CLOUDS[name][0](), CLOUDS[name][1]
    centered = (centers - centers.mean(0)) / centers.std(0, correction=0)
    return Mixture(centered * math.sqrt(1 - std**2), std)


def cloud(name, n, seed=0):
    """n points (n, 2) of a named cloud: the same name, n and seed, the same points."""
    return named_mixture(name).sample(n, generator_for(seed, n))
