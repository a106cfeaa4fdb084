"""Instructions that change a picture: "make it red", "make it thin and lean left".

Whatever an instruction leaves unsaid stays as it is.  The same scan, rendered before and after, is an exact pair: the
right answer is known pixel by pixel.
"""

import torch

from minidiff.data.captions import COLORS, DIGITS, SIZES, STROKES, UNSAID, CaptionError
from minidiff.tools.checks import check_rows

SAID = {"color": COLORS, "stroke": STROKES, "lean": ("lean left", "upright", "lean right"),
        "digit": DIGITS}
FORM = "make it [color] and [thin|plain|thick] and [lean left|upright|lean right] and [a digit], one of these or more"


def instruction(changes):
    """Changes (4,), UNSAID where an attribute stays -> the sentence that asks for them.

    >>> instruction([UNSAID, 0, UNSAID, UNSAID]), instruction([3, UNSAID, 0, 0])
    ('make it red', 'make it thin and lean left and a three')
    """
    digit, color, stroke, lean = check_rows("changes", changes, SIZES).tolist()
    parts = [SAID[name][value] for name, value in (("color", color), ("stroke", stroke), ("lean", lean))
             if value != UNSAID]
    if digit != UNSAID:
        parts.append(f"{'an' if DIGITS[digit] == 'eight' else 'a'} {DIGITS[digit]}")
    return "make it " + " and ".join(parts) if parts else ""


def understand(sentence):
    """The inverse of `instruction`: a sentence -> changes (4,); raises a CaptionError if it cannot be understood.

    >>> understand("Make it thin and lean left!").tolist()
    [-1, -1, 0, 0]
    """
    words, changes = sentence.lower().strip(" .!"), torch.full((4,), UNSAID)
    places = {said: (column, value) for column, name in enumerate(("digit", "color", "stroke", "lean"))
              for value, said in enumerate(SAID[name])}
    for part in words.removeprefix("make it ").split(" and "):
        part = part.removeprefix("an ").removeprefix("a ")
        if not words.startswith("make it ") or part not in places or changes[places[part][0]] != UNSAID:
            raise CaptionError(f"{sentence[:80]!r} is not of the form {FORM}, for example 'make it red and thin'")
        column, value = places[part]
        changes[column] = value
    return changes


def edited(attributes, changes):
    """Attributes (..., 4) after the changes (..., 4)."""
    return torch.where(changes == UNSAID, attributes, changes)
