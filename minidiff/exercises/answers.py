"""Exercises that check themselves:  check("1.2", my_add_noise)  in a notebook, and for a file of answers

    python -m minidiff.checks --template -o my_answers.py        write a file with all exercises, to be filled in
    python -m minidiff.checks my_answers.py                      a table of what is right
    python -m minidiff.checks --hints 1.2                        three hints, the last one nearly the solution
    python -m minidiff.checks --hints 1.2 1                      the first one only"""

import argparse
import linecache
import runpy
import sys
import textwrap
import traceback
from pathlib import Path

from minidiff.exercises.checker import all_exercises, judge, nearest
from minidiff.tools.files import FileError, atomic_write

HEAD = '''"""My answers.  Fill in what you like, in any order, and look what is right with

    python -m minidiff.checks {file}

Hints:  python -m minidiff.checks --hints 1.2
The arguments with which a function was tried:  from minidiff.checks import case;  case("1.2", 1)
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from minidiff.attention import attend
from minidiff.captions import all_combinations, detokenize, is_true_of, parse, sentence, tokenize
'''


def check(id, answer):
    """Say in one sentence whether an answer to an exercise is right, and if not, what is wrong with it.

    Prints the sentence and returns a `Result`; whatever the answer is or does, nothing is raised.

    >>> bool(check("1.2", None))
    1.2 not attempted yet.
    False
    """
    result = judge(id, answer)
    print(result.message)
    return result


def case(id, number=1):
    """The arguments of a case that a check has named ("in case 2 of 3"), to try a function on."""
    cases = list(exercise_of(str(id)).cases())
    if not 1 <= number <= len(cases):
        raise ValueError(f"exercise {id} has {len(cases) or 'no'} cases, counted from 1; case {number} was asked for")
    return cases[number - 1]


def exercise_of(id):
    """The exercise with this id; an error names those nearest to another."""
    if id not in all_exercises():
        raise ValueError(nearest(str(id)))
    return all_exercises()[id]


def exercise_markdown(id):
    """An exercise as a notebook shows it: title, stars, prompt, and the hints, each folded by itself."""
    exercise = exercise_of(id)
    hints = "\n".join(f"<details><summary>Hint {i}</summary>\n\n{hint}\n</details>"
                      for i, hint in enumerate(exercise.hints, 1))
    return (f"**{id} {'★' * exercise.stars} ({exercise.minutes} minutes) {exercise.heading}** {exercise.prompt}\n\n"
            f"{hints}")


def exercise_code(id):
    """The code cell under it: the stub and the check."""
    exercise = exercise_of(id)
    if exercise.kind == "number":
        return f'check("{id}", None){"# your number instead of None":>45}'
    return f'{exercise.stub}\n\ncheck("{id}", {exercise.given})'.replace("\n\n\n", "\n\n")


def template(file="my_answers.py"):
    """All exercises as a Python file: prompts as comments, stubs, and the names by which the answers are found."""
    text, chapter = [HEAD.format(file=file)], None
    for exercise in all_exercises().values():
        if chapter != (chapter := exercise.id.split(".")[0]):
            text.append(f"\n# {'=' * 30} chapter {chapter} {'=' * 30}\n")
        title = f"{exercise.id} {'*' * exercise.stars} ({exercise.minutes} minutes) {exercise.heading}"
        prompt = textwrap.wrap(f"{title} {exercise.prompt}", 110)
        named = "" if exercise.kind == "number" else f"\n\n\n{exercise.slot} = {exercise.given}"
        text.append("\n".join(f"# {line}" for line in prompt) + f"\n\n{exercise.stub}{named}\n\n")
    return "\n".join(text)


def load_answers(file):
    """The names that a learner's file defines -> (dict, ""), or ({}, why it cannot be run, in one line)."""
    try:
        return runpy.run_path(str(file)), ""
    except SyntaxError as error:
        return {}, f"line {error.lineno}: {type(error).__name__}: {error.msg}: {(error.text or '').strip()}"
    except (Exception, SystemExit) as error:
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        where = f"line {own[-1].lineno}: {linecache.getline(str(file), own[-1].lineno).strip()}: " if own else ""
        return {}, f"{where}{type(error).__name__}: {' '.join(str(error).split())}"


def table(results):
    """Results, one a line, by chapter, each chapter with its sum."""
    lines, chapters = [], {}
    for result in results:
        chapters.setdefault(result.id.split(".")[0], []).append(result)
    for chapter, found in chapters.items():
        lines.append(f"chapter {chapter}: {sum(r.passed for r in found)} of {len(found)} right")
        for r in found:
            exercise, words = all_exercises()[r.id], r.message.removeprefix(r.id).strip()
            words = "-" if not r.attempted else "right" if r.passed else words
            lines.append(f"  {r.id:5}{'*' * exercise.stars:4}{exercise.title:36}{words}")
    return "\n".join(lines)


def parser():
    """The options of the command line."""
    top = argparse.ArgumentParser(prog="python -m minidiff.checks", description="Check the answers to the exercises.")
    top.add_argument("answers", nargs="?", metavar="FILE", help="your answers: Python, with names like answer_1_2")
    top.add_argument("--template", action="store_true", help="print a file with all exercises, to be filled in")
    top.add_argument("-o", "--output", metavar="FILE", help="write the template there (never over an existing file)")
    top.add_argument("--hints", nargs="+", metavar=("ID", "NUMBER"),
                     help="three hints for an exercise, such as 1.2; with a number only that one")
    return top


def write_template(output):
    """Print the template, or write it to a file that is not there yet -> exit status."""
    if output is None:
        print(template())
        return 0
    try:
        if Path(output).exists():
            raise FileError(f"{output} exists already; nothing was written")
        with atomic_write(output) as draft:
            draft.write_text(template(Path(output).name), encoding="utf-8")
    except (FileError, OSError) as error:
        print(f"minidiff.checks: {error}", file=sys.stderr)
        return 1
    print(f"Written: {output}")
    return 0


def print_hints(id, number=None):
    """Print the hints of an exercise, or one of them -> exit status."""
    known = all_exercises().get(id)
    if known is None or number not in (None, "1", "2", "3"):
        print(nearest(id) if known is None else f"There are hints 1, 2 and 3, and no {number[:40]!r}.")
        return 1
    for i, hint in enumerate(known.hints, 1):
        if number in (None, str(i)):
            print(f"{i}. {hint}")
    return 0


def main(arguments=None):
    """Run the command line -> 0 if all that was attempted is right, else 1."""
    options = parser().parse_args(arguments)
    if options.template:
        return write_template(options.output)
    if options.hints:
        return print_hints(*options.hints[:2])
    if not options.answers:
        parser().print_help()
        return 1
    names, trouble = load_answers(options.answers)
    if trouble:
        print(f"minidiff.checks: {options.answers} cannot be run: {trouble}", file=sys.stderr)
        return 1
    results = [judge(exercise.id, names.get(exercise.slot)) for exercise in all_exercises().values()]
    print(table(results))
    return 1 if any(r.attempted and not r.passed for r in results) else 0
