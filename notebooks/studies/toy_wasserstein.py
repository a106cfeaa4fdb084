"""Every cloud, three seeds: how near does the trained toy come to its cloud, and how near to the loss floor?

W2 between 2,000 drawn and 2,000 real points, against W2 between two real draws; the mean over many pairs of draws,
because one pair alone is uncertain by a fifth.  The first seed's drawings also make NAME.png, the chapter's picture.
"""

import sys
import time
from pathlib import Path

import torch
from common import SEEDS

from minidiff.data import CLOUDS, cloud, named_mixture
from minidiff.diffusion import heun_step, sample
from minidiff.evaluation import floor_and_excess, wasserstein
from minidiff.models import PointConfig
from minidiff.pipelines import toy
from minidiff.tools import budget, budget_name, generator_for, show, show_plane, study
from minidiff.training import run

STEPS = budget(50, 50, 5)
N, PAIRS, POINTS = budget(2_000, 2_000, 50), budget(20, 20, 2), 50_000


def distances(drawn, real):
    return torch.tensor([wasserstein(a, b) for a, b in zip(drawn, real)])


def trained_on(name, seed, real, config, steps, step):
    """Train on a cloud, draw from it, measure -> a dict, and the trajectory of the drawing."""
    recipe = toy.recipe(cloud(name, POINTS, seed=100 + seed), seed=seed, config=config)
    start = time.perf_counter()
    model = run(recipe)
    seconds = time.perf_counter() - start
    noise = torch.randn(N * PAIRS, 2, generator=generator_for(seed, 7))
    trajectory = [x for _, x in sample(model, noise, model.schedule, steps, step)]
    levels = range(20, 1001, budget(20, 20, 140))
    floor, excess = floor_and_excess(model, named_mixture(name), model.schedule, levels, weight=config.predicts)
    return {"seconds": seconds, "w2": distances(trajectory[-1].chunk(PAIRS), real).tolist(),
            "floor": floor.mean().item(), "excess": excess.mean().item()}, trajectory


def picture(trajectories):
    """Each cloud growing out of the noise, from top to bottom, one column per cloud."""
    stops, count = [0, 0.76, 0.9, 1], len(trajectories)          # of the way
    return show_plane.points([trajectory[round(stop * (len(trajectory) - 1))][:1_500]
                              for stop in stops for trajectory in trajectories.values()],
                             [*trajectories, *[""] * 3 * count], size=1.5, columns=count,
                             colors=[show.NOISE] * count + [show.MODEL] * 3 * count)


def main(path=None, file=__file__, config=None, steps=STEPS, step=heun_step):
    results, trajectories = {}, {}
    for name in CLOUDS:
        real = [cloud(name, N, seed=1_000 + pair) for pair in range(PAIRS)]
        other = [cloud(name, N, seed=2_000 + pair) for pair in range(PAIRS)]
        results[name] = {"real": distances(other, real).tolist(), "runs": []}
        for seed in SEEDS:
            done, trajectory = trained_on(name, seed, real, config or PointConfig(), steps, step)
            results[name]["runs"].append(done)
            trajectories.setdefault(name, trajectory)
            ratio = sum(done["w2"]) / sum(results[name]["real"])
            print(f"{name:13} seed {seed}: {done['seconds']:5.1f} s, W2 ratio {ratio:.3f}, "
                  f"excess loss {100 * done['excess'] / done['floor']:.2f} %", flush=True)
    if budget_name() != "fast":
        picture(trajectories).savefig(Path(file).with_suffix(".png"), dpi=100)
    study.keep(file, {"seeds": SEEDS, "n": N, "pairs": PAIRS, "steps": steps,
                      "sampler": step.__name__.removesuffix("_step"), "training_points": POINTS}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
