"""The book's student beside its machine, three seeds: how long its pairs and its training take, with all threads and
nothing else running, and what it reaches with one, two and four calls.
"""

import sys
import time
from dataclasses import replace

from common import DEVICE, SEEDS, machine, scored

from minidiff.data import load_captioned_digits
from minidiff.pipelines import few_steps
from minidiff.tools import budget, study
from minidiff.training import run


def main(path=None):
    (known, unseen), results = load_captioned_digits(DEVICE), []
    for seed in SEEDS:
        parts, start = machine(seed), time.perf_counter()
        recipe = few_steps.student_recipe(parts, known, seed)
        run(recipe)
        seconds = time.perf_counter() - start
        student = replace(parts, unet=recipe.model)
        results.append({"seed": seed, "seconds": seconds, "machine": scored(parts, known, unseen, seed)} | {
            f"{n} calls": scored(student, known, unseen, seed, **few_steps.calls(n)) for n in (1, 2, 4)})
        print(results[-1], flush=True)
    study.keep(__file__, {"captions": budget(1_000, 1_000, 24), "pairs": few_steps.PAIRS}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
