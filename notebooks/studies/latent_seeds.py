"""Is the autoencoder any good, and is it good each time?  Three seeds: the PSNR of unseen digits, what the
classifier and the readers of color, stroke and lean still read, and beside it the best linear code of as many numbers.
The picture: unseen digits, through the autoencoder, and through the linear code.
"""

import sys
import time
from pathlib import Path

import torch
from common import DEVICE, SEEDS, by_parts, left_of, rebuilt_by, save_rows, trained_classifier

from minidiff.data import load_captioned_digits
from minidiff.pipelines import autoencoder
from minidiff.tools import budget, generator_for, study
from minidiff.training import run

N = budget(4_000, 4_000, 40)


def linear_code(pictures, others, count):
    """`others` rebuilt from their first `count` principal components, learned from `pictures`; both (N, C, H, W)."""
    mean = pictures.flatten(1).mean(0)
    axes = torch.linalg.svd(pictures.flatten(1) - mean, full_matrices=False)[2][:count].T           # (3072, count)
    return ((others.flatten(1) - mean) @ axes @ axes.T + mean).view_as(others).clamp(-1, 1)


def main(path=None):
    known, unseen = load_captioned_digits(DEVICE)
    reader = trained_classifier()
    pictures, attributes = unseen.sample(N, generator_for(7, device=DEVICE))
    some, _ = known.sample(N, generator_for(8, device=DEVICE))
    linear = linear_code(some, pictures, 64)
    results = {"originals": left_of(pictures, pictures + 1e-6, attributes, reader),
               "linear, 64 numbers": left_of(pictures, linear, attributes, reader), "runs": []}
    for seed in SEEDS:
        recipe, start = autoencoder.recipe(known, seed), time.perf_counter()
        model = run(recipe)
        seconds, rebuilt = time.perf_counter() - start, rebuilt_by(model, pictures)
        latents = by_parts(model.encode, pictures)
        results["runs"].append({"seed": seed, "seconds": seconds, **left_of(pictures, rebuilt, attributes, reader),
                                "spread by channel": latents.std((0, 2, 3)).tolist()})
        print(results["runs"][-1], flush=True)
        if seed == 0:
            rows = [pictures[:10], rebuilt[:10], linear[:10]]
    study.keep(__file__, {"pictures": N, "steps": recipe.steps, "batch": recipe.batch}, results, path)
    save_rows(rows, ("unseen", "64 latents", "linear, 64"), Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
