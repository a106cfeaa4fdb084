"""Did a wish come true for which the captions have no word?"""

import torch

from minidiff.data.wishes import PALETTE
from minidiff.evaluation.readers import radius, read
from minidiff.tools.checks import check_alike

SMALL_EDGE = 5.4                                                 # pixels of `radius`: small | as usual


@torch.no_grad()
def came_true(word, classifier, pictures, attributes):
    """Which of digit, color, stroke and lean are as attributes (B, 4) say, and for stroke: as the word says -> bool
    (B, 4).  classifier: of digits; for outlines, which it cannot read, one of twenty classes, see `Mixed`."""
    found = read(classifier, pictures, PALETTE)                  # (B, 4)
    check_alike(found=found, attributes=attributes)
    true = found == attributes
    if word == "small":
        true[:, 2] = radius(pictures) < SMALL_EDGE
    if word == "outlined":
        true[:, 0], true[:, 2] = found[:, 0] % 10 == attributes[:, 0], found[:, 0] > 9
    return true
