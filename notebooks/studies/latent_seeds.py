"""Is the autoencoder any good, and is it good each time?  Three seeds: the PSNR of unseen dressed digits, what the
judge and the readers of color, stroke and lean still read, and beside it the best linear code of as many numbers.
The picture: unseen digits, through the autoencoder, and through the linear code.
"""

import time
from pathlib import Path

import torch
from digits_unet import DEVICE, FOLDER, by_parts, trained_judge

from minidiff.data import load_captioned_digits
from minidiff.evaluation import accuracy, frechet_with_floor, psnr
from minidiff.pipelines import autoencoder
from minidiff.tools import budget, generator_for, show, study
from minidiff.training import train

SEEDS = budget([0, 1, 2], [0, 1, 2], [0])
N = budget(4_000, 4_000, 40)


def rebuilt_by(model, pictures):
    """Pictures through the autoencoder, as a reader gets them."""
    return by_parts(lambda part: model.decode(model.encode(part)).clamp(-1, 1), pictures)


def linear_code(pictures, others, count):
    """`others` rebuilt from their first `count` principal components, learned from `pictures`; both (N, C, H, W)."""
    mean = pictures.flatten(1).mean(0)
    axes = torch.linalg.svd(pictures.flatten(1) - mean, full_matrices=False)[2][:count].T           # (3072, count)
    return ((others.flatten(1) - mean) @ axes @ axes.T + mean).view_as(others).clamp(-1, 1)


def report(judge, rebuilt, pictures, attributes):
    """What is left of pictures: PSNR by picture and pooled, what is read, and the Frechet distance with its floor."""
    distance, floor = frechet_with_floor(by_parts(judge.features, rebuilt), by_parts(judge.features, pictures))
    return {"psnr": psnr(rebuilt, pictures).mean().item(),
            "psnr pooled": psnr(rebuilt[None], pictures[None]).item(),
            **accuracy(judge.read(rebuilt), attributes), "frechet": distance, "floor": floor}


def save_rows(rows, names, path):
    """Rows of pictures, all as long, each with its name below the first one, as PNG; not in the fast budget."""
    if budget(True, True, False):
        show.grid(torch.cat(rows), list(names), columns=len(rows[0]), size=0.9).savefig(path, dpi=100)


def main():
    known, unseen = load_captioned_digits(FOLDER, DEVICE)
    judge = trained_judge()
    pictures, attributes = unseen.sample(N, generator_for(7, device=DEVICE))
    some, _ = known.sample(N, generator_for(8, device=DEVICE))
    linear = linear_code(some, pictures, 64)
    results = {"originals": report(judge, pictures + 1e-6, pictures, attributes),
               "linear, 64 numbers": report(judge, linear, pictures, attributes), "runs": []}
    for seed in SEEDS:
        training, start = autoencoder.recipe(known, seed), time.perf_counter()
        for _ in train(training):
            pass
        seconds, rebuilt = time.perf_counter() - start, rebuilt_by(training.model, pictures)
        latents = by_parts(training.model.encode, pictures)
        results["runs"].append({"seed": seed, "seconds": seconds, **report(judge, rebuilt, pictures, attributes),
                                "spread by channel": latents.std((0, 2, 3)).tolist()})
        print(results["runs"][-1], flush=True)
        if seed == 0:
            rows = [pictures[:10], rebuilt[:10], linear[:10]]
    study.keep(__file__, {"pictures": N, "steps": training.steps, "batch": training.batch}, results)
    save_rows(rows, ("unseen", "64 latents", "linear, 64"), Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
