"""Where is the ink in a picture, which color has it, and how would MNIST have written it down?"""

from functools import reduce

import numpy as np
import torch
from torch.nn import functional as F

from minidiff.data.digits import DataError
from minidiff.data.rendering import moments, stroke_width

SIDE, BOX = 32, 20                                               # of a picture, and of the ink in it, in pixels
THIN = 1.5                                                       # pixels: thinner strokes are made as wide
WIDE = 1.5                                                       # times as wide as tall is hardly a single digit
CHROMA, SATURATION = 0.15, 0.35                                  # from which ink has a color, and is not black or gray


class PictureError(DataError, ValueError):
    """A person's picture cannot be used; the message says in one line which one, and why."""


def is_done(rgb):
    """Whether a picture (H, W, 3) has the form already: its size, a black ground, its ink large and in the middle."""
    ink = _largest(rgb)
    if ink.shape not in ((28, 28), (SIDE, SIDE)) or np.median(_rim(ink)) > 0.05 or ink.max() < 0.8:
        return False
    _, center, _ = moments(torch.tensor(ink)[None])
    lengths = [np.ptp(places) for places in np.nonzero(ink > 0.1)]
    return max(lengths) >= 16 and all(abs(c.item() - len(ink) / 2) < 2.5 for c in center)


def _largest(values):
    """The largest of the three values of each pixel, (H, W, 3) -> (H, W); values.max(-1) takes ten times as long."""
    return reduce(np.maximum, np.moveaxis(values, -1, 0))


