"""Bits: the bound against the exact entropy of a distribution of bytes."""

import math

import pytest
import torch

from minidiff.data import Mixture
from minidiff.diffusion import Schedule, exact_denoiser, spaced_by_snr
from minidiff.evaluation import GRID, bits_of, reading_table
from minidiff.tools import generator_for

SCHEDULE = Schedule.cosine(1000)
LOG_SNR = torch.linspace(14, -12, 700, dtype=torch.float64)
FINE = Schedule(torch.cat([torch.ones(1), LOG_SNR.sigmoid()]))   # a schedule without a coarse end
VALUES = GRID.double()[torch.tensor([0, 3, 100, 130, 254])][:, None]
SHARES = torch.tensor([0.5, 0.1, 0.15, 0.05, 0.2])
ENTROPY = -(SHARES * SHARES.log2()).sum().item()
WORLD = Mixture(VALUES, 0.0, SHARES)


def bound(denoise, x0, schedule, levels):
    """Bits of each picture in the bound, with a table counted on other pictures of the same world."""
    seen = WORLD.sample(40_009, generator_for(5)).to(x0)
    table = reading_table(denoise, seen, schedule, levels[0], generator_for(2))
    return bits_of(denoise, x0, schedule, levels, table, generator_for(1))


@pytest.mark.parametrize("first, slack", [(1, 1.02), (350, 1.08)])  # bins are coarse
def test_with_the_exact_denoiser_the_bound_is_the_entropy_of_the_bytes(first, slack):
    x0 = WORLD.sample(10_007, generator_for(0)).double()
    parts = bound(exact_denoiser(WORLD, FINE), x0, FINE, list(range(first, 701)))
    bits = sum(parts.values())
    error = 3 * bits.std().item() / math.sqrt(len(bits))
    assert ENTROPY - error < bits.mean().item() < slack * ENTROPY + error
    assert parts["prior"].abs().max() < 1e-4 and (first > 1 or parts["last"].mean() < 0.05)


def test_fewer_levels_and_worse_denoisers_cost_more_bits():
    x0, exact = WORLD.sample(5_003, generator_for(0)).double(), exact_denoiser(WORLD, SCHEDULE)

    def bits(denoise, count):
        return sum(bound(denoise, x0, SCHEDULE, spaced_by_snr(SCHEDULE, count)).values()).mean().item()

    assert ENTROPY < bits(exact, 300) < bits(exact, 20) < bits(exact, 5)
    wrong = exact_denoiser(Mixture(VALUES, 0.0), SCHEDULE)       # believes that all five are equally likely
    assert bits(wrong, 300) > bits(exact, 300) + 0.1


def test_a_table_alone_reads_the_bytes_at_the_price_of_their_entropy():
    """From pure noise nothing can be guessed: the table is the distribution of the bytes."""
    x0 = WORLD.sample(10_007, generator_for(0)).double()
    parts = bound(exact_denoiser(WORLD, SCHEDULE), x0, SCHEDULE, [1000])
    assert parts["last"].mean().item() == pytest.approx(ENTROPY, rel=0.02) and parts["steps"].abs().max() == 0


def test_levels_are_spaced_evenly_by_snr():
    levels = spaced_by_snr(SCHEDULE, 50)
    gaps = SCHEDULE.snr[levels].double().log().diff().abs()
    assert levels[0] == 2 and levels[-1] == 1000 and levels == sorted(levels)
    inner = gaps[10:-10]
    assert inner.max() < 1.5 * inner.min()


@pytest.mark.parametrize("x0, levels, words", [
    (torch.tensor([[0.0]]), [1, 1000], "256 bytes"),
    (torch.tensor([[127.0]]), [1, 1000], "256 bytes"),
    (torch.tensor([[1.0]]), [1000, 1], "rise"),
    (torch.tensor([[1.0]]), [0, 1000], "rise"),
    (torch.tensor([[1.0]]), [1, 500], "to 1000")])
def test_bits_refuse_what_is_no_picture_of_bytes(x0, levels, words):
    with pytest.raises(ValueError, match=words):
        bits_of(lambda xt, t, cond: xt, x0, SCHEDULE, levels, torch.full((128, 256), 1 / 256), generator_for(0))
