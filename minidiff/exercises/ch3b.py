"""Chapter 3, on the second half of `03_clip.ipynb`: what is true of what, search, captions, a space by hand."""

import math

import torch

from minidiff.data.captions import SIZES, UNSAID, WORDS, all_combinations, is_true_of, parse, sentence
from minidiff.evaluation.metrics import recall_at
from minidiff.exercises import Exercise, randn

SAID = [(7, 0, 2, 0), (0, 0, 0, 0), (-1, -1, -1, -1), (-1, 5, -1, 2), (9, -1, 1, -1), (0, 3, -1, 1), (-1, -1, 0, 0)]


def facts_case(seed, M, B):
    """Sentences, some words unsaid and some digits zero, and pictures of which some are true."""
    pictures = (randn(seed, B, 4).abs() * 2).long().clamp_max(2)
    said = pictures[torch.arange(M) % B].where(randn(seed + 1, M, 4) > 0, UNSAID)
    said[0], said[1, 0] = UNSAID, 2
    return said, pictures


def search_cases():
    """Many true answers; one alone for each question, at a known rank; fewer pictures than questions."""
    one = torch.zeros(5, 17, dtype=torch.bool)
    one[range(5), randn(8, 5, 17).argsort(1, descending=True)[range(5), [0, 3, 6, 6, 11]]] = True
    return [*((k, randn(5, 11, 17), randn(6, 11, 17) > 0.7) for k in (1, 3)), (7, randn(8, 5, 17), one),
            (2, randn(7, 5, 3), torch.eye(5, 3, dtype=torch.bool).roll(1, 0) | torch.tensor([True, False, False]))]


def found(good=lambda true, k: true[:, :k].any(1), axis=1, falling=True):
    """Somebody's recall: what is true, in the order of their ranking, and when they count it as found."""
    def answer(k, similarity, true):
        return good(true.gather(axis, similarity.argsort(axis, descending=falling)), k).float().mean().item()

    return answer


def both_ways(pair, row):
    """How a pair of caption functions is tried: the sentence, and the attributes that are read from the true one."""
    said, read = pair[0](list(row)), pair[1](sentence(row))
    return None if said is None or read is None else {"the sentence": said, "the attributes": tuple(read)}


def speaking(order="stroke color digit lean", unsaid=lambda a: a == UNSAID, dull=()):
    """Somebody's `sentence`."""
    def answer(row):
        said = {"digit": "digit"} | {kind: words[a] for (kind, words), a in zip(WORDS.items(), row)
                                     if not unsaid(a) and words[a] not in dull}
        return " ".join(["a", *(said[kind] for kind in order.split() if kind in said)])

    return answer


def hearing(missing=UNSAID):
    """Somebody's `parse`."""
    return lambda caption: tuple(next((i for i, word in enumerate(words) if word in caption), missing)
                                 for words in WORDS.values())


def one_space(make):
    """Whether all 630 arrows are read right by the arrows of the words, with at most eight numbers each."""
    if (made := make()) is None:
        return None, ""
    pictures, words = made
    if len(pictures) != 630 or [len(w) for w in words] != list(SIZES):
        return False, f"630 pictures and {SIZES} words are asked for, got {len(pictures)} and {[len(w) for w in words]}"
    lengths = torch.cat([pictures, *words]).norm(dim=1)
    read = torch.stack([(pictures @ w.T).argmax(1) for w in words], 1)
    right, D = (read == all_combinations()).float().mean().item(), pictures.shape[1]
    one = bool((lengths - 1).abs().max() < 1e-4)
    return right == 1 and one and D <= 8, (f"D = {D}, the goal is 8 (7 is possible); {right:.1%} of the words are read "
                                           f"right; the arrows {'have' if one else 'do not all have'} length one")


def circles():
    """Each kind of word on a circle of its own: two numbers for digits, two for colors, strokes and leans."""
    angles = [2 * math.pi * torch.arange(size) / size for size in SIZES]
    words = [torch.zeros(size, 8) for size in SIZES]
    for i, (angle, arrows) in enumerate(zip(angles, words)):
        arrows[:, 2 * i], arrows[:, 2 * i + 1] = angle.cos(), angle.sin()
    return sum(w[column] for w, column in zip(words, all_combinations().T)) / 2, words


