"""Transformer blocks, and the text encoder made of them."""

from dataclasses import dataclass

import torch
from torch import nn

from minidiff.attention import Attention
from minidiff.blocks import zero_init
from minidiff.captions import END, LENGTH, PAD, VOCABULARY


class Block(nn.Module):
    """A transformer block: x = x + attention(norm(x)), the same with a context if there is one, then an MLP.
    [pre-norm: Xiong et al. 2020]

    x (B, P, D), context (B, L, D') -> (B, P, D).  Each branch starts at zero, so a new block changes nothing.
    """

    def __init__(self, width, heads, context_width=None):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2 = self.cross = None
        if context_width:
            self.norm2, self.cross = nn.LayerNorm(width), Attention(width, heads, context_width)
            zero_init(self.cross.out)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), zero_init(nn.Linear(4 * width, width)))
        zero_init(self.attention.out)

    def forward(self, x, context=None, mask=None):
        x = x + self.attention(self.norm1(x), mask=mask)
        if self.cross is not None:
            if context is None:
                raise ValueError("this block looks at a context (captions), and got none")
            x = x + self.cross(self.norm2(x), context)
        return x + self.mlp(self.norm3(x))


@dataclass(frozen=True)
class TextConfig:
    width: int = 64
    heads: int = 4
    depth: int = 2


class TextEncoder(nn.Module):
    """Caption token ids (B, L) -> one state per token (B, L, D), zero where the caption is over.

    Every word looks at every other word of its caption, and at no padding.
    """

    def __init__(self, config=TextConfig()):
        super().__init__()
        self.token = nn.Embedding(len(VOCABULARY), config.width)
        self.position = nn.Parameter(0.02 * torch.randn(LENGTH, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, ids):
        real = ids != PAD                                        # (B, L)
        x = self.token(ids) + self.position[:ids.shape[1]]
        for block in self.blocks:
            x = block(x, mask=real[:, None, None, :])            # for every head and every query
        return self.norm(x) * real[..., None]


def end_state(states, ids):
    """The state of the <end> token, the summary of a caption: states (B, L, D), ids (B, L) -> (B, D)."""
    where = (ids == END).int().argmax(1)
    return states[torch.arange(len(ids), device=ids.device), where]
