"""Where does a training step spend its time?  Ten steps of each stage under torch's profiler, operations by kind.

    python tests/bench/where.py [-o tests/bench/where.png]
"""

import argparse
import time

from matplotlib.figure import Figure
from torch.profiler import ProfilerActivity, profile

from minidiff.pipelines import text2image
from minidiff.tools import autocast, generator_for, pick_device
from minidiff.training import MuonAdamW

KINDS = {  # what an operation's name must contain, the first that fits; forward and backward together
    "convolutions": ("convolution",), "matrix products": ("mm", "matmul", "linear", "bmm"),
    "norms, activations": ("norm", "silu", "gelu", "softmax", "tanh"),
    "copies, changes of format": ("copy", "cat", "stack", "index", "shuffle", "clone", "contiguous"),
}
COLORS = ("#2a6db0", "#6aa5d8", "#e0a030", "#999999", "#d9d9d9", "#e07b39")


def kind_of(name):
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), "all else")


def shares(recipe, device, steps=10):
    """Milliseconds of a step by kind, the optimizer apart -> a dict."""
    model, optimizer, spent = recipe.model.train(), MuonAdamW(recipe.model, 1e-4), 0.0

    def step(number):
        with autocast(device):
            loss = recipe.loss_of(model, generator_for(0, number, device=device))
        optimizer.zero_grad()
        loss.backward()

    for number in range(5):
        step(number)
        optimizer.step(1e-4)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for number in range(steps):
            step(number)
    found = dict.fromkeys([*KINDS, "all else"], 0.0)
    for event in seen.key_averages():
        found[kind_of(event.key)] += event.self_cpu_time_total / 1e3 / steps
    for _ in range(steps):
        started = time.perf_counter()
        optimizer.step(1e-4)
        spent += time.perf_counter() - started
    return found | {"optimizer": 1e3 * spent / steps}


def main():
    parser = argparse.ArgumentParser(description="Draw where a training step of each stage spends its time.")
    parser.add_argument("-o", "--output", default="tests/bench/where.png")
    device, rows = pick_device(), {}
    output = parser.parse_args().output
    for recipe in text2image.recipes(0, device):
        rows[recipe.name] = shares(recipe, device)
        recipe.model.eval()
        recipe.done = True                                       # trained or not, a step costs the same
        told = (f"  {kind} {ms:.1f}" for kind, ms in rows[recipe.name].items())
        print(f"{recipe.name:12}" + "".join(told), flush=True)
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    ax, left = figure.subplots(), [0.0] * len(rows)
    for kind, color in zip(next(iter(rows.values())), COLORS):
        part = [100 * row[kind] / sum(row.values()) for row in rows.values()]
        ax.barh(list(rows), part, left=left, color=color, label=kind)
        left = [a + b for a, b in zip(left, part)]
    ax.invert_yaxis()
    ax.set(xlabel="% of a step", xlim=(0, 100))
    ax.legend(ncols=3, frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.45, 1.0))
    figure.savefig(output, dpi=120)


if __name__ == "__main__":
    main()
