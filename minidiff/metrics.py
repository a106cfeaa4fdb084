"""Is it right?  A judge for the digit, readers for color, stroke and lean, and distances between crowds."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from minidiff.blocks import Down, ResBlock, norm
from minidiff.captions import DIGITS, SIZES, WORDS
from minidiff.checkpoint import load_weights
from minidiff.dressing import RGB, lean_of, stroke_width
from minidiff.inputs import check_alike, check_config, check_finite, check_pictures, check_shape, check_whole
from minidiff.runtime import budget, seed_all
from minidiff.train import Recipe

STROKE_EDGES = (2.66, 3.84)                                      # pixels: thin | plain | thick, see stroke_width
LEAN_EDGES = (-0.22, 0.22)                                       # half-way between the shears


def ink_of(pictures):
    """Colored or gray pictures (B, C, 32, 32) in [-1, 1] -> ink (B, 32, 32) in [0, 1]: the brightest channel."""
    check_pictures(pictures)
    return ((pictures.amax(1) + 1) / 2).clamp(0, 1)


def read_color(pictures):
    """The color of the ink (B,): the mean color, weighted by ink, against the palette by direction."""
    check_shape("pictures with a color", pictures, "B", 3, "H", "W")
    ink = ink_of(pictures)[:, None]
    mean = ((pictures + 1) / 2 * ink).sum((2, 3))                # (B, 3)
    return (F.normalize(mean, dim=1) @ F.normalize(RGB.to(pictures.device), dim=1).T).argmax(1)


def read_stroke(pictures):
    """thin, plain or thick (B,) from the mean stroke width."""
    return torch.bucketize(stroke_width(ink_of(pictures)), torch.tensor(STROKE_EDGES, device=pictures.device))


def read_lean(pictures):
    """left, upright or right (B,) from the second moments."""
    return torch.bucketize(lean_of(ink_of(pictures)), torch.tensor(LEAN_EDGES, device=pictures.device))


@dataclass(frozen=True)
class JudgeConfig:
    widths: tuple = (32, 64, 64)
    feature_width: int = 64


class Judge(nn.Module):
    """A small digit classifier, (B, C, 32, 32) -> logits (B, 10), whose last hidden layer (B, 64) also serves as
    the feature space of the Frechet distance.  Gray pictures count as white ones."""

    def __init__(self, config=JudgeConfig()):
        super().__init__()
        check_config(config, widths=3)
        self.config = config
        layers, width = [], 3
        for wide in config.widths:
            layers += [Down(width, wide), ResBlock(wide, wide)]
            width = wide
        self.net = nn.Sequential(*layers, norm(width), nn.SiLU(), nn.Flatten(),
                                 nn.Linear(16 * width, config.feature_width))
        self.out = nn.Linear(config.feature_width, len(DIGITS))
        self.to(memory_format=torch.channels_last)               # which a CPU reads faster

    def features(self, pictures):
        """Pictures (B, C, 32, 32) -> (B, 64)."""
        check_shape("pictures", pictures, "B", "C", 32, 32)
        if not self.training:                                    # there no step waits for a look at the values
            check_pictures(pictures)
        return self.net(pictures.expand(-1, 3, -1, -1)).float()

    def forward(self, pictures):
        return self.out(F.silu(self.features(pictures))).float()

    @torch.no_grad()
    def read(self, pictures):
        """Pictures -> attributes (B, 4) as read from the picture alone: digit, color, stroke, lean."""
        digit = torch.cat([self(part).argmax(1) for part in pictures.split(500)])
        return torch.stack([digit, read_color(pictures), read_stroke(pictures), read_lean(pictures)], 1)


def jitter(pictures, generator):
    """Turn, scale, shear and move each picture a little at random, for training the judge."""
    check_shape("pictures", pictures, "B", "C", "H", "W")
    angle, shear, grow, ratio, dx, dy = torch.randn(6, len(pictures), generator=generator, device=pictures.device)
    angle, grow, ratio = angle * 0.15, (grow * 0.08).exp(), (ratio * 0.08).exp()
    cos, sin = angle.cos() / grow, angle.sin() / grow
    matrix = torch.stack([torch.stack([cos * ratio, -sin + shear * 0.1, dx * 0.08], 1),
                          torch.stack([sin, cos / ratio, dy * 0.08], 1)], 1)
    grid = F.affine_grid(matrix, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures + 1, grid, align_corners=False) - 1


def recipe(wardrobe, seed=0, config=JudgeConfig(), steps=None, batch=None, lr=3e-3):
    """Train the judge on dressed training digits, jittered; it never sees a generated picture."""
    seed_all(seed)
    batch = budget(full=256, small=128, fast=64, given=batch)
    model = Judge(config).to(wardrobe.labels.device)

    def loss_of(model, generator):
        pictures, attributes = wardrobe.sample(batch, generator)
        return F.cross_entropy(model(jitter(pictures, generator)), attributes[:, 0], label_smoothing=0.05)

    return Recipe("judge", model, config, loss_of, budget(full=2_000, small=1_000, fast=30, given=steps),
                  batch, lr, seed, weight_decay=0.05, ema=0.99)


def load(path):
    """The trained judge in a checkpoint."""
    return load_weights(path, lambda config: Judge(JudgeConfig(tuple(config["widths"]), config["feature_width"])))[0]


def accuracy(read, asked):
    """Share of pictures whose attributes are as asked: read, asked (N, 4) -> a dict of five numbers."""
    check_alike(read=read, asked=asked)
    if not len(read) or read.shape[1:] != (4,):
        raise ValueError(f"the attributes of pictures are (N, 4), of at least one; got {tuple(read.shape)}")
    right = read == asked
    shares = dict(zip(WORDS, right.float().mean(0).tolist()))
    return {**shares, "joint": right.all(1).float().mean().item()}


def wilson(share, n, z=1.96):
    """The 95 % interval of a share seen in n trials.  [Wilson 1927; Brown, Cai & DasGupta 2001, eq. 4]

    >>> [round(x, 4) for x in wilson(0.5, 100)]
    [0.4038, 0.5962]
    """
    if not (n >= 1 and 0 <= share <= 1):
        raise ValueError(f"a share of n trials needs n >= 1 and 0 <= share <= 1, got {share} of {n}")
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def frechet_distance(a, b):
    """Distance between two crowds of features (N, D), (M, D), each taken for a Gaussian:
    |m - m'|^2 + trace(S + S' - 2 (S S')^(1/2)).                       [Dowson & Landau 1982; Heusel et al. 2017]
    The square root is taken of the symmetric S^(1/2) S' S^(1/2), which has the same trace."""
    check_shape("features", a, "N", "D")
    check_shape("other features", b, "M", a.shape[1])
    a, b = a.double(), b.double()
    check_finite("the features", torch.cat([a, b]))
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a Frechet distance needs at least two features a side, got {len(a)} and {len(b)}")
    values, vectors = torch.linalg.eigh(torch.atleast_2d(a.T.cov()))
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cov_b = torch.atleast_2d(b.T.cov())
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    gap = (a.mean(0) - b.mean(0)).square().sum()
    return (gap + values.sum() + cov_b.trace() - 2 * cross).item()


def frechet_with_floor(features, real, groups=None, seed=0):
    """How far a crowd of features (N, D) is from a real one (M, D), and how far real is from real: the real crowd is
    halved at random, `features` are cut to the size of a half, and every distance is one between crowds of that size.
    -> (mean distance to the two halves, distance between the halves)

    groups (M,): such as the digit of each real one; both halves then get as many of each.  Give it where the drawn
    crowd has as many of each, too: chance mixtures of classes are farther apart, and the floor would be too high."""
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed)).to(real.device)
    if groups is not None:
        check_shape("groups", groups, len(real))
        order = order[groups.to(real.device)[order].argsort(stable=True)]
        order = torch.cat([order[0::2], order[1::2]])            # one of each group here, one there
    half = len(real) // 2
    one, other = real[order[:half]], real[order[half:2 * half]]
    if len(features) < half:
        raise ValueError(f"{len(features)} features against halves of {half} real ones: a small crowd looks far away; "
                         "draw more pictures, or give fewer real ones")
    to = [frechet_distance(features[:half], real_half) for real_half in (one, other)]
    return sum(to) / 2, frechet_distance(one, other)


