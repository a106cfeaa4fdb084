"""Bits: the bound against the exact entropy of a distribution of bytes."""

import math

import pytest
import torch

from minidiff.data import Mixture
from minidiff.diffusion import Schedule, exact_denoiser, spaced_by_snr
from minidiff.evaluation import bits_of, reading_table
from minidiff.evaluation.likelihood import GRID
from minidiff.tools import generator_for

SCHEDULE = Schedule.cosine(1000)
LOG_SNR = torch.linspace(14, -12, 700, dtype=torch.float64)
FINE = Schedule.keeping_variance(torch.cat([torch.ones(1), LOG_SNR.sigmoid()]))   # a schedule without a coarse end
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
