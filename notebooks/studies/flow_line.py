"""A flow on a line, where its map is known: how far flow matching's map is from the quantile map, and how straight the
paths are before and after reflow, three seeds.
"""

import sys
import time

import torch
from common import SEEDS

from minidiff.data import Mixture
from minidiff.diffusion import last, quantile_map, sample, straightness
from minidiff.models import PointConfig
from minidiff.pipelines import few_steps, toy
from minidiff.tools import budget, generator_for, study
from minidiff.training import run

LINE = PointConfig(axes=1, width=64, schedule="straight", predicts="velocity")
PAIR = Mixture(torch.tensor([[-1.0], [0.6]]), 0.45, torch.tensor([0.3, 0.7]))
SETTINGS = dict(steps=budget(4_000, 4_000, 10), batch=4096, lr=5e-3, ema=0.998)
CENTRAL = torch.special.ndtri(torch.linspace(0.01, 0.99, 197))[:, None]                # 98 % of the noises


def main(path=None):
    results = []
    for seed in SEEDS:
        numbers, start = PAIR.sample(200_000, generator_for(seed)), time.perf_counter()
        flow = run(toy.recipe(numbers, seed, LINE, **SETTINGS))
        seconds, steps = time.perf_counter() - start, budget(250, 250, 5)
        walk = list(sample(flow, CENTRAL, flow.schedule, steps))
        off = (walk[-1][1] - quantile_map(PAIR, CENTRAL)).abs() / numbers.std()
        noise = torch.randn(50_000, 1, generator=generator_for(seed, 1))
        pairs = few_steps.on_pairs(noise, last(sample(flow, noise, flow.schedule, budget(100, 100, 5))), anywhere=1.0)
        again = run(few_steps.recipe(flow, pairs, {}, seed, budget(1_500, 1_500, 10), 1024, 8e-3))
        second = list(sample(again, CENTRAL, flow.schedule, steps))
        results.append({"seed": seed, "seconds": seconds, "largest error": off.max().item(),
                        "mean error": off.mean().item(), "straightness": straightness(walk, flow.schedule),
                        "after reflow": straightness(second, flow.schedule)})
        print(results[-1], flush=True)
    study.keep(__file__, {"noises": len(CENTRAL)}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
