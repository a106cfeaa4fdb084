"""How many pictures does a word need?  "orange" from 5, 20, 100 and 500 pictures, as one vector and as a LoRA.

Kept for each: what came true of the digits that were shown, of three that were never shown, and what old captions get.
"""

import sys

import torch
from common import DEVICE, SEEDS, machine, still_right, wished, wishes_for

from minidiff.data import Wish, load_captioned_digits, said_with
from minidiff.models import merged
from minidiff.pipelines import personalize
from minidiff.pipelines.personalize import WordConfig
from minidiff.tools import budget, generator_for, study
from minidiff.training import run

HIDDEN = (2, 5, 7)                                               # digits that are never shown with the new word
SHOWN = tuple(digit for digit in range(10) if digit not in HIDDEN)
PICTURES = (5, 20, 100, 500)
COUNT, OLD = budget(252, 252, 4), budget(1_000, 1_000, 4)      # captions of the word, and old ones
WAYS = {"one vector": WordConfig(where="nowhere"), "attention, rank 4": WordConfig()}


@torch.no_grad()
def apart(parts, adapter, seed):
    """The largest difference that merging makes to what the UNet predicts."""
    xt = torch.randn(64, 4, 4, 4, generator=generator_for(seed, 10)).to(DEVICE)
    t, cond = torch.arange(1, 961, 15, device=DEVICE), parts.clip.text_states(["a thick red seven leaning left"] * 64)
    return (merged(parts.unet, adapter["unet"])(xt, t, cond) - adapter["unet"](xt, t, cond)).abs().max().item()


def main(path=None):
    known, _ = load_captioned_digits(DEVICE)
    results = {way: {str(n): [] for n in PICTURES} for way in WAYS}
    for seed in SEEDS:
        parts = machine(seed)
        shown, said = Wish("orange", known, SHOWN).sample(max(PICTURES), generator_for(seed, 9, device=DEVICE))
        for way, config in WAYS.items():
            for n in PICTURES:
                adapter = run(personalize.recipe(parts, shown[:n], said_with("orange", said[:n]), config, seed=seed))
                new, kept = personalize.applied(parts, adapter), {"seed": seed}
                for key, digits in (("shown", SHOWN), ("hidden", HIDDEN)):
                    asked = wishes_for("orange", digits, COUNT, seed)
                    kept[key] = wished(new, said_with("orange", asked), asked, "orange", seed)
                kept["old"] = still_right(new, known, OLD, seed)
                kept["merged less unmerged"] = apart(parts, adapter, seed)
                results[way][str(n)].append(kept)
                print(way, n, kept, flush=True)
    study.keep(__file__, {"captions": COUNT, "old captions": OLD}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
