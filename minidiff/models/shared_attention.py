"""Prompt-to-Prompt: two captions are drawn from one noise, and both drawings attend to their words in the same way.
[Hertz et al. 2022]"""

import copy

import torch
from torch import nn


class Shared(nn.Module):
    """Cross-attention for pairs: rows 0 and 1 of the batch are a pair, rows 2 and 3 are the next, and so on.  The
    second of a pair attends to the same word positions as the first, but finds its own words there: both use the
    attention weights of the first, and each uses its own values.  [section 3.2, word swap]

    x (2 B, P, D), context (2 B, L, D') -> (2 B, P, D)
    """

    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def forward(self, x, context):
        look = self.attention
        weights = look.weights(x[::2], context[::2]).repeat_interleave(2, 0)           # (2 B, h, P, L)
        found = weights @ look.split(look.v(context))            # (2 B, h, P, d)
        return look.out(found.transpose(1, 2).flatten(2))


def sharing(unet, above):
    """A denoiser of pairs that share their cross-attention at noise levels above `above`, and attend independently
    below it."""
    shared = copy.deepcopy(unet)
    for block in list(shared.modules()):
        if getattr(block, "cross", None) is not None:
            block.cross = Shared(block.cross)

    def denoise(xt, t, cond):
        return torch.where((t > above).view(-1, 1, 1, 1), shared(xt, t, cond), unet(xt, t, cond))

    return denoise
