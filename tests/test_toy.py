"""The learned toy, against the exact answers."""

import pytest
import torch

from minidiff.data import Mixture, cloud, named_mixture
from minidiff.diffusion import Schedule, denoising_loss, exact_denoiser, from_eps, heun_step, last, sample
from minidiff.evaluation import coverage, floor_and_excess
from minidiff.models import PointConfig, PointDenoiser
from minidiff.pipelines import toy
from minidiff.tools import generator_for, noise_for
from minidiff.training import run

COSINE = Schedule.cosine(1000)


@pytest.fixture(scope="module")
def trained_ring():
    return run(toy.recipe(cloud("ring", 20_000), steps=1_500))


def test_a_trained_toy_draws_its_cloud(trained_ring):
    """All eight modes, and nearly as many good points as the cloud itself has (98.9 %)."""
    drawn = last(sample(trained_ring, noise_for(range(1_000), (2,)), COSINE, 50, heun_step))
    modes, good = coverage(drawn, named_mixture("ring"))
    assert modes == 8 and good > 0.95


def test_a_trained_toy_is_near_the_floor_which_nothing_can_beat(trained_ring):
    floor, excess = floor_and_excess(trained_ring, named_mixture("ring"), COSINE, range(50, 1001, 50))
    assert 0 < excess.mean() < 0.02 * floor.mean()


def test_floor_and_excess_sum_to_the_loss():
    """The law of Pythagoras in the space of guesses: it holds on average over many points."""
    ring, model, n = named_mixture("ring"), PointDenoiser(), 20_000
    floor, excess = floor_and_excess(model, ring, COSINE, [300, 700], n=n)
    for i, level in enumerate([300, 700]):
        generator = generator_for(11, level)
        x0, eps = ring.sample(n, generator), torch.randn(n, 2, generator=generator)
        with torch.no_grad():
            loss = denoising_loss(model, x0, torch.full((n,), level), eps, COSINE).mean()
        assert (floor[i] + excess[i]).item() == pytest.approx(loss.item(), rel=0.03)


def test_the_exact_denoiser_has_no_excess_and_the_floor_of_one_gaussian_is_known():
    """For data N(0, 1) the noisy point is N(0, 1) too, and the least error of eps is alpha_bar: 1 in v."""
    normal = Mixture(torch.zeros(1, 2), 1.0)
    floor, excess = floor_and_excess(exact_denoiser(normal, COSINE), normal, COSINE, [100, 500, 900], n=50_000)
    torch.testing.assert_close(floor, torch.ones(3), atol=0.02, rtol=0)
    assert excess.max() == 0


def test_a_network_that_is_not_told_the_time_answers_the_same_v_at_every_level():
    blind, x = PointDenoiser(PointConfig(told_time=False)), torch.randn(5, 2, generator=generator_for(1))
    v = [from_eps(blind(x, t), x, t, COSINE, "v") for t in (torch.full((5,), 200), torch.full((5,), 600))]
    torch.testing.assert_close(v[0], v[1], atol=1e-4, rtol=1e-4)
