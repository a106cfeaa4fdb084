"""A denoiser that is a transformer and nothing else: each place of the latent is a word.  [Peebles & Xie 2023]"""

from dataclasses import dataclass

import torch
from torch import nn

from minidiff.blocks import time_embedding, zero_init
from minidiff.inputs import check_config
from minidiff.schedule import KINDS, Schedule, to_eps
from minidiff.transformer import Block


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


class DiT(nn.Module):
    """The same contract as the UNet's: xt (B, C, H, W), t (B,), cond (B, L, D') -> eps (B, C, H, W).

    The places look at each other and at the words in every block.  The time is added before each block, as in the
    UNet's residual blocks.
    """

    def __init__(self, config=DiTConfig(), schedule=None):
        super().__init__()
        check_config(config, zero=["depth"])
        if config.predicts not in KINDS:
            raise ValueError(f"predicts {config.predicts!r}: expected one of {', '.join(KINDS)}")
        self.config, self.schedule, width = config, schedule or Schedule.cosine(config.levels), config.width
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.first = nn.Linear(config.channels, width)
        self.position = nn.Parameter(0.02 * torch.randn(config.size**2, width))
        self.times = nn.ModuleList(nn.Linear(width, width) for _ in range(config.depth))
        self.blocks = nn.ModuleList(Block(width, config.heads, config.cond_width) for _ in range(config.depth))
        self.last = nn.Sequential(nn.LayerNorm(width), zero_init(nn.Linear(width, config.channels)))

    def network(self, xt, t, cond):
        """What the network predicts: xt (B, C, H, W) -> (B, C, H, W)."""
        time = self.time(time_embedding(t, 64))[:, None]         # (B, 1, D)
        x = self.first(xt.flatten(2).transpose(1, 2)) + self.position                  # (B, P, D)
        for block, its_time in zip(self.blocks, self.times):
            x = block(x + its_time(time), cond)
        return self.last(x).float().transpose(1, 2).reshape(xt.shape)

    def forward(self, xt, t, cond=None):
        wanted, wide = (self.config.channels, self.config.size, self.config.size), self.config.cond_width
        if tuple(xt.shape[1:]) != wanted:
            raise ValueError(f"this transformer takes (B, {wanted[0]}, H, W) with {wanted[1]} x {wanted[2]} places, as "
                             f"many as it has positions for, got {tuple(xt.shape)}")
        if cond is None or cond.ndim != 3 or len(cond) != len(xt) or cond.shape[-1] != wide:
            raise ValueError(f"this transformer takes a condition ({len(xt)}, L, {wide}), "
                             f"got {None if cond is None else tuple(cond.shape)}")
        return to_eps(self.network(xt, t, cond), xt, t, self.schedule, self.config.predicts)
