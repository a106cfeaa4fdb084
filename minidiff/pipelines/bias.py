"""Bias: a machine and a reader that learn from skewed digits, ways to repair them, and learning from drawings."""

import torch
from torch.nn import functional as F

from minidiff.data.augment import jitter
from minidiff.data.captions import COLORS, drop_words, sentence
from minidiff.evaluation.groups import groups_of
from minidiff.models.classifier import Classifier, ClassifierConfig
from minidiff.pipelines import text2image
from minidiff.tools.checks import check, check_pictures
from minidiff.tools.files import checksum
from minidiff.tools.runtime import budget
from minidiff.training.loop import Recipe

SEVEN, RED = 7, 0                                                # what is skewed in chapter 13
HALF = 0.5                                                       # share of words that captions from the world leave out


def halfly(attributes, generator):
    """What people say of pictures, attributes (B, 4): each word is left out half of the time."""
    return drop_words(attributes, HALF, generator)


def as_said(said, generator):
    """Captions (B, 4) as they are, silent where they are silent."""
    return said


def recipe(captioned, parts, seed=0, **settings):
    """Train a UNet beside the other parts of a machine, which stay as they are, on captioned digits, skewed or not."""
    found = text2image.unet_recipe(captioned, parts.clip, parts.autoencoder, seed, say=halfly, **settings)
    found.name = "skewed"
    return found


@torch.no_grad()
def drawn(said, seeds, parts, **settings):
    """The drawings (B, 3, 32, 32) of captions said (B, 4), 400 at a time."""
    captions, seeds, part = [sentence(row) for row in said], list(seeds), 400
    return torch.cat([text2image.draw(captions[i:i + part], seeds[i:i + part], parts, **settings)
                      for i in range(0, len(captions), part)])


@torch.no_grad()
def next_generation(parts, captioned, generator, seed=0, many=None):
    """Train a UNet on nothing but drawings of another one, each with the caption that asked for it.

    captioned: what the captions are about, as often as there.
    """
    many = budget(full=20_000, small=6_000, fast=200, given=many)
    _, attributes = captioned.sample(many, generator)
    said = halfly(attributes, generator)
    pictures = drawn(said, range(10_000_000, 10_000_000 + many), parts)
    latents = torch.cat([parts.autoencoder.encode(part) for part in pictures.split(500)])
    found = text2image.unet_recipe(captioned, parts.clip, parts.autoencoder, seed, encoded=(latents, said), say=as_said)
    found.name = "generation"
    return found


# ----------------------------------------------------------------------------------------------- a reader, and its data


def in_every_color(captioned):
    """All digits of a set in all colors, plain and upright -> pictures (7 N, 3, 32, 32), attributes (7 N, 4)."""
    rows = torch.arange(len(captioned.labels), device=captioned.labels.device).repeat(len(COLORS))
    color = torch.arange(len(COLORS), device=rows.device).repeat_interleave(len(captioned.labels))
    attributes = torch.stack([captioned.labels[rows], color, torch.ones_like(rows), torch.ones_like(rows)], 1)
    return captioned.render(rows, attributes), attributes


def equal_weights(said):
    """Weights (N,) with which every color of a digit counts as much as any other, and each digit as much as before.

    weight = (pictures of the digit / 7) / (pictures of the group)
    """
    group, digit = groups_of(said), said[:, 0]
    return digit.bincount()[digit] / len(COLORS) / group.bincount()[group]


def evened(pictures, said, draw, digit=SEVEN):
    """The same number of pictures, but of `digit` as many in each color: those of which there are too many give way to
    drawings of the others.  -> pictures, said, and which are drawings (N,)

    draw(said) -> pictures: who draws them.
    """
    said, group = said.clone(), groups_of(said)
    want = int((said[:, 0] == digit).sum()) // len(COLORS)
    spare, lacking = [], []
    for color in range(len(COLORS)):
        own = (group == digit * len(COLORS) + color).nonzero()[:, 0]
        spare.append(own[want:])
        lacking += [color] * (want - len(own))
    spare = torch.cat(spare)[:len(lacking)]
    said[spare, 1] = torch.tensor(lacking[:len(spare)], device=said.device)
    pictures, new = pictures.clone(), torch.zeros(len(said), dtype=torch.bool, device=said.device)
    pictures[spare] = draw(said[spare])
    new[spare] = True
    return pictures, said, new


def reader_recipe(pictures, said, seed=0, often=None, counts=None, steps=None, batch=None):
    """Train a digit classifier on given pictures (N, 3, 32, 32) with attributes (N, 4).

    often (N,): how often each is taken, to oversample; counts (N,): how much its loss counts, to reweight.
    """
    check_pictures(pictures, 3, 32, 32)
    check(len(pictures) == len(said), f"{len(pictures)} pictures, {len(said)} rows of attributes: one for each")
    often = torch.ones(len(said), device=said.device) if often is None else often
    counts = torch.ones(len(said), device=said.device) if counts is None else counts
    batch = budget(full=256, small=128, fast=64, given=batch)

    def loss_of(model, generator):
        rows = torch.multinomial(often, batch, replacement=True, generator=generator)
        logits = model(jitter(pictures[rows], generator))
        loss = F.cross_entropy(logits, said[rows, 0], reduction="none", label_smoothing=0.05)
        return (counts[rows] * loss).mean()

    return Recipe("reader", Classifier, ClassifierConfig(), loss_of,
                  budget(full=1_000, small=400, fast=20, given=steps), batch, 3e-3, seed, weight_decay=0.05, ema=0.99,
                  objective={"data": checksum(pictures, said, often, counts)[:16]}, device=said.device)
