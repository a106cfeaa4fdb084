"""Where an adapter of the UNet cannot help: outlines, which the decoder has never drawn; and two words at once.

"outlined" is taught with thin matrices in the UNet alone, in the decoder too, and with a whole UNet.  Then "orange" and
"outlined" are merged into one machine, and drawn with strengths from -1 to 2.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from common import DEVICE, FOLDER, SEEDS, drawn_as, machine, save_rows, still_right, wished, wishes_for

from minidiff.data import COLORS, Mixed, Wish, load_captioned_digits, said_with, sentence
from minidiff.evaluation import came_true, psnr
from minidiff.models import ClassifierConfig
from minidiff.pipelines import classifier, personalize
from minidiff.pipelines.personalize import BOOK, WordConfig
from minidiff.tools import budget, generator_for, study
from minidiff.training import run

SHOW = budget(2_000, 2_000, 20)                                  # pictures of the word
COUNT, OLD = budget(252, 252, 4), budget(1_000, 1_000, 4)      # captions of the word, and old ones
STEPS = budget(600, 600, 2)                                     # outlines are harder to learn than a color
STRENGTHS = (-1.0, 0.0, 0.5, 1.0, 1.5, 2.0)
BOOK_WAY, OUTLINES = "UNet and decoder", BOOK["stroke"]
WAYS = {"the UNet alone": replace(OUTLINES, decoder_rank=0), BOOK_WAY: OUTLINES,
        "all of the UNet, and decoder": replace(OUTLINES, where="full")}


def reader_of_outlines(known):
    """A classifier of twenty classes: digits, and outlined digits."""
    recipe = classifier.recipe(Mixed(known, Wish("outlined", known)), 0, ClassifierConfig(classes=20), lr=6e-3,
                               steps=budget(400, 400, 2))
    return run(recipe, FOLDER / "reader_of_outlines.safetensors")


def through(parts, pictures):
    """Pictures through the autoencoder and back."""
    return parts.autoencoder.decode(parts.autoencoder.encode(pictures)).clamp(-1, 1)


def taught(parts, known, word, config, seed, **settings):
    """Teach a word -> the adapter, and the seconds it took."""
    pictures, said = Wish(word, known).sample(SHOW, generator_for(seed, 7, device=DEVICE))
    past = personalize.own_drawings(parts, known, budget(500, 500, 20), seed)
    start = time.perf_counter()
    adapter = run(personalize.recipe(parts, pictures, said_with(word, said), config, past, seed, **settings))
    return adapter, time.perf_counter() - start


def way(parts, known, reader, adapter, test):
    """What is kept of one way to teach outlines."""
    new, (pictures, said, plain), seed = personalize.applied(parts, adapter), test["real"], test["seed"]
    rebuilt, asked = through(new, pictures), wishes_for("outlined", range(10), COUNT, seed)
    return {"weights": sum(t.numel() for t in adapter.state_dict().values()),
            "psnr": psnr(pictures, rebuilt).mean().item(), "old psnr": psnr(plain, through(new, plain)).mean().item(),
            "rebuilt": came_true("outlined", reader, rebuilt, said).all(1).float().mean().item(),
            "drawn": wished(new, said_with("outlined", asked), asked, "outlined", seed, reader),
            "old": still_right(new, known, OLD, seed)}


def two_words(parts, known, reader, adapters, seed):
    """Both adapters in one machine: "an outlined orange seven"."""
    asked = wishes_for("outlined", range(10), COUNT, seed)
    asked[:, 1] = 0                                              # say "red", and then "orange" instead
    captions = [caption.replace(f" {COLORS[0]} ", " orange ") for caption in said_with("outlined", asked)]
    asked[:, 1] = len(COLORS)
    new = personalize.joined(parts, [(adapter, 1.0) for adapter in adapters])
    true = came_true("outlined", reader, drawn_as(new, captions, seed), asked)
    return {"seed": seed, "orange": true[:, 1].float().mean().item(), "outlined": true[:, 2].float().mean().item(),
            "both": true[:, 1:3].all(1).float().mean().item(), "all": true.all(1).float().mean().item(),
            "old": still_right(new, known, OLD, seed)}


def by_strength(parts, known, reader, adapters, seed):
    """What each word does alone, with strengths from -1 to 2."""
    found = []
    for word, adapter in zip(("orange", "outlined"), adapters):
        asked = wishes_for(word, range(10), COUNT, seed)
        for strength in STRENGTHS:
            new = personalize.joined(parts, [(adapter, strength)])
            found.append({"seed": seed, "name": word, "strength": strength}
                         | wished(new, said_with(word, asked), asked, word, seed, reader)
                         | {"old": still_right(new, known, COUNT, seed)})
    return found


@torch.no_grad()
def title_card(parts, adapters, file):
    """What each wish looks like: the old machine, then orange, small, outlined, and two at once."""
    digits, colors = [sentence([d, -1, -1, -1])[2:] for d in (7, 2, 5, 1, 8, 3, 9, 4)], "red green blue yellow".split()
    colors = [colors[i % 4] for i in range(8)]
    rows = [([], [f"a {color} {digit}" for color, digit in zip(colors, digits)]),
            (["orange"], [f"an orange {digit}" for digit in digits]),
            (["small"], [f"a small {color} {digit}" for color, digit in zip(colors, digits)]),
            (["outlined"], [f"an outlined {color} {digit}" for color, digit in zip(colors, digits)]),
            (["orange", "outlined"], [f"an outlined orange {digit}" for digit in digits])]
    pictures = [drawn_as(personalize.joined(parts, [(adapters[word], 1.0) for word in words]), captions, 0)
                for words, captions in rows]
    save_rows(pictures, ["as before", "orange", "small", "outlined", "outlined orange"], file)


def main(path=None):
    known, unseen = load_captioned_digits(DEVICE)
    reader, results = reader_of_outlines(known), {"ways": {name: [] for name in WAYS}, "two words": [], "strengths": []}
    pictures, said = Wish("outlined", unseen).sample(budget(500, 500, 20), generator_for(10, device=DEVICE))
    plain, _ = unseen.sample(len(pictures), generator_for(11, device=DEVICE))
    results["real ones"] = came_true("outlined", reader, pictures, said).all(1).float().mean().item()
    for seed in SEEDS:
        parts, test = machine(seed), {"real": (pictures, said, plain), "seed": seed}
        results["before"] = psnr(pictures, through(parts, pictures)).mean().item()
        for name, config in WAYS.items():
            outlined, seconds = taught(parts, known, "outlined", config, seed, steps=STEPS)
            with torch.no_grad():
                kept = {"seed": seed, "seconds": seconds} | way(parts, known, reader, outlined, test)
            results["ways"][name].append(kept)
            print(name, kept, flush=True)
            if name == BOOK_WAY:
                adapters = {"outlined": outlined, "orange": taught(parts, known, "orange", WordConfig(), seed)[0]}
        with torch.no_grad():
            pair = adapters["orange"], adapters["outlined"]
            results["two words"].append(two_words(parts, known, reader, pair, seed))
            results["strengths"] += by_strength(parts, known, reader, pair, seed)
        print(results["two words"][-1], flush=True)
        if seed == SEEDS[0]:
            adapters["small"] = taught(parts, known, "small", WordConfig("small", "stroke", "everywhere"), seed)[0]
            title_card(parts, adapters, Path(path or __file__).with_suffix(".png"))
    study.keep(__file__, {"pictures": SHOW, "captions": COUNT, "old captions": OLD}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
