"""Diffusion on a plane: pictures of two pixels are points, and the best possible denoiser is known exactly."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from minidiff.blocks import time_embedding
from minidiff.objectives import denoising_loss
from minidiff.runtime import budget, generator_for, seed_all
from minidiff.schedule import Schedule, to_eps
from minidiff.train import Recipe


def two_moons(n, generator):
    """Two interleaved half circles, (n, 2)."""
    angle = math.pi * torch.rand(n, generator=generator)
    upper = torch.arange(n) % 2 == 0
    x = torch.where(upper, angle.cos(), 1 - angle.cos())
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin())
    return torch.stack([x, y], 1) + 0.05 * torch.randn(n, 2, generator=generator)


def ring(n, generator, modes=8):
    """Eight small Gaussians on a circle, (n, 2)."""
    angle = 2 * math.pi * torch.randint(modes, (n,), generator=generator) / modes
    return torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(n, 2, generator=generator)


CLOUDS = {"two moons": two_moons, "ring": ring}


def cloud(name, n, seed=0):
    """n points (n, 2) of a named cloud, with mean 0 and standard deviation 1 along each axis."""
    if name not in CLOUDS:
        raise ValueError(f"no cloud is called {name!r}; there are: {', '.join(CLOUDS)}")
    reference = CLOUDS[name](20_000, generator_for(20, 26))      # one yardstick for every n and seed
    return (CLOUDS[name](n, generator_for(seed, n)) - reference.mean(0)) / reference.std(0)


def finite_denoiser(points, schedule):
    """The best possible denoiser of a finite data set: x0 is the mean of the points, weighted by a softmax.

    x0(xt) = sum_i softmax_i(-|xt - sqrt(a) x_i|^2 / (2 (1 - a))) x_i,  a = alpha_bar[t] [Bayes' rule; EDM app. B.3]

    points (N, ...) -> a denoiser.
    """
    flat = points.flatten(1)

    def denoise(xt, t, cond=None):
        a = schedule.at(t, like=xt).flatten(1)                   # (B, 1)
        distance = (xt.flatten(1)[:, None] - a[:, :, None].sqrt() * flat).square().sum(-1)    # (B, N)
        x0 = (-distance / (2 * (1 - a)).clamp_min(1e-12)).softmax(1) @ flat
        return to_eps(x0.view_as(xt), xt, t.clamp_min(1), schedule, "x0")

    return denoise


def gaussian_denoiser(mean, std, schedule):
    """The best possible denoiser of one Gaussian N(mean, std^2) per number:
    eps(xt) = sqrt(1 - a) (xt - sqrt(a) mean) / (a std^2 + 1 - a)."""

    def denoise(xt, t, cond=None):
        a = schedule.at(t, like=xt)
        return (1 - a).sqrt() * (xt - a.sqrt() * mean) / (a * std**2 + 1 - a)

    return denoise


@dataclass(frozen=True)
class PointConfig:
    width: int = 128
    depth: int = 3
    levels: int = 1000


class PointDenoiser(nn.Module):
    """A small MLP on points, told the time: xt (B, 2), t (B,) -> eps (B, 2).  Inside it predicts v."""

    def __init__(self, config=PointConfig(), schedule=None):
        super().__init__()
        self.config, self.schedule = config, schedule or Schedule.cosine(config.levels)
        self.first = nn.Linear(2 + config.width, config.width)
        self.hidden = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(config.depth))
        self.last = nn.Linear(config.width, 2)

    def forward(self, xt, t, cond=None):
        x = self.first(torch.cat([xt, time_embedding(t, self.config.width)], 1))
        for layer in self.hidden:
            x = x + layer(nn.functional.silu(x))
        v = self.last(nn.functional.silu(x)).float()
        return to_eps(v, xt, t, self.schedule, "v")


def recipe(points, seed=0, config=PointConfig(), steps=None, batch=512, lr=1e-2):
    """Train a PointDenoiser on points (N, 2)."""
    seed_all(seed)
    model = PointDenoiser(config)

    def loss_of(model, generator):
        rows = torch.randint(len(points), (batch,), generator=generator)
        t = torch.randint(1, config.levels + 1, (batch,), generator=generator)
        eps = torch.randn(batch, 2, generator=generator)
        return denoising_loss(model, points[rows], t, eps, model.schedule).mean()

    return Recipe("toy", model, config, loss_of, steps or budget(full=4_000, small=2_000, fast=50),
                  batch, lr, seed, ema=0.99)
