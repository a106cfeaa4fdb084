"""Rendering a digit: a plain scan becomes a red, thick, left-leaning one, so that its caption is true.

Lean first (one affine look-up straightens the digit and shears it), then stroke (the distance to the ink's edge, cut at
another level), at twice the size; color last, on the fly.
"""

import torch
from torch.nn import functional as F

from minidiff.data.captions import LEANS, STROKES
from minidiff.tools.checks import check, check_digits, check_whole

RGB = torch.tensor([[1.0, 0.15, 0.15], [0.15, 0.85, 0.15], [0.2, 0.4, 1.0], [1.0, 0.9, 0.1],
                    [0.1, 0.9, 0.9], [1.0, 0.2, 0.9], [1.0, 1.0, 1.0]])     # in the order of COLORS
WIDTHS = (1.5, 2.7, 4.2)                                         # stroke width in pixels: thin, plain, thick
SHEARS = (-0.45, 0.0, 0.45)                                      # sideways pixels per row, upwards
REACH = 5                                                        # how far an edge may move, at double size


def moments(ink):
    """Mass, center and second moments of ink (N, H, W) >= 0 -> mass, (cy, cx), (u02, u11), each (N,).

    u02 is the variance of y; u11 the covariance of y and x, negative for a digit that leans right.
    """
    y = torch.arange(ink.shape[-2], dtype=ink.dtype, device=ink.device)
    x = torch.arange(ink.shape[-1], dtype=ink.dtype, device=ink.device)
    mass, rows, columns = ink.sum((-2, -1)).clamp_min(1e-6), ink.sum(-1), ink.sum(-2)
    cy, cx = (rows * y).sum(-1) / mass, (columns * x).sum(-1) / mass                  # sums, not matrix products:
    dy, dx = y - cy[:, None], x - cx[:, None]                                         # those may round differently
    u02 = (rows * dy**2).sum(-1) / mass                                               # when the machine is busy
    u11 = ((ink * dx[:, None, :]).sum(-1) * dy).sum(-1) / mass
    return mass, (cy, cx), (u02, u11)


def lean_of(ink):
    """How far ink (N, H, W) leans: sideways pixels per row upwards, -u11 / u02; right is positive."""
    _, _, (u02, u11) = moments(ink)
    return -u11 / u02.clamp_min(1e-6)


def shear_to(ink, lean, size):
    """Center ink (N, H, H) and shear it so that it leans by `lean`, drawn at (N, size, size)."""
    _, (cy, cx), _ = moments(ink)
    height = ink.shape[-1]
    offset = (torch.arange(size, dtype=ink.dtype, device=ink.device) + 0.5) / size * height - height / 2
    drift = lean - lean_of(ink)                                  # what the shear has to add
    y = offset[:, None] + cy[:, None, None]                      # (N, size, 1): where output rows look
    x = offset + cx[:, None, None] - drift[:, None, None] * -offset[:, None]
    grid = torch.stack(torch.broadcast_tensors(x, y), -1) + 0.5  # pixel centers
    return F.grid_sample(ink[:, None], grid / height * 2 - 1, mode="bicubic", align_corners=False)[:, 0]


def distance_to(mask, reach=REACH):
    """Distance from each pixel to the nearest True pixel of mask (N, H, W), cut off beyond `reach`.

    Exact and Euclidean, in two passes: squared distances along rows, then the best of the rows nearby.
    [Felzenszwalb & Huttenlocher 2012, eq. 2]
    """
    check_whole("reach", reach, 1, 10)                           # squares are kept in bytes
    squared = torch.where(mask, 0, (reach + 1) ** 2).to(torch.uint8)
    for axis in (2, 1):
        here, length = squared.clone(), mask.shape[axis]
        for step in range(1, min(reach + 1, length)):
            for to, origin in ((step, 0), (0, step)):
                target = squared.narrow(axis, to, length - step)
                torch.minimum(target, here.narrow(axis, origin, length - step) + step**2, out=target)
    return squared.float().sqrt()


def edge_distance(ink):
    """Signed distance of each pixel to the edge of the ink (N, H, W): negative inside, in pixels."""
    inside = ink > 0.5
    return distance_to(inside) - distance_to(~inside) + torch.where(inside, 0.5, -0.5)


def stroke_width(ink, scale=4):
    """Mean stroke width of ink (N, H, W) in [0, 1], in pixels: 2 area / perimeter, at `scale` times the size.

    The perimeter is the summed gradient, which is the mean length of all level lines (coarea formula).
    """
    big = F.interpolate(ink[:, None], scale_factor=scale, mode="bilinear", align_corners=False)[:, 0]
    down = big[:, 1:, 1:] - big[:, :-1, 1:]
    across = big[:, 1:, 1:] - big[:, 1:, :-1]
    perimeter = (down**2 + across**2).sqrt().sum((-2, -1)).clamp_min(1e-6)
    return 2 * big.sum((-2, -1)) / perimeter / scale


def render_styles(pictures):
    """Each picture (N, 1, 32, 32) in all nine shapes -> ink (N, 3 strokes, 3 leans, 32, 32) as bytes."""
    check_digits(pictures, 1, 32, 32)
    ink = (pictures[:, 0] + 1) / 2
    out = torch.empty(len(ink), len(STROKES), len(LEANS), 32, 32, dtype=torch.uint8)
    for rows in torch.arange(len(ink)).split(500):
        for lean, shear in enumerate(SHEARS):
            edge = edge_distance(shear_to(ink[rows], shear, size=64))
            width = stroke_width((0.5 - edge).clamp(0, 1), scale=1) / 2
            for stroke, target in enumerate(WIDTHS):
                grow = target - width                            # both sides by half, at double size
                thick = (0.5 - edge + grow[:, None, None]).clamp(0, 1)
                out[rows, stroke, lean] = F.avg_pool2d(thick, 2).mul(255).round().to(torch.uint8)
    return out


def tint(ink, color, palette=RGB):
    """Ink bytes (B, 32, 32) and color indices (B,) -> colored pictures (B, 3, 32, 32) in [-1, 1].

    >>> tint(torch.full((1, 1, 1), 255, dtype=torch.uint8), torch.tensor([6])).flatten().tolist()
    [1.0, 1.0, 1.0]
    """
    check(ink.dtype == torch.uint8, f"ink bytes are uint8 in 0..255, got {ink.dtype}; (255 * ink).byte() makes them")
    rgb = palette.to(ink.device)[color]                          # (B, 3)
    return ink[:, None].float() / 255 * rgb[:, :, None, None] * 2 - 1
