"""Exercises that grade themselves:  check("1.2", my_add_noise)  in a notebook, and for a file of answers

    python -m minidiff.exercises --template -o my_answers.py     write a file with all exercises, to be filled in
    python -m minidiff.exercises my_answers.py                   a table of what is right
    python -m minidiff.exercises --hints 1.2                     three hints, the last one nearly the solution
    python -m minidiff.exercises --hints 1.2 1                   the first one only
"""

import argparse
import linecache
import runpy
import sys
import tempfile
import textwrap
import traceback
from pathlib import Path

from minidiff.exercises.answers import ANSWER, AnswersError, read_answers
from minidiff.exercises.checker import all_exercises, grade, nearest
from minidiff.tools.files import FileError, atomic_write
from minidiff.tools.runtime import run_as_program

PROGRAM = "python -m minidiff.exercises"
HEAD = f'''"""My answers.  Fill in what you like, in any order, and look what is right with

    {PROGRAM} FILE

Hints:  {PROGRAM} --hints 1.2
The arguments with which a function was tried:  from minidiff.exercises import case;  case("1.2", 1)
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from minidiff.data import all_combinations, detokenize, is_true_of, parse, sentence, tokenize
from minidiff.models import attend
'''


def template(file="my_answers.py"):
    """All exercises as a Python file: prompts as comments, stubs, and the names by which the answers are found."""
    text, chapter = [HEAD.replace("FILE", file)], None
    for exercise in all_exercises().values():
        if chapter != exercise.chapter:
            chapter = exercise.chapter
            text.append(f"\n# {'=' * 30} chapter {chapter} {'=' * 30}\n")
        title = f"{exercise.id} {'*' * exercise.stars} ({exercise.minutes} minutes) {exercise.heading}"
        prompt = textwrap.wrap(f"{title} {exercise.prompt}", 110)
        named = "" if exercise.kind == "number" else f"\n\n\n{exercise.slot} = {exercise.given}"
        text.append("\n".join(f"# {line}" for line in prompt) + f"\n\n{exercise.stub}{named}\n\n")
    return "\n".join(text)


def load_answers(file):
    """The names that a learner's file defines -> (dict, ""), or ({}, why it cannot be run, in one line)."""
    try:
        code, places = read_answers(file)
    except AnswersError as error:
        return {}, str(error)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "answers.py"
        copy.write_text(code, encoding="utf-8")
        path = str(file if Path(file).read_bytes() == code.encode("utf-8") else copy)      # itself, where that can be
        linecache.cache[path] = len(code), None, code.splitlines(keepends=True), path      # the copy will be gone
        try:
            names = runpy.run_path(path)
        except (Exception, SystemExit) as error:
            own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
            where = f"{places[own[-1].lineno - 1]}: {own[-1].line}: " if own else ""
            return {}, f"{where}{type(error).__name__}: {' '.join(str(error).split())}"
    if any(map(ANSWER.match, names)):
        return names, ""
    other = ", ".join(name for name in names if "answer" in name.lower())
    return {}, ("there is no answer in it: answers have names like answer_1_2, or are handed to check"
                + (f"; it has {other[:80]}" if other else ""))


def table(results):
    """Results, one a line, by chapter, each chapter with its sum."""
    lines, chapters = [], {}
    for result in results:
        chapters.setdefault(all_exercises()[result.id].chapter, []).append(result)
    for chapter, found in chapters.items():
        lines.append(f"chapter {chapter}: {sum(r.passed for r in found)} of {len(found)} right")
        for r in found:
            exercise, words = all_exercises()[r.id], r.message.removeprefix(r.id).strip()
            words = "-" if not r.attempted else "right" if r.passed else words
            lines.append(f"  {r.id:6}{'*' * exercise.stars:4}{exercise.title:36}{words}")
    return "\n".join(lines)


def parser():
    """The options of the command line."""
    top = argparse.ArgumentParser(prog=PROGRAM, description="Check the answers to the exercises.")
    top.add_argument("answers", nargs="?", metavar="FILE",
                     help="your answers: Python with names like answer_1_2, or a notebook with its checks")
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
        print(f"minidiff.exercises: {error}", file=sys.stderr)
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
        print(f"minidiff.exercises: {options.answers} cannot be run: {trouble}", file=sys.stderr)
        return 1
    results = [grade(exercise.id, names.get(exercise.slot)) for exercise in all_exercises().values()]
    print(table(results))
    return 1 if any(r.attempted and not r.passed for r in results) else 0


if __name__ == "__main__":
    run_as_program(main)