def _rim(values):
    """The outermost pixels of a picture (H, W, ...), a thirtieth of each side -> (N, ...)."""
    tall, wide = (max(1, n // 30) for n in values.shape[:2])
    sides = values[:tall], values[-tall:], values[:, :wide], values[:, -wide:]
    return np.concatenate([side.reshape(-1, *values.shape[2:]) for side in sides])


def find_ink(rgb, alpha, name):
    """Colors (H, W, 3) in [0, 1] and opacity (H, W, 1) or None -> ink (H, W) in [0, 1], its color (3,), and what was
    done, in words."""
    if alpha is not None and 0 < np.median(alpha) and np.ptp(alpha) < 0.1:
        alpha = None                                             # the same all over: it shows nothing
    if alpha is not None and _is_sheet(rgb, alpha):              # a cut-out piece of paper: what matters is on it
        rgb, alpha = np.where(alpha > 0.5, rgb, np.median(rgb[alpha[..., 0] > 0.5], axis=0)), None
    if alpha is None:
        ink, rgb, ground = _ink_on_paper(rgb, name)
        ground_is = "bright" if ground.mean() > rgb[ink > 0.5].mean() else "dark"
    else:
        ground, ground_is = None, "transparent"
        ink = _parted(abs(alpha[..., 0] - np.median(_rim(alpha))), name)
    ink = _without_specks(ink)
    color = _color_of(rgb, ink, ground)
    said = f"its {ground_is} ground became black, its ink {'became white' if color is None else 'kept its color'}"
    return ink, np.float32((1, 1, 1) if color is None else color), said


def _ink_on_paper(rgb, name):
    """Ink by how far each pixel is from the ground -> ink (H, W), and the colors and the ground (H, W, 3) beside it."""
    for _ in range(5):
        ground = _ground(rgb)
        ink = _parted(np.linalg.norm(rgb - ground, axis=-1), name)
        if (ink > 0.5).mean() < 0.6:
            return ink, rgb, ground
        tall, wide = (n // 20 + 1 for n in rgb.shape[:2])        # what lies all around is a frame and not the ground
        rgb = rgb[tall:-tall, wide:-wide]
    raise PictureError(f"{name} does not show a digit on a ground: nearly all of it would be ink")


def _ground(rgb):
    """The color of the ground at each pixel (H, W, 3): the median of the rim, and where light falls off across a photo
    a surface of second degree through all that is near it."""
    rim = _rim(rgb)
    ground = np.broadcast_to(np.median(rim, axis=0), rgb.shape)
    if np.median(abs(rim - ground[0, 0]).max(1)) < 0.01:         # as even as only a drawing is
        return ground
    y, x = np.mgrid[-1:1:rgb.shape[0] * 1j, -1:1:rgb.shape[1] * 1j].reshape(2, -1).astype(np.float32)
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], 1)
    for _ in range(4):
        away = _largest(abs(rgb - ground))
        near = np.flatnonzero(away < away.max() / 3)[::1 + away.size // 20_000]        # so many are enough
        surface, *_ = np.linalg.lstsq(terms[near], rgb.reshape(-1, 3)[near], rcond=None)
        ground = (terms @ surface).reshape(rgb.shape)
    return ground


def _parted(away, name):
    """Distances from the ground (H, W) -> ink (H, W) in [0, 1]: 0 up to the noise of the ground, 1 where ink is full.
    The two crowds are parted where the variance between them is the largest.  [Otsu 1979]"""
    counts, edges = np.histogram(away, 128, (0, max(away.max(), 1e-6)))
    here = counts.cumsum()[:-1]                                  # how many are below each edge
    mass = (counts * (edges[1:] + edges[:-1])).cumsum() / 2
    between = (mass[-1] * here / away.size - mass[:-1]) ** 2 / (here * (away.size - here)).clip(1)
    threshold = edges[1 + between.argmax()]
    noise = 3 * np.median(away[away <= threshold])
    full = np.percentile(away[away > threshold], 75) if (away > threshold).any() else 0
    if full < max(0.1, 1.5 * noise):
        raise PictureError(f"{name} is empty: no ink stands out from a ground. Is there some ground around it?")
    return ((away - noise) / (full - noise)).clip(0, 1).astype(np.float32)


def _without_specks(ink):
    """Ink (H, W) without dust and without the dark edge of a scan: only pieces of at least a thirtieth of the largest
    one, with their soft edges, and none that runs along a whole side where there are others."""
    from scipy import ndimage  # here, not above: no command should wait for it

    pieces, count = ndimage.label(ink > 0.4, np.ones((3, 3)))
    sizes = ndimage.sum_labels(ink, pieces, range(1 + count))
    sizes[0] = 0
    sides = pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]
    edge = np.any([np.bincount(side, minlength=1 + count) > 0.9 * len(side) for side in sides], axis=0)
    edge[0] = False                                              # that is the ground
    if sizes[~edge].max() > sizes.max() / 20:
        sizes[edge] = 0
    return ink * _grown((sizes > sizes.max() / 30)[pieces])


def _grown(mask):
    """A mask (H, W) and two pixels around it."""
    return F.max_pool2d(torch.tensor(mask)[None].float(), 5, 1, 2)[0].numpy() > 0


def _is_sheet(rgb, alpha):
    """Whether what is opaque is a piece of paper with ink on it, and not the ink itself: full, and of two colors."""
    shown = ~_grown(alpha[..., 0] <= 0.5)
    if not shown.any():
        return False
    low, high = np.percentile(rgb[shown].mean(-1), (2, 98))
    rows, columns = np.nonzero(shown)
    return high - low > 0.4 and shown.sum() > 0.7 * (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


def _color_of(rgb, ink, ground):
    """The color of the ink (3,), as bright as it can be, or None for black, gray and white.  A thin stroke is mixed
    with its ground, so its color is carried on, away from the ground, until it meets a side of the color cube."""
    color, there = rgb[ink > 0.8].mean(0), ink > 0.8
    if ground is not None:
        way = color - ground[there].mean(0)
        room = np.where(way > 0, 1 - color, color) / abs(way).clip(1e-6)
        color = (color + way * room.min()).clip(0, 1)
    chroma = np.ptp(color)
    return color / color.max() if chroma > CHROMA and chroma > SATURATION * color.max() else None


def as_mnist(ink):
    """Ink (H, W) of any size -> ink (32, 32) as MNIST has it, and what was done to its strokes, in words."""
    rows, columns = (ink > 0.1).nonzero().unbind(1)
    ink = ink[None, None, rows.min():rows.max() + 1, columns.min():columns.max() + 1]
    width = stroke_width(F.pad(ink, (2, 2, 2, 2))[0], scale=1).item() * BOX / max(ink.shape)
    said, grow = "", (THIN - width) / 2 * 8                      # on each side, at eight times the size
    if grow >= 1:
        ink = _thickened(_resized(ink, 8 * BOX), grow)
        said = f"strokes of {width:.1f} pixels made {THIN:g} wide, "
    if ink.shape[3] > WIDE * ink.shape[2]:
        said += "much wider than tall (are these several digits?), "
    small = _resized(ink, BOX)[0]
    small = small / small.max()
    _, center, _ = moments(small)
    top, left = (min(max(0, round(SIDE / 2 - c.item())), SIDE - n) for c, n in zip(center, small.shape[1:]))
    bottom, right = SIDE - top - small.shape[1], SIDE - left - small.shape[2]
    return F.pad(small[0], (left, right, top, bottom)), said


def _resized(ink, longer):
    """Ink (1, 1, H, W), its longer side made so long."""
    size = [max(1, round(n * longer / max(ink.shape))) for n in ink.shape[2:]]
    return F.interpolate(ink, size, mode="bilinear", antialias=True)


def _thickened(ink, pixels):
    """Ink (1, 1, H, W) grown by a disc of so many pixels on all sides: each row of the disc is a maximum along rows."""
    reach = int(pixels)
    ink = F.pad(ink, (reach,) * 4)
    halves = {y: int((pixels**2 - y**2) ** 0.5) for y in range(-reach, reach + 1)}
    rows = [F.max_pool2d(ink, (1, 2 * half + 1), 1, (0, half)).roll(y, 2) for y, half in halves.items()]
    return torch.stack(rows).amax(0)
