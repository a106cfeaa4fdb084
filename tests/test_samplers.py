"""Samplers against exact answers: where the denoiser is known, so is where they must end."""

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
    sample,
    sample_levels,
    to_eps,
)
from minidiff.tools import generator_for, noise_for

COSINE = Schedule.cosine(1000)
STEPS = [ddim_step, ddpm_step, heun_step]


def gaussian(mean, std, schedule):
    return exact_denoiser(Mixture(torch.tensor([[mean]]), std), schedule)


def last(walk):
    for _, x in walk:
        pass
    return x


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("steps", [1, 5, 23])
def test_a_one_point_world_ends_in_its_point(step, steps):
    point, noise = torch.tensor([[0.3, -1.7, 0.5]]).double(), noise_for(range(7), (3,)).double()
    end = last(sample(exact_denoiser(Mixture(point), COSINE), noise, COSINE, steps, step, seeds=range(7)))
    torch.testing.assert_close(end, point.expand(7, 3), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("step", STEPS)
def test_a_gaussian_world_ends_with_its_mean_and_spread(step):
    n, mean, std = 20_000, 0.7, 0.3
    noise = torch.randn(n, 1, generator=generator_for(1))
    fresh = generator_for(2)

    def quick_step(denoise, xt, t, s, schedule, cond, noise):
        return step(denoise, xt, t, s, schedule, cond, lambda: torch.randn(xt.shape, generator=fresh))

    end = last(sample(gaussian(mean, std, COSINE), noise, COSINE, 200, quick_step))
    assert end.mean().item() == pytest.approx(mean, abs=0.01)
    assert end.std().item() == pytest.approx(std, abs=0.01)


def exact_flow(x, mean, std):
    """Where the probability flow takes x from level S to level 0 in a Gaussian world: along its own quantile."""
    a = COSINE.alpha_bar[-1].double()
    return mean + std * (x.double() - a.sqrt() * mean) / (a * std**2 + 1 - a).sqrt()


@pytest.mark.parametrize("step, order, slack", [(ddim_step, 1, 0.15), (heun_step, 2, 0.25)])
def test_order_of_convergence_on_the_exact_gaussian(step, order, slack):
    x = torch.linspace(-2, 2, 11, dtype=torch.float64)[:, None]
    errors = []
    for steps in (40, 80, 160, 320):
        schedule = Schedule(COSINE.alpha_bar.double())
        end = last(sample(gaussian(0.7, 0.5, schedule), x, schedule, steps, step))
        errors.append((end - exact_flow(x, 0.7, 0.5)).abs().max().log2())
    slopes = -torch.stack(errors).diff()
    assert slopes.mean().item() == pytest.approx(order, abs=slack), slopes


def test_ddpm_is_the_exact_posterior():
    """One jump t -> s from a known x0: mean and variance of q(xs | xt, x0) by Bayes' rule in one dimension."""
    t, s, x0 = 700, 400, 0.8
    a_t, a_s = COSINE.alpha_bar[t].item(), COSINE.alpha_bar[s].item()
    xt = torch.full((100_000, 1), -0.4)
    fresh = generator_for(3)
    xs = ddpm_step(exact_denoiser(Mixture(torch.tensor([[x0]])), COSINE), xt, t, s, COSINE,
                   noise=lambda: torch.randn(xt.shape, generator=fresh))
    prior_mean, prior_var = a_s**0.5 * x0, 1 - a_s               # xs given x0
    slope, noise_var = (a_t / a_s) ** 0.5, 1 - a_t / a_s         # xt given xs
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
    a = COSINE.alpha_bar[t]
    x = torch.zeros(n, 1)                                        # start wrong, with no spread at all
    for _ in range(300):
        x = langevin_step(gaussian(0.5, 0.3, COSINE), x, t, COSINE, 0.05,
                          noise=lambda: torch.randn(x.shape, generator=fresh))
    assert x.mean().item() == pytest.approx((a.sqrt() * 0.5).item(), abs=0.02)
    assert x.var().item() == pytest.approx((a * 0.09 + 1 - a).item(), rel=0.05)


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
    with pytest.raises(ValueError, match="finite"):
        guided(toward, null, float("nan"))


@pytest.mark.parametrize("step", STEPS)
def test_a_picture_does_not_depend_on_its_batch(step):
    denoise = exact_denoiser(Mixture(noise_for(range(11), (2, 3))), COSINE)

    def run(seeds):
        return last(sample(denoise, noise_for(seeds, (2, 3)), COSINE, 9, step, seeds=seeds))

    torch.testing.assert_close(run([3, 1, 4, 15])[2:3], run([4]), atol=1e-6, rtol=1e-6)


def test_the_walk_stops_at_each_level_and_bad_requests_are_refused():
    walk = list(sample(gaussian(0, 1, COSINE), torch.zeros(1, 2), COSINE, 4))
    assert [level for level, _ in walk] == [1000, 750, 500, 250, 0]
    for steps in (0, 1001):
        with pytest.raises(ValueError, match="steps"):
            next(sample(toward, torch.zeros(1, 2), COSINE, steps))
    with pytest.raises(ValueError, match="seeds"):
        last(sample(gaussian(0, 1, COSINE), torch.zeros(1, 2), COSINE, 4, ddpm_step))


def test_the_loss_in_three_coordinates():
    """Each weight makes the eps error the plain squared error in the coordinate of its name."""
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 7, 3, generator=generator, dtype=torch.float64).unbind(0)
    t = torch.tensor([1, 100, 300, 500, 700, 900, 990])

    def denoise(xt, t, cond):
        return 0.7 * xt - 0.1

    from minidiff.schedule import add_noise
    xt = add_noise(x0, t, eps, COSINE)
    for kind in ("eps", "x0", "v"):
        truth, guess = (from_eps(e, xt, t, COSINE, kind) for e in (eps, denoise(xt, t, None)))
        expected = (truth - guess).square().mean(1)
        torch.testing.assert_close(denoising_loss(denoise, x0, t, eps, COSINE, weight=kind), expected,
                                   rtol=1e-4, atol=1e-6)


