"""The text encoder: a caption becomes one state per word."""

from dataclasses import dataclass

import torch
from torch import nn

from minidiff.data.captions import END, LENGTH, PAD, VOCABULARY
from minidiff.models.blocks import Block


@dataclass(frozen=True)
class TextConfig:
    width: int = 64
    heads: int = 4
    depth: int = 2


class TextEncoder(nn.Module):
    """Caption token ids (B, L) -> one state per token (B, L, D), zero where the caption is over.

    Every word looks at every other word of its caption, and at no padding.  A denoiser's cross-attention does see the
    padding: its keys and values are zero, so it takes a share of the weight and gives nothing, a place to look where no
    word fits.  Hiding it changed nothing that could be told from chance (notebooks/studies/text_padding.py).
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


def spoken(text, counts):
    """States of captions (B, L, D), and counts (B, k) of words for which the encoder has no tokens, such as those of
    motion -> cond (B, L + 1, D), whose last row begins with the counts."""
    row = nn.functional.pad(counts.to(text), (0, text.shape[2] - counts.shape[1]))
    return torch.cat([text, row[:, None]], 1)
