"""Chapter 2, on `02_attention.ipynb`: shares by hand, masks, heads, the root of d, looking at a caption."""

import math

import torch

from minidiff.exercises.form import Exercise, randn, there_and_back
from minidiff.models.attention import Attention, attend, attention_weights

QUERY = torch.tensor([[0.0, 4.0, 0.0, 0.0]])                     # a query with d = 4, and three keys, one of which fits
KEYS = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])


def lengths_cases():
    return [(randn(1, 3, 5, 7), randn(2, 3, 11, 7), randn(3, 3, 11, 2), torch.tensor([11, 4, 1])),
            (randn(4, 2, 3, 13), randn(5, 2, 7, 13), randn(6, 2, 7, 5), torch.tensor([2, 6]))]


def real_words(k, lengths):
    """Which of the words are said: (B, 1, L), True up to the length of each text."""
    return (torch.arange(k.shape[1]) < lengths[:, None])[:, None]


def listening(axis=-1, root=lambda q, k: math.sqrt(q.shape[-1]), said=real_words, forbidden=-math.inf):
    """Somebody's attention to texts of several lengths; each argument is a place where people differ."""
    def answer(q, k, v, lengths):
        scores = q @ k.transpose(1, 2) / root(q, k)
        return scores.masked_fill(~said(k, lengths), forbidden).softmax(axis) @ v

    return answer


def mask_too_late(q, k, v, lengths):
    return ((q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1) * real_words(k, lengths)) @ v


def split(x, heads):
    """`Attention.split` with as many heads."""
    return Attention(x.shape[-1], heads).split(x)


def merge(y, heads):
    return y.transpose(1, 2).flatten(2)


def attention_of(to_q, to_k, to_v, heads):
    """The package's module with given tables of weights, and without the last mixing."""
    module = Attention(to_q.shape[1], heads, to_k.shape[0])
    for layer, weights in ((module.q, to_q), (module.k, to_k), (module.v, to_v), (module.out, torch.eye(len(to_q)))):
        layer.weight.data = weights.T
    module.out.bias.data.zero_()
    return module


def cross(places, caption, to_q, to_k, to_v, heads):
    return attention_of(to_q, to_k, to_v, heads)(places, caption).detach()


def cross_cases():
    return [(randn(7, 2, 5, 6), randn(8, 2, 11, 6), randn(9, 6, 6), randn(10, 6, 6), randn(11, 6, 6), 2),
            (randn(12, 3, 7, 15), randn(13, 3, 2, 15), randn(14, 15, 15), randn(15, 15, 15), randn(16, 15, 15), 5)]


def hearing(q_of="places", k_of="caption", v_of="caption", heads_of=lambda h: h, residual=False):
    """Somebody's cross-attention: who looks, who is looked at, who speaks."""
    def answer(places, caption, to_q, to_k, to_v, heads):
        x, h = {"places": places, "caption": caption}, heads_of(heads)
        q, k, v = (split(x[who] @ to, h) for who, to in ((q_of, to_q), (k_of, to_k), (v_of, to_v)))
        return merge(attend(q, k, v), h) + (places if residual else 0)

    return answer


