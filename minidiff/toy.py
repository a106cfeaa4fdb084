"""Diffusion on a plane, learned: a small network that removes noise from points, and how far it is from perfect."""

from dataclasses import dataclass

import torch
from torch import nn

from minidiff.blocks import time_embedding
from minidiff.clouds import exact_denoiser
from minidiff.inputs import check_config, check_shape, check_whole
from minidiff.objectives import WEIGHTS, denoising_loss
from minidiff.runtime import budget, generator_for, seed_all
from minidiff.schedule import Schedule, add_noise, to_eps
from minidiff.train import Recipe


@dataclass(frozen=True)
class PointConfig:
    width: int = 128
    depth: int = 3
    levels: int = 1000
    told_time: bool = True                                       # False: a network that must guess the noise level


class PointDenoiser(nn.Module):
    """A small MLP on points, told the time: xt (B, 2), t (B,) -> eps (B, 2).  Inside it predicts v."""

    def __init__(self, config=PointConfig(), schedule=None):
        super().__init__()
        check_config(config, zero=["depth"])
        self.config, self.schedule = config, schedule or Schedule.cosine(config.levels)
        self.first = nn.Linear(2 + config.width, config.width)
        self.hidden = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(config.depth))
        self.last = nn.Linear(config.width, 2)

    def forward(self, xt, t, cond=None):
        check_shape("xt", xt, "B", 2)
        time = time_embedding(t if self.config.told_time else torch.zeros_like(t), self.config.width)
        x = self.first(torch.cat([xt, time], 1))
        for layer in self.hidden:
            x = x + layer(nn.functional.silu(x))
        v = self.last(nn.functional.silu(x)).float()
        return to_eps(v, xt, t, self.schedule, "v")


def recipe(points, seed=0, config=PointConfig(), steps=None, batch=1024, lr=1e-2):
    """Train a PointDenoiser on points (N, 2)."""
    check_shape("points", points, "N", 2)
    seed_all(seed)
    model = PointDenoiser(config)

    def loss_of(model, generator):
        rows = torch.randint(len(points), (batch,), generator=generator)
        t = torch.randint(1, config.levels + 1, (batch,), generator=generator)
        eps = torch.randn(batch, 2, generator=generator)
        return denoising_loss(model, points[rows], t, eps, model.schedule).mean()

    return Recipe("toy", model, config, loss_of, budget(full=4_000, small=2_000, fast=50, given=steps),
                  batch, lr, seed, ema=0.99)


@torch.no_grad()
def floor_and_excess(denoise, mixture, schedule, levels, n=4_000, seed=0, weight="v"):
    """At each of some levels: the least denoising loss that anything can have, and what `denoise` has above it.

    |eps' - eps|^2 = |best - eps|^2 + |eps' - best|^2 on average, because the best denoiser is the mean of all eps
    that lead to xt: the first term is the floor, the second the excess.  Returns two tensors (len(levels),).
    """
    if weight not in WEIGHTS:
        raise ValueError(f"weight {weight!r}: expected one of {', '.join(WEIGHTS)}")
    check_whole("n", n)
    generator, exact, floor, excess = generator_for(seed), exact_denoiser(mixture, schedule), [], []
    for level in levels:
        t = torch.full((n,), int(level))
        x0 = mixture.sample(n, generator)
        eps = torch.randn(x0.shape, generator=generator)
        xt = add_noise(x0, t, eps, schedule)
        best, times = exact(xt, t), WEIGHTS[weight](schedule.alpha_bar[int(level)])
        floor.append(times * (best - eps).square().mean())
        excess.append(times * (denoise(xt, t) - best).square().mean())
    return torch.stack(floor), torch.stack(excess)
