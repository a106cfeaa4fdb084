"""Diffusion as a flow: against derivatives, closed forms, and what a step must land on."""

import math

import pytest
import torch

from minidiff.data import Mixture
from minidiff.diffusion import (
    Schedule,
    add_noise,
    angle_step,
    clean_guess,
    consistency_step,
    consistency_target,
    ddim_step,
    denoiser_on_the_chord,
    denoising_loss,
    exact_denoiser,
    from_eps,
    inverted,
    jump,
    last,
    on_the_chord,
    pair_loss,
    progressive_target,
    quantile_map,
    sample,
    straightness,
)
from minidiff.tools import generator_for

COSINE, DICE = Schedule.cosine(1000), generator_for(0)
NARROW = Mixture(torch.full((1, 3), 0.7), 0.3)                   # one Gaussian in three dimensions
PAIR = Mixture(torch.tensor([[-1.0], [0.6]]), 0.25, torch.tensor([0.3, 0.7]))


def carried(mixture, z, schedule):
    """Where the exact flow carries points of level S, for one Gaussian: the same place in units of its std."""
    signal, noise = schedule.curves[-1]
    return mixture.means + mixture.std * (z - signal * mixture.means) / math.hypot(signal * mixture.std, noise)


def test_v_is_the_velocity_on_the_circle_and_eps_minus_x0_that_on_the_chord():
    x0, eps = torch.randn(2, 5, 7, generator=DICE, dtype=torch.float64)
    fine, t = Schedule.cosine(20_000), torch.tensor([3_000, 8_000, 11_000, 16_000, 19_000])
    for schedule, kind, clock in ((fine, "v", torch.atan2(fine.noise, fine.signal)),
                                  (on_the_chord(fine), "velocity", on_the_chord(fine).noise)):
        after, before = add_noise(x0, t + 1, eps, schedule), add_noise(x0, t - 1, eps, schedule)
        slope = (after - before) / (clock[t + 1] - clock[t - 1])[:, None]
        xt = add_noise(x0, t, eps, schedule)
        torch.testing.assert_close(slope, from_eps(eps, xt, t, schedule, kind), atol=1e-5, rtol=0)


@pytest.mark.parametrize("step, order", [(ddim_step, 1), (angle_step, 2)])
def test_twice_the_steps_leave_a_half_or_a_quarter_of_the_error(step, order):
    z = torch.randn(101, 3, generator=DICE, dtype=torch.float64)
    denoise, exact = exact_denoiser(NARROW, COSINE), carried(NARROW, z, COSINE)
    errors = [(last(sample(denoise, z, COSINE, n, step)) - exact).abs().max() for n in (25, 50, 100)]
    for coarse, fine in zip(errors, errors[1:]):
        assert coarse / fine == pytest.approx(2**order, rel=0.25)


@pytest.mark.parametrize("step, order", [(ddim_step, 1), (angle_step, 2)])
def test_the_flow_walked_backward_finds_the_noise_with_the_order_of_its_steps(step, order):
    z = torch.randn(31, 3, generator=DICE, dtype=torch.float64)
    denoise, x0 = exact_denoiser(NARROW, COSINE), carried(NARROW, z, COSINE)
    errors = [(inverted(denoise, x0, COSINE, n, step) - z).abs().max() for n in (25, 50, 100)]
    for rough, fine in zip(errors, errors[1:]):
        assert 0.6 * 2**order < rough / fine < 1.5 * 2**order
    assert errors[-1] < 0.06


def test_circle_and_chord_carry_noise_to_the_same_points():
    z = torch.randn(41, 3, generator=DICE, dtype=torch.float64)
    denoise, chord = exact_denoiser(NARROW, COSINE), on_the_chord(COSINE)
    torch.testing.assert_close(chord.signal + chord.noise, torch.ones(1001, dtype=torch.float64))
    round_way = last(sample(denoise, z, COSINE, 9))
    straight_way = last(sample(denoiser_on_the_chord(denoise, COSINE), z / sum(COSINE.curves[-1]), chord, 9))
    torch.testing.assert_close(straight_way, round_way, atol=1e-10, rtol=1e-10)


def test_a_line_is_straight_and_the_flow_of_a_gaussian_is_as_bent_as_its_formula():
    """For data N(0, s^2) each path is y = c sqrt((1 - tau)^2 s^2 + tau^2): its velocity is known."""
    chord, z, std = on_the_chord(COSINE), torch.randn(7, 2, generator=DICE, dtype=torch.float64), 0.2
    line = [(level, chord.curves[level][0] * 2 * z - chord.curves[level][1] * z) for level in range(1000, -1, -10)]
    assert straightness(line, chord) == pytest.approx(0, abs=1e-20)
    gaussian = exact_denoiser(Mixture(torch.zeros(1, 2, dtype=torch.float64), std), COSINE)
    tau = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    speed = (tau - (1 - tau) * std**2) / ((1 - tau) ** 2 * std**2 + tau**2).sqrt()
    bent = ((speed - (1 - std)) ** 2).mean().item() / (1 - std) ** 2
    assert straightness(list(sample(gaussian, z, COSINE, 1000)), COSINE) == pytest.approx(bent, rel=0.02)


