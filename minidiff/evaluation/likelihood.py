"""How many bits a picture costs: the variational bound of a diffusion model, in bits per pixel."""

import math

import torch

from minidiff.diffusion.schedule import add_noise, from_eps
from minidiff.tools.checks import check

BYTES, BINS = 256, 128                                           # values a pixel can have; bins of a guessed pixel
GRID = torch.linspace(-1, 1, BYTES)                              # where the bytes lie in [-1, 1]


def _bytes_of(x0):
    byte = (x0 + 1) * (BYTES - 1) / 2
    good = (byte - byte.round()).abs().max() <= 1e-2 and byte.min() >= -1e-2 and byte.max() <= BYTES - 0.99
    check(good, "a likelihood in bits needs pictures whose values are the 256 bytes, mapped to -1..1; got values from "
          f"{x0.min():.4f} to {x0.max():.4f}. Usual reasons: drawn or noisy pictures, or pictures in [0, 1]")
    return byte.round().long()


def _guess_at(denoise, x0, schedule, level, generator, cond):
    """The x0 that is guessed from x0 (B, ...) noised to a level."""
    t = torch.full((len(x0),), level, device=x0.device)
    eps = torch.randn(x0.shape, generator=generator, device=x0.device, dtype=x0.dtype)
    xt = add_noise(x0, t, eps, schedule)
    return from_eps(denoise(xt, t, cond), xt, t, schedule, "x0")


def _bins_of(guess):
    return ((guess + 1) / 2 * BINS).long().clamp(0, BINS - 1)


@torch.no_grad()
def reading_table(denoise, x0, schedule, level, generator, cond=None):
    """How bytes are read from guesses at the lowest level: for each bin of a guessed pixel, the share of each byte that
    really was there, counted on training pictures x0 (N, ...) -> (128, 256), each row sums to one."""
    bins, byte = _bins_of(_guess_at(denoise, x0, schedule, level, generator, cond)), _bytes_of(x0)
    counts = torch.bincount((bins * BYTES + byte).flatten(), minlength=BINS * BYTES).view(BINS, BYTES) + 0.1
    return counts / counts.sum(1, keepdim=True)


@torch.no_grad()
def bits_of(denoise, x0, schedule, levels, table, generator, cond=None):
    """An upper bound on the bits that a model needs to send pictures of bytes, in three parts:

    prior   KL(q(x_S | x0) | N(0, 1)): what of the picture is left at level S
    steps   sum of 1/2 (SNR(s) - SNR(t)) |x0 - x0hat(xt, t)|^2 over neighbors s < t  [Kingma et al. 2021, eq. 13]
    last    the bytes, read from the guess at the lowest level by a `reading_table`      [in place of DDPM eq. 13]

    x0 (B, ...) in [-1, 1], multiples of 2/255 from -1; levels: rising, the first the one of the table, the last S.
    -> dict of (B,) tensors.  Their sum is the bound; divide by the number of pixels for bits per dimension.
    """
    byte = _bytes_of(x0)
    rising = list(levels) == sorted(set(levels)) and levels[0] >= 1 and levels[-1] == schedule.levels
    check(rising, f"levels must rise from at least 1 to {schedule.levels}, got {list(levels)!r:.60}")
    signal, noise = schedule.curves[-1]
    prior = (signal**2 * x0.square() + noise**2 - 1 - 2 * math.log(noise)).flatten(1).sum(1) / 2 / math.log(2)
    steps = torch.zeros_like(prior)
    for s, level in zip(levels, levels[1:]):
        error = (x0 - _guess_at(denoise, x0, schedule, level, generator, cond)).square().flatten(1).sum(1)
        steps += (schedule.snr[s] - schedule.snr[level]).item() / 2 * error / math.log(2)
    bins = _bins_of(_guess_at(denoise, x0, schedule, levels[0], generator, cond))
    return {"prior": prior, "steps": steps, "last": -table[bins, byte].log2().flatten(1).sum(1)}
