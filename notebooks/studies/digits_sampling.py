"""One trained UNet, many ways to draw from it: three samplers at 5 to 1,000 steps, and guidance from 0 to 8.  For each
way the share of digits that are as asked, the Frechet distance with its floor, and the diversity.
The picture: the same ten noises, asked for 0 to 9, with more and more guidance.
"""

import sys
from pathlib import Path

import torch
from common import DEVICE, FOLDER, by_parts, draw_digits, real_digits, save_rows, share_right, trained_classifier

from minidiff.data import load_digits
from minidiff.diffusion import ddim_step, ddpm_step, heun_step, karras_levels, spaced_levels
from minidiff.evaluation import diversity, frechet_with_floor
from minidiff.pipelines.digits import recipe as digits_recipe
from minidiff.tools import budget, study
from minidiff.training import run

STEPS = budget([5, 10, 25, 50, 100, 1_000], [5, 10, 25, 50, 100, 1_000], [2, 3])
GUIDANCE = budget([0, 0.5, 1, 1.5, 2, 4, 8], [0, 0.5, 1, 1.5, 2, 4, 8], [0, 2])
SAMPLERS = {"DDPM, even": (ddpm_step, spaced_levels, 1_000), "DDPM, crowded": (ddpm_step, karras_levels, 50),
            "DDIM, even": (ddim_step, spaced_levels, 100), "DDIM, crowded": (ddim_step, karras_levels, 50),
            "second order, crowded": (heun_step, karras_levels, 25)}                  # and at most so many steps
N = budget(400, 400, 20)


def main(path=None):
    digits, reader = load_digits(), trained_classifier()
    asked = torch.arange(N) % 10
    every, labels = real_digits(digits, 2 * N)
    real = by_parts(reader.features, every)
    recipe = digits_recipe(digits.train.to(DEVICE), digits.train_labels.to(DEVICE))
    model = run(recipe, FOLDER / "unet_digits.safetensors")      # loaded if chapter 4 has run

    def only_digit(labels):                                      # no stroke, no lean: one group a digit
        return torch.nn.functional.pad(labels[:, None], (0, 3))

    real_diversity = diversity(every[:N], only_digit(labels[:N]))

    def measured(w, step, steps, spacing=karras_levels):
        drawn = draw_digits(model, asked, w, step, steps, spacing)
        distance, floor = frechet_with_floor(by_parts(reader.features, drawn), real, labels)
        row = {"right": share_right(reader, drawn, asked), "frechet": distance, "floor": floor,
               "diversity": diversity(drawn.cpu(), only_digit(asked)) / real_diversity}
        print(w, step.__name__, spacing.__name__, steps, row, flush=True)
        return row

    ways = {name: [{"steps": n} | measured(1, step, n, spacing) for n in STEPS if n <= most]
            for name, (step, spacing, most) in SAMPLERS.items()}
    guidance = [{"w": w} | measured(w, ddim_step, budget(25, 25, 2)) for w in GUIDANCE]
    shown = (0, 1, 2, 4, 8)
    rows = [draw_digits(model, asked[:10], w, ddim_step, budget(25, 25, 2)) for w in shown]
    config = {"pictures": N, "training steps": recipe.steps}
    study.keep(__file__, config, {"samplers": ways, "guidance": guidance}, path)
    save_rows(rows, [f"w = {w}" for w in shown], Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
