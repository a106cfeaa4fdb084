"""Who reads the caption?  The same UNet, told by five readers: CLIP, a tiny GPT, each word by itself, the words without
their order, and one learned vector for each caption.  All states have the length of CLIP's, and the third reader once
more has shorter ones.  The same seconds each, three seeds.
"""

import sys

import torch
from common import DEVICE, LOUD, PLAIN, SEEDS, ready, steps_within
from torch.nn import functional as F

from minidiff.data import PAD, UNSAID, VOCABULARY, caption_index, grammar, parse, tokenize
from minidiff.models import UNetConfig
from minidiff.pipelines import language, report, text2image
from minidiff.tools import budget, study
from minidiff.training import run

SECONDS, N = budget(40, 40, 0.2), budget(500, 500, 24)
LENGTH = 8                                                       # of CLIP's states: 64 numbers of spread one


class Words:
    """Each word by itself: a row of zeros with a single other number; the attention learns what to make of it."""

    def __init__(self, length=LENGTH):
        self.length = length

    def text_states(self, captions):
        ids = tokenize(captions).to(DEVICE)
        return self.length * F.one_hot(ids, len(VOCABULARY)).float() * (ids != PAD)[..., None]      # (B, L, V)


class Bag(Words):
    """All words in one bag: how often each occurs."""

    def text_states(self, captions):
        return self.length * F.normalize(super().text_states(captions).sum(1, keepdim=True), dim=2)     # (B, 1, V)


class Table:
    """A number for each of the 1,408 captions; the attention's first matrix then holds one learned vector for each."""

    def text_states(self, captions):
        said = torch.tensor([parse(caption) if caption else (UNSAID,) * 4 for caption in captions])
        empty = torch.tensor([[not caption] for caption in captions])
        return LENGTH * (F.one_hot(caption_index(said), 1408).float() * ~empty).to(DEVICE)[:, None]     # (B, 1, 1408)


class GPT:
    """The states of a tiny GPT that has learned to continue captions."""

    def __init__(self):
        self.model = run(language.recipe(*grammar(text2image.TERSE))).to(DEVICE)

    @torch.no_grad()
    def text_states(self, captions):
        ids = tokenize(captions).to(DEVICE)
        return self.model.states(ids) * (ids != PAD)[..., None]  # (B, L, D)


def main(path=None):
    known, unseen, parts = ready()
    towers = {"CLIP": parts.clip, "TinyGPT": GPT(), "each word by itself": Words(), "bag of words": Bag(),
              "a vector a caption": Table(), "each word, quietly": Words(length=1)}
    encoded = text2image.latents_of(known, parts.autoencoder, budget(80_000, 80_000, 1_000))
    results = {name: [] for name in towers}
    for seed in SEEDS:
        for name, tower in towers.items():
            def make(steps=100):
                config = UNetConfig(cond_width=tower.text_states([""]).shape[-1])
                settings = {"config": config, "steps": steps} | PLAIN
                return text2image.unet_recipe(known, tower, parts.autoencoder, seed, encoded, **settings)

            recipe = make(steps_within(SECONDS, make))
            machine = text2image.Pipeline(tower, parts.autoencoder, run(recipe), parts.classifier)
            found = report.score(machine, known, unseen, N, seed, **LOUD)
            results[name].append({"seed": seed, "steps": recipe.steps, "diversity": found["diversity"],
                                  **{key: found[key] for key in ("accuracy", "held_out")}})
            print(name, results[name][-1], flush=True)
    study.keep(__file__, {"seconds": SECONDS, "captions": N}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
