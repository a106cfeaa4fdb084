"""A small network that removes noise from points on a plane."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from minidiff.diffusion.schedule import Schedule, to_eps
from minidiff.models.blocks import time_embedding


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
        self.config = config
        self.schedule = schedule or Schedule.cosine(config.levels)
        self.first = nn.Linear(2 + config.width, config.width)
        self.hidden = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(config.depth))
        self.last = nn.Linear(config.width, 2)

    def forward(self, xt, t, cond=None):
        time = time_embedding(t if self.config.told_time else torch.zeros_like(t), self.config.width)
        x = self.first(torch.cat([xt, time], 1))
        for layer in self.hidden:
            x = x + layer(F.silu(x))
        v = self.last(F.silu(x)).float()
        return to_eps(v, xt, t, self.schedule, "v")
