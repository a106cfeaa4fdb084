"""The judge of the exercises: is an answer right, and if not, which mistake is it?"""

import difflib
import importlib
import linecache
import pkgutil
import traceback
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from minidiff import exercises
from minidiff.exercises.differences import difference, numbers_in
from minidiff.tools import show


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
    """Every exercise by its id, in the order of the chapters: what the files of `minidiff/exercises` list."""
    names = sorted(module.name for module in pkgutil.iter_modules(exercises.__path__))
    chapters = [importlib.import_module(f"{exercises.__name__}.{name}").EXERCISES for name in names]
    return {exercise.id: exercise for chapter in chapters for exercise in chapter}


def nearest(id):
    """What to say about an id that is no exercise."""
    near = difflib.get_close_matches(id, all_exercises(), 3, cutoff=0.3) or all_exercises()
    return f"There is no exercise {id[:40]!r}. Nearest: {', '.join(near)}."


def judge(id, answer):
    """Whether an answer to an exercise is right.  Whatever the answer is or does, nothing is raised."""
    if isinstance(id, float) and f"{id}0" in all_exercises():    # 4.10 is 4.1, as a number
        return Result(str(id), False, False, f"There are {id} and {id}0: write which one in quotes, \"{id}0\".")
    if (id := str(id)) not in all_exercises():
        return Result(id, False, False, nearest(id))
    exercise = all_exercises()[id]
    try:
        if answer is None:
            return _untouched(exercise)
        by_kind = {"number": _judge_number, "open": _judge_open}
        return by_kind.get(exercise.kind, _judge_function)(exercise, answer)
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
    where = f' In line {own[-1].lineno}: {linecache.getline(own[-1].filename, own[-1].lineno).strip()}' if own else ""
    if isinstance(error, TypeError) and not own and exercise.signature:                # the arguments do not fit
        where = f" It is called as {exercise.signature.replace(chr(10), ' and ')}."
    return f"it stops with {type(error).__name__}: {' '.join(str(error).split())[:300]}.{where}"


def _parts(answer):
    return answer if isinstance(answer, (tuple, list)) else (answer,)


def _judge_number(exercise, answer):
    known = isinstance(answer, (int, float, torch.Tensor, np.generic)) and not isinstance(answer, bool)
    if not known or torch.as_tensor(answer).numel() != 1:
        return _wrong(exercise, f"the answer is one number; yours is {kind_of(answer)}.")
    number, right = float(answer), exercise.reference()
    if abs(number - right) <= exercise.tolerance:
        return _right(exercise)
    for says, wrong in exercise.mistakes.items():
        if abs(number - wrong) <= exercise.tolerance:
            return _wrong(exercise, f"{says} (Yours: {number:g}.)", mistake=says)
    if not np.isfinite(number):
        return _wrong(exercise, f"{number} is NaN or infinite: usual reasons are 0 / 0 or the logarithm of zero.")
    return _wrong(exercise, f"{number:g} is too {'small' if number < right else 'large'}.")


def _judge_open(exercise, answer):
    reached, measured = exercise.goal(answer)
    if reached is None:
        return _nothing(exercise, answer)
    return Result(exercise.id, reached, True, f"{exercise.id} {'right' if reached else 'not yet'}: {measured}.")


def tried(exercise, answer):
    """What an answer gives for each case, and whether it changed an argument in place.  Each case is made anew."""
    outcomes, changed = [], False
    for i in range(len(exercise.cases())):
        case, untouched = exercise.cases()[i], exercise.cases()[i]
        outcomes.append(exercise.run(answer, *case))
        changed |= any(difference(a, b, 0) for a, b in zip(numbers_in(untouched), numbers_in(case), strict=True))
    return outcomes, changed


def _alike(exercise, other, outcomes):
    """Whether another answer gives just these outcomes, their type and shape included."""
    try:
        return not any(difference(*pair, exercise.tolerance) for pair in zip(tried(exercise, other)[0], outcomes))
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


def _judge_function(exercise, answer):
    count = 2 if exercise.kind == "pair" else 1
    if len(_parts(answer)) != count or not all(callable(part) for part in _parts(answer)):
        wanted = "two functions, (forward, inverse)" if count == 2 else "a function, its name without brackets"
        return _wrong(exercise, f"the answer is {wanted}; yours is {kind_of(answer)}.")
    outcomes, changed = tried(exercise, answer if count == 2 else _parts(answer)[0])
    if all(outcome is None for outcome in outcomes):
        return _nothing(exercise, answer)
    targets = tried(exercise, exercise.reference)[0]
    same_shape = torch.is_tensor(outcomes[0]) and torch.is_tensor(targets[0]) and outcomes[0].shape == targets[0].shape
    more = {"pictures": (targets[0], outcomes[0])} if exercise.pictures and same_shape else {}
    wrong = [difference(*pair, exercise.tolerance) for pair in zip(targets, outcomes)]
    if changed:
        return _wrong(exercise, "your function changes its arguments in place (`+=`, `x[i] = `, a method ending in _), "
                                "and whoever called it still needs them: work on a new tensor.", **more)
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
