"""From nothing to a picture: how long does it take, what does it reach, and where do the seconds go?

    python tests/bench/race.py [--seeds 3 4 5] [--n 2000] [-o tests/bench/race.json]

Each seed trains all stages as `python -m minidiff train` does, in a folder of its own, and is then measured on 2,000
captions.  Beside each stage, in the same minute, a plain matrix product is clocked: the *roof*.  What a stage computes
in a second is told as a share of it (model FLOPs utilization, MFU), which a busy or another machine hardly changes.
FLOPs are those of the formulas (matrix products and convolutions, there and back), as torch counts them.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from minidiff.data import load_captioned_digits
from minidiff.pipelines import report, text2image
from minidiff.tools import autocast, fast_bf16, generator_for, peak_memory_mb, pick_device, study, write_json
from minidiff.tools.runtime import synchronize
from minidiff.training import train

GOALS = {  # what has to hold, all of it: where in the report, the number, and whether it is a ceiling
    "digit": (lambda r: 100 * r["accuracy"]["digit"], 99.0, False),
    "color": (lambda r: 100 * r["accuracy"]["color"], 99.8, False),
    "stroke": (lambda r: 100 * r["accuracy"]["stroke"], 97.0, False),
    "lean": (lambda r: 100 * r["accuracy"]["lean"], 99.5, False),
    "joint": (lambda r: 100 * r["accuracy"]["joint"], 96.0, False),
    "held out": (lambda r: 100 * r["held_out"]["joint"], 93.0, False),
    "diversity": (lambda r: r["diversity"], 0.85, False),
    "Frechet / floor": (lambda r: r["frechet"] / r["frechet_floor"], 4.0, True),
}


def clock(work, device, times=5):
    """The least seconds that some work takes, of several times, after one for warming up."""
    found = []
    for _ in range(times + 1):
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        found.append(time.perf_counter() - start)
    return min(found[1:])


def roof(device, size=2048):
    """What a plain matrix product reaches here and now, in GFLOP/s, in the number format of the training."""
    matrix = torch.randn(size, size, device=device, dtype=torch.bfloat16 if fast_bf16(device) else torch.float32)
    return 2 * size**3 / clock(lambda: matrix @ matrix, device) / 1e9


def flops_a_step(recipe):
    """FLOPs of one training step, there and back, without the optimizer; no weight is changed."""
    bf16 = fast_bf16(recipe.device)                              # measured outside, where nobody counts
    with FlopCounterMode(display=False) as counter:
        with autocast(recipe.device, bf16):
            loss = recipe.loss_of(recipe.model, generator_for(recipe.seed, 0, device=recipe.device))
        loss.backward()
    recipe.model.zero_grad()
    return counter.get_total_flops()


def race(seed, n, folder, device):
    """Train every stage from nothing into a folder and measure it -> a dict."""
    stages = {}
    for recipe in text2image.recipes(seed, device):
        flops, before = flops_a_step(recipe), roof(device)
        *_, state = train(recipe, Path(folder) / f"{recipe.name}.safetensors")
        speed = (before + roof(device)) / 2
        stages[recipe.name] = {
            "seconds": state.seconds, "steps": recipe.steps, "batch": recipe.batch, "loss": state.loss,
            "weights": sum(p.numel() for p in recipe.model.parameters()),
            "examples_a_second": recipe.steps * recipe.batch / state.seconds,
            "tflop": flops * recipe.steps / 1e12, "roof_gflops": speed,
            "share_of_roof": flops * recipe.steps / state.seconds / speed / 1e9}
        print(f"  {recipe.name:12}" + "".join(f"{value:12,.{digits}f}" for value, digits in zip(
            stages[recipe.name].values(), (1, 0, 0, 4, 0, 0, 1, 0, 3))), flush=True)
    measured = report.score(text2image.load(folder, device), *load_captioned_digits(device), n, seed)
    return {"seed": seed, "seconds": sum(stage["seconds"] for stage in stages.values()), "stages": stages,
            **reached_by(measured), "floor": measured["floor"], "peak_memory_mb": peak_memory_mb()}


def reached_by(measured):
    """The numbers of a report that the goals are about, and which of the goals they reach."""
    reached = {name: goal[0](measured) for name, goal in GOALS.items()}
    return {"reached": reached, "passed": {name: (reached[name] <= least) if ceiling else (reached[name] >= least)
                                           for name, (_, least, ceiling) in GOALS.items()}}


def table(runs):
    """A line a seed: seconds, and what was reached; a star where the goal was missed."""
    lines = [f"{'seed':>5}{'seconds':>9}" + "".join(f"{name:>17}" for name in GOALS)]
    for run in runs:
        cells = [f"{value:.2f}" + " *"[not run["passed"][name]] for name, value in run["reached"].items()]
        lines.append(f"{run['seed']:5}{run['seconds']:9.1f}" + "".join(f"{cell:>17}" for cell in cells))
    lines.append(f"{'goal':>5}{'':9}" + "".join(f"{'<=' if high else '>='} {least:g} ".rjust(17)
                                                for _, least, high in GOALS.values()))
    lines.append(f"median {statistics.median(run['seconds'] for run in runs):.1f} seconds; "
                 f"{sum(all(run['passed'].values()) for run in runs)} of {len(runs)} seeds reach every goal")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description="Time the training of all parts from nothing, and what it reaches.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 5],
                        help="default: 3 4 5; guidance and steps of the sampling were chosen on 0 and 1")
    parser.add_argument("--n", type=int, default=2_000, help="captions to draw (default: %(default)s)")
    parser.add_argument("-o", "--output", help="write all numbers there, as JSON")
    options = parser.parse_args()
    device, runs = pick_device(), []
    print(f"  {'stage':12}" + "".join(f"{name:>12}" for name in (
        "seconds", "steps", "batch", "loss", "weights", "examples/s", "TFLOP", "roof GF/s", "share of it")))
    for seed in options.seeds:
        print(f"seed {seed}")
        with tempfile.TemporaryDirectory() as folder:
            runs.append(race(seed, options.n, folder, device))
        if options.output:
            write_json({"command": f"python tests/bench/race.py --seeds {' '.join(map(str, options.seeds))} "
                        f"--n {options.n}", **study.about_this_run(), "runs": runs}, options.output)
    print(table(runs))


if __name__ == "__main__":
    main()
