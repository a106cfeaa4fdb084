"""A UNet that draws digits in pixels, told which one."""

import torch
from torch.nn import functional as F

from minidiff.models.unet import DIGIT_PICTURES, DIGIT_PICTURES_LARGE
from minidiff.pipelines import denoiser
from minidiff.tools.checks import check, check_digits, check_rows, check_shape
from minidiff.tools.files import checksum
from minidiff.tools.runtime import budget


def digit_states(digits):
    """Digits (B,) as conditions (B, 1, 10): a row of zeros with a single one.  All zeros says nothing."""
    check_shape("digits", digits, "B")
    check_rows("digits", digits[:, None], [10], unsaid=False)
    return F.one_hot(digits, 10).float()[:, None]


def recipe(pictures, labels, seed=0, config=None, **settings):
    """Train a UNet on digits (N, 1, 32, 32), told which one by `digit_states`; mostly at high noise, where it is
    decided what will be drawn."""
    config = config or budget(full=DIGIT_PICTURES_LARGE, small=DIGIT_PICTURES, fast=DIGIT_PICTURES)
    check_digits(pictures, config.channels)
    check(len(pictures) == len(labels), f"as many labels as pictures, got {len(labels)} and {len(pictures)}")
    states, null = digit_states(labels), torch.zeros(1, 1, 10, device=labels.device)
    settings = dict(steps=budget(full=1_000, small=1_080, fast=20), batch=budget(full=256, small=128, fast=32),
                    drop=0.05, levels=(0.75, 0.75), objective={"data": checksum(pictures, labels)[:16]}) | settings
    return denoiser.recipe(pictures, lambda rows, generator: states[rows], null, seed, config, **settings)
