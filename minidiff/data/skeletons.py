"""Skeletons: a digit thinned to lines one pixel wide, which say where it is and not how it looks."""

import torch
from torch.nn import functional as F

from minidiff.data.pictures import open_picture
from minidiff.tools.checks import check_shape


def neighbors(mask):
    """The eight neighbors of each pixel of a mask (N, H, W), clockwise from above -> (8, N, H, W)."""
    around = F.pad(mask, (1, 1, 1, 1))
    height, width = mask.shape[1:]
    places = ((0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0))          # P2, P3, ... P9 of the paper
    return torch.stack([around[:, y:y + height, x:x + width] for y, x in places])


def thin(mask):
    """Peel a mask (N, H, W) from the outside until only lines one pixel wide are left.  [Zhang & Suen 1984]

    A pixel at the edge goes if 2 to 6 of its neighbors are in the mask, if a walk around it enters the mask exactly
    once, so that nothing falls apart, and if it lies on the south or east side of the mask; in every other pass, on the
    north or west side.
    """
    check_shape("mask", mask, "N", "H", "W")
    mask = mask.bool()
    while True:
        before = mask
        for sides in (((0, 2, 4), (2, 4, 6)), ((0, 2, 6), (0, 4, 6))):                 # south and east, north and west
            around = neighbors(mask)                             # (8, N, H, W)
            count, entered = around.sum(0), (~around & around.roll(-1, 0)).sum(0)
            edge = ~around[list(sides[0])].all(0) & ~around[list(sides[1])].all(0)
            mask = mask & ~((count >= 2) & (count <= 6) & (entered == 1) & edge)
        if torch.equal(mask, before):
            return mask


def open_sketch(source):
    """A scribble of one digit -> its skeleton (1, 32, 32), bytes 0 or 1, and a sentence that says what was done to it.
    source: a file, or anything else that `open_picture` takes, of any size, on a light or a dark background."""
    picture, did = open_picture(source)
    return thin(picture.amax(1) > 0).byte(), f"{did}; thinned to a line"
