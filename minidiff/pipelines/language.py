"""A tiny GPT learns the language of captions, writes some, and makes terse ones longer."""

import torch
from torch.nn import functional as F

from minidiff.data.captions import (
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
from minidiff.models.gpt import GPTConfig, TinyGPT, next_token_probs, next_word_loss
from minidiff.tools.checks import check, check_shape, check_whole, kind_of
from minidiff.tools.files import checksum
from minidiff.tools.runtime import budget
from minidiff.training.loop import Recipe


def recipe(ids, shares, seed=0, config=GPTConfig(), steps=None, batch=256, lr=6e-3):
    """Train a TinyGPT on a language: all its texts (N, L), and how often each is said (N,), as from `grammar(p)`."""
    check_texts(ids, shares)
    check(len(ids) == len(shares) and abs(float(shares.sum()) - 1) < 1e-4,
          f"one share for each text, with the sum 1; got {len(ids)} texts, {len(shares)} shares, sum {shares.sum():g}")

    def loss_of(model, generator):
        rows = torch.multinomial(shares, batch, replacement=True, generator=generator)
        return next_word_loss(model, ids[rows]).sum(1).mean()    # nats per text

    return Recipe("gpt", lambda: TinyGPT(config), config, loss_of,
                  budget(full=2_000, small=600, fast=30, given=steps), batch, lr, seed, ema=0.99,
                  objective={"data": checksum(ids, shares)[:16]}, device=ids.device)


def check_texts(ids, shares):
    """A language to be trained on, looked at once: at least one text of known tokens, with a share each."""
    size = len(VOCABULARY)
    good = torch.is_tensor(ids) and ids.ndim == 2 and ids.numel() and ids.dtype in (torch.int64, torch.int32)
    good = good and 1 < ids.shape[1] <= LENGTH and 0 <= ids.min() and ids.max() < size
    check(good, f"ids must be texts (N, L), token ids from 0 to below {size}, at most {LENGTH} in each, as `tokenize` "
          f"gives them; got {kind_of(ids)}")
    check_shape("shares", shares, "N")
    check(shares.is_floating_point() and bool((shares >= 0).all()), "shares are floats of at least 0, got "
          f"{shares[:5].tolist()}")


@torch.no_grad()
def generate(model, beginning, n, generator, temperature=1.0, top_k=None):
    """Say n captions that begin like this: "a thick red" -> n strings, word after word until <end>."""
    ids = tokenize([beginning])
    ids = ids[:, :int((ids == END).int().argmax())].repeat(check_whole("n", n), 1)       # <start> and the words
    while ids.shape[1] < LENGTH:
        chosen = torch.multinomial(next_token_probs(model(ids)[:, -1], temperature, top_k), 1, generator=generator)
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
        ids = torch.cat([ids, torch.multinomial(next_token_probs(logits, temperature), 1, generator=generator)], 1)
        fits = fits & (texts[:, i] == ids[:, i:])                # those that begin as was said so far
    return detokenize(ids)
