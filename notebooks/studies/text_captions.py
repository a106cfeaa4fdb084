"""Short captions or detailed ones?  The same UNet trained on captions that say one word in four, on captions that say
all, and on a blend of 5 % and 95 %; each tested on both, and on short captions that a tiny GPT has made detailed.
The same steps, three seeds.  The picture: "a seven", as each understands it.
"""

import sys
from pathlib import Path

import torch
from common import LOUD, PLAIN, SEEDS, ready, save_rows

from minidiff.data import SIZES, UNSAID, all_combinations, drop_words, is_held_out, is_true_of, sentence, tokenize
from minidiff.evaluation import read
from minidiff.models import UNetConfig
from minidiff.pipelines import language, text2image
from minidiff.tools import budget, generator_for, study
from minidiff.training import run

STEPS, N = budget(300, 300, 3), budget(500, 500, 20)


def short(attributes, generator):
    return drop_words(attributes, 0.75, generator)


def detailed(attributes, generator):
    return attributes


def blend(attributes, generator):
    few = torch.rand(len(attributes), 1, generator=generator, device=attributes.device) < 0.05
    return torch.where(few, short(attributes, generator), attributes)


WAYS = {"short": short, "detailed": detailed, "95 % detailed": blend}


def writer():
    """A tiny GPT that has read the detailed captions of the combinations in training, all alike."""
    rows = all_combinations()
    rows = rows[~is_held_out(rows)]
    return run(language.recipe(tokenize([sentence(row) for row in rows]), torch.ones(len(rows)) / len(rows)))


def measured(captions, said, parts):
    """Share of pictures of which their caption is true, and how varied they are in what it leaves open: the entropy of
    the colors read, as a share of the most possible, where no color was said."""
    drawn = torch.cat([text2image.draw(captions[i:i + 250], range(i, min(i + 250, len(captions))), parts, **LOUD)
                       for i in range(0, len(captions), 250)])
    seen = read(parts.classifier, drawn).cpu()
    found, open_color = {"true": is_true_of(said, seen).diagonal().float().mean().item()}, said[:, 1] == UNSAID
    if open_color.any():
        shares = torch.bincount(seen[open_color, 1], minlength=SIZES[1]) / open_color.sum()
        found["variety"] = (torch.special.entr(shares).sum() / torch.tensor(SIZES[1]).log()).item()
    return found, drawn[:8]


def main(path=None):
    known, _, parts = ready()
    encoded = text2image.latents_of(known, parts.autoencoder, budget(80_000, 80_000, 1_000))
    gpt, results, rows = writer(), {name: [] for name in WAYS}, []
    generator = generator_for(7)
    full = known.allowed.cpu()[torch.randint(len(known.allowed), (N,), generator=generator)]
    few = short(full, generator)
    few[:8] = torch.tensor([7, UNSAID, UNSAID, UNSAID])          # the first row of the picture
    terse = [sentence(row) for row in few]
    tests = {"detailed": ([sentence(row) for row in full], full), "short": (terse, few),
             "short, made detailed": (language.upsample(gpt, terse, generator), few)}
    for seed in SEEDS:
        for name, say in WAYS.items():
            parts.unet = run(text2image.unet_recipe(known, parts.clip, parts.autoencoder, seed, encoded, say,
                                                    config=UNetConfig(), steps=STEPS, **PLAIN))
            found = {test: measured(captions, said, parts) for test, (captions, said) in tests.items()}
            results[name].append({"seed": seed, **{test: numbers for test, (numbers, _) in found.items()}})
            rows += [found[test][1] for test in list(tests)[1:]] if seed == 0 else []
            print(name, results[name][-1], flush=True)
    made = tests["short, made detailed"][0][:8]
    study.keep(__file__, {"steps": STEPS, "captions": N, "made detailed": made}, results, path)
    save_rows(rows, [f"{name}: {test}" for name in WAYS for test in ("as it is", "made detailed")],
              Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
