"""Chapter 2, on `02b_tiny_transformer.ipynb`: the block, the next word, its shares, and looking one back."""

import math
from types import SimpleNamespace

import torch
from torch.nn import functional as F

from minidiff.data.captions import PAD
from minidiff.exercises.form import Exercise, randn
from minidiff.models.attention import attention_weights
from minidiff.models.blocks import Block
from minidiff.models.gpt import next_token_probs, next_word_loss


def block(x, attention, mlp, norm1, norm2):
    """`Block.forward` with given parts, without a context."""
    parts = SimpleNamespace(norm1=norm1, norm3=norm2, cross=None, mlp=mlp, attention=lambda x, mask: attention(x))
    return Block.forward(parts, x)


def block_cases():
    """Parts that can be told apart: an attention that mixes words, an MLP that bends, two different norms."""
    def case(seed, B, L, D):
        mix, bend = randn(seed, L, L).softmax(-1), randn(seed + 1, D, D)
        return (randn(seed + 2, B, L, D), lambda x: mix @ x, lambda x: torch.tanh(x @ bend),
                lambda x: F.layer_norm(x, (D,)), lambda x: 2 * F.layer_norm(x, (D,)) + 1)

    return [case(1, 2, 5, 7), case(4, 3, 2, 11)]


def words_case(seed, B, L, V):
    """Logits, and texts of different lengths that end in padding."""
    ids = 1 + randn(seed, B, L).abs().mul(10).long() % (V - 1)
    ids[torch.arange(L) > 2 + torch.arange(B)[:, None] % (L - 2)] = PAD
    return randn(seed + 1, B, L, V), ids


def surprise(shift=1, ignored=PAD, take=torch.log, last=lambda loss, ids: loss):
    """Somebody's next_word_loss: the logits at place i are for the word at i + shift."""
    def answer(logits, ids):
        shares = logits[:, :-1].softmax(-1)
        words = ids.roll(-shift, 1)[:, :-1]
        loss = -take(shares.gather(-1, words[..., None])[..., 0])
        return last(loss.masked_fill(words == ignored, 0.0), ids)

    return answer


def top(logits, k, smallest=False):
    """Which logits are among the k largest."""
    return torch.zeros_like(logits, dtype=torch.bool).scatter(-1, logits.topk(k, largest=not smallest).indices, True)


def probs(heat=lambda logits, T: logits / T, allowed=top, forbidden=-math.inf):
    """Somebody's next_token_probs."""
    def answer(logits, temperature, top_k):
        logits = heat(logits, temperature)
        return logits.masked_fill(~allowed(logits, top_k), forbidden).softmax(-1)

    return answer


def looks_one_back(make):
    """Whether each place looks at the one before it with more than 99 %, and queries have two numbers only."""
    least, width = 1.0, 0
    for n in (11, 29):
        if (made := make(n)) is None:
            return None, ""
        q, k = made
        if q.shape != k.shape or q.ndim != 2 or len(q) != n:
            return False, f"for n = {n} queries and keys must both be ({n}, d), got {tuple(q.shape)}, {tuple(k.shape)}"
        least = min(least, attention_weights(q.double(), k.double()).diagonal(-1).min().item())
        width = max(width, q.shape[1])
    return least > 0.99 and width <= 2, (f"d = {width}, the goal is 2; each place gives at least {least:.1%} to the "
                                         "one before it, the goal is 99 %")


def clock_hands(n):
    """Each place is the direction of a clock hand; a query points to where the hand was one place before."""
    def hand(place):
        angle = 2 * math.pi * place / n
        return torch.stack([angle.cos(), angle.sin()], 1)

    return 500 * hand(torch.arange(n).double() - 1), hand(torch.arange(n).double())


