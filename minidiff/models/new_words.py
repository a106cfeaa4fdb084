"""Textual inversion: a word that a frozen text tower does not know is one vector, which is learned.
[Gal et al. 2022]"""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from minidiff.data.captions import TOKEN
from minidiff.tools.checks import check


class MoreWords(nn.Module):
    """A frozen embedding of words, and one learned vector (1, D) for a new one, whose id is the last."""

    def __init__(self, base, first):
        super().__init__()
        self.base, self.new = base.requires_grad_(False), nn.Parameter(first.clone())
        self.register_buffer("first", first, persistent=False)

    @property
    def weight(self):
        """The vectors of all words (V + 1, D)."""
        return torch.cat([self.base.weight, self.new])

    def at(self, strength):
        """The new vector on the way from where it began to where it was learned: 0 is the one, 1 the other."""
        return self.first + strength * (self.new - self.first)

    def forward(self, ids):
        return F.embedding(ids, self.weight)


def with_word(clip, word, near=()):
    """A copy of a CLIP, frozen, that knows one more word: a vector in front of the frozen text tower.

    near: known words, at whose mean the vector begins; without any it is random, and as long as the others are.
    """
    check(word.isalpha() and word.islower() and len(word) < 30, f"a new word has lower-case letters, got {word!r:.40}")
    check(word not in TOKEN and word not in (*clip.new_words, "an"), f"the word {word!r} is known already")
    clip = copy.deepcopy(clip).requires_grad_(False)
    known = clip.text.token.weight                               # (V, D)
    first = known[[TOKEN[name] for name in near]].mean(0) if near else torch.randn(known.shape[1]).to(known)
    clip.text.token = MoreWords(clip.text.token, first[None])
    clip.new_words = (*clip.new_words, word)
    return clip
