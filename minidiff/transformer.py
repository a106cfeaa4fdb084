"""Transformer blocks, and what is made of them: the text encoder, and a tiny GPT that continues captions."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from minidiff.attention import Attention
from minidiff.blocks import zero_init
from minidiff.captions import (
    END,
    LENGTH,
    PAD,
    VOCABULARY,
    all_combinations,
    detokenize,
    is_true_of,
    parse,
    sentence,
    tokenize,
)
from minidiff.inputs import check_config, check_ids, check_shares, check_whole
from minidiff.runtime import budget, seed_all
from minidiff.train import Recipe


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
        if (context is None) != (self.cross is None):
            raise ValueError("this block looks at a context (captions), and got none" if self.cross else
                             f"this block was built without `context_width` and cannot hear {tuple(context.shape)}")
        x = x + self.attention(self.norm1(x), mask=mask)
        if self.cross is not None:
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
        check_config(config, zero=["depth"])
        self.token = nn.Embedding(len(VOCABULARY), config.width)
        self.position = nn.Parameter(0.02 * torch.randn(LENGTH, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, ids):
        check_ids(ids, len(VOCABULARY), LENGTH)
        real = ids != PAD                                        # (B, L)
        x = self.token(ids) + self.position[:ids.shape[1]]
        for block in self.blocks:
            x = block(x, mask=real[:, None, None, :])            # for every head and every query
        return self.norm(x) * real[..., None]


def end_state(states, ids):
    """The state of the <end> token, the summary of a caption: states (B, L, D), ids (B, L) -> (B, D)."""
    if not bool((ends := ids == END).any(1).all()):
        raise ValueError("a caption without <end> has no end state; `tokenize` writes one")
    where = ends.int().argmax(1)
    return states[torch.arange(len(ids), device=ids.device), where]


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
        check_config(config, zero=["depth"])
        self.config = config
        self.token = nn.Embedding(len(VOCABULARY), config.width)
        self.position = nn.Parameter(0.02 * torch.randn(LENGTH, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.norm, self.out = nn.LayerNorm(config.width), nn.Linear(config.width, len(VOCABULARY))

    def states(self, ids):
        """What it knows after each word: ids (B, L) -> (B, L, D)."""
        check_ids(ids, len(VOCABULARY), LENGTH)
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
    the caption is over.  Its sum over a caption, on average, is at least the sum of `captions.next_word_entropy`."""
    logits = model(ids[:, :-1])
    return F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], ignore_index=PAD, reduction="none")


def next_word_shares(logits, temperature=1.0, top_k=None):
    """Logits (..., V) -> probabilities: softmax(logits / temperature), of the top_k likeliest words alone if given.

    Temperature 1 is what was learned, below 1 it plays safe, above 1 it dares; it must be above 0.
    """
    if not temperature > 0:
        raise ValueError(f"the temperature must be above 0, got {temperature}; for always the likeliest word: top_k=1")
    if top_k is not None:
        check_whole("top_k", top_k)
        least = logits.topk(min(top_k, logits.shape[-1])).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    return (logits / temperature).softmax(-1)


@torch.no_grad()
def continue_caption(model, beginning, n, generator, temperature=1.0, top_k=None):
    """Say n captions that begin like this: "a thick red" -> n strings, word after word until <end>."""
    ids = tokenize([beginning])
    ids = ids[:, :int((ids == END).int().argmax())].repeat(check_whole("n", n), 1)       # <start> and the words
    while ids.shape[1] < LENGTH:
        chosen = torch.multinomial(next_word_shares(model(ids)[:, -1], temperature, top_k), 1, generator=generator)
        over = (ids == END).any(1, keepdim=True)
        ids = torch.cat([ids, chosen.masked_fill(over, PAD)], 1)
    return detokenize(ids)


@torch.no_grad()
def upsample(model, captions, generator, temperature=1.0):
    """Terse captions -> as many detailed ones that say the same and more, as a GPT would say them: it writes, and only
    words are let through with which the terse caption stays true.  [the idea: Betker et al. 2023 (DALL-E 3)]
    """
    tokenize(captions)                                           # it says what is wrong with them
    every = all_combinations()
    texts = tokenize([sentence(row) for row in every])           # (630, L)
    fits = is_true_of(torch.tensor([parse(caption) for caption in captions]), every).T              # (B, 630)
    ids = texts[:1, :1].repeat(len(captions), 1)                 # <start>
    for i in range(1, LENGTH):
        possible = F.one_hot(texts[:, i], len(VOCABULARY)).float()                     # (630, V)
        logits = model(ids)[:, -1].masked_fill(fits.float() @ possible == 0, -torch.inf)
        ids = torch.cat([ids, torch.multinomial(next_word_shares(logits, temperature), 1, generator=generator)], 1)
        fits = fits & (texts[:, i] == ids[:, i:])                # those that begin as was said so far
    return detokenize(ids)


def gpt_recipe(ids, shares, seed=0, config=GPTConfig(), steps=None, batch=256, lr=6e-3):
    """Train a TinyGPT on a language: all its texts (N, L), and how often each is said (N,), as from `grammar(p)`."""
    seed_all(seed)
    check_shares(ids, shares)

    def loss_of(model, generator):
        rows = torch.multinomial(shares, batch, replacement=True, generator=generator)
        return next_word_loss(model, ids[rows]).sum(1).mean()    # nats a text

    return Recipe("gpt", TinyGPT(config), config, loss_of, budget(full=2_000, small=600, fast=30, given=steps),
                  batch, lr, seed, ema=0.99)
