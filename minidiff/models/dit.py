"""A denoiser that is a transformer and nothing else: each place of the latent is a word.  [Peebles & Xie 2023]"""

from dataclasses import dataclass

import torch
from torch import nn

from minidiff.diffusion.schedule import Schedule, to_eps
from minidiff.models.attention import Attention
from minidiff.models.blocks import time_embedding, zero_init


@dataclass(frozen=True)
class DiTConfig:
    channels: int = 4                                            # of the latent
    size: int = 4                                                # its side: size * size places, each with its position
    width: int = 128
    depth: int = 6
    heads: int = 4
    cond_width: int = 64                                         # width of the caption states
    levels: int = 1000                                           # S
    predicts: str = "v"


class DiTBlock(nn.Module):
    """A transformer block told the time by adaLN-Zero: a scale and a shift of each norm, and a gate before each sum.
    [Peebles & Xie 2023, section 3.2 and fig. 3]  Words enter by cross-attention in between, as in their fig. 3.

    x (B, P, D), time (B, D), cond (B, L, D') -> (B, P, D).  The gates start at zero, so a new block changes nothing.
    """

    def __init__(self, width, heads, cond_width):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.cross = Attention(width, heads, cond_width)
        self.norm3 = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.time = zero_init(nn.Linear(width, 6 * width))
        zero_init(self.cross.out)

    def forward(self, x, time, cond):
        scale1, shift1, gate1, scale2, shift2, gate2 = self.time(time)[:, None].chunk(6, -1)           # (B, 1, D)
        x = x + gate1 * self.attention(self.norm1(x) * (1 + scale1) + shift1)
        x = x + self.cross(self.norm2(x), cond)
        return x + gate2 * self.mlp(self.norm3(x) * (1 + scale2) + shift2)


class DiT(nn.Module):
    """The same contract as the UNet's: xt (B, C, H, W), t (B,), cond (B, L, D') -> eps (B, C, H, W).

    The places look at each other and at the words in every block.
    """

    def __init__(self, config=DiTConfig(), schedule=None):
        super().__init__()
        self.config, width = config, config.width
        self.schedule = schedule or Schedule.cosine(config.levels)
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.first = nn.Linear(config.channels, width)
        self.position = nn.Parameter(0.02 * torch.randn(config.size**2, width))
        self.blocks = nn.ModuleList(DiTBlock(width, config.heads, config.cond_width) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.last_time = zero_init(nn.Linear(width, 2 * width))
        self.last = zero_init(nn.Linear(width, config.channels))

    def network(self, xt, t, cond):
        """What the network predicts: xt (B, C, H, W) -> (B, C, H, W)."""
        time = self.time(time_embedding(t, 64))                  # (B, D)
        x = self.first(xt.flatten(2).transpose(1, 2)) + self.position                  # (B, P, D)
        for block in self.blocks:
            x = block(x, time, cond)
        scale, shift = self.last_time(time)[:, None].chunk(2, -1)
        x = self.last(self.norm(x) * (1 + scale) + shift)
        return x.float().transpose(1, 2).reshape(xt.shape)

    def forward(self, xt, t, cond=None):
        return to_eps(self.network(xt, t, cond), xt, t, self.schedule, self.config.predicts)
