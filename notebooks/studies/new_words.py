"""Three ways to teach a frozen machine a word, in the same steps: one vector, thin matrices, all of its weights.

"orange" and "small" are taught with digits of which three are never shown.  Kept for each way and machine: what came
true of the shown digits and of the others, what old captions still get, weights, kilobytes, seconds; and the singular
values of what a full training changed.  Learning rates and steps were chosen on machines 10 and 11; three others are
reported.
"""

import sys
import time
from dataclasses import replace

import torch
from common import DEVICE, SEEDS, machine, still_right, wished, wishes_for

from minidiff.data import LIKE, Wish, load_captioned_digits, said_with
from minidiff.pipelines import personalize
from minidiff.pipelines.personalize import WordConfig
from minidiff.tools import budget, generator_for, study
from minidiff.training import run

HIDDEN = (2, 5, 7)                                               # digits that are never shown with the new word
SHOWN = tuple(digit for digit in range(10) if digit not in HIDDEN)
SHOW = budget(500, 500, 20)                                      # pictures of the word
COUNT, OLD = budget(252, 252, 4), budget(1_000, 1_000, 4)      # captions of the word, and old ones
ATTENTION, EVERYWHERE = WordConfig(), WordConfig(where="everywhere")
VECTOR, FULL = (WordConfig(where="nowhere"), {}), (WordConfig(where="full"), {})
WAYS = {                                                         # config, settings, with old drawings?
    "orange": {
        "an untrained vector": (WordConfig(where="nowhere"), dict(lr=1e-9, steps=1), False),
        "one vector": (*VECTOR, False),
        **{f"attention, rank {rank}": (replace(ATTENTION, rank=rank), {}, False) for rank in (1, 2, 4, 8)},
        "attention, rank 4, no vector": (replace(ATTENTION, learn_word=False), {}, False),
        "attention, rank 4, old drawings": (ATTENTION, {}, True),
        "everywhere, rank 1": (replace(EVERYWHERE, rank=1), {}, False),
        "everywhere, rank 1, old drawings": (replace(EVERYWHERE, rank=1), {}, True),
        "all weights": (*FULL, False),
        "all weights, old drawings": (*FULL, True),
        "all weights by Muon, old drawings": (*FULL, True),
    },
    "small": {
        "one vector": (*VECTOR, False),
        "attention, rank 4, old drawings": (ATTENTION, {}, True),
        "everywhere, rank 4": (EVERYWHERE, {}, False),
        **{f"everywhere, rank {rank}, old drawings": (replace(EVERYWHERE, rank=rank), {}, True) for rank in (1, 4, 8)},
        "all weights, old drawings": (*FULL, True),
    },
}


def singular_values(old, new):
    """Of what a training changed in each matrix, the largest first, as shares of their energy."""
    found = {}
    for (name, before), after in zip(old.named_parameters(), new.parameters(), strict=True):
        if before.ndim > 1 and min(before.flatten(1).shape) >= 16:
            squares = torch.linalg.svdvals((after - before).detach().flatten(1)).square()
            found[name] = (squares / squares.sum())[:16].tolist()
    return found


def taught(parts, word, way, seed, lesson, past):
    """Teach a word in one way -> what is kept, and the machine that knows it."""
    config, settings, remember = way
    recipe = personalize.recipe(parts, *lesson, replace(config, word=word, like=LIKE[word]),
                                past if remember else None, seed, **settings)
    recipe.muon = way is WAYS["orange"]["all weights by Muon, old drawings"]
    start = time.perf_counter()
    adapter = run(recipe)
    seconds, count = time.perf_counter() - start, sum(t.numel() for t in adapter.state_dict().values())
    return {"seed": seed, "weights": count, "kilobytes": 4 * count / 1000, "seconds": seconds}, adapter


def main(path=None):
    known, _ = load_captioned_digits(DEVICE)
    results = {word: {way: [] for way in ways} for word, ways in WAYS.items()} | {"singular": {}, "before": []}
    for seed in SEEDS:
        parts = machine(seed)
        past = personalize.own_drawings(parts, known, budget(500, 500, 20), seed)
        results["before"].append({"seed": seed, "old": still_right(parts, known, OLD, seed)})
        for word, ways in WAYS.items():
            pictures, said = Wish(word, known, SHOWN).sample(SHOW, generator_for(seed, 7, device=DEVICE))
            for name, way in ways.items():
                kept, adapter = taught(parts, word, way, seed, (pictures, said_with(word, said)), past)
                new = personalize.applied(parts, adapter)
                for key, digits in (("shown", SHOWN), ("hidden", HIDDEN)):
                    asked = wishes_for(word, digits, COUNT, seed)
                    kept[key] = wished(new, said_with(word, asked), asked, word, seed)
                kept["old"] = still_right(new, known, OLD, seed)
                results[word][name].append(kept)
                print(word, name, kept, flush=True)
                if name == "all weights, old drawings" and seed == 0:
                    results["singular"][word] = singular_values(parts.unet, adapter["unet"])
    study.keep(__file__, {"pictures": SHOW, "captions": COUNT, "old captions": OLD}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
