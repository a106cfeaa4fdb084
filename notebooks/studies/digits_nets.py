"""Why a U?  Three nets with about the same number of parameters, trained for the same seconds on the same digits: one that
sees a single pixel, a stack of convolutions, and the UNet.  Three seeds.  The picture: what each draws, seed 0.
"""

import time
from pathlib import Path

import torch
from digits_pieces import loss_on
from digits_unet import DEVICE, by_parts, draw, trained_judge
from torch import nn
from torch.nn import functional as F

from minidiff.data import load_digits
from minidiff.diffusion import Schedule, ddim_step, to_eps
from minidiff.models import DIGIT_PICTURES, ResBlock, UNet, time_embedding
from minidiff.pipelines import digits
from minidiff.tools import budget, show, study
from minidiff.training import train

SEEDS = budget([0, 1, 2], [0, 1, 2], [0])
SECONDS, N = budget(20, 20, 0.2), budget(100, 100, 20)


class Flat(nn.Module):
    """Residual blocks at full size with kernels of one pixel (an MLP for each pixel alone) or of three."""

    def __init__(self, width, depth, kernel):
        super().__init__()
        self.config, self.schedule = DIGIT_PICTURES, Schedule.cosine()
        self.time, self.told = nn.Linear(32, 4 * width), nn.Linear(10, 4 * width)
        self.first, self.last = nn.Conv2d(1, width, kernel, padding="same"), nn.Conv2d(width, 1, kernel, padding="same")
        self.blocks = nn.ModuleList(ResBlock(width, width, 4 * width) for _ in range(depth))
        if kernel == 1:
            for block in self.blocks:
                block.conv1, block.conv2 = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.to(memory_format=torch.channels_last)

    def forward(self, xt, t, cond=None):
        time = F.silu(self.time(time_embedding(t, 32)) + self.told(cond.mean(1)))
        x = self.first(xt)
        for block in self.blocks:
            x = block(x, time)
        return to_eps(self.last(x).float(), xt, t, self.schedule, "v")


NETS = {"each pixel alone": lambda: Flat(160, 2, 1), "stack of convolutions": lambda: Flat(40, 12, 3),
        "UNet": lambda: UNet(DIGIT_PICTURES)}


def main():
    digits, judge, results, rows = load_digits(), trained_judge(), {name: [] for name in NETS}, []
    asked = torch.arange(N) % 10
    for seed in SEEDS:
        for name, make in NETS.items():
            training = digits.recipe(digits.train.to(DEVICE), digits.train_labels.to(DEVICE), seed)
            training.model = make().to(DEVICE)
            measuring = train(training)
            next(measuring)                                      # the first step is slow: it prepares
            start = time.perf_counter()
            for _ in range(2):
                next(measuring)
            measuring.close()
            training = digits.recipe(digits.train.to(DEVICE), digits.train_labels.to(DEVICE), seed,
                                          steps=max(3, round(SECONDS / (time.perf_counter() - start) * 2)))
            training.model, start = make().to(DEVICE), time.perf_counter()
            for _ in train(training):
                pass
            seconds = time.perf_counter() - start
            drawn = draw(training.model, asked, 1, ddim_step, budget(25, 25, 3))
            right = (by_parts(judge, drawn).argmax(1).cpu() == asked).float().mean().item()
            results[name].append({"seed": seed, "steps": training.steps, "seconds": seconds, "right": right,
                                  "loss": loss_on(training.model, digits),
                                  "parameters": sum(p.numel() for p in training.model.parameters())})
            rows += [drawn[:10].cpu()] if seed == 0 else []
            print(name, results[name][-1], flush=True)
    study.keep(__file__, {"seconds": SECONDS, "batch": training.batch, "pictures": N}, results)
    if budget(True, True, False):
        figure = show.grid(torch.cat(rows), list(NETS), columns=10, size=0.9)
        figure.savefig(Path(__file__).with_suffix(".png"), dpi=100)


if __name__ == "__main__":
    main()
