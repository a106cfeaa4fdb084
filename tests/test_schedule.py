"""The schedules: two curves, and the four coordinates of a prediction, which must say the same thing."""

import math

import pytest
import torch

from minidiff.data import Digits, Mixture
from minidiff.diffusion import FLOOR, KINDS, Schedule, add_noise, from_eps, to_eps
from minidiff.tools import generator_for

SCHEDULES = {"cosine": Schedule.cosine(1000), "short": Schedule.cosine(7), "straight": Schedule.straight(13),
             "rescaled": Schedule.linear(50).rescaled()}


@pytest.mark.parametrize("name", SCHEDULES)
def test_level_0_is_clean_level_S_is_noise_and_in_between_the_signal_falls(name):
    schedule = SCHEDULES[name]
    assert schedule.signal[0] == 1 and schedule.noise[0] == 0 and schedule.curves[0] == (1, 0)
    assert 0 < schedule.signal[-1] and schedule.terminal_snr < 1e-4
    assert bool((schedule.signal.diff() < 0).all()) and bool((schedule.noise.diff() > 0).all())
    assert schedule.signal.dtype == schedule.noise.dtype == torch.float64
    torch.testing.assert_close(schedule.alpha_bar, schedule.signal**2)
    torch.testing.assert_close(schedule.snr, (schedule.signal / schedule.noise) ** 2)


def test_the_cosine_schedule_walks_on_a_circle_and_the_straight_one_along_a_chord():
    circle, chord = Schedule.cosine(1000), Schedule.straight(1000)
    one = torch.ones(1001, dtype=torch.float64)
    torch.testing.assert_close(circle.signal**2 + circle.noise**2, one, atol=1e-6, rtol=0)
    torch.testing.assert_close(chord.signal + chord.noise, one, atol=1e-12, rtol=0)
    assert chord.alpha_bar[-1].item() == pytest.approx(circle.alpha_bar[-1].item(), rel=1e-5)
    for t in (1, 250, 500, 999):                                 # the angle, and the share of the way, grow evenly
        assert circle.alpha_bar[t].item() == pytest.approx(
            FLOOR + (1 - FLOOR) * math.cos(math.pi / 2 * t / 1000) ** 2, rel=1e-6)
        assert chord.noise[t].item() == pytest.approx(t / 1000 * (1 - math.sqrt(FLOOR)), rel=1e-12)


def test_fifty_linear_steps_stop_far_from_noise():
    """The bug of popular toy code: the product of 50 factors between 0.9999 and 0.98 is 0.6."""
    alpha_bar = 1.0
    for i in range(50):
        alpha_bar *= 1 - (1e-4 + (0.02 - 1e-4) * i / 49)
    schedule = Schedule.linear(50)
    assert schedule.alpha_bar[-1].item() == pytest.approx(alpha_bar, rel=1e-6)
    assert schedule.terminal_snr == pytest.approx(alpha_bar / (1 - alpha_bar), rel=1e-5) and schedule.terminal_snr > 1


def test_rescaling_keeps_the_beginning_and_the_order():
    before, after = Schedule.linear(50), Schedule.linear(50).rescaled()
    assert after.alpha_bar[0] == 1 and after.levels == 50
    assert bool((after.alpha_bar[1:] < before.alpha_bar[1:]).all())


def test_noised_data_have_the_stated_mean_and_variance():
    schedule, n = Schedule.cosine(11), 200_000
    eps = torch.randn(n, 1, generator=generator_for(0))
    xt = add_noise(torch.full((n, 1), 3.0), torch.full((n,), 5), eps, schedule)
    signal, noise = schedule.curves[5]
    assert xt.mean().item() == pytest.approx(3 * signal, abs=0.01)
    assert xt.var().item() == pytest.approx(noise**2, abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["short", "straight"])
def test_coordinates_are_round_trips_and_agree_with_their_definitions(kind, name):
    schedule, levels = SCHEDULES[name], torch.tensor([1, 3, 5, 6, 7])
    x0, eps = torch.randn(2, 5, 3, 7, generator=generator_for(1), dtype=torch.float64).unbind(0)
    xt = add_noise(x0, levels, eps, schedule)
    signal, noise = schedule.signal[levels, None, None], schedule.noise[levels, None, None]
    torch.testing.assert_close(xt, signal * x0 + noise * eps)
    truth = {"eps": eps, "x0": x0, "v": signal * eps - noise * x0, "velocity": eps - x0,
             "score": -(xt - signal * x0) / noise**2}[kind]
    said = from_eps(eps, xt, levels, schedule, kind)
    torch.testing.assert_close(said, truth, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(to_eps(said, xt, levels, schedule, kind), eps, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("t", [torch.tensor([1, 2, 8]), torch.tensor([-1, 0, 1]), torch.tensor([1.0, 2.0, 3.0]),
                               torch.tensor([True, False, True]), 5, torch.tensor([[1], [2], [3]])])
def test_levels_that_are_none_are_refused(t):
    x, schedule = torch.zeros(3, 2), Schedule.cosine(7)
    for use in (lambda: schedule.at(t, like=x), lambda: add_noise(x, t, x, schedule),
                lambda: to_eps(x, x, t, schedule, "v"), lambda: from_eps(x, x, t, schedule, "x0")):
        with pytest.raises(ValueError, match=r"integer levels \(B,\).* 7 \(noise\)"):
            use()


@pytest.mark.parametrize("signal, noise", [
    ([0.9, 0.5], [0.0, 0.5]), ([1.0, 0.5, 0.5], [0.0, 0.5, 0.6]), ([1.0, 0.0], [0.0, 1.0]), ([1.0], [0.0]),
    ([1.0, 0.5], [0.1, 0.5]), ([1.0, 0.5, 0.2], [0.0, 0.5, 0.4]), ([1.0, math.nan], [0.0, 0.5]),
    ([1.0, 0.5], [0.0, math.nan])])
def test_curves_that_are_no_schedule_are_refused(signal, noise):
    with pytest.raises(ValueError, match="signal"):
        Schedule(torch.tensor(signal), torch.tensor(noise))


@pytest.mark.parametrize("make", [lambda: Schedule.cosine(7), lambda: Mixture(torch.zeros(3, 2), 0.1),
                                  lambda: Digits(*torch.zeros(4, 3))], ids=["Schedule", "Mixture", "Digits"])
def test_what_holds_tensors_is_compared_by_identity(make):
    one, other = make(), make()
    assert one == one and one != other and len({one, other, one}) == 2