EXERCISES = [
    Exercise(
        "2.6", "The block in two lines", "code", stars=1, minutes=10, reference=block, cases=block_cases,
        prompt="Put a transformer block together from its parts, as the book does (pre-norm): attention, then the MLP, "
               "each with a residual connection and a norm of its own. All four parts are functions.",
        signature="my_block(x, attention, mlp, norm1, norm2)", shapes="x (B, L, D) -> (B, L, D)",
        hints=("Each part *adds* to what is there: `x = x + ...`.",
               "Each part looks at a normed x; the sum has no norm.",
               "`x = x + attention(norm1(x))`, then `x + mlp(norm2(x))`."),
        mistakes={
            "That is post-norm (of 2017): the norm stands after the sum. Here it stands before each part.":
                lambda x, a, m, n1, n2: n2((y := n1(x + a(x))) + m(y)),
            "The residual is missing: each part adds to x; without it all words become equal after some blocks.":
                lambda x, a, m, n1, n2: m(n2(a(n1(x)))),
            "The residual starts from norm(x); what is carried on is x itself.":
                lambda x, a, m, n1, n2: n2(y := n1(x) + a(n1(x))) + m(n2(y)),
            "The MLP looked at the old x (a parallel block); here it sees what attention has added.":
                lambda x, a, m, n1, n2: x + a(n1(x)) + m(n2(x)),
            "The norms are missing: without them the numbers grow from block to block.":
                lambda x, a, m, n1, n2: (y := x + a(x)) + m(y),
            "The order is exchanged: attention first, then the MLP.":
                lambda x, a, m, n1, n2: (y := x + m(n2(x))) + a(n1(y)),
            "The second norm is missing: the MLP, too, looks at a normed x.":
                lambda x, a, m, n1, n2: (y := x + a(n1(x))) + m(y),
            "norm1 stands at both places: each part has a norm of its own.":
                lambda x, a, m, n1, n2: (y := x + a(n1(x))) + m(n1(y)),
            "norm1 and norm2 are exchanged: the first one belongs to attention.":
                lambda x, a, m, n1, n2: (y := x + a(n2(x))) + m(n1(y))}),
    Exercise(
        "2.7", "Surprise, word by word", "code", stars=2, minutes=15,
        prompt="A GPT has said logits for each place of each text; those at place i are its guess for the word at "
               "place i + 1. Give the surprise −log p at each next word, and 0 where that word is padding (id 0).",
        signature="my_surprise(logits, ids)", shapes="logits (B, L, V), ids (B, L) -> (B, L - 1)",
        cases=lambda: [words_case(7, 3, 7, 11), words_case(9, 5, 5, 13)],
        reference=lambda logits, ids: next_word_loss(lambda seen: logits[:, :seen.shape[1]], ids),
        hints=("The last logits have nothing to guess, nobody guesses the first word: `logits[:, :-1]`, `ids[:, 1:]`.",
               "`logits.log_softmax(-1).gather(-1, words[..., None])[..., 0]` picks the one for the word that came.",
               "A minus sign, and `.masked_fill(words == 0, 0.0)`."),
        mistakes={
            "Not shifted: each place is asked for the word that it has just read. It must guess the *next* one.":
                surprise(shift=0),
            "Both begin at place 1, so each place is asked for the word that it has just read: `logits[:, :-1]`.":
                lambda logits, ids: surprise(shift=0)(logits.roll(-1, 1), ids.roll(-1, 1)),
            "Shifted the wrong way: the logits at place i guess the word at i + 1, not at i − 1.": surprise(shift=-1),
            "The padding is counted: nobody needs to guess what comes after the end.": surprise(ignored=-1),
            "The logarithm is missing: the surprise is −log p.": surprise(take=lambda p: p),
            "That is in bits (log2); nats use the natural logarithm.": surprise(take=torch.log2),
            "You took the mean over everything; the surprise at each place is asked for, (B, L − 1).":
                surprise(last=lambda loss, ids: loss.mean()),
            "You divided by the number of words that count; the surprise of each word by itself is asked for.":
                surprise(last=lambda loss, ids: loss / (ids[:, 1:] != PAD).sum())}),
    Exercise(
        "2.8", "Hot, cold and the best k", "code", stars=2, minutes=10, reference=next_token_probs,
        prompt="Logits to probabilities, with the two knobs of the text: a temperature, and only the `top_k` likeliest "
               "words.",
        signature="my_probs(logits, temperature, top_k)", shapes="logits (B, V) -> (B, V), rows sum to 1",
        cases=lambda: [(randn(11, 5, 13), 0.5, 3), (randn(12, 3, 7), 2.0, 5), (randn(13, 2, 11), 0.7, 11)],
        hints=("`logits.topk(top_k).values[..., -1:]` is the smallest logit that may stay.",
               "Forbid the others as attention does: −inf, before the softmax.",
               "Last: `(logits / temperature).softmax(-1)`."),
        mistakes={
            "You multiplied by the temperature; it divides, so that hot is undecided.":
                probs(lambda logits, T: logits * T),
            "The temperature has no effect: it must divide the *logits*, before the softmax.":
                probs(lambda logits, T: logits),
            "The temperature comes after the softmax: dividing shares only makes a sum that is not 1.":
                lambda logits, T, k: probs(lambda logits, T: logits)(logits, T, k) / T,
            "The forbidden words were cut off after the softmax; the others must sum to 1 again.":
                lambda logits, T, k: (logits / T).softmax(-1) * top(logits, k),
            "A forbidden logit of 0 still gets a share; it must be −inf.": probs(forbidden=0.0),
            "Those are the k *least* likely words.": probs(allowed=lambda logits, k: top(logits, k, smallest=True)),
            "The limit is one for the whole batch; each row has its own k best.":
                probs(allowed=lambda logits, k: logits >= logits.topk(k).values.min()),
            "All words are allowed: top_k is not used.":
                probs(allowed=lambda logits, k: top(logits, logits.shape[-1])),
            "The shares must sum to 1 along the words, the last axis.": lambda logits, T, k: (
                (logits / T).masked_fill(~top(logits, k), -1e9).softmax(0))}),
    Exercise(
        "2.9", "Look one back, with two numbers", "open", stars=3, minutes=25,
        reference=clock_hands, goal=looks_one_back,
        prompt="A head that looks at the place before is found in every language model. With a 1 for each place it "
               "needs as many numbers as places. Build one for n places whose queries and keys have *two* numbers. "
               "(The first place may look where it likes.) The goal: each place gives more than 99 % of its look "
               "(`attention_weights`, no mask) to the place before it, for 11 and for 29 places.",
        signature="my_head(n)", shapes="n, an integer -> queries (n, 2), keys (n, 2)",
        hints=("Two numbers are a direction. Put the places on a clock face.",
               "Key i is (cos, sin) of the angle 2π i / n. Which angle must query i have?",
               "Query i has the angle of key i − 1, and is long: neighbors on the clock are alike, so begin with "
               "100.")),
]
