"""Who pays: the share that is right in each group, because a mean over all hides the smallest."""

import torch

from minidiff.data.captions import SIZES
from minidiff.tools.checks import check, check_shape


def groups_of(attributes):
    """The group of a picture, its digit and its color, as one number: attributes (N, 4) -> (N,)."""
    return attributes[:, 0] * SIZES[1] + attributes[:, 1]


def by_group(right, attributes):
    """Shares that are right (10, 7), for each digit and color: right (N,) bools, attributes (N, 4).

    >>> right, said = torch.tensor([True, False, True]), torch.tensor([[7, 0, 1, 1], [7, 2, 1, 1], [7, 2, 1, 1]])
    >>> by_group(right, said)[7, [0, 2]].tolist()
    [1.0, 0.5]

    A group without a picture is NaN.
    """
    check_shape("attributes", attributes, len(right), 4)
    check(right.dtype == torch.bool, f"right is True or False, got {right.dtype}; compare with ==")
    digits, colors = SIZES[:2]
    group = groups_of(attributes)
    count = group.bincount(minlength=digits * colors)
    return (group.bincount(right.float(), minlength=digits * colors) / count).view(digits, colors)
