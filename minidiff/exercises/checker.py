"""The checker of the exercises: is an answer right, and if not, which mistake is it?"""

import difflib
import importlib
import linecache
import pkgutil
import re
import traceback
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from minidiff.exercises.differences import difference
from minidiff.tools import checks, show


@dataclass(frozen=True)
class Result:
    """What was found.  It is true if the answer is right; `mistake` is the sentence of a named mistake."""

    id: str
    passed: bool
    attempted: bool
    message: str
    mistake: str | None = None
    pictures: tuple | None = None                                # the target and yours, (B, C, H, W) each

    def __bool__(self):
        return self.passed

    def figure(self):
        """Target, yours and the difference, one row each, where the answer is pictures; else None."""
        if self.pictures is None:
            return None
        target, yours = (p[:8].detach().float().cpu() for p in self.pictures)
        rows = ["target", "yours", "yours - target"]
        return show.grid(torch.cat([target, yours, yours - target]).nan_to_num().clamp(-1, 1), rows, len(target))

    def _ipython_display_(self):
        """In a notebook: the figure, if there is one.  The sentence has been printed already."""
        if self.pictures is not None:
            from IPython.display import display
            display(self.figure())


@cache
def all_exercises():
    """Every exercise by its id, in the order of the chapters: what `ch1`, `ch1b`, `ch2`, ... list."""
    found = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if chapter := re.fullmatch(r"ch(\d+)(\w?)", module.name):
            found[int(chapter[1]), chapter[2]] = importlib.import_module(f"{__package__}.{module.name}").EXERCISES
    return {exercise.id: exercise for place in sorted(found) for exercise in found[place]}


def nearest(id):
    """What to say about an id that is no exercise."""
    near = difflib.get_close_matches(id, all_exercises(), 3, cutoff=0.3) or all_exercises()
    return f"There is no exercise {id[:40]!r}. Nearest: {', '.join(near)}."


def exercise_of(id):
    """The exercise with this id; an error names those nearest to another."""
    if id not in all_exercises():
        raise ValueError(nearest(str(id)))
    return all_exercises()[id]


def check(id, answer):
    """Say in one sentence whether an answer to an exercise is right, and if not, what is wrong with it.

    Prints the sentence and returns a `Result`; whatever the answer is or does, nothing is raised.

    >>> bool(check("1.2", None))
    1.2 not attempted yet.
    False
    """
    result = grade(id, answer)
    print(result.message)
    return result


def case(id, number=1):
    """The arguments of a case that a check has named ("in case 2 of 3"), to try a function on."""
    cases = list(exercise_of(str(id)).cases())
    checks.check(1 <= number <= len(cases),
                 f"exercise {id} has {len(cases) or 'no'} cases, counted from 1; case {number} was asked for")
    return cases[number - 1]


def exercise_markdown(id):
    """An exercise as a notebook shows it: title, stars, prompt, and the hints, each folded by itself."""
    return exercise_of(id).markdown


def exercise_code(id):
    """The code cell under it: the stub and the check."""
    return exercise_of(id).code


def grade(id, answer):
    """Whether an answer to an exercise is right -> Result.  Whatever the answer is or does, nothing is raised."""
    if isinstance(id, float) and f"{id}0" in all_exercises():    # 4.10 is 4.1, as a number
        return Result(str(id), False, False, f"There are {id} and {id}0: write which one in quotes, \"{id}0\".")
    if (id := str(id)) not in all_exercises():
        return Result(id, False, False, nearest(id))
    exercise = all_exercises()[id]
    try:
        if answer is None:
            return _untouched(exercise)
        by_kind = {"number": _grade_number, "open": _grade_open}
        return by_kind.get(exercise.kind, _grade_function)(exercise, answer)
    except (Exception, SystemExit) as error:                     # "Run all" must reach the end
        return _wrong(exercise, _told(error, answer, exercise))


def _untouched(exercise, why=""):
    return Result(exercise.id, False, False, f"{exercise.id} not attempted yet{why}.")


def _nothing(exercise, answer):
    """What to say of functions that give None: a stub has nothing in it, and what has more has lost its return."""
    empty = len((lambda: None).__code__.co_code)
    codes = [part.__code__.co_code for part in _parts(answer) if hasattr(part, "__code__")]
    if codes and min(map(len, codes)) > empty:
        return _wrong(exercise, "your function gives None: is `return` missing in its last line?")
    return _untouched(exercise)


def _wrong(exercise, why, **more):
    return Result(exercise.id, False, True, f"{exercise.id} not yet: {why}", **more)


def _right(exercise, **more):
    return Result(exercise.id, True, True, f"{exercise.id} right. {exercise.reason}".rstrip(), **more)


