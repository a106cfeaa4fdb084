"""A small network that removes noise from points on a plane."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from minidiff.diffusion.schedule import SCHEDULES, to_eps
from minidiff.models.blocks import time_embedding


@dataclass(frozen=True)
class PointConfig:
    width: int = 128
    depth: int = 3
    axes: int = 2                                                # n, the numbers of a point
    levels: int = 1000
    told_time: bool = True                                       # False: a network that must guess the noise level
    predicts: str = "v"
    schedule: str = "cosine"                                     # or "straight": flow matching


class PointDenoiser(nn.Module):
    """A small MLP on points, told the time: xt (B, n), t (B,) -> eps (B, n).  Inside it predicts v,
    or what its config says."""

    def __init__(self, config=PointConfig(), schedule=None):
        super().__init__()
        self.config = config
        self.schedule = schedule or SCHEDULES[config.schedule](config.levels)
        self.first = nn.Linear(config.axes + config.width, config.width)
        self.hidden = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(config.depth))
        self.last = nn.Linear(config.width, config.axes)

    def forward(self, xt, t, cond=None):
        time = time_embedding(t if self.config.told_time else torch.zeros_like(t), self.config.width)
        x = self.first(torch.cat([xt, time], 1))
        for layer in self.hidden:
            x = x + layer(F.silu(x))
        prediction = self.last(F.silu(x)).float()
        return to_eps(prediction, xt, t, self.schedule, self.config.predicts)
