"""From how many digits on does a UNet stop copying?  Trained on 10, 100, 1,000 and all 4,500, the same number of steps
each; 250 digits drawn from it, and for each its nearest training digit.  Three seeds.

A copy is a digit three times nearer to its nearest training digit than to the second.  [Yoon et al. 2023]
The picture: drawn digits above, the nearest training digits below.
"""

from pathlib import Path

import torch
from digits_unet import DEVICE, draw

from minidiff.data import load_digits
from minidiff.diffusion import ddim_step
from minidiff.evaluation import nearest
from minidiff.pipelines import digits
from minidiff.tools import budget, generator_for, show, study
from minidiff.training import train

SEEDS = budget([0, 1, 2], [0, 1, 2], [0])
SIZES = [10, 100, 1_000, 4_500]
STEPS, N = budget(800, 800, 3), budget(250, 250, 20)


def main():
    digits, results, rows = load_digits(), {str(size): [] for size in SIZES}, []
    by_class = torch.stack([(digits.train_labels == digit).nonzero()[:, 0] for digit in range(10)], 1)    # (450, 10)
    asked = torch.arange(N) % 10
    for seed in SEEDS:
        order = torch.randperm(len(by_class), generator=generator_for(seed))
        for size in SIZES:
            few = by_class[order[:size // 10]].flatten()         # as many of each class
            pictures, labels = digits.train[few].to(DEVICE), digits.train_labels[few].to(DEVICE)
            training = digits.recipe(pictures, labels, seed, steps=STEPS, batch=budget(64, 64, 32))
            losses = [state.loss for state in train(training)]
            drawn = draw(training.model, asked, 1, ddim_step, budget(25, 25, 3))
            distance, row = nearest(drawn, pictures)
            to_unseen = nearest(drawn, digits.val.to(DEVICE))[0][:, 0]
            results[str(size)].append({
                "seed": seed, "copies": (distance[:, 0] < distance[:, 1] / 3).float().mean().item(),
                "to training": distance[:, 0].median().item(), "to unseen": to_unseen.median().item(),
                "loss": sum(losses[-50:]) / len(losses[-50:])})
            rows += [drawn[:10].cpu(), pictures[row[:10, 0]].cpu()] if seed == 0 else []
            print(size, results[str(size)][-1], flush=True)
    between = nearest(digits.val, digits.train)[0][:, 0].median().item()
    study.keep(__file__, {"steps": STEPS, "drawn": N, "batch": training.batch},
               {"unseen to training": between, "sizes": results})
    if budget(True, True, False):
        names = [f"{SIZES[i // 2]} digits" if not i % 2 and j == 0 else "nearest" if j == 0 else ""
                 for i in range(len(rows)) for j in range(10)]
        show.grid(torch.cat(rows), names, columns=10, size=0.9).savefig(Path(__file__).with_suffix(".png"), dpi=100)


if __name__ == "__main__":
    main()
