"""Attention: a dictionary look-up that became soft."""

import math

from torch import nn

from minidiff.tools.checks import check


def attention_weights(q, k, mask=None):
    """Who looks at whom: softmax(q k^T / sqrt(d)), each row sums to one.  [Vaswani et al. 2017, eq. 1]

    q (..., P, d), k (..., L, d), mask (..., P, L) True where looking is allowed -> (..., P, L).  A query that may look
    nowhere gets NaN: its weights cannot sum to one.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(-1)


def attend(q, k, v, mask=None):
    """Each query takes the mean of the values, weighted by how well their keys fit: softmax(q k^T / sqrt(d)) v.
    [Vaswani et al. 2017, eq. 1]

    q (..., P, d), k (..., L, d), v (..., L, D), mask (..., P, L) True where looking is allowed -> (..., P, D)

    >>> import torch
    >>> one = torch.tensor([[1.0]])
    >>> attend(one, torch.tensor([[0.0], [0.0]]), torch.tensor([[2.0], [4.0]]))
    tensor([[3.]])
    """
    return attention_weights(q, k, mask) @ v


class Attention(nn.Module):
    """Attention with h heads: of a sequence to itself, or to a context (cross-attention).

    x (B, P, D), context (B, L, D') or None for self-attention -> (B, P, D)
    """

    def __init__(self, width, heads, context_width=None):
        super().__init__()
        check(width % heads == 0, f"the width {width} cannot be split into {heads} heads of equal size")
        self.heads = heads
        self.q = nn.Linear(width, width, bias=False)
        self.k = nn.Linear(context_width or width, width, bias=False)
        self.v = nn.Linear(context_width or width, width, bias=False)
        self.out = nn.Linear(width, width)

    def split(self, x):
        """(B, L, D) -> (B, h, L, d)"""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x, context=None, mask=None):
        context = x if context is None else context
        q = self.split(self.q(x))                                # (B, h, P, d)
        k = self.split(self.k(context))                          # (B, h, L, d)
        v = self.split(self.v(context))
        return self.out(attend(q, k, v, mask).transpose(1, 2).flatten(2))

    def weights(self, x, context=None, mask=None):
        """The table of who looks at whom (B, h, P, L), for looking inside."""
        context = x if context is None else context
        return attention_weights(self.split(self.q(x)), self.split(self.k(context)), mask)
