"""What should the network predict, and which errors should count?  The noise, the picture or v, each with its plain
squared error; v with the weight min-SNR; v with levels crowded at high noise.  Same net, same steps, three seeds.
"""

from dataclasses import replace
from pathlib import Path

import torch
from digits_unet import DEVICE, by_parts, draw, real_digits, trained_judge

from minidiff.data import load_digits
from minidiff.diffusion import ddim_step
from minidiff.evaluation import frechet_with_floor
from minidiff.models import DIGIT_PICTURES
from minidiff.pipelines import digits
from minidiff.tools import budget, show, study
from minidiff.training import train

SEEDS = budget([0, 1, 2], [0, 1, 2], [0])
STEPS, N = budget(400, 400, 3), budget(300, 300, 20)
WAYS = {"eps, all levels alike": ("eps", "eps", ()), "x0, all levels alike": ("x0", "x0", ()),
        "v, all levels alike": ("v", "v", ()), "v, min-SNR": ("v", "min-snr", ()),
        "v, more at high noise": ("v", "v", (0.8, 0.8))}


def main():
    digits, judge, results = load_digits(), trained_judge(), {name: [] for name in WAYS}
    asked, rows = torch.arange(N) % 10, []
    every, labels = real_digits(digits, 2 * N)
    real = by_parts(judge.features, every)
    for seed in SEEDS:
        for name, (predicts, weight, levels) in WAYS.items():
            training = digits.recipe(digits.train.to(DEVICE), digits.train_labels.to(DEVICE), seed,
                                          replace(DIGIT_PICTURES, predicts=predicts), steps=STEPS,
                                          batch=budget(64, 64, 32), weight=weight, levels=levels)
            for _ in train(training):
                pass
            drawn = draw(training.model, asked, 1, ddim_step, budget(25, 25, 3))
            right = (by_parts(judge, drawn).argmax(1).cpu() == asked).float().mean().item()
            distance, floor = frechet_with_floor(by_parts(judge.features, drawn), real, labels)
            results[name].append({"seed": seed, "right": right, "frechet": distance, "floor": floor})
            rows += [drawn[:10].cpu()] if seed == 0 else []
            print(name, results[name][-1], flush=True)
    study.keep(__file__, {"steps": STEPS, "pictures": N, "batch": training.batch}, results)
    if budget(True, True, False):
        figure = show.grid(torch.cat(rows), list(WAYS), columns=10, size=0.9)
        figure.savefig(Path(__file__).with_suffix(".png"), dpi=100)


if __name__ == "__main__":
    main()
