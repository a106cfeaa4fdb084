"""What should the network predict, and which errors should count?  The noise, the picture or v, each with its plain
squared error; v with the weight min-SNR; v with levels crowded at high noise.  Same net, same steps, three seeds.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from common import DEVICE, SEEDS, by_parts, draw_digits, real_digits, save_rows, share_right, trained_classifier

from minidiff.data import load_digits
from minidiff.diffusion import ddim_step
from minidiff.evaluation import frechet_with_floor
from minidiff.models import DIGIT_PICTURES
from minidiff.pipelines.digits import recipe as digits_recipe
from minidiff.tools import budget, study
from minidiff.training import run

STEPS, N = budget(400, 400, 3), budget(300, 300, 20)
WAYS = {"eps, all levels alike": ("eps", "eps", ()), "x0, all levels alike": ("x0", "x0", ()),
        "v, all levels alike": ("v", "v", ()), "v, min-SNR": ("v", "min-snr", ()),
        "v, more at high noise": ("v", "v", (0.8, 0.8))}


def main(path=None):
    digits, reader, results = load_digits(), trained_classifier(), {name: [] for name in WAYS}
    asked, rows = torch.arange(N) % 10, []
    every, labels = real_digits(digits, 2 * N)
    real = by_parts(reader.features, every)
    for seed in SEEDS:
        for name, (predicts, weight, levels) in WAYS.items():
            recipe = digits_recipe(digits.train.to(DEVICE), digits.train_labels.to(DEVICE), seed,
                                   replace(DIGIT_PICTURES, predicts=predicts), steps=STEPS,
                                   batch=budget(64, 64, 32), weight=weight, levels=levels)
            drawn = draw_digits(run(recipe), asked, 1, ddim_step, budget(25, 25, 3))
            distance, floor = frechet_with_floor(by_parts(reader.features, drawn), real, labels)
            results[name].append({"seed": seed, "right": share_right(reader, drawn, asked), "frechet": distance,
                                  "floor": floor})
            rows += [drawn[:10].cpu()] if seed == 0 else []
            print(name, results[name][-1], flush=True)
    study.keep(__file__, {"steps": STEPS, "pictures": N, "batch": recipe.batch}, results, path)
    save_rows(rows, list(WAYS), Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