def nearest(pictures, others, count=2):
    """The nearest of `others` to each picture: distances (B, count), rising, and their rows (B, count).
    A copy is a picture much nearer to its nearest than to the second: d1 < d2 / 3.  [Yoon et al. 2023]"""
    check_shape("others", others, "N", *pictures.shape[1:])
    check_whole("count", count, 1, len(others))
    distance = torch.cdist(pictures.flatten(1), others.flatten(1))
    return distance.topk(count, largest=False)


def spread(pictures, attributes):
    """Diversity: the mean distance between two pictures of the same digit, stroke and lean, per pixel of ink.

    pictures (N, C, 32, 32), attributes (N, 4).  Color is left aside; groups of one are left out."""
    check_shape("attributes", attributes, len(pictures), 4)
    ink, total, pairs = ink_of(pictures).flatten(1), 0.0, 0
    group = (attributes[:, 0] * SIZES[2] + attributes[:, 2]) * SIZES[3] + attributes[:, 3]
    for g in group.unique():
        distances = torch.pdist(ink[group == g])
        total, pairs = total + distances.sum().item(), pairs + len(distances)
    if not pairs:
        raise ValueError("no two pictures share digit, stroke and lean: nothing to compare")
    return total / pairs / math.sqrt(ink.shape[1])
