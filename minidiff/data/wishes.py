"""Looks for which the captions have no word: orange ink, small digits, outlines.  They are taught in chapter 8."""

from functools import cached_property

import torch
from torch.nn import functional as F

from minidiff.data.captions import COLORS, SIZES, STROKES, WORDS, sentence
from minidiff.data.rendering import RGB, edge_distance, tint
from minidiff.tools.checks import check
from minidiff.tools.files import checksum

LIKE = {"orange": "color", "small": "stroke", "outlined": "stroke"}                    # whose place each word takes
ORANGE = torch.tensor([[1.0, 0.5, 0.1]])
PALETTE = torch.cat([RGB, ORANGE])                               # eight colors, the new one last
SMALL = 0.6                                                      # times the size of the others


def said_with(word, attributes, like=None):
    """Captions of attributes (N, 4), a new word in the place of the color or of another attribute, `like`.

    >>> said_with("orange", torch.tensor([[8, -1, 2, -1]]))
    ['a thick orange eight']
    """
    like = like or LIKE[word]
    column, old = list(WORDS).index(like), WORDS[like][0]
    attributes = torch.as_tensor(attributes).clone()
    attributes[:, column] = 0                                    # say an old word, and then the new one instead
    return [sentence(row).replace(f" {old} ", f" {word} ", 1) for row in attributes]


def outline(ink, width=2.0):
    """Digits as bytes (B, 32, 32) -> their outlines as bytes: a line along the edge, so many half-pixels wide."""
    big = F.interpolate(ink[:, None].float() / 255, scale_factor=2, mode="bilinear", align_corners=False)[:, 0]
    line = (0.5 + width / 2 - edge_distance(big).abs()).clamp(0, 1)
    return F.avg_pool2d(line, 2).mul(255).round().to(torch.uint8)


def shrink(ink, size=SMALL):
    """Digits as bytes (B, 32, 32) -> so many times as large, in the middle."""
    side = 2 * round(ink.shape[-1] * size / 2)
    small = F.interpolate(ink[:, None].float(), (side, side), mode="bilinear", antialias=True)[:, 0]
    return F.pad(small, ((ink.shape[-1] - side) // 2,) * 4).round().to(torch.uint8)


def combinations(word, digits=range(10)):
    """Every combination that a wish leaves open, as attributes (N, 4).  Orange is color 7; small digits and outlines
    are made from thick ones."""
    check(word in LIKE, f"the wish {word!r}: expected one of {', '.join(LIKE)}")
    colors = [len(COLORS)] if word == "orange" else range(len(COLORS))
    strokes = range(len(STROKES)) if word == "orange" else [len(STROKES) - 1]
    return torch.cartesian_prod(*map(torch.tensor, (list(digits), list(colors), list(strokes), list(range(SIZES[3])))))


class Wish:
    """Captioned digits that look as a new word says, of some of the digits only, and random batches of them."""

    def __init__(self, word, captioned, digits=range(10)):
        self.word, self.captioned = word, captioned
        self.allowed = combinations(word, digits).to(captioned.labels.device)
        self.labels = captioned.labels

    @cached_property
    def checksum(self):
        """What tells these digits from others, for the settings of a training."""
        return checksum(self.word, self.captioned.checksum, self.allowed)[:16]

    def render(self, rows, attributes):
        """Digits `rows` (B,) as attributes (B, 4) and the wish say -> pictures (B, 3, 32, 32)."""
        _, color, stroke, lean = attributes.unbind(1)
        change = {"orange": lambda ink: ink, "small": shrink, "outlined": outline}[self.word]
        return tint(change(self.captioned.ink[rows, stroke, lean]), color, PALETTE)

    def sample(self, size, generator):
        """A random batch -> pictures (B, 3, 32, 32), attributes (B, 4)."""
        attributes = self.allowed[torch.randint(len(self.allowed), (size,), generator=generator,
                                                device=self.labels.device)]
        return self.render(self.captioned.rows_for(attributes[:, 0], generator), attributes), attributes


class Mixed:
    """Half of a batch from one set and half from another; the first attribute is the digit, plus ten in the second."""

    def __init__(self, one, other):
        self.sets, self.labels, self.checksum = (one, other), one.labels, checksum(one.checksum, other.checksum)[:16]

    def sample(self, size, generator):
        """A random batch -> pictures (B, 3, 32, 32), attributes (B, 4)."""
        (one, said), (other, said_too) = (some.sample(size // 2, generator) for some in self.sets)
        return torch.cat([one, other]), torch.cat([said, said_too + torch.tensor([10, 0, 0, 0], device=said.device)])
