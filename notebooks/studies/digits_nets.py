"""Why a U?  Three nets with about the same number of parameters, trained for the same seconds on the same digits: one
that sees a single pixel, a stack of convolutions, and the UNet.  Three seeds.  The picture: what each draws, seed 0.
"""

import sys
import time
from pathlib import Path

import torch
from common import (
    DEVICE,
    SEEDS,
    draw_digits,
    loss_on,
    parameters,
    save_rows,
    share_right,
    steps_within,
    trained_classifier,
)
from torch import nn
from torch.nn import functional as F

from minidiff.data import load_digits
from minidiff.diffusion import Schedule, ddim_step, to_eps
from minidiff.models import ResBlock, UNet, time_embedding
from minidiff.pipelines.digits import recipe as digits_recipe
from minidiff.tools import budget, study
from minidiff.training import run

SECONDS, N = budget(20, 20, 0.2), budget(100, 100, 20)


class Flat(nn.Module):
    """Residual blocks at full size with kernels of one pixel (an MLP for each pixel alone) or of three."""

    def __init__(self, config, width, depth, kernel):
        super().__init__()
        self.config, self.schedule = config, Schedule.cosine(config.levels)
        self.time, self.told = nn.Linear(32, 4 * width), nn.Linear(10, 4 * width)
        self.first, self.last = nn.Conv2d(1, width, kernel, padding="same"), nn.Conv2d(width, 1, kernel, padding="same")
        self.blocks = nn.ModuleList(ResBlock(width, width, 4 * width) for _ in range(depth))
        if kernel == 1:
            for block in self.blocks:
                block.conv1, block.conv2 = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)

    def forward(self, xt, t, cond=None):
        time = F.silu(self.time(time_embedding(t, 32)) + self.told(cond.mean(1)))
        x = self.first(xt)
        for block in self.blocks:
            x = block(x, time)
        return to_eps(self.last(x).float(), xt, t, self.schedule, "v")


def each_pixel_alone(config):
    return Flat(config, width=160, depth=2, kernel=1)


def stack_of_convolutions(config):
    return Flat(config, width=40, depth=12, kernel=3)


NETS = {"each pixel alone": each_pixel_alone, "stack of convolutions": stack_of_convolutions, "UNet": UNet}


def main(path=None):
    digits, reader, results, rows = load_digits(), trained_classifier(), {name: [] for name in NETS}, []
    known, asked = (digits.train.to(DEVICE), digits.train_labels.to(DEVICE)), torch.arange(N) % 10
    for seed in SEEDS:
        for name, net in NETS.items():
            def make(steps=100):
                return digits_recipe(*known, seed, steps=steps, net=net)

            recipe = make(steps_within(SECONDS, make))
            start = time.perf_counter()
            model = run(recipe)
            seconds = time.perf_counter() - start
            drawn = draw_digits(model, asked, 1, ddim_step, budget(25, 25, 3))
            results[name].append({"seed": seed, "steps": recipe.steps, "seconds": seconds,
                                  "right": share_right(reader, drawn, asked), "loss": loss_on(model, digits),
                                  "parameters": parameters(model)})
            rows += [drawn[:10].cpu()] if seed == 0 else []
            print(name, results[name][-1], flush=True)
    study.keep(__file__, {"seconds": SECONDS, "batch": recipe.batch, "pictures": N}, results, path)
    save_rows(rows, list(NETS), Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
