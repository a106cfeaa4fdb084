"""Numbers about quality: shares that are right, distances between crowds of pictures, diversity, copies."""

import math

import torch

from minidiff.data.captions import SIZES, WORDS
from minidiff.evaluation.readers import ink_of
from minidiff.tools.checks import check, check_alike, check_shape, check_whole, kind_of


def accuracy(read, asked):
    """Share of pictures whose attributes are as asked: read, asked (N, 4) -> a dict of five numbers."""
    check_alike(read=read, asked=asked)
    check_shape("attributes", read, "N", 4)
    right = read == asked
    shares = dict(zip(WORDS, right.float().mean(0).tolist()))
    return {**shares, "joint": right.all(1).float().mean().item()}


def wilson(share, n, z=1.96):
    """The 95 % interval of a share seen in n trials.  [Wilson 1927; Brown, Cai & DasGupta 2001, eq. 4]

    >>> [round(x, 4) for x in wilson(0.5, 100)]
    [0.4038, 0.5962]
    """
    check(n >= 1 and 0 <= share <= 1, f"a share of n trials needs n >= 1 and 0 <= share <= 1, got {share} of {n}")
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def frechet_distance(a, b):
    """Distance between two crowds of features (N, D), (M, D), each taken for a Gaussian:
    |m - m'|^2 + trace(S + S' - 2 (S S')^(1/2)).                       [Dowson & Landau 1982; Heusel et al. 2017]
    The square root is taken of the symmetric S^(1/2) S' S^(1/2), which has the same trace."""
    check_shape("features", a, "N", "D")
    check_shape("the other features", b, "M", a.shape[1])
    a, b = a.double(), b.double()
    check(bool(torch.cat([a, b]).isfinite().all()), "there is NaN or infinity in the features")
    check(min(len(a), len(b)) > 1, f"a Frechet distance needs two features on each side, got {len(a)} and {len(b)}")
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
        order = order[groups.to(real.device)[order].argsort(stable=True)]
        order = torch.cat([order[0::2], order[1::2]])            # one of each group here, one there
    half = len(real) // 2
    one, other = real[order[:half]], real[order[half:2 * half]]
    check(len(features) >= half, f"{len(features)} features against halves of {half} real ones: a small crowd looks "
          "far away; draw more pictures, or give fewer real ones")
    to = [frechet_distance(features[:half], real_half) for real_half in (one, other)]
    return sum(to) / 2, frechet_distance(one, other)


def nearest(pictures, others, count=2):
    """The nearest of `others` to each picture: distances (B, count), rising, and their rows (B, count).
    A copy is a picture much nearer to its nearest than to the second: d1 < d2 / 3.  [Yoon et al. 2023]"""
    check(pictures.shape[1:] == others.shape[1:], "pictures of one size, got "
          f"{kind_of(pictures)} and {kind_of(others)}")
    check_whole("count", count, 1, len(others))
    distance = torch.cdist(pictures.flatten(1), others.flatten(1))
    return distance.topk(count, largest=False)


def diversity(pictures, attributes):
    """Diversity: the mean distance between two pictures of the same digit, stroke and lean, per pixel of ink.

    pictures (N, C, 32, 32), attributes (N, 4).  Color is left aside; groups of one are left out."""
    check_shape("attributes", attributes, len(pictures), 4)
    ink = ink_of(pictures).flatten(1)
    total, pairs = 0.0, 0
    group = (attributes[:, 0] * SIZES[2] + attributes[:, 2]) * SIZES[3] + attributes[:, 3]
    for g in group.unique():
        distances = torch.pdist(ink[group == g])
        total += distances.sum().item()
        pairs += len(distances)
    check(pairs, "no two pictures share digit, stroke and lean: nothing to compare")
    return total / pairs / math.sqrt(ink.shape[1])


def psnr(pictures, others):
    """Peak signal-to-noise ratio in dB of each picture, values in [-1, 1] (2 from peak to peak):
    10 log10(4 / mean squared error).  pictures, others (B, ...) -> (B,); what papers report is the mean over pictures.

    >>> psnr(torch.zeros(2, 5), torch.full((2, 5), 0.2))
    tensor([20., 20.])
    """
    check_alike(pictures=pictures, others=others)
    return 10 * torch.log10(4 / (pictures - others).square().flatten(1).mean(1))


def iou(pictures, others, edge=0.5):
    """Intersection over union of the ink of two crowds of pictures (B, C, 32, 32), pair by pair -> (B,): 1 where both
    cover the same pixels, 0 where they share none.  Ink is what is brighter than `edge`.

    >>> one = torch.tensor([[1.0, 1.0, -1.0, -1.0]]).view(1, 1, 1, 4)
    >>> iou(one, one.roll(1, -1)).tolist()                       # one pixel of three
    [0.3333333432674408]
    """
    check_alike(pictures=pictures[:, :1], others=others[:, :1])
    one, other = (ink_of(some).flatten(1) > edge for some in (pictures, others))
    return (one & other).sum(1) / (one | other).sum(1).clamp_min(1)


def recall_at(k, similarity, true):
    """Share of queries (rows) with a true match among the k most similar: similarity, true bool (B, M).

    >>> similarity = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    >>> recall_at(1, similarity, torch.tensor([[True, False, True], [False, True, False]]))
    0.5
    """
    check_alike(similarity=similarity, true=true)
    check(k >= 1 and not similarity.isnan().any(), f"recall at k = {k} of {kind_of(similarity)}: NaN, or k below 1?")
    check(bool(true.any(1).all()), "a query without any true match cannot be answered: leave it out")
    best = similarity.topk(min(k, similarity.shape[1]), dim=1).indices
    return true.gather(1, best).any(1).float().mean().item()
