"""Captions that are true by construction: four attributes <-> a sentence <-> token ids.

    digit   zero ... nine                    stroke  thin, plain, thick
    color   red ... white                    lean    leaning left, upright, leaning right

Attributes are an integer tensor (..., 4), one column each in the order digit, color, stroke, lean.
A word that is left out of the sentence is UNSAID (-1): "a red seven" is silent about stroke and lean."""

import difflib

import torch

from minidiff.tools.checks import check_rows

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLORS = ("red", "green", "blue", "yellow", "cyan", "magenta", "white")
STROKES = ("thin", "plain", "thick")
LEANS = ("leaning left", "upright", "leaning right")
WORDS = {"digit": DIGITS, "color": COLORS, "stroke": STROKES, "lean": LEANS}
SIZES = tuple(len(words) for words in WORDS.values())             # (10, 7, 3, 3): 630 combinations
UNSAID = -1
PAD, START, END = 0, 1, 2
VOCABULARY = ("<pad>", "<start>", "<end>", "a", "digit", *DIGITS, *COLORS, *STROKES,
              "leaning", "left", "right", "upright")
TOKEN = {word: index for index, word in enumerate(VOCABULARY)}
LENGTH = 10                                                       # L: eight words between start and end
FORM = "a [thin|plain|thick] [color] <digit> [leaning left|upright|leaning right]"


class CaptionError(ValueError):
    """A caption that cannot be understood; the message says which word, and what was expected."""


def sentence(attributes):
    """Four attributes -> their caption; an UNSAID digit is called "digit", other unsaid words are left out.

    >>> sentence([7, 0, 2, 0])
    'a thick red seven leaning left'
    >>> sentence([7, 0, UNSAID, UNSAID])
    'a red seven'
    """
    digit, color, stroke, lean = check_rows("attributes", attributes, SIZES).tolist()
    parts = ["a"] if stroke == UNSAID else ["a", STROKES[stroke]]
    if color != UNSAID:
        parts.append(COLORS[color])
    parts.append("digit" if digit == UNSAID else DIGITS[digit])
    if lean != UNSAID:
        parts.append(LEANS[lean])
    return " ".join(parts)


def parse(caption):
    """The inverse of `sentence`; a text that `sentence` could not have written is a CaptionError.

    >>> parse("a red seven")
    (7, 0, -1, -1)
    """
    said = " ".join(clean(caption))
    attributes = []
    for choices in WORDS.values():
        found = [i for i, words_of in enumerate(choices) if f" {words_of} " in f" {said} "]
        attributes.append(found[0] if len(found) == 1 else UNSAID)
    if sentence(attributes) != said:
        raise CaptionError(f"{caption[:80]!r} is not of the form {FORM}, for example 'a thick red seven leaning left'")
    return tuple(attributes)


def clean(caption, new=()):
    """Lower-case words without punctuation, every one of them known, or one of the `new` ones; else a CaptionError
    names the nearest.  "an" is "a"."""
    if not isinstance(caption, str):
        raise CaptionError(f"a caption is a string, not {type(caption).__name__}: {caption!r:.60}")
    words = [bare for word in caption.lower().split() if (bare := word.strip(".,;:!?\"'"))]
    words = ["a" if word == "an" else word for word in words]
    known = (*VOCABULARY[3:], *new)                               # the marks <pad>, <start>, <end> are not words
    for word in words:
        if word not in known:
            near = [DIGITS[int(word)]] if word in tuple("0123456789") else difflib.get_close_matches(word, known, 3)
            hint = f"Nearest known: {', '.join(near)}." if near else f"Known words: {', '.join(known)}."
            raise CaptionError(f"unknown word {word[:40]!r} in the caption {caption[:80]!r}. {hint} "
                               f"The form is {FORM}")
    if len(words) > LENGTH - 2:
        raise CaptionError(f"the caption {caption[:80]!r} has {len(words)} words, at most {LENGTH - 2} fit")
    return words


def tokenize(captions, new=()):
    """Sentences -> token ids (B, L): <start>, the words, <end>, then <pad>.  "" is the null caption.

    new: words that were added to the vocabulary; their ids come after its own.

    >>> tokenize(["a red seven"])[0, :6].tolist()
    [1, 3, 15, 12, 2, 0]
    """
    if isinstance(captions, str) or not hasattr(captions, "__len__"):
        raise CaptionError(f"tokenize takes a list of captions; for a single one write [{captions!r:.60}]")
    ids = torch.full((len(captions), LENGTH), PAD)
    token = TOKEN | {word: len(VOCABULARY) + i for i, word in enumerate(new)}
    for row, caption in zip(ids, captions):
        tokens = [START, *(token[word] for word in clean(caption, new)), END]
        row[:len(tokens)] = torch.tensor(tokens)
    return ids


def detokenize(ids):
    """Token ids (B, L) -> sentences."""
    return [" ".join(VOCABULARY[i] for i in row if i > END) for row in ids.tolist()]


def all_combinations():
    """All 630 full attribute rows (630, 4)."""
    return torch.cartesian_prod(*(torch.arange(size) for size in SIZES))


def is_held_out(attributes):
    """Which combinations (..., 4) are never trained on: one in ten, where digit + color + stroke + 3 lean
    is a multiple of 10.

    The rule is balanced: 63 of 630, of each digit 6 or 7, of each color 9, of each stroke 21, of each lean 21, and no
    pair of words is ever missing from training.

    >>> is_held_out(torch.tensor([[7, 0, 2, 0], [7, 0, 0, 1]]))
    tensor([False,  True])
    """
    attributes = check_rows("a combination", attributes, SIZES, unsaid=False)
    return (attributes * torch.tensor([1, 1, 1, 3], device=attributes.device)).sum(-1) % 10 == 0


def drop_words(attributes, p, generator):
    """Make captions terse: each attribute (..., 4) becomes UNSAID with probability p."""
    drop = torch.rand(attributes.shape, generator=generator, device=attributes.device) < p
    return attributes.masked_fill(drop, UNSAID)


def is_true_of(said, attributes):
    """Whether caption j says nothing false about picture i: said (M, 4), attributes (B, 4) -> (B, M) bool.

    >>> is_true_of(torch.tensor([[7, -1, -1, -1]]), torch.tensor([[7, 0, 2, 0], [1, 0, 2, 0]]))
    tensor([[ True],
            [False]])
    """
    return ((said[None] == attributes[:, None]) | (said[None] == UNSAID)).all(-1)


def every_caption():
    """Every sentence the grammar can say, with and without each word, as attributes (1408, 4)."""
    return torch.cartesian_prod(*(torch.arange(-1, size) for size in SIZES))


def caption_index(said):
    """Where attributes (..., 4), UNSAID included, stand in `every_caption()` -> (...)."""
    digit, color, stroke, lean = (said + 1).unbind(-1)
    return ((digit * 8 + color) * 4 + stroke) * 4 + lean