def _told(error, answer, exercise):
    """An error in one line: its kind, its message, and the line of the learner's code where it happened."""
    files = {part.__code__.co_filename for part in _parts(answer) if hasattr(part, "__code__")}
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    where = f" In line {own[-1].lineno}: {linecache.getline(own[-1].filename, own[-1].lineno).strip()}" if own else ""
    if isinstance(error, TypeError) and not own and exercise.signature:                # the arguments do not fit
        where = f" It is called as {exercise.signature.replace(chr(10), ' and ')}."
    return f"it stops with {type(error).__name__}: {' '.join(str(error).split())[:300]}.{where}"


def _parts(answer):
    return answer if isinstance(answer, (tuple, list)) else (answer,)


def _grade_number(exercise, answer):
    known = isinstance(answer, (int, float, torch.Tensor, np.generic)) and not isinstance(answer, bool)
    if not known or torch.as_tensor(answer).numel() != 1:
        return _wrong(exercise, f"the answer is one number; yours is {checks.kind_of(answer)}.")
    number, right = float(answer), exercise.reference()
    if abs(number - right) <= exercise.tolerance:
        return _right(exercise)
    for says, wrong in exercise.mistakes.items():
        if abs(number - wrong) <= exercise.tolerance:
            return _wrong(exercise, f"{says} (Yours: {number:g}.)", mistake=says)
    if not np.isfinite(number):
        return _wrong(exercise, f"{number} is NaN or infinite: usual reasons are 0 / 0 or the logarithm of zero.")
    return _wrong(exercise, f"{number:g} is too {'small' if number < right else 'large'}.")


def _grade_open(exercise, answer):
    reached, measured = exercise.goal(answer)
    if reached is None:
        return _nothing(exercise, answer)
    return Result(exercise.id, reached, True, f"{exercise.id} {'right' if reached else 'not yet'}: {measured}.")


def _numbers_in(value):
    """All tensors, numbers and strings in some arguments, those inside lists, dicts and dataclasses too."""
    if is_dataclass(value):
        value = [getattr(value, field.name) for field in fields(value)]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in _numbers_in(part)]
    return [value] if torch.is_tensor(value) or isinstance(value, (int, float, str)) else []


def tried(exercise, answer):
    """What an answer gives for each case, and whether it changed an argument in place.  Each case is made anew."""
    outcomes, changed = [], False
    for i in range(len(exercise.cases())):
        case, untouched = exercise.cases()[i], exercise.cases()[i]
        outcomes.append(exercise.run(answer, *case))
        changed |= bool(difference(_numbers_in(untouched), _numbers_in(case), 0))
    return outcomes, changed


def _alike(exercise, other, outcomes):
    """Whether another answer gives just these outcomes, their type and shape included."""
    try:
        return not difference(tried(exercise, other)[0], outcomes, exercise.tolerance)
    except Exception:                                            # it does not even run: then it is not this one
        return False


def _mistaken(exercise, answer, targets):
    """The named mistakes, (sentence, answer); for a pair then also each mistaken half with the learner's other half."""
    yield from exercise.mistakes.items()
    for says, other in exercise.mistakes.items() if exercise.kind == "pair" else ():
        for mixed, mistaken in (((other[0], answer[1]), (other[0], exercise.reference[1])),
                                ((answer[0], other[1]), (exercise.reference[0], other[1]))):
            if not _alike(exercise, mistaken, targets):          # a right half is no mistake
                yield says, mixed


def _grade_function(exercise, answer):
    count = 2 if exercise.kind == "pair" else 1
    if len(_parts(answer)) != count or not all(callable(part) for part in _parts(answer)):
        wanted = "two functions, (forward, inverse)" if count == 2 else "a function, its name without brackets"
        return _wrong(exercise, f"the answer is {wanted}; yours is {checks.kind_of(answer)}.")
    outcomes, changed = tried(exercise, answer if count == 2 else _parts(answer)[0])
    if all(outcome is None for outcome in outcomes):
        return _nothing(exercise, answer)
    targets = tried(exercise, exercise.reference)[0]
    same_shape = torch.is_tensor(outcomes[0]) and torch.is_tensor(targets[0]) and outcomes[0].shape == targets[0].shape
    more = {"pictures": (targets[0], outcomes[0])} if exercise.pictures and same_shape else {}
    if changed:
        return _wrong(exercise, "your function changes its arguments in place (`+=`, `x[i] = `, a method ending in _), "
                                "and whoever called it still needs them: work on a new tensor.", **more)
    wrong = [difference(*pair, exercise.tolerance) for pair in zip(targets, outcomes, strict=True)]
    if not any(wrong):
        return _right(exercise, **more)
    if exercise.broken and _alike(exercise, exercise.broken, outcomes):
        return _untouched(exercise, ": it still does what the broken function does")
    number, first = next((i, words) for i, words in enumerate(wrong, 1) if words)
    detail = f"{first}, in case {number} of {len(wrong)}."
    for says, other in _mistaken(exercise, answer, targets):
        if _alike(exercise, other, outcomes):
            return _wrong(exercise, f"{says} ({detail[0].upper()}{detail[1:]})", mistake=says, **more)
    return _wrong(exercise, detail, **more)
