import pytest
import torch

from minidiff.runtime import generator_for, noise_for
from minidiff.samplers import sample
from minidiff.schedule import Schedule, from_eps
from minidiff.toy import CLOUDS, cloud, finite_denoiser, gaussian_denoiser, recipe
from minidiff.train import train

COSINE = Schedule.cosine(1000)


@pytest.mark.parametrize("name", CLOUDS)
def test_clouds_are_standardized_and_repeatable(name):
    points = cloud(name, 5_000, seed=1)
    torch.testing.assert_close(points.mean(0), torch.zeros(2), atol=0.05, rtol=0)
    torch.testing.assert_close(points.std(0), torch.ones(2), atol=0.05, rtol=0)
    assert torch.equal(points, cloud(name, 5_000, seed=1)) and not torch.equal(points, cloud(name, 5_000, seed=2))


def test_an_unknown_cloud_is_named():
    with pytest.raises(ValueError, match="two moons"):
        cloud("cumulus", 5)


@pytest.mark.parametrize("t", [1, 300, 700, 1000])
def test_exact_denoisers_are_gradients_of_the_exact_log_density(t):
    a = COSINE.alpha_bar[t].double()
    points, level = torch.randn(7, 3, generator=generator_for(0)).double(), torch.full((5,), t)
    x = (a.sqrt() * points[:5] + (1 - a).sqrt() * 0.5).requires_grad_()

    def finite(x):                                               # an equal mixture of one Gaussian a point
        return torch.logsumexp(-(x[:, None] - a.sqrt() * points).square().sum(-1) / (2 * (1 - a)), 1)

    def gaussian(x):
        return -((x - a.sqrt() * 0.7).square() / (2 * (a * 0.3**2 + 1 - a))).sum(1)

    exact = {finite: finite_denoiser(points, COSINE), gaussian: gaussian_denoiser(0.7, 0.3, COSINE)}
    for density, denoise in exact.items():
        score, = torch.autograd.grad(density(x).sum(), x)
        ours = from_eps(denoise(x, level), x, level, COSINE, "score")
        torch.testing.assert_close(ours, score, atol=1e-5, rtol=1e-5)


def test_the_exact_denoiser_of_a_data_set_returns_its_points():
    points = torch.randn(17, 2, generator=generator_for(3)).double()
    for _, end in sample(finite_denoiser(points, COSINE), noise_for(range(50), (2,)).double(), COSINE, 100):
        pass
    assert torch.cdist(end, points).amin(1).max() < 1e-3         # memory, not imagination


def test_a_trained_toy_draws_its_cloud():
    """Two moons after some seconds: every sample near the cloud, both moons found."""
    points = cloud("two moons", 4_000)
    toy = recipe(points, steps=1_200)
    for _ in train(toy):
        pass
    for _, end in sample(toy.model, noise_for(range(1_000), (2,)), toy.model.schedule, 50):
        pass
    distance = torch.cdist(end, points).amin(1)
    between_real = torch.cdist(cloud("two moons", 1_000, seed=9), points).amin(1)
    assert distance.quantile(0.9) < 2.5 * between_real.quantile(0.9)
    torch.testing.assert_close(end.mean(0), torch.zeros(2), atol=0.12, rtol=0)
    torch.testing.assert_close(end.std(0), torch.ones(2), atol=0.1, rtol=0)
