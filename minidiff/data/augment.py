"""Pictures changed a little at random, so that a network sees none of them twice."""

import torch
from torch.nn import functional as F


def shift(pictures, pixels, generator):
    """Move each picture by up to `pixels` in both directions: an augmentation that keeps every caption true."""
    size, device = pictures.shape[-1], pictures.device
    dy, dx = torch.randint(0, 2 * pixels + 1, (2, len(pictures), 1), generator=generator, device=device)
    padded = F.pad(pictures, (pixels,) * 4, value=-1.0)
    along = torch.arange(size, device=device)
    rows, columns = (dy + along)[:, None, :, None], (dx + along)[:, None, None, :]
    picture = torch.arange(len(pictures), device=device)[:, None, None, None]
    channel = torch.arange(pictures.shape[1], device=device)[:, None, None]
    return padded[picture, channel, rows, columns]


def jitter(pictures, generator):
    """Turn, scale, shear and move each picture a little at random, for training a classifier."""
    angle, shear, grow, ratio, dx, dy = torch.randn(6, len(pictures), generator=generator, device=pictures.device)
    angle, grow, ratio = angle * 0.15, (grow * 0.08).exp(), (ratio * 0.08).exp()
    cos, sin = angle.cos() / grow, angle.sin() / grow
    matrix = torch.stack([torch.stack([cos * ratio, -sin + shear * 0.1, dx * 0.08], 1),
                          torch.stack([sin, cos / ratio, dy * 0.08], 1)], 1)
    grid = F.affine_grid(matrix, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures + 1, grid, align_corners=False) - 1
