"""What is in a picture, read from the picture alone: a classifier reads the digit, a few lines of geometry the rest."""

import torch
from torch.nn import functional as F

from minidiff.data.captions import SIZES, UNSAID, WORDS, sentence
from minidiff.data.rendering import RGB, lean_of, moments, stroke_width
from minidiff.tools.checks import check, check_pictures, kind_of, picture_hint

STROKE_EDGES = (2.66, 3.84)                                      # pixels: thin | plain | thick, see stroke_width
LEAN_EDGES = (-0.22, 0.22)                                       # half-way between the shears


def ink_of(pictures):
    """Colored or gray pictures (B, C, 32, 32) in [-1, 1] -> ink (B, 32, 32) in [0, 1]: the brightest channel."""
    check_pictures(pictures)
    check(pictures.shape[1] in (1, 3), f"ink has 1 or 3 channels, got {kind_of(pictures)}{picture_hint(pictures)}")
    return ((pictures.amax(1) + 1) / 2).clamp(0, 1)


def read_color(pictures, palette=RGB):
    """The color of the ink (B,): the mean color, weighted by ink, against a palette (N, 3) by direction."""
    ink = ink_of(pictures)[:, None]
    mean = ((pictures.expand(-1, 3, -1, -1) + 1) / 2 * ink).sum((2, 3))                # (B, 3)
    return (F.normalize(mean, dim=1) @ F.normalize(palette.to(pictures.device), dim=1).T).argmax(1)


def read_stroke(pictures):
    """thin, plain or thick (B,) from the mean stroke width."""
    return torch.bucketize(stroke_width(ink_of(pictures)), torch.tensor(STROKE_EDGES, device=pictures.device))


def read_lean(pictures):
    """left, upright or right (B,) from the second moments."""
    return torch.bucketize(lean_of(ink_of(pictures)), torch.tensor(LEAN_EDGES, device=pictures.device))


def radius(pictures):
    """How far from its center the ink is (B,), in pixels: the root of the mean squared distance."""
    ink = ink_of(pictures)
    _, _, (down, _) = moments(ink)
    _, _, (across, _) = moments(ink.mT)
    return (down + across).sqrt()


@torch.no_grad()
def read(classifier, pictures, palette=RGB):
    """Pictures (B, 3, 32, 32) -> attributes (B, 4): the digit by the classifier, then color, stroke and lean."""
    check(callable(classifier), f"read takes a classifier and pictures, got {kind_of(classifier)}")
    check_pictures(pictures, "1 or 3", 32, 32)
    digit = torch.cat([classifier(part).argmax(1) for part in pictures.split(500)])
    return torch.stack([digit, read_color(pictures, palette), read_stroke(pictures), read_lean(pictures)], 1)


def prompts():
    """A caption for each word that says nothing else: {"digit": ["a zero", ...], "color": ["a red digit", ...], ...}"""
    said = {name: torch.full((size, 4), UNSAID) for name, size in zip(WORDS, SIZES)}
    for column, rows in enumerate(said.values()):
        rows[:, column] = torch.arange(len(rows))
    return {name: [sentence(row) for row in rows] for name, rows in said.items()}


@torch.no_grad()
def read_zero_shot(model, pictures):
    """Zero-shot: attributes (B, 4) of pictures (B, 3, 32, 32), the best-fitting prompt of each kind.
    [CLIP section 3.1]  Like `read`, but no classifier was trained."""
    seen = model.embed_pictures(pictures)
    return torch.stack([(seen @ model.embed_captions(words).T).argmax(1) for words in prompts().values()], 1)
