"""The language of captions: every text that it has, how often each is said, and what nobody can know of it."""

import torch

from minidiff.data.captions import LENGTH, SIZES, UNSAID, every_caption, sentence, tokenize
from minidiff.tools.checks import check_number


def caption_shares(p):
    """How often each of `every_caption()` is said, if each attribute is left out with probability p and else is any
    of its words alike: (1408,) that sum to 1."""
    check_number("p", p, 0, 1)
    shares = torch.ones(1408, dtype=torch.float64)
    for column, size in zip(every_caption().T, SIZES):
        shares[column == UNSAID] *= p
        shares[column != UNSAID] *= (1 - p) / size
    return shares


def grammar(p):
    """The language of captions: every text as token ids (1408, L), and how often each is said (1408,)."""
    return tokenize([sentence(row) for row in every_caption()]), caption_shares(p)


def said_twice(p):
    """A language that needs memory: a caption without lean, said twice -> ids (352, L), shares (352,).

    >>> from minidiff.data.captions import detokenize
    >>> detokenize(said_twice(0.3)[0][-1:])
    ['a thick white nine a thick white nine']
    """
    rows, shares = every_caption(), caption_shares(p)
    short = rows[:, 3] == UNSAID
    return tokenize([f"{sentence(row)} {sentence(row)}" for row in rows[short]]), shares[short] / shares[short].sum()


def next_word_entropy(ids, shares):
    """What nobody can know of a language: the uncertainty of each word, given all words before it, in nats.

    H_i = -sum over texts of share log(mass of the first i + 2 tokens / mass of the first i + 1)   [chain rule]

    ids (N, L), shares (N,) -> (L - 1,), one for each word that is to be predicted, zero once the text is over; their
    sum is the entropy of a text, the least loss that any model of the language can have.
    """
    ids, shares = ids[shares > 0], shares[shares > 0]            # what is never said surprises nobody
    def mass(length):
        """For each text: how often a text begins with its first tokens."""
        _, group = ids[:, :length].unique(dim=0, return_inverse=True)
        return torch.zeros(len(ids), dtype=torch.float64).index_add(0, group, shares)[group]

    return torch.stack([-(shares * (mass(i + 2) / mass(i + 1)).log()).sum() for i in range(LENGTH - 1)])
