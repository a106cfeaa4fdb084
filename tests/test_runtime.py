"""What depends on the machine and on chance: streams of random numbers, budgets, and the number format."""

import statistics
import time
from pathlib import Path

import pytest
import torch

from minidiff.tools import (
    autocast,
    budget,
    fast_bf16,
    generator_for,
    noise_for,
    peak_memory_mb,
    runs_folder,
    seed_all,
)
from minidiff.tools.runtime import seeded


def first(*numbers):
    """The first number of a stream."""
    return torch.rand(1, generator=generator_for(*numbers)).item()


def test_noise_of_a_picture_is_private_normal_and_fresh_at_each_draw():
    assert torch.equal(noise_for([3, 5, 7], (2, 4))[1], noise_for([5], (2, 4))[0])
    assert not torch.equal(noise_for([5], (2, 4)), noise_for([5], (2, 4), draw=1))
    noise = noise_for(range(4_000), (7,))
    assert noise.mean().abs() < 0.03 and (noise.std() - 1).abs() < 0.03
    neighbors = torch.corrcoef(torch.stack([noise[:-1].flatten(), noise[1:].flatten()]))[0, 1]
    assert neighbors.abs() < 0.03                                # seeds 3 and 4 are not alike


def test_streams_are_named_by_all_digits_of_all_their_numbers():
    assert len({first(a, b) for a in range(5) for b in range(5)}) == 25
    seeds = [s + shift for s in (0, 7, -1, -2**31) for shift in (0, 2**32, 2**40, -2**32)]
    for more in ((), (0,), (3,)):
        assert len({first(seed, *more) for seed in seeds}) == len(seeds)
    assert first(0, 2**32) != first(2**32, 0)                    # it matters which of them is large
    assert not torch.equal(noise_for([0], (3,)), noise_for([2**32], (3,)))
    assert not torch.equal(noise_for([-1], (3,)), noise_for([2**32 - 1], (3,)))


def test_small_seeds_give_the_numbers_that_they_always_gave():
    assert [first(0), first(7), first(3, 5)] == [0.13016098737716675, 0.16998857259750366, 0.937267005443573]
    frozen = torch.tensor([-1.0564861297607422, 1.2904390096664429, 1.4968568086624146])
    torch.testing.assert_close(noise_for([5], (3,))[0], frozen)
    assert torch.equal(noise_for(torch.tensor([2**40, 3]), (2,))[1], noise_for(range(3, 4), (2,))[0])


def test_seeds_repeat_the_initial_weights():
    def weights():
        seed_all(3)
        return torch.nn.Linear(5, 7).weight
    assert torch.equal(weights(), weights())


def test_a_model_is_built_from_its_seed_while_the_callers_randomness_goes_on():
    def build():
        with seeded(3):
            return torch.nn.Linear(5, 7).weight

    torch.manual_seed(0)
    expected = torch.rand(6)
    torch.manual_seed(0)
    before, one, between, other, after = torch.rand(2), build(), torch.rand(2), build(), torch.rand(2)
    assert torch.equal(torch.cat([before, between, after]), expected)
    torch.manual_seed(3)
    assert torch.equal(one, other) and torch.equal(one, torch.nn.Linear(5, 7).weight)


@pytest.mark.parametrize("name, value, folder", [("fast", 3, "runs/fast"), ("small", 2, "runs"),
                                                 ("full", 1, "runs/full")])
def test_each_budget_has_its_value_and_its_own_runs(monkeypatch, name, value, folder):
    monkeypatch.setenv("MINIDIFF_BUDGET", name)
    monkeypatch.delenv("MINIDIFF_FOLDER", raising=False)
    assert budget(full=1, small=2, fast=3) == value and budget(full=1, small=2, fast=3, given=0) == 0
    assert runs_folder() == Path(__file__).parents[1] / folder  # wherever one stands
    monkeypatch.setenv("MINIDIFF_FOLDER", "../runs/../elsewhere")
    assert runs_folder().as_posix() == f"../{folder.replace('runs', 'runs/../elsewhere')}"


def test_wrong_settings_of_the_environment_are_named(monkeypatch):
    monkeypatch.setenv("MINIDIFF_BUDGET", "huge")
    with pytest.raises(ValueError, match="fast, small, full"):
        budget(1, 2, 3)
    monkeypatch.setenv("MINIDIFF_BF16", "yes")
    with pytest.raises(ValueError, match="0 or 1"):
        autocast("cpu")


@pytest.mark.parametrize("choice, dtype", [("0", torch.float32), ("1", torch.bfloat16)])
def test_the_number_format_is_the_one_that_the_environment_names(monkeypatch, choice, dtype):
    monkeypatch.setenv("MINIDIFF_BF16", choice)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5) if choice == "1" else (9, 0))
    assert fast_bf16("cpu") == fast_bf16("cuda") == (choice == "1")
    for given, expected in ((None, dtype), (False, torch.float32), (True, torch.bfloat16)):
        with autocast("cpu", given):
            assert (torch.ones(3, 3) @ torch.ones(3, 3)).dtype == expected


@pytest.mark.parametrize("capability, fast", [((7, 5), False), ((7, 0), False), ((8, 0), True), ((9, 0), True)])
def test_a_gpu_that_only_imitates_bf16_computes_in_float32(monkeypatch, capability, fast):
    """A T4 (7.5) says that it supports bf16, and is slower in it."""
    monkeypatch.delenv("MINIDIFF_BF16", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert fast_bf16("cuda") is fast


def test_on_a_cpu_the_format_is_the_faster_one_unless_they_are_nearly_alike(monkeypatch):
    """Another measurement: a network of the shapes of the machine, thirty times in each format, by the median."""
    monkeypatch.delenv("MINIDIFF_BF16", raising=False)
    chosen, seconds = fast_bf16("cpu"), {False: [], True: []}
    net = torch.nn.Sequential(torch.nn.Conv2d(64, 64, 3, padding=1), torch.nn.SiLU(), torch.nn.Conv2d(64, 64, 3))
    x = torch.randn(128, 64, 8, 8).to(memory_format=torch.channels_last)
    net = net.to(memory_format=torch.channels_last)
    for bf16 in (False, True) * 30:
        started = time.perf_counter()
        with autocast("cpu", bf16):
            net(x).sum().backward()
        seconds[bf16].append(time.perf_counter() - started)
    plain, half = (statistics.median(seconds[bf16]) for bf16 in (False, True))
    assert chosen == (half < plain) or max(plain, half) < 1.2 * min(plain, half), seconds


def test_peak_memory_grows_to_what_is_held():
    before = peak_memory_mb()
    held = torch.ones(int((before + 100) * 1024**2 / 4))         # alone more than the peak so far
    assert peak_memory_mb() >= before + 100 and held[-1] == 1