EXERCISES = [
    Exercise(
        "3.6", "Nothing but the truth", "code", stars=1, minutes=10, reference=is_true_of,
        prompt="A caption is true of a picture if each word that it says is. Words that are not said (UNSAID, −1) are "
               "not false. Say it for all pairs at once. This is the table `positive` of the loss.",
        signature="my_is_true(said, pictures)",
        shapes="said (M, 4), pictures (B, 4), attributes as integers -> (B, M) bool",
        cases=lambda: [facts_case(1, 7, 5), facts_case(3, 3, 11)],
        hints=("`said[None]` is (1, M, 4), `pictures[:, None]` is (B, 1, 4): together all pairs.",
               "A word is all right if it is equal *or* unsaid.", "`((a == b) | (a == -1)).all(-1)`."),
        mistakes={
            "Silence is not a lie: where the caption says nothing (−1), it is true.":
                lambda said, pictures: (said[None] == pictures[:, None]).all(-1),
            "One true word is not enough: *all* that is said must be true.":
                lambda said, pictures: ((said[None] == pictures[:, None]) | (said[None] == UNSAID)).any(-1),
            "The table lies on its side: a row for each picture, a column for each caption, (B, M).":
                lambda said, pictures: is_true_of(said, pictures).T,
            "0 is a word (zero, red, thin, leaning left); unsaid is −1.":
                lambda said, pictures: ((said[None] == pictures[:, None]) | (said[None] <= 0)).all(-1),
            "You counted the words that are all right; the question is whether all of them are.":
                lambda said, pictures: ((said[None] == pictures[:, None]) | (said[None] == UNSAID)).sum(-1)}),
    Exercise(
        "3.7", "Among the first k", "code", stars=2, minutes=10, reference=recall_at, cases=search_cases,
        prompt="Recall at k: the share of questions (rows) for which at least one true answer is among the k most "
               "similar. Write it.",
        signature="my_recall(k, similarity, true)",
        shapes="k an integer, similarity (B, M), true (B, M) bool, one True in each row -> a number",
        hints=("`similarity.topk(k, dim=1).indices` says which k are the best of each row.",
               "`true.gather(1, best)` is (B, k): are they true?", "`.any(1).float().mean()`."),
        mistakes={
            "That is precision, the share of the first k that are true; one true answer is enough here.":
                found(lambda true, k: true[:, :k].float().mean(1)),
            "Not all of the first k need to be true; one is enough.": found(lambda true, k: true[:, :k].all(1)),
            "The ranking is upside down: the most similar come first.": found(falling=False),
            "Along the wrong axis: a row is a question, so the ranking goes along the row.":
                found(lambda true, k: true[:k].any(0), axis=0),
            "Only the very first counts for you; the first k do.": found(lambda true, k: true[:, 0]),
            "That is the share of all true answers that are found; here one for each question is enough.":
                found(lambda true, k: true[:, :k].sum(1) / true.sum(1))}),
    Exercise(
        "3.8", "Say it, read it", "pair", stars=2, minutes=20, run=both_ways, cases=lambda: [(row,) for row in SAID],
        prompt="Work in pairs: one turns four attributes (digit, color, stroke, lean; −1 is unsaid) into a caption, "
               "the other reads the caption. \"a thick red seven leaning left\" is [7, 0, 2, 0]; a digit that is not "
               "said is called \"digit\". The words are in `minidiff.captions`: DIGITS, COLORS, STROKES, LEANS.",
        signature="my_sentence(attributes)\nmy_parse(caption)",
        shapes="four integers: digit, color, stroke, lean -> a string\na string -> four integers",
        hints=("The order in the sentence: a, stroke, color, digit, lean.",
               "`STROKES[-1]` is a word in Python: ask first whether a word is said.",
               "To read: for each kind, the place of the word that is in the caption, else −1."),
        reference=(sentence, parse),
        mistakes={
            "The order: a, stroke, color, digit, lean; \"a thick red seven\".":
                (speaking("color stroke digit lean"), parse),
            "`words[-1]` is the last word in Python, so that an unsaid digit became a nine. Ask for −1 first.":
                (speaking(unsaid=lambda a: False), parse),
            "0 counts as unsaid for you (`if attribute:`); it is a word: zero, red, thin, leaning left.":
                (speaking(unsaid=lambda a: a <= 0), parse),
            "*plain* and *upright* are words like the others: who leaves them out says nothing.":
                (speaking(dull=("plain", "upright")), parse),
            "The sentences are right; but what is not said must be read as −1, not as 0.": (sentence, hearing(0)),
            "The sentences are right; but what is not said must be read as −1, not as None.": (sentence, hearing(None)),
            "The sentences are right; but \"leaning left\" is two words, and `split` takes it apart.":
                (sentence, lambda text: (*parse(text)[:3], 1 if "upright" in text else UNSAID)),
            "What comes out is what went in: such a round trip always closes.":
                (lambda row: row, lambda text: text)}),
    Exercise(
        "3.9", "A space by hand", "open", stars=3, minutes=40, reference=circles, goal=one_space,
        prompt="CLIP has 64 numbers for an arrow. How few would do? Build arrows of length one for all 630 "
               "combinations (in the order of `all_combinations()`) and for the 10 + 7 + 3 + 3 words, such that for "
               "each kind the nearest word is the right one, everywhere. The goal: D = 8 at most.",
        signature="my_space()", shapes="-> pictures (630, D), and a list of words [(10, D), (7, D), (3, D), (3, D)]",
        hints=("Words of one kind must be told apart; words of different kinds may be at right angles.",
               "Two numbers are a circle, and on a circle as many words have room as you like.",
               "Each kind has two numbers of its own, with its words evenly on a circle. A picture is the sum of its "
               "four words, divided by 2, which has length one.")),
]
