"""The exact answers of chapter 1, against autograd, brute force and the law of large numbers."""

import math
from itertools import permutations

import pytest
import torch

from minidiff.data import CLOUDS, Mixture, cloud, named_mixture
from minidiff.diffusion import (
    Schedule,
    add_noise,
    annealed_langevin,
    ddim_step,
    ddpm_step,
    exact_denoiser,
    from_eps,
    heun_step,
    last,
    log_density,
    sample,
)
from minidiff.evaluation import coverage, wasserstein
from minidiff.tools import generator_for, noise_for

COSINE = Schedule.cosine(1000)
STRAIGHT = Schedule.straight(1000)
THREE = Mixture(torch.tensor([[0.3, -1.0, 0.5], [1.1, 0.2, -0.4], [-0.7, 0.9, 0.0]]).double(), 0.3,
                torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64))


@pytest.mark.parametrize("name", CLOUDS)
def test_clouds_are_standardized_and_repeatable(name):
    mixture = named_mixture(name)
    torch.testing.assert_close(mixture.means.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(mixture.means.var(0, correction=0) + mixture.std**2, torch.ones(2), atol=1e-5, rtol=0)
    points = cloud(name, 20_000, seed=1)
    torch.testing.assert_close(points.mean(0), torch.zeros(2), atol=0.03, rtol=0)
    torch.testing.assert_close(points.std(0), torch.ones(2), atol=0.03, rtol=0)
    assert torch.equal(points, cloud(name, 20_000, seed=1)) and not torch.equal(points, cloud(name, 20_000, seed=2))


@pytest.mark.parametrize("name", ["two moons", "swiss roll", "heart", "checkerboard"])
def test_the_centers_of_a_drawn_cloud_leave_no_gap(name):
    """Each center has a neighbor nearer than two standard deviations: between them the density hardly falls."""
    mixture = named_mixture(name)
    assert torch.cdist(mixture.means, mixture.means).fill_diagonal_(9).amin(1).max() < 2 * mixture.std


@pytest.mark.parametrize("schedule", [COSINE, STRAIGHT], ids=["cosine", "straight"])
def test_the_density_is_that_of_torch_distributions(schedule):
    """At every level the noisy mixture is a mixture of Gaussians with moved means and a larger std."""
    x = torch.randn(11, 3, generator=generator_for(0)).double()
    for t in (0, 1, 300, 1000):
        signal, noise = schedule.curves[t]
        parts = torch.distributions.MultivariateNormal(
            signal * THREE.means, (signal**2 * 0.09 + noise**2) * torch.eye(3).double().expand(3, 3, 3))
        reference = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(THREE.weights), parts)
        torch.testing.assert_close(log_density(THREE, x, torch.full((11,), t), schedule), reference.log_prob(x),
                                   atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("schedule", [COSINE, STRAIGHT], ids=["cosine", "straight"])
@pytest.mark.parametrize("mixture", [THREE, Mixture(THREE.means)], ids=["Gaussians", "data set"])
@pytest.mark.parametrize("t", [1, 300, 700, 1000])
def test_the_exact_score_is_the_gradient_of_the_exact_log_density(mixture, t, schedule):
    level, eps = torch.full((5,), t), torch.randn(5, 3, generator=generator_for(1)).double()
    x = add_noise(mixture.means[[0, 1, 2, 1, 0]], level, eps, schedule).requires_grad_()
    score, = torch.autograd.grad(log_density(mixture, x, level, schedule).sum(), x)
    ours = from_eps(exact_denoiser(mixture, schedule)(x, level), x, level, schedule, "score")
    torch.testing.assert_close(ours, score, atol=1e-5, rtol=1e-5)


def test_the_exact_denoiser_is_the_mean_of_the_noises_that_lead_there():
    """A second way to the same answer: draw a million noisy points, look at those that landed near one place."""
    mixture, t = Mixture(torch.tensor([[-1.0], [0.5], [1.5]]), 0.2, torch.tensor([0.2, 0.5, 0.3])), 600
    n, fresh = 1_000_000, generator_for(2)
    x0, eps = mixture.sample(n, fresh), torch.randn(n, 1, generator=fresh)
    xt = add_noise(x0, torch.full((n,), t), eps, COSINE)
    for place in (-0.8, 0.0, 0.9):
        near = (xt - place).abs()[:, 0] < 0.02
        exact = exact_denoiser(mixture, COSINE)(torch.tensor([[place]]), torch.tensor([t]))
        assert eps[near].mean().item() == pytest.approx(exact.item(), abs=0.03)


def test_the_exact_denoiser_of_a_data_set_copies_it():
    points = torch.randn(17, 2, generator=generator_for(3)).double()
    end = last(sample(exact_denoiser(Mixture(points), COSINE), noise_for(range(50), (2,)).double(), COSINE, 100))
    assert torch.cdist(end, points).amin(1).max() < 1e-3         # memory, not imagination


FINE = Schedule.cosine(4000)
TWO = Mixture(torch.tensor([[-0.5], [2.0]]).double(), 0.35, torch.tensor([0.8, 0.2], dtype=torch.float64))


def share_below(x, t):
    """The exact distribution function of TWO at level t of FINE."""
    signal, noise = FINE.curves[t]
    std = math.sqrt(signal**2 * TWO.std**2 + noise**2)
    return (TWO.weights * torch.special.ndtr((x - signal * TWO.means.T) / std)).sum(1)


@pytest.mark.parametrize("step, order, slack", [(ddim_step, 1, 0.15), (heun_step, 2, 0.25)])
def test_order_of_convergence_on_an_exact_mixture(step, order, slack):
    """On a line, the deterministic flow keeps ranks: where a point ends is known from the share of mass below it."""
    x = torch.linspace(-2, 2, 21, dtype=torch.float64)[:, None]
    rank, low, high = share_below(x, 4000), torch.full((21, 1), -9.0).double(), torch.full((21, 1), 9.0).double()
    for _ in range(60):                                          # bisection for the place of that rank at level 0
        middle = (low + high) / 2
        below = (share_below(middle, 0) < rank)[:, None]
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    errors, counts = [], (200, 400, 800)                         # an order is a law of small steps
    for steps in counts:
        end = last(sample(exact_denoiser(TWO, FINE), x, FINE, steps, step))
        errors.append(math.log((end - low).abs().mean().item()))
    slope = (errors[0] - errors[-1]) / math.log(counts[-1] / counts[0])
    assert slope == pytest.approx(order, abs=slack), errors


def islands(levels, steps, size, seed):
    """Two far islands with 80 and 20 % of all points: the share on the first, and its std, after Langevin steps."""
    far = Mixture(torch.tensor([[-4.0, -4.0], [4.0, 4.0]]), 1.0, torch.tensor([0.8, 0.2]))
    start = 8 * torch.rand(5_000, 2, generator=generator_for(seed, 0)) - 4
    denoise, fresh = exact_denoiser(far, COSINE), generator_for(seed, 1)
    x = last(annealed_langevin(denoise, start, COSINE, levels, steps, fresh, size))
    left = x.sum(1) < 0
    return left.float().mean().item(), x[left].std(0)


@pytest.mark.parametrize("seed", range(2))
def test_annealed_langevin_finds_the_weights_of_far_modes(seed):
    share, std = islands(range(1000, 0, -4), 10, 0.1, seed)
    assert share == pytest.approx(0.8, abs=0.02)
    torch.testing.assert_close(std, torch.ones(2), atol=0.05, rtol=0)


def test_plain_langevin_settles_on_its_island_and_keeps_the_share_of_the_start():
    share, std = islands([20], 1_000, 0.1 / COSINE.curves[20][1] ** 2, seed=0)
    torch.testing.assert_close(std, torch.ones(2), atol=0.08, rtol=0)
    assert share == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("step", [ddpm_step, ddim_step, heun_step])
def test_every_sampler_draws_the_ring_from_its_exact_denoiser(step):
    mixture, seeds = named_mixture("ring"), range(800)
    denoise = exact_denoiser(mixture, COSINE)
    drawn = last(sample(denoise, noise_for(seeds, (2,)), COSINE, 60, step, seeds=seeds))
    modes, good = coverage(drawn, mixture)
    assert modes == 8 and good > 0.97


def test_wasserstein_is_the_best_of_all_pairings():
    one, other = (torch.randn(6, 2, generator=generator_for(7, side)) for side in (0, 1))
    brute = min((one - other[list(order)]).square().sum(1).mean().item() for order in permutations(range(6)))
    assert wasserstein(one, other) == pytest.approx(math.sqrt(brute), rel=1e-5)


def test_wasserstein_on_a_line_pairs_by_rank_and_measures_a_shift_exactly():
    one, other = (torch.randn(311, 1, generator=generator_for(8, side)) for side in (0, 1))
    by_rank = (one.sort(0).values - other.sort(0).values).square().mean().sqrt().item()
    assert wasserstein(one, other) == pytest.approx(by_rank, rel=1e-5)
    assert wasserstein(one, one[torch.randperm(311)] + 0.25) == pytest.approx(0.25, rel=1e-4)


def test_coverage_of_the_cloud_itself_and_of_a_collapsed_one():
    grid = named_mixture("grid")
    modes, good = coverage(cloud("grid", 20_000), grid)
    assert modes == 25 and good == pytest.approx(1 - math.exp(-4.5), abs=0.003)
    modes, good = coverage(grid.means[:3].repeat(100, 1), grid)
    assert (modes, good) == (3, 1.0)
