"""From how many digits on does a UNet stop copying?  Trained on 10, 100, 1,000 and all 4,500, the same number of steps
each; 250 digits drawn from it, and for each its nearest training digit.  Three seeds.

A copy is a digit three times nearer to its nearest training digit than to the second.  [Yoon et al. 2023]
The picture: drawn digits above, the nearest training digits below.
"""

import sys
from pathlib import Path

import torch
from common import DEVICE, SEEDS, draw_digits, save_rows

from minidiff.data import load_digits
from minidiff.diffusion import ddim_step
from minidiff.evaluation import nearest
from minidiff.pipelines.digits import recipe as digits_recipe
from minidiff.tools import budget, generator_for, study
from minidiff.training import train

SIZES = [10, 100, 1_000, 4_500]
STEPS, N = budget(800, 800, 3), budget(250, 250, 20)


def main(path=None):
    digits, results, rows = load_digits(), {str(size): [] for size in SIZES}, []
    by_class = torch.stack([(digits.train_labels == digit).nonzero()[:, 0] for digit in range(10)], 1)    # (450, 10)
    asked = torch.arange(N) % 10
    for seed in SEEDS:
        order = torch.randperm(len(by_class), generator=generator_for(seed))
        for size in SIZES:
            few = by_class[order[:size // 10]].flatten()         # as many of each class
            pictures, labels = digits.train[few].to(DEVICE), digits.train_labels[few].to(DEVICE)
            recipe = digits_recipe(pictures, labels, seed, steps=STEPS, batch=budget(64, 64, 32))
            losses = [state.loss for state in train(recipe)]
            drawn = draw_digits(recipe.model, asked, 1, ddim_step, budget(25, 25, 3))
            distance, row = nearest(drawn, pictures)
            to_unseen = nearest(drawn, digits.val.to(DEVICE))[0][:, 0]
            results[str(size)].append({
                "seed": seed, "copies": (distance[:, 0] < distance[:, 1] / 3).float().mean().item(),
                "to training": distance[:, 0].median().item(), "to unseen": to_unseen.median().item(),
                "loss": sum(losses[-50:]) / len(losses[-50:])})
            rows += [drawn[:10].cpu(), pictures[row[:10, 0]].cpu()] if seed == 0 else []
            print(size, results[str(size)][-1], flush=True)
    between = nearest(digits.val, digits.train)[0][:, 0].median().item()
    study.keep(__file__, {"steps": STEPS, "drawn": N, "batch": recipe.batch},
               {"unseen to training": between, "sizes": results}, path)
    names = [name for size in SIZES for name in (f"{size} digits", "nearest")]
    save_rows(rows, names, Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
