"""Captioned digits: every scan can be rendered in every style and color, and then its caption is true."""

from functools import cached_property

import torch

from minidiff.data.captions import SIZES, all_combinations, is_held_out
from minidiff.data.digits import load_digits
from minidiff.data.rendering import render_styles, tint
from minidiff.tools.checks import check, check_labels, check_pictures, check_rows, check_shape, kind_of
from minidiff.tools.files import checksum
from minidiff.tools.runtime import budget


def check_ink(ink, labels):
    """What captioned digits are made of, looked at once: bytes, light on black, with a label each."""
    check(hasattr(labels, "__len__"), f"labels must be a tensor (N,), got {kind_of(labels)}")
    check_shape("ink", ink, len(labels), 3, 3, 32, 32)
    check_labels("labels", labels, len(ink))
    check(len(ink) > 0, f"ink: an empty set, got {kind_of(ink)}; there is nothing to train on")
    check(ink.dtype == torch.uint8, f"ink bytes are uint8 in 0..255, got {kind_of(ink)}; `render_styles` makes them")
    check_pictures(ink[:500, 1, 1:2].float() / 127.5 - 1, 1, name="ink")


class CaptionedDigits:
    """All digits in all nine styles on one device, and random batches of them with true attributes.

    ink (N, 3, 3, 32, 32) bytes by stroke and lean, labels (N,).  Held-out combinations are never in a sample; they
    are rendered only if they are asked for by name.
    """

    def __init__(self, ink, labels, device="cpu"):
        check_ink(ink, labels)
        order = labels.argsort(stable=True)
        self.ink, self.labels = ink[order].to(device), labels[order].to(device)
        self.count = torch.bincount(self.labels, minlength=10)
        self.start = self.count.cumsum(0) - self.count
        every = all_combinations().to(device)
        self.allowed = every[~is_held_out(every) & (self.count[every[:, 0]] > 0)]

    @cached_property
    def checksum(self):
        """What tells these digits from others, for the settings of a training."""
        return checksum(self.ink, self.labels)[:16]

    def render(self, rows, attributes):
        """Digits `rows` (B,) in the style and color that attributes (B, 4) say -> pictures (B, 3, 32, 32)."""
        check_rows("rows", rows[:, None], [len(self.ink)], unsaid=False)
        check_rows("attributes", attributes, SIZES, unsaid=False)
        check(len(rows) == len(attributes), f"as many rows as attributes, got {len(rows)} and {len(attributes)}")
        return self._render(rows, attributes)

    def _render(self, rows, attributes):
        _, color, stroke, lean = attributes.unbind(1)
        return tint(self.ink[rows, stroke, lean], color)

    def rows_for(self, digit, generator):
        """A random picture of each digit (B,) -> rows (B,)."""
        check_rows("digit", digit[:, None], SIZES[:1], unsaid=False)
        check(bool(self.count[digit].all()), f"there are only the digits {self.count.nonzero().flatten().tolist()}")
        return self._rows_for(digit, generator)

    def _rows_for(self, digit, generator):
        chance = torch.rand(len(digit), generator=generator, device=digit.device)
        return self.start[digit] + (chance * self.count[digit]).long()

    def sample(self, size, generator):
        """A random batch -> pictures (B, 3, 32, 32), attributes (B, 4), each allowed combination equally often."""
        choice = torch.randint(len(self.allowed), (size,), generator=generator, device=self.labels.device)
        attributes = self.allowed[choice]
        return self._render(self._rows_for(attributes[:, 0], generator), attributes), attributes


def load_captioned_digits(device="cpu"):
    """Training and validation digits in all nine styles, rendered anew: a second of work for the embedded ones."""
    digits = load_digits(full=budget(full=True, small=False, fast=False))
    some = budget(full=1, small=1, fast=10)                      # the fast budget takes every tenth digit
    return (CaptionedDigits(render_styles(digits.train[::some]), digits.train_labels[::some], device),
            CaptionedDigits(render_styles(digits.val[::some]), digits.val_labels[::some], device))
