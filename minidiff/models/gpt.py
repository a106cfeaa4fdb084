"""A tiny GPT, which guesses the next word."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from minidiff.data.captions import LENGTH, PAD, VOCABULARY
from minidiff.models.blocks import Block
from minidiff.tools.checks import check


@dataclass(frozen=True)
class GPTConfig:
    width: int = 64
    heads: int = 4
    depth: int = 2
    causal: bool = True                                          # False: it may look ahead, and cheats


class TinyGPT(nn.Module):
    """Guess the next word: ids (B, L) -> logits (B, L, V), where place i has seen the tokens 0..i and none after.
    [Radford et al. 2018, eq. 1 and 2]
    """

    def __init__(self, config=GPTConfig()):
        super().__init__()
        self.config = config
        self.token = nn.Embedding(len(VOCABULARY), config.width)
        self.position = nn.Parameter(0.02 * torch.randn(LENGTH, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, len(VOCABULARY))

    def states(self, ids):
        """What it knows after each word: ids (B, L) -> (B, L, D)."""
        length = ids.shape[1]
        past = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        x = self.token(ids) + self.position[:length]
        for block in self.blocks:
            x = block(x, mask=past if self.config.causal else None)
        return self.norm(x)

    def forward(self, ids):
        return self.out(self.states(ids)).float()


def next_word_loss(model, ids):
    """The surprise at each next word, -log p(ids[i + 1] | ids[0..i]) in nats: ids (B, L) -> (B, L - 1), zero where
    the caption is over.  Its sum over a caption, on average, is at least the sum of `data.next_word_entropy`."""
    logits = model(ids[:, :-1])
    return F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], ignore_index=PAD, reduction="none")


def next_token_probs(logits, temperature=1.0, top_k=None):
    """Logits (..., V) -> probabilities: softmax(logits / temperature), of the top_k likeliest words alone if given.

    Temperature 1 is what was learned, below 1 it plays safe, above 1 it dares; it must be above 0.
    """
    check(temperature > 0, f"the temperature must be above 0, got {temperature}; for the likeliest word alone: top_k=1")
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    return (logits / temperature).softmax(-1)
