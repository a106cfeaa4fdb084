"""The form of an exercise: what it asks, what is right, what people get wrong, how an answer is tried, and how the
exercise is shown.  What grades an answer is in `checker`."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch

from minidiff.data.digits import load_digits

KINDS = ("code", "number", "bug", "pair", "open")


def call(answer, *case):
    """How most answers are tried: as a function of the case."""
    return answer(*case)


def there_and_back(pair, x, *rest):
    """How a pair is tried: the forward function, and whether the inverse leads back; None while one is missing."""
    there = pair[0](x, *rest)
    back = None if there is None else pair[1](there, *rest)
    return None if back is None else {"the forward function": there, "the round trip": back}


@dataclass(frozen=True)
class Exercise:
    """One exercise, of one of five kinds:

    code    a function that does what the package's own function `reference` does
    number  a number to be predicted; `reference()` computes it, and `reason` is told after the right answer
    bug     the function `broken` is shown, to be mended until it does what `reference` does
    pair    two functions, forward and inverse; `reference` is such a pair
    open    a goal: `goal(answer)` -> (reached?, a sentence with what was measured); `reference` is one way to reach it

    cases() makes a list of argument tuples: seeded, new at each call, with prime sizes; run(answer, *case) tries one.
    mistakes: sentence -> the function (pair, number) of somebody who makes that mistake.
    signature, shapes: of the function to be written; for a pair two lines each.
    """

    id: str
    title: str
    kind: str
    stars: int
    minutes: int
    prompt: str
    hints: tuple
    reference: Any
    signature: str = ""
    shapes: str = ""
    cases: Callable = tuple
    run: Callable = call
    mistakes: dict = field(default_factory=dict)
    reason: str = ""
    tolerance: float = 1e-4
    broken: Callable | None = None
    goal: Callable | None = None
    pictures: bool = False                                       # the answer is pictures (B, C, H, W) in [-1, 1]

    @property
    def chapter(self):
        """The number before the point."""
        return self.id.split(".")[0]

    @property
    def heading(self):
        """The title with a stop after it."""
        return self.title if self.title.endswith("?") else f"{self.title}."

    @property
    def slot(self):
        """The name of the answer in a learner's file."""
        return "answer_" + self.id.replace(".", "_")

    @property
    def stub(self):
        """What the learner begins with: a function that says and does nothing yet (for a bug: the broken function)."""
        if self.kind == "number":
            return f"{self.slot} = None{'# a number':>55}"
        if self.kind == "bug":
            return inspect.getsource(self.broken).rstrip()
        parts = zip(self.signature.splitlines(), self.shapes.splitlines(), strict=True)
        return "\n\n\n".join(f'def {line}:\n    """{shapes}"""' for line, shapes in parts)

    @property
    def given(self):
        """How the answer is handed in, as Python: the function's name, both names of a pair, or the number's slot."""
        if self.kind == "number":
            return self.slot
        names = re.findall(r"^def (\w+)", self.stub, re.MULTILINE)
        return names[0] if len(names) == 1 else f"({', '.join(names)})"

    @property
    def markdown(self):
        """The exercise as a notebook shows it: title, stars, prompt, and the hints, each folded by itself."""
        title = f"**{self.id} {'★' * self.stars} ({self.minutes} minutes) {self.heading}**"
        hints = "\n".join(f"<details><summary>Hint {i}</summary>\n\n{hint}\n</details>"
                          for i, hint in enumerate(self.hints, 1))
        return f"{title} {self.prompt}\n\n{hints}"

    @property
    def code(self):
        """The code cell under it: the stub and the check."""
        if self.kind == "number":
            return f'check("{self.id}", None){"# your number instead of None":>45}'
        return f'{self.stub}\n\ncheck("{self.id}", {self.given})'.replace("\n\n\n", "\n\n")


def randn(seed, *shape):
    """Normal numbers: the same seed, the same numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@cache
def some_digits():
    """Five digits (5, 1, 32, 32); clone them before they are given away."""
    return load_digits().val[::101]