def test_the_perfect_denoiser_of_one_point_has_no_loss():
    point = torch.tensor([[0.5, -0.25]])
    t, eps = torch.tensor([1, 500, 999]), torch.randn(3, 2)
    loss = denoising_loss(exact_denoiser(Mixture(point), COSINE), point.expand(3, 2), t, eps, COSINE, weight="eps")
    assert loss.max() < 1e-6


def test_dropping_the_condition():
    cond, null = torch.ones(10_000, 3, 2), torch.zeros(1, 3, 2)
    kept = drop_condition(cond, null, 0.1, generator_for(0))
    assert set(kept.flatten(1).mean(1).tolist()) == {0.0, 1.0}   # whole conditions, never parts
    assert (kept[:, 0, 0] == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("steps, start", [(7, None), (25, None), (11, 400)])
def test_crowded_levels_lie_where_the_formula_says(steps, start):
    levels, first = karras_levels(COSINE, steps, start), start or 1000
    assert levels[0] == first and levels[-1] == 0 and len(levels) == steps + 1
    assert levels == sorted(set(levels), reverse=True)
    k = (1 / COSINE.alpha_bar.double() - 1).sqrt()
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
    """The exact denoiser of two normal numbers with correlation rho: E[x0 | xt] = sqrt(a) C (a C + (1 - a) 1)^-1 xt."""
    cov = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)

    def denoise(xt, t, cond=None):
        a = COSINE.alpha_bar[t[0]].double()
        x0 = a.sqrt() * xt @ torch.linalg.inv(a * cov + (1 - a) * torch.eye(2)) @ cov
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


def test_a_walk_may_start_in_the_middle_of_the_noise():
    n, fresh = 20_000, generator_for(4)
    x0 = 0.7 + 0.3 * torch.randn(n, 1, generator=fresh)
    half = add_noise(x0, torch.full((n,), 500), torch.randn(n, 1, generator=fresh), COSINE)
    walk = list(sample(gaussian(0.7, 0.3, COSINE), half, COSINE, 50, start=500))
    assert [walk[0][0], walk[-1][0]] == [500, 0]
    assert walk[-1][1].mean().item() == pytest.approx(0.7, abs=0.01)
    assert walk[-1][1].std().item() == pytest.approx(0.3, abs=0.01)
    with pytest.raises(ValueError, match="at most the 1000"):
        next(sample(gaussian(0.7, 0.3, COSINE), half, COSINE, 5, start=1_001))


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
    a = COSINE.alpha_bar[1:].double()
    snr = a / (1 - a)
    torch.testing.assert_close(WEIGHTS["min-snr"](a), WEIGHTS["x0"](a) * snr.clamp_max(5))
