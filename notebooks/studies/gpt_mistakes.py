"""Five small mistakes in attention, trained: the loss of a TinyGPT against the exact entropy of its language, which no
honest model can beat.  The texts are captions said twice, so that one has to look back.  Three seeds.  A loss below the
floor means that the future has leaked into the past.
"""

import math
import sys
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import torch
from common import SEEDS

from minidiff.data import detokenize, next_word_entropy, said_twice
from minidiff.models import GPTConfig, TinyGPT, attention, next_word_loss
from minidiff.pipelines import language
from minidiff.tools import budget, budget_name, generator_for, show, study
from minidiff.training import train

STEPS, SAID, EVERY = budget(600, 600, 20), budget(1_000, 1_000, 20), 10


def scores_of(q, k):
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])


def wrong_axis(q, k, mask=None):
    return scores_of(q, k).masked_fill(~mask, -math.inf).softmax(-2)


def mask_too_late(q, k, mask=None):
    return scores_of(q, k).softmax(-1) * mask


def no_root(q, k, mask=None):
    return (q @ k.transpose(-2, -1)).masked_fill(~mask, -math.inf).softmax(-1)


MISTAKES = {"right": None, "no mask": None, "mask too late": mask_too_late, "wrong axis": wrong_axis,
            "root forgotten": no_root, "no positions": None}
IDS, SHARES = said_twice(0.3)
LANGUAGE = set(detokenize(IDS))


def valid(text):
    """Whether it is a caption said twice."""
    return text in LANGUAGE


def without_positions(config):
    """A TinyGPT that is never told where a word stands."""
    model = TinyGPT(config)
    model.position.data.zero_()
    model.position.requires_grad_(False)
    return model


def trained_with(mistake, seed):
    """Train with the mistake -> its loss on every text in its share, its curve, and what it says."""
    wrong = MISTAKES[mistake]
    with patch.object(attention, "attention_weights", wrong) if wrong else nullcontext():
        recipe = language.recipe(IDS, SHARES, seed, GPTConfig(causal=mistake != "no mask"), STEPS)
        if mistake == "no positions":
            recipe.make_model = lambda: without_positions(recipe.config)
        losses = torch.tensor([state.loss for state in train(recipe)])
        model = recipe.model
        with torch.no_grad():
            loss = (SHARES @ next_word_loss(model, IDS).double()).sum().item()
            changed = IDS.clone()
            changed[:, -1] = 9                                   # another word at the end: what changes before it?
            leak = (model(IDS)[:, :-1] - model(changed)[:, :-1]).abs().max().item()
        said = language.generate(model, "", SAID, generator_for(1))
    return {"seed": seed, "loss": loss, "leak": leak, "valid": sum(map(valid, said)) / SAID,
            "different": len(set(said)) / SAID, "curve": losses.view(-1, EVERY).mean(1).tolist()}


def picture(results, floor):
    """The mean curves of the first seeds, and the floor."""
    steps = range(EVERY, STEPS + 1, EVERY)
    curves = {name: runs[0]["curve"] for name, runs in results.items() if name != "no positions"}
    figure = show.lines(steps, {"the exact floor": [floor] * len(steps)} | curves, "step", "nats a text",
                        dashed=("the exact floor",), size=(8, 3.4))
    figure.axes[0].set(ylim=(0, 20))
    figure.axes[0].lines[1].set(linewidth=6, alpha=0.5)          # the right one, under another that is equal
    return figure


def main(path=None):
    results, floor = {}, next_word_entropy(IDS, SHARES).sum().item()
    for name in MISTAKES:
        results[name] = []
        for seed in SEEDS:
            results[name].append(trained_with(name, seed))
            print(name, {k: v for k, v in results[name][-1].items() if k != "curve"}, flush=True)
    if budget_name() != "fast":
        picture(results, floor).savefig(Path(__file__).with_suffix(".png"), dpi=100)
    study.keep(__file__, {"steps": STEPS, "texts": SAID, "floor": floor, "p": 0.3}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
