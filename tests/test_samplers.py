"""Samplers against exact answers: where the denoiser is known, so is where they must end."""

import math

import pytest
import torch

from minidiff.data import Mixture
from minidiff.diffusion import (
    WEIGHTS,
    Schedule,
    add_noise,
    clipped,
    ddim_step,
    ddpm_step,
    denoising_loss,
    drop_condition,
    exact_denoiser,
    from_eps,
    guided,
    heun_step,
    inpainting,
    karras_levels,
    langevin_step,
    last,
    sample,
    sample_levels,
    spaced_by_snr,
    to_eps,
)
from minidiff.tools import generator_for, noise_for

COSINE, STRAIGHT = Schedule.cosine(1000), Schedule.straight(1000)
STEPS = [ddim_step, ddpm_step, heun_step]


def gaussian(mean, std, schedule):
    return exact_denoiser(Mixture(torch.tensor([[mean]]), std), schedule)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("steps", [1, 5, 23])
def test_a_one_point_world_ends_in_its_point(step, steps):
    point, noise = torch.tensor([[0.3, -1.7, 0.5]]).double(), noise_for(range(7), (3,)).double()
    end = last(sample(exact_denoiser(Mixture(point), COSINE), noise, COSINE, steps, step, seeds=range(7)))
    torch.testing.assert_close(end, point.expand(7, 3), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("step", STEPS)
def test_a_gaussian_world_ends_with_its_mean_and_std(step):
    n, mean, std = 20_000, 0.7, 0.3
    noise = torch.randn(n, 1, generator=generator_for(1))
    fresh = generator_for(2)

    def quick_step(denoise, xt, t, s, schedule, cond, noise):
        return step(denoise, xt, t, s, schedule, cond, lambda: torch.randn(xt.shape, generator=fresh))

    end = last(sample(gaussian(mean, std, COSINE), noise, COSINE, 200, quick_step))
    assert end.mean().item() == pytest.approx(mean, abs=0.01)
    assert end.std().item() == pytest.approx(std, abs=0.01)


@pytest.mark.parametrize("schedule", [COSINE, STRAIGHT], ids=["cosine", "straight"])
@pytest.mark.parametrize("step, order, slack, least", [(ddim_step, 1, 0.15, 6e-3), (heun_step, 2, 0.25, 2e-5)])
def test_the_flow_of_a_gaussian_ends_where_its_formula_says(schedule, step, order, slack, least):
    """With y = x / signal and k = noise / signal DDIM is Euler's method for dy/dk = eps, and the exact denoiser of
    N(m, s^2) says eps = k (y - m) / (s^2 + k^2).  So (y - m) / sqrt(s^2 + k^2) never changes: at k = 0 x is
    m + s (xS - signal m) / sqrt(signal^2 s^2 + noise^2)."""
    m, s = 0.7, 0.5
    x = torch.linspace(-2, 2, 11, dtype=torch.float64)[:, None]
    signal, noise = schedule.curves[-1]
    exact = m + s * (x - signal * m) / math.sqrt(signal**2 * s**2 + noise**2)
    errors = [(last(sample(gaussian(m, s, schedule), x, schedule, steps, step)) - exact).abs().max()
              for steps in (40, 320)]
    slope = (errors[0] / errors[1]).log2().item() / 3            # thrice twice as many steps
    assert slope == pytest.approx(order, abs=slack) and errors[1] < least, errors


def test_ddpm_is_the_exact_posterior():
    """One jump t -> s from a known x0: mean and variance of q(xs | xt, x0) by Bayes' rule in one dimension."""
    t, s, x0 = 700, 400, 0.8
    (signal_t, noise_t), (signal_s, noise_s) = COSINE.curves[t], COSINE.curves[s]
    xt = torch.full((100_000, 1), -0.4)
    fresh = generator_for(3)
    xs = ddpm_step(exact_denoiser(Mixture(torch.tensor([[x0]])), COSINE), xt, t, s, COSINE,
                   noise=lambda: torch.randn(xt.shape, generator=fresh))
    prior_mean, prior_var = signal_s * x0, noise_s**2            # xs given x0
    slope = signal_t / signal_s                                  # xt given xs
    noise_var = noise_t**2 - slope**2 * noise_s**2
    var = 1 / (1 / prior_var + slope**2 / noise_var)
    mean = var * (prior_mean / prior_var + slope * -0.4 / noise_var)
    assert xs.mean().item() == pytest.approx(mean, abs=5e-3)
    assert xs.var().item() == pytest.approx(var, rel=0.02)


def test_ddpm_and_ddim_with_eta_1_are_the_same_step():
    xt, z = noise_for([1, 2, 3], (5,)).double(), noise_for([1, 2, 3], (5,), draw=1).double()
    denoise = gaussian(0.2, 0.4, COSINE)
    one = ddpm_step(denoise, xt, 800, 600, COSINE, noise=lambda: z)
    two = ddim_step(denoise, xt, 800, 600, COSINE, noise=lambda: z, eta=1.0)
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_no_noise_is_added_at_the_last_step():
    point = torch.zeros(1, 2)

    def explode():
        raise AssertionError("noise at the last step")

    ddpm_step(exact_denoiser(Mixture(point), COSINE), torch.ones(3, 2), 40, 0, COSINE, noise=explode)


def test_langevin_keeps_a_gaussian_at_its_level():
    t, n, fresh = 500, 50_000, generator_for(4)
    signal, noise = COSINE.curves[t]
    x = torch.zeros(n, 1)                                        # start wrong, all at one place
    for _ in range(300):
        x = langevin_step(gaussian(0.5, 0.3, COSINE), x, t, COSINE, 0.05,
                          noise=lambda: torch.randn(x.shape, generator=fresh))
    assert x.mean().item() == pytest.approx(signal * 0.5, abs=0.02)
    assert x.var().item() == pytest.approx(signal**2 * 0.09 + noise**2, rel=0.05)


def toward(xt, t, cond):
    """A made-up conditional denoiser whose answer names its condition."""
    return xt + cond


def test_guidance_is_unconditional_at_0_conditional_at_1_and_linear_beyond():
    xt, t, null = torch.randn(3, 5), torch.tensor([7, 7, 7]), torch.full((1, 5), 2.0)
    cond = torch.full((3, 5), 10.0)
    assert torch.equal(guided(toward, null, 0)(xt, t, cond), toward(xt, t, null))
    assert torch.equal(guided(toward, null, 1)(xt, t, cond), toward(xt, t, cond))
    torch.testing.assert_close(guided(toward, null, 3)(xt, t, cond), xt + 2 + 3 * 8)
    for level, w in ((499, 3), (500, 1), (1000, 1)):             # exaggerated below a level, plain from there on
        t = torch.full((3,), level)
        assert torch.equal(guided(toward, null, 3, below=500)(xt, t, cond), guided(toward, null, w)(xt, t, cond))
        assert torch.equal(guided(toward, null, 0, below=500)(xt, t, cond), toward(xt, t, null))


def test_guidance_below_a_level_exaggerates_only_the_pictures_that_are_below():
    """A batch of mixed levels: each picture is answered as it would be alone."""
    xt, t = torch.randn(5, 3), torch.tensor([1, 499, 500, 501, 1000])
    null, cond = torch.full((1, 3), 2.0), torch.arange(5.0)[:, None].expand(5, 3)
    plain, loud = toward(xt, t, cond), xt + 2 + 3 * (cond - 2)
    expected = torch.cat([loud[:2], plain[2:]])
    torch.testing.assert_close(guided(toward, null, 3, below=500)(xt, t, cond), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("step", STEPS)
def test_a_picture_does_not_depend_on_its_batch(step):
    denoise = exact_denoiser(Mixture(noise_for(range(11), (2, 3))), COSINE)

    def run(seeds):
        return last(sample(denoise, noise_for(seeds, (2, 3)), COSINE, 9, step, seeds=seeds))

    torch.testing.assert_close(run([3, 1, 4, 15])[2:3], run([4]), atol=1e-6, rtol=1e-6)


def test_a_trajectory_stops_at_each_level():
    trajectory = list(sample(gaussian(0, 1, COSINE), torch.zeros(1, 2), COSINE, 4))
    assert [level for level, _ in trajectory] == [1000, 750, 500, 250, 0]


@pytest.mark.parametrize("schedule", [COSINE, STRAIGHT], ids=["cosine", "straight"])
@pytest.mark.parametrize("kind", ["eps", "x0", "v"])
def test_the_loss_in_three_coordinates(kind, schedule):
    """Each weight makes the eps error the plain squared error in the coordinate of its name."""
    x0, eps = torch.randn(2, 7, 3, generator=generator_for(0), dtype=torch.float64).unbind(0)
    t = torch.tensor([1, 100, 300, 500, 700, 900, 990])

    def denoise(xt, t, cond):
        return 0.7 * xt - 0.1

    xt = add_noise(x0, t, eps, schedule)
    truth, guess = (from_eps(e, xt, t, schedule, kind) for e in (eps, denoise(xt, t, None)))
    expected = (truth - guess).square().mean(1)
    torch.testing.assert_close(denoising_loss(denoise, x0, t, eps, schedule, weight=kind), expected,
                               rtol=1e-4, atol=1e-6)


def test_dropping_the_condition():
    cond, null = torch.ones(10_000, 3, 2), torch.zeros(1, 3, 2)
    kept = drop_condition(cond, null, 0.1, generator_for(0))
    assert set(kept.flatten(1).mean(1).tolist()) == {0.0, 1.0}   # whole conditions, never parts
    assert (kept[:, 0, 0] == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("steps, start", [(7, None), (25, None), (11, 400)])
def test_karras_levels_lie_where_the_formula_says(steps, start):
    levels, first = karras_levels(COSINE, steps, start), start or 1000
    assert levels[0] == first and levels[-1] == 0 and len(levels) == steps + 1
    assert levels == sorted(set(levels), reverse=True)
    k = COSINE.noise / COSINE.signal
    high, low = min(80.0, k[first].item()), 0.02
    for i, level in enumerate(levels[1:-1], start=1):
        wanted = (high ** (1 / 7) + i / (steps - 1) * (low ** (1 / 7) - high ** (1 / 7))) ** 7
        assert k[level - 1] <= wanted <= k[level + 1]


def test_a_clipped_denoiser_keeps_the_picture_between_minus_one_and_one():
    x0, t = torch.tensor([[0.5, -3.0, 1.7, -1.0]]), torch.tensor([400])
    xt = torch.randn(1, 4, generator=generator_for(0))

    def denoise(xt, t, cond):
        return to_eps(x0, xt, t, COSINE, "x0")

    eps = clipped(denoise, COSINE)(xt, t)
    torch.testing.assert_close(from_eps(eps, xt, t, COSINE, "x0"), torch.tensor([[0.5, -1.0, 1.0, -1.0]]))


def related_pair(rho):
    """The exact denoiser of two normal numbers with covariance C, for signal a and noise b:
    E[x0 | xt] = a C (a^2 C + b^2 1)^-1 xt."""
    cov = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)

    def denoise(xt, t, cond=None):
        signal, noise = COSINE.curves[t[0]]
        x0 = signal * xt @ torch.linalg.inv(signal**2 * cov + noise**2 * torch.eye(2)) @ cov
        return to_eps(x0, xt, t, COSINE, "x0")

    return denoise


def test_inpainting_keeps_what_is_known_and_draws_the_rest_as_it_must_be():
    """Of two numbers with correlation 0.8 the first is known to be 1.2: the other is N(0.96, 0.36)."""
    n, rho, fresh = 3_001, 0.8, generator_for(3)
    known, mask = torch.tensor([[1.2, 0.0]]).double().expand(n, 2), torch.tensor([True, False])
    step = inpainting(ddpm_step, known, mask, again=20)

    def quick_step(denoise, xt, t, s, schedule, cond, noise):
        return step(denoise, xt, t, s, schedule, cond, lambda: torch.randn(n, 2, generator=fresh, dtype=torch.float64))

    start = torch.randn(n, 2, generator=fresh, dtype=torch.float64)
    end = last(sample(related_pair(rho), start, COSINE, 200, quick_step))
    assert torch.equal(end[:, 0], known[:, 0])
    assert end[:, 1].mean().item() == pytest.approx(rho * 1.2, abs=0.05)
    assert end[:, 1].var().item() == pytest.approx(1 - rho**2, abs=0.05)


def test_a_trajectory_may_start_in_the_middle_of_the_noise():
    n, fresh = 20_000, generator_for(4)
    x0 = 0.7 + 0.3 * torch.randn(n, 1, generator=fresh)
    half = add_noise(x0, torch.full((n,), 500), torch.randn(n, 1, generator=fresh), COSINE)
    trajectory = list(sample(gaussian(0.7, 0.3, COSINE), half, COSINE, 50, start=500))
    assert [trajectory[0][0], trajectory[-1][0]] == [500, 0]
    assert trajectory[-1][1].mean().item() == pytest.approx(0.7, abs=0.01)
    assert trajectory[-1][1].std().item() == pytest.approx(0.3, abs=0.01)


def test_levels_are_drawn_evenly_or_stratified_around_a_middle():
    n, even = 100_003, sample_levels(100_003, COSINE, generator_for(0))
    assert even.min() == 1 and even.max() == 1000 and even.float().mean().item() == pytest.approx(500.5, abs=3)
    some = torch.arange(n) % 8 != 4
    crowd = sample_levels(n, COSINE, generator_for(0), 0.7, 0.8)
    logit = ((crowd[some] - 0.5) / 1000).logit()
    assert logit.mean().item() == pytest.approx(0.7, abs=0.01) and logit.std().item() == pytest.approx(0.8, abs=0.01)
    assert crowd[~some].float().mean().item() == pytest.approx(500.5, abs=10)          # one in eight is any level
    few = sample_levels(8, COSINE, generator_for(1), 0.7, 0.8)[some[:8]]                 # each from its own eighth
    shares = torch.special.ndtr((((few - 0.5) / 1000).logit() - 0.7) / 0.8)
    assert (shares * 8).floor().tolist() == [0, 1, 2, 3, 5, 6, 7]


def test_min_snr_weighs_the_picture_by_the_signal_to_noise_ratio_up_to_five():
    curves, snr = (COSINE.signal[1:], COSINE.noise[1:]), COSINE.snr[1:]
    torch.testing.assert_close(WEIGHTS["min-snr"](*curves), WEIGHTS["x0"](*curves) * snr.clamp_max(5))


def test_levels_that_are_evenly_spaced_by_snr():
    levels = spaced_by_snr(COSINE, 50)
    gaps = COSINE.snr[levels].log().diff().abs()
    assert levels[0] == 2 and levels[-1] == 1000 and levels == sorted(levels)
    assert gaps[10:-10].max() < 1.5 * gaps[10:-10].min()
