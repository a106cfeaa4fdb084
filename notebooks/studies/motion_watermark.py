"""A motion module that learns from clips with a watermark, beside a domain adapter or without one, on three machines.

Kept: which share of the frames of films has the watermark, and what `judge_films` finds once that corner is black.
"""

import sys
import time

import torch
from common import DEVICE, SEEDS, machine
from motion import Asked

from minidiff.data import MARK, has_watermark, load_captioned_digits, watermarked
from minidiff.pipelines import video
from minidiff.tools import budget, study
from minidiff.training import run

COUNT, TRAINED, FEW = budget(70, 70, 7), budget(450, 450, 3), budget(None, None, 3)


def seen(asked, films):
    """The share of marked frames, and how good the films are apart from that."""
    clean = films.clone()
    clean[..., MARK[0], MARK[1]] = -1
    return {"marked": has_watermark(films).float().mean().item(), **asked.judged(clean)}


def trained(parts, data, seed):
    """A motion module for a machine, trained on some clips."""
    return run(video.recipe(parts, data, seed, steps=TRAINED)).eval().requires_grad_(False)


@torch.no_grad()
def share_of(parts, data):
    """The share of marked frames among clips that were encoded and decoded."""
    return has_watermark(parts.autoencoder.decode(data.latents[:100].flatten(0, 1))).float().mean().item()


def main(path=None):
    known, unseen = load_captioned_digits(DEVICE)
    results = []
    for seed in SEEDS:
        parts = machine(seed)
        data, asked = video.lessons(known, parts, seed, look=watermarked), Asked(parts, unseen, seed, count=COUNT)
        start = time.perf_counter()
        adapter = run(video.domain_adapter(parts, data, seed, steps=FEW))
        kept = {"seed": seed, "seconds": time.perf_counter() - start, "clips": share_of(parts, data),
                "numbers": sum(t.numel() for t in adapter.state_dict().values())}
        adapted = video.adapted(parts, adapter)
        module = trained(adapted, data, seed)
        for alpha in (1.0, 0.5, 0.0):
            kept[f"alpha {alpha:g}"] = seen(asked, asked.drawn(module, video.adapted(parts, adapter, alpha)))
        every = run(video.domain_adapter(parts, data, seed, steps=FEW, frames=slice(None)))
        module = trained(video.adapted(parts, every), data, seed)
        kept["alpha 0, adapter of all frames"] = seen(asked, asked.drawn(module))
        kept["no adapter"] = seen(asked, asked.drawn(trained(parts, data, seed)))
        results.append(kept)
        print(kept, flush=True)
    study.keep(__file__, {"films": COUNT, "steps": TRAINED}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
