"""How red are the sevens that a machine draws, if most of its sevens were red? Against the share in the data, against
guidance, and against what guidance aims at; and what becomes of sevens that are not red. Three machines."""

import math
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from common import DEVICE, SEEDS, beside, by_parts, machine, save_rows

from minidiff.data import COLORS, UNSAID, SkewedDigits, load_captioned_digits
from minidiff.evaluation import by_group, frechet_with_floor, read
from minidiff.pipelines import bias
from minidiff.pipelines.text2image import BELOW, GUIDANCE
from minidiff.tools import budget, generator_for, study
from minidiff.training import run

SHARES = budget((1 / 7, 0.5, 0.8, 0.95, 0.99), (1 / 7, 0.5, 0.8, 0.95, 0.99), (0.95,))
COUNT, EACH = budget((400, 100), (400, 100), (20, 2))            # drawings of "a seven", and of each of its colors
WAYS = [(1.0, None), (2.0, None), (GUIDANCE, None), (5.0, None), (2.0, BELOW), (GUIDANCE, BELOW), (5.0, BELOW)]


def captions(digit, colors):
    """What is asked for: a digit, and a color for each drawing -> (N, 4)."""
    said = torch.full((len(colors), 4), UNSAID, device=DEVICE)
    said[:, 0], said[:, 1] = digit, torch.as_tensor(colors, device=DEVICE)
    return said


def asked(parts, w, below, real, first):
    """Sevens of which no color is said, then sevens of each color, drawn with guidance w: how red, how right, and how
    far from the sevens of the data."""
    how = {"guidance": w, "below": below or math.inf}
    terse = bias.drawn(captions(bias.SEVEN, [UNSAID] * COUNT), range(first, first + COUNT), parts, **how)
    said = captions(bias.SEVEN, [color for color in range(len(COLORS)) for _ in range(EACH)])
    named = bias.drawn(said, range(first, first + len(said)), parts, **how)
    found, seen = read(parts.classifier, terse), read(parts.classifier, named)
    right = (seen[:, :2] == said[:, :2]).all(1)
    return {"w": w, "below": below, "red": (found[:, 1] == bias.RED).float().mean().item(),
            "a seven": (found[:, 0] == bias.SEVEN).float().mean().item(),
            "of each color": by_group(right, said)[bias.SEVEN].tolist(),
            "red, if all colors are asked for": (seen[:, 1] == bias.RED).float().mean().item(),
            "frechet": frechet_with_floor(by_parts(parts.classifier.features, terse), real)}


@torch.no_grad()
def about(parts, digits, unseen, share, seed):
    """All that is kept of a machine that learned from `digits`."""
    first = 1_000_000 * seed
    nothing = bias.drawn(captions(UNSAID, [UNSAID] * COUNT), range(first, first + COUNT), parts, guidance=1.0)
    many = budget(20_000, 20_000, 2_000)
    real, said = SkewedDigits(unseen, share).sample(many, generator_for(seed, 3, device=DEVICE))
    real = by_parts(parts.classifier.features, real[said[:, 0] == bias.SEVEN][:2 * COUNT])
    return {"share": share, "red, of all": digits.share(bias.RED),
            "drawn red, of all": (read(parts.classifier, nothing)[:, 1] == bias.RED).float().mean().item(),
            "ways": [asked(parts, w, below, real, first) for w, below in WAYS]}


def figure(parts, digits, path):
    """Twenty sevens of the data, of which one is not red, as it should be, and twenty drawings of "a seven"."""
    pictures, said = digits.sample(2_000, generator_for(13, device=DEVICE))
    seven, red = said[:, 0] == bias.SEVEN, said[:, 1] == bias.RED
    data = torch.cat([pictures[seven & red][:13], pictures[seven & ~red][:1], pictures[seven & red][13:19]])
    drawn = bias.drawn(captions(bias.SEVEN, [UNSAID] * 20), range(20), parts, below=math.inf)
    save_rows([data[:10], data[10:], drawn[:10], drawn[10:]], ["data", "data", "drawn", "drawn"], path)


def seconds_of_training(parts, digits, seed):
    """How long the UNet takes to learn, its latents included."""
    start = time.perf_counter()
    run(bias.recipe(digits, parts, seed))
    return time.perf_counter() - start


def main(path=None):
    known, unseen = load_captioned_digits(DEVICE)
    results = []
    for seed in SEEDS:
        parts = machine(seed)
        found = []
        for share in SHARES:
            digits = SkewedDigits(known, share)
            recipe = bias.recipe(digits, parts, seed)
            unet = beside(recipe, seed) if share == 0.95 else run(recipe).eval()
            found.append(about(replace(parts, unet=unet), digits, unseen, share, seed))
            print(seed, found[-1], flush=True)
            if seed == 0 and share == 0.95:
                figure(replace(parts, unet=unet), digits, Path(__file__).with_suffix(".png"))
        seconds = seconds_of_training(parts, SkewedDigits(known, 0.95), seed)
        results.append({"seed": seed, "shares": found, "seconds of training": seconds})
    study.keep(__file__, {"drawings": COUNT, "drawings of each color": EACH}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