def heads_of_attention(x, to_q, to_k, to_v, heads):
    """x (B, L, D), tables of weights (D, D), heads -> what all heads hear, side by side (B, L, D)"""
    B, L, D = x.shape
    q = (x @ to_q).view(B, L, heads, D // heads)
    k = (x @ to_k).view(B, L, heads, D // heads)
    v = (x @ to_v).view(B, L, heads, D // heads)
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k)               # each word with each other, head by head
    shares = torch.softmax(scores / D**0.5, dim=-1)
    heard = torch.einsum("bhqk,bkhd->bqhd", shares, v)
    return heard.reshape(B, L, D)


def divided(by):
    """Somebody's repair: the scores are divided by a function of (L, D, h)."""
    def answer(x, to_q, to_k, to_v, heads):
        q, k, v = (split(x @ to, heads) for to in (to_q, to_k, to_v))
        return merge((q @ k.transpose(-2, -1) / by(*x.shape[1:], heads)).softmax(-1) @ v, heads)

    return answer


EXERCISES = [
    Exercise(
        "2.1", "A share with a pencil", "number", stars=1, minutes=5, tolerance=4e-3,
        reference=lambda: attention_weights(QUERY, KEYS)[0, 0].item(),
        prompt="A query of d = 4 numbers has the dot product 4 with one key, and 0 with two others. Which share does "
               "`attention_weights` give to the key that fits? (e is about 2.72, e² about 7.39, e⁴ about 54.6.)",
        hints=("First divide the dot products by √d.", "The scores are 2, 0 and 0; take e to the power of each.",
               "7.39 / (7.39 + 1 + 1)."),
        reason="4 / √4 = 2, and e² / (e² + 2): the two that do not fit share the rest.",
        mistakes={"You left out the root of d: the scores are 4 / √4, not 4.": math.exp(4) / (math.exp(4) + 2),
                  "You divided by d = 4; it is the root of d.": math.e / (math.e + 2),
                  "You counted one key too few: a score of 0 is e⁰ = 1 in the sum, and there are two of them.":
                      math.exp(2) / (math.exp(2) + 1),
                  "You did not take e to the power of the scores: with 2, 0 and 0 as shares one would get all.": 1.0}),
    Exercise(
        "2.2", "Texts of several lengths", "code", stars=2, minutes=15, cases=lengths_cases,
        prompt="Attention to a batch of texts which are filled up with padding: only the first `lengths[i]` words of "
               "text i are real, and nobody may look at the others. Make the mask, and write out attention (without "
               "`attend`, please).",
        signature="my_listen(q, k, v, lengths)",
        shapes="q (B, P, d), k (B, L, d), v (B, L, D), lengths (B,) integers -> (B, P, D)",
        hints=("`torch.arange(L) < lengths[:, None]` is (B, L): True where a word is real.",
               "Scores are (B, P, L), so the mask must be (B, 1, L): put an axis in the middle with `[:, None]`.",
               "`scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5`; `scores.masked_fill(~mask, -math.inf)`; softmax "
               "along the last axis; `@ v`."),
        reference=lambda q, k, v, lengths: attend(q, k, v, real_words(k, lengths)),
        mistakes={
            "The softmax goes along the wrong axis: for each query the shares of all *words* must sum to 1.":
                listening(axis=1),
            "The root of d is missing: divide the scores by √d.": listening(root=lambda q, k: 1),
            "You divided by d; it is the root of d.": listening(root=lambda q, k: q.shape[-1]),
            "You divided by the root of the number of words; it is the width d of a query.":
                listening(root=lambda q, k: math.sqrt(k.shape[1])),
            "The mask comes after the softmax: the padding has been counted already, and shares no longer sum to 1.":
                mask_too_late,
            "The mask is upside down: `masked_fill` fills where it is True, so it wants the forbidden words, `~mask`.":
                listening(said=lambda k, lengths: ~real_words(k, lengths)),
            "A forbidden score of 0 is not nothing: e⁰ is 1, so it still gets a share. It must be -inf.":
                listening(forbidden=0.0),
            "Off by one: with `<=` the first word of the padding is still heard.":
                listening(said=lambda k, lengths: real_words(k, lengths + 1)),
            "There is no mask: the padding is heard like any word.":
                listening(said=lambda k, lengths: real_words(k, lengths + 99))}),
    Exercise(
        "2.3", "Into heads and back", "pair", stars=2, minutes=15, run=there_and_back,
        cases=lambda: [(randn(17, 2, 5, 21), 3), (randn(18, 3, 7, 10), 5)],
        prompt="Work in pairs: one cuts the D numbers of each word into h heads, the other puts them side by side "
               "again. Head 0 gets the first d = D / h numbers of each word, and so on.",
        signature="my_split(x, heads)\nmy_merge(y, heads)",
        shapes="x (B, L, D) -> (B, h, L, d)\ny (B, h, L, d) -> (B, L, D)",
        hints=("Cut the last axis first: (B, L, h, d). Then exchange two axes.",
               "`x.view(B, L, heads, D // heads).transpose(1, 2)`.",
               "Back in the other order: `y.transpose(1, 2).flatten(2)`."),
        reference=(split, merge),
        mistakes={
            "`view(B, h, L, d)` has the right shape and cuts across the words: heads get pieces of several words. "
            "Begin with (B, L, h, d), then exchange the axes.":
                (lambda x, h: x.reshape(len(x), h, x.shape[1], -1), lambda y, h: y.reshape(len(y), y.shape[2], -1)),
            "Interleaved: head 0 got every h-th number of a word. It is (h, d) in this order, not (d, h).":
                (lambda x, h: x.unflatten(-1, (-1, h)).permute(0, 3, 1, 2),
                 lambda y, h: y.permute(0, 2, 3, 1).flatten(2)),
            "`my_split` is right; `my_merge` must exchange the axes back before it flattens.":
                (split, lambda y, h: y.reshape(len(y), y.shape[2], -1)),
            "The axes were not exchanged: heads must stand before words, (B, h, L, d), so that each head has a table.":
                (lambda x, h: x.unflatten(-1, (h, -1)), lambda y, h: y.flatten(2))}),
    Exercise(
        "2.4", "Places that listen to a caption", "code", stars=2, minutes=15, reference=cross, cases=cross_cases,
        prompt="Cross-attention with h heads: each place of a picture asks the words of a caption. The three tables of "
               "weights are given. (Use `attend`, and your functions of 2.3.)",
        signature="my_cross(places, caption, to_q, to_k, to_v, heads)",
        shapes="places (B, P, D), caption (B, L, D), to_q, to_k, to_v (D, D) -> (B, P, D)",
        hints=("Who looks gives the queries, who is looked at gives keys and values.",
               "`q = places @ to_q`, `k = caption @ to_k`, `v = caption @ to_v`; split all three into heads.",
               "`merge(attend(split(q), split(k), split(v)))`; nothing else is added."),
        mistakes={
            "The roles are exchanged: the places ask (q), the caption answers (k and v).":
                hearing("caption", "places", "places"),
            "The places look at themselves: that is self-attention, and the caption is never heard.":
                hearing(k_of="places", v_of="places"),
            "The caption looks at itself: the places must ask, q = places @ to_q.": hearing(q_of="caption"),
            "One big head: split q, k and v into heads, so that each has a table of its own.":
                hearing(heads_of=lambda h: 1),
            "You added the places. The residual is the block's business; return only what is heard.":
                hearing(residual=True)}),
    Exercise(
        "2.5", "Find the bug: which root?", "bug", stars=2, minutes=15, broken=heads_of_attention,
        prompt="Much attention code from scratch has had this bug, a famous lecture's, too (karpathy/ng-video-lecture, "
               "pull request 6: \"you're right :( ty\"). It runs and it trains; the looks are only too soft. Mend it.",
        hints=("What is the variance of one number in `scores`, if q and k have spread 1?",
               "Each is a sum of as many products as *one head* is wide.", "Divide by `(D // heads) ** 0.5`."),
        reference=lambda x, to_q, to_k, to_v, heads: cross(x, x, to_q, to_k, to_v, heads),
        cases=lambda: [(randn(19, 2, 7, 15), *(randn(s, 15, 15) / 4 for s in (20, 21, 22)), 3)],
        mistakes={"Without any root the looks are too hard; a root is right, of another number.":
                      divided(lambda L, D, h: 1),
                  "That is the root of the number of words; it is the width of a head that makes scores large.":
                      divided(lambda L, D, h: L**0.5),
                  "That is the root of the number of heads; it is the width of one.": divided(lambda L, D, h: h**0.5),
                  "That is the width of a head itself; it is its root.": divided(lambda L, D, h: D // h)}),
]
