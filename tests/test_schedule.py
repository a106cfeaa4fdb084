import pytest
import torch

from minidiff.diffusion import KINDS, Schedule, add_noise, from_eps, to_eps

SCHEDULES = {"cosine": Schedule.cosine(1000), "short": Schedule.cosine(7), "rescaled": Schedule.linear(50).rescaled()}


@pytest.mark.parametrize("name", SCHEDULES)
def test_level_0_is_clean_and_level_S_is_noise(name):
    schedule = SCHEDULES[name]
    assert schedule.alpha_bar[0] == 1
    assert schedule.terminal_snr < 1e-4
    assert bool((schedule.alpha_bar.diff() < 0).all())


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
    t = torch.full((n,), 5)
    eps = torch.randn(n, 1, generator=torch.Generator().manual_seed(0))
    xt = add_noise(torch.full((n, 1), 3.0), t, eps, schedule)
    a = schedule.alpha_bar[5]
    assert xt.mean().item() == pytest.approx(3 * a.sqrt().item(), abs=0.01)
    assert xt.var().item() == pytest.approx(1 - a.item(), abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t", [1, 3, 6])
def test_coordinates_are_round_trips_and_agree_with_their_definitions(kind, t):
    schedule = SCHEDULES["short"]
    generator = torch.Generator().manual_seed(t)
    x0, eps = torch.randn(2, 5, 3, 7, generator=generator, dtype=torch.float64).unbind(0)
    levels = torch.full((5,), t)
    xt = add_noise(x0, levels, eps, schedule)
    a = schedule.alpha_bar[t].double()
    truth = {"eps": eps, "x0": x0, "v": a.sqrt() * eps - (1 - a).sqrt() * x0,
             "score": -(xt - a.sqrt() * x0) / (1 - a)}[kind]
    said = from_eps(eps, xt, levels, schedule, kind)
    torch.testing.assert_close(said, truth, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(to_eps(said, xt, levels, schedule, kind), eps, atol=1e-9, rtol=1e-9)


def test_bad_levels_and_schedules_are_refused():
    x, schedule = torch.zeros(3, 2), Schedule.cosine(7)
    for t in (torch.tensor([1, 2, 8]), torch.tensor([-1, 0, 1]), torch.tensor([1, 2]), torch.tensor([1.0, 2.0, 3.0])):
        with pytest.raises(ValueError, match="level"):
            schedule.at(t, like=x)
    for alpha_bar in ([0.9, 0.5], [1.0, 0.5, 0.5], [1.0, 0.0], [1.0]):
        with pytest.raises(ValueError, match="alpha_bar"):
            Schedule(torch.tensor(alpha_bar))
    with pytest.raises(ValueError, match="expected one of"):
        to_eps(x, x, torch.tensor([1, 2, 3]), schedule, "noise")
