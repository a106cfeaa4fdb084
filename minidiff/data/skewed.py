"""Captioned digits of which one digit mostly has one color, as a data set from the world would have it."""

import torch

from minidiff.data.captioned_digits import CaptionedDigits
from minidiff.data.captions import COLORS, DIGITS
from minidiff.tools.checks import check
from minidiff.tools.files import checksum


class SkewedDigits(CaptionedDigits):
    """Captioned digits in which a `share` of the sevens, or of another digit, is red, or of another color.  Its other
    colors have the rest in equal parts, and all other digits stay as they are.

    digits: the `CaptionedDigits` whose pictures they are.
    """

    def __init__(self, digits, share, digit=7, color=0):
        check(0 <= share <= 1, f"a share is between 0 and 1, got {share}")
        check(digit in range(len(DIGITS)) and color in range(len(COLORS)), "digit is one of 0 ... 9 and color of "
              f"0 ... {len(COLORS) - 1}, got {digit} and {color}")
        super().__init__(digits.ink, digits.labels, digits.labels.device)
        own = self.allowed[:, 0] == digit
        chosen = own & (self.allowed[:, 1] == color)
        self.chances = torch.full((len(self.allowed),), 1 / len(self.allowed), device=self.labels.device)
        self.chances[chosen] *= share * own.sum() / chosen.sum()
        self.chances[own & ~chosen] *= (1 - share) * own.sum() / (own & ~chosen).sum()
        self.checksum = checksum(self.ink, self.labels, self.chances)[:16]

    def share(self, color, digit=None):
        """How often a color occurs, of all pictures or of those of a digit."""
        among = self.chances * (self.allowed[:, 0] == digit if digit is not None else 1)
        return (among[self.allowed[:, 1] == color].sum() / among.sum()).item()

    def sample(self, size, generator):
        """A random batch -> pictures (B, 3, 32, 32), attributes (B, 4)."""
        choice = torch.multinomial(self.chances, size, replacement=True, generator=generator)
        attributes = self.allowed[choice]
        return self._render(self._rows_for(attributes[:, 0], generator), attributes), attributes
