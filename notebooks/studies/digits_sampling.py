"""One trained UNet, many ways to draw from it: three samplers at 5 to 1,000 steps, and guidance from 0 to 8.  For each
way the share of digits that are as asked, the Frechet distance with its floor, and the diversity.
The picture: the same ten noises, asked for 0 to 9, with more and more guidance.
"""

from pathlib import Path

import torch
from digits_unet import DEVICE, FOLDER, by_parts, draw, real_digits, trained_judge

from minidiff.data import load_digits
from minidiff.diffusion import ddim_step, ddpm_step, heun_step, karras_levels, spaced_levels
from minidiff.evaluation import diversity, frechet_with_floor
from minidiff.pipelines import digits
from minidiff.tools import budget, show, study
from minidiff.training import train

STEPS = budget([5, 10, 25, 50, 100, 1_000], [5, 10, 25, 50, 100, 1_000], [2, 3])
GUIDANCE = budget([0, 0.5, 1, 1.5, 2, 4, 8], [0, 0.5, 1, 1.5, 2, 4, 8], [0, 2])
SAMPLERS = {"DDPM, even": (ddpm_step, spaced_levels, 1_000), "DDPM, crowded": (ddpm_step, karras_levels, 50),
            "DDIM, even": (ddim_step, spaced_levels, 100), "DDIM, crowded": (ddim_step, karras_levels, 50),
            "second order, crowded": (heun_step, karras_levels, 25)}                  # and at most so many steps
N = budget(400, 400, 20)


def main():
    digits, judge = load_digits(), trained_judge()
    asked = torch.arange(N) % 10
    every, labels = real_digits(digits, 2 * N)
    real = by_parts(judge.features, every)
    training = digits.recipe(digits.train.to(DEVICE), digits.train_labels.to(DEVICE))
    for _ in train(training, f"{FOLDER}/unet_digits.safetensors"):                   # loaded if chapter 4 has run
        pass

    def only_digit(labels):                                      # no stroke, no lean: one group a digit
        return torch.nn.functional.pad(labels[:, None], (0, 3))

    real_spread = diversity(every[:N], only_digit(labels[:N]))

    def measured(w, step, steps, spacing=karras_levels):
        drawn = draw(training.model, asked, w, step, steps, spacing)
        right = (by_parts(judge, drawn).argmax(1).cpu() == asked).float().mean().item()
        distance, floor = frechet_with_floor(by_parts(judge.features, drawn), real, labels)
        row = {"right": right, "frechet": distance, "floor": floor,
               "diversity": diversity(drawn.cpu(), only_digit(asked)) / real_spread}
        print(w, step.__name__, spacing.__name__, steps, row, flush=True)
        return row

    ways = {name: [{"steps": n} | measured(1, step, n, spacing) for n in STEPS if n <= most]
            for name, (step, spacing, most) in SAMPLERS.items()}
    guidance = [{"w": w} | measured(w, ddim_step, budget(25, 25, 2)) for w in GUIDANCE]
    shown = (0, 1, 2, 4, 8)
    rows = [draw(training.model, asked[:10], w, ddim_step, budget(25, 25, 2)) for w in shown]
    study.keep(__file__, {"pictures": N, "training steps": training.steps}, {"samplers": ways, "guidance": guidance})
    if budget(True, True, False):
        figure = show.grid(torch.cat(rows), [f"w = {w}" for w in shown], columns=10, size=0.9)
        figure.savefig(Path(__file__).with_suffix(".png"), dpi=100)


if __name__ == "__main__":
    main()