def test_in_one_dimension_the_flow_is_the_quantile_map():
    z = torch.linspace(-2.5, 2.5, 37, dtype=torch.float64)[:, None]
    one = Mixture(torch.tensor([[0.7]]), 0.3)
    torch.testing.assert_close(quantile_map(one, z), 0.7 + 0.3 * z, atol=1e-6, rtol=0)
    walked = last(sample(exact_denoiser(PAIR, COSINE), z, COSINE, 1000, angle_step))
    torch.testing.assert_close(quantile_map(PAIR, z), walked, atol=0.01, rtol=0)      # level S keeps a little signal


def levels(*values):
    """Levels (B,) as integers."""
    return torch.tensor(values)


def test_a_jump_is_a_ddim_step_where_each_picture_has_levels_of_its_own():
    xt, denoise = torch.randn(3, 3, generator=DICE, dtype=torch.float64), exact_denoiser(NARROW, COSINE)
    jumped = jump(denoise, xt, levels(1000, 600, 7), levels(700, 0, 2), COSINE)
    steps = [ddim_step(denoise, xt[i:i + 1], t, s, COSINE) for i, (t, s) in enumerate(((1000, 700), (600, 0), (7, 2)))]
    torch.testing.assert_close(jumped, torch.cat(steps))


def test_one_step_to_the_progressive_target_lands_where_two_steps_do():
    xt, denoise = torch.randn(2, 3, generator=DICE, dtype=torch.float64), exact_denoiser(NARROW, COSINE)
    t, middle, s = levels(800, 1000), levels(500, 600), levels(200, 0)
    target = progressive_target(denoise, xt, t, middle, s, COSINE)

    def student(x, t, cond=None):
        signal, noise = COSINE.at(t, like=x)
        return (x - signal * target) / noise

    two = jump(denoise, jump(denoise, xt, t, middle, COSINE), middle, s, COSINE)
    torch.testing.assert_close(jump(student, xt, t, s, COSINE), two)


def flow_of_narrow(x, t, cond=None):
    """The exact flow map of a Gaussian, told as a denoiser: the picture it sees is where the flow ends."""
    signal, noise = COSINE.at(t, like=x)
    std = (signal**2 * NARROW.std**2 + noise**2).sqrt()
    x0 = NARROW.means + NARROW.std * (x - signal * NARROW.means) / std
    return (x - signal * x0) / noise.clamp_min(1e-12)


def test_a_consistent_student_guesses_the_same_point_from_everywhere_on_a_path():
    xt, teacher = torch.randn(5, 3, generator=DICE, dtype=torch.float64), exact_denoiser(NARROW, COSINE)
    t = levels(600, 600, 600, 600, 600)
    guess = clean_guess(flow_of_narrow, xt, t, COSINE)
    torch.testing.assert_close(consistency_target(flow_of_narrow, teacher, xt, t, t - 1, COSINE), guess, atol=1e-5,
                               rtol=0)
    torch.testing.assert_close(clean_guess(flow_of_narrow, xt, t * 0, COSINE), xt)     # the boundary
    torch.testing.assert_close(consistency_target(flow_of_narrow, teacher, xt, t, t * 0, COSINE),
                               jump(teacher, xt, t, t * 0, COSINE))


def test_a_consistent_student_draws_the_cloud_with_any_number_of_calls():
    z = torch.randn(4_000, 3, generator=DICE)
    for steps in (1, 3):
        drawn = last(sample(flow_of_narrow, z, COSINE, steps, consistency_step, seeds=range(4_000)))
        assert drawn.mean().item() == pytest.approx(0.7, abs=0.02)
        assert drawn.std().item() == pytest.approx(0.3, abs=0.01)


def test_a_student_of_pairs_has_no_loss_where_the_flow_leads_and_the_variance_where_data_are_drawn_at_random():
    z = torch.randn(20_000, 3, generator=DICE, dtype=torch.float64)
    (signal, noise), top = COSINE.curves[-1], torch.full((20_000,), 1000)
    ends = carried(NARROW, z, COSINE)

    def student(x, t, cond=None):
        return (x - signal * ends) / noise

    assert pair_loss(student, z, ends, top, COSINE).max() < 1e-12
    data = NARROW.sample(20_000, DICE).double()
    mean = [pair_loss(lambda x, t, cond, c=c: (x - signal * c) / noise, z, data, top, COSINE).mean().item()
            for c in (0.6, 0.7, 0.8)]
    assert mean[1] == min(mean) == pytest.approx(NARROW.std**2, rel=0.05)              # the mean picture is best
    torch.testing.assert_close(pair_loss(student, z, data, top, COSINE),               # in v, as `denoising_loss` is
                               denoising_loss(lambda x, t, cond: (x - signal * ends) / noise, data, top, z,
                                              COSINE))


def test_the_velocity_loss_is_that_of_flow_matching():
    """|u - (eps - x0)|^2 at (1 - tau) x0 + tau eps.  [Lipman et al. 2023, eq. 23]"""
    straight, x0 = Schedule.straight(1000), torch.randn(11, 3, generator=DICE)
    eps, t = torch.randn(11, 3, generator=DICE), torch.randint(1, 1001, (11,), generator=DICE)
    guess = torch.randn(11, 3, generator=DICE)

    def denoise(xt, t, cond=None):
        signal, noise = straight.at(t, like=xt)
        return (xt + signal * guess) / (signal + noise)

    loss = denoising_loss(denoise, x0, t, eps, straight, weight="velocity")
    torch.testing.assert_close(loss, (guess - (eps - x0)).square().mean(1), atol=1e-3, rtol=1e-3)
