"""How small may a latent be?  The same autoencoder with latents 12, 24, 48 and 96 times smaller than the picture, each
trained for as many steps, three seeds: what is left of unseen digits, and how long a step of a diffusion on it takes.
The picture: unseen digits, and what is left of them.
"""

import sys
import time
from pathlib import Path

import torch
from common import DEVICE, SEEDS, left_of, rebuilt_by, save_rows, trained_classifier

from minidiff.data import load_captioned_digits
from minidiff.models import AutoencoderConfig, UNetConfig
from minidiff.pipelines import autoencoder, denoiser
from minidiff.tools import budget, generator_for, study
from minidiff.training import run, train

SIZES = {"12 times smaller": (AutoencoderConfig(widths=(32, 64), blocks=(1, 1)), 8),
         "24 times smaller": (AutoencoderConfig(latent_channels=8), 4),
         "48 times smaller": (AutoencoderConfig(), 4),
         "96 times smaller": (AutoencoderConfig(latent_channels=2), 4)}
STEPS, N = budget(300, 300, 3), budget(2_000, 2_000, 40)


def seconds_a_step(channels, size, patch=1):
    """The shortest of several training steps of the small UNet on latents (64, channels, size, size)."""
    latents = torch.randn(64, channels, size, size, device=DEVICE)
    config = UNetConfig(channels, attention=(False,), middle=False, cond_width=None, patch=patch)
    seconds, before = [], time.perf_counter()
    for _ in train(denoiser.recipe(latents, None, None, config=config, steps=budget(20, 20, 3), batch=64)):
        seconds.append(time.perf_counter() - before)
        before = time.perf_counter()
    return min(seconds)


def main(path=None):
    (known, unseen), reader = load_captioned_digits(DEVICE), trained_classifier()
    pictures, attributes = unseen.sample(N, generator_for(7, device=DEVICE))
    results, rows = {name: [] for name in SIZES}, [pictures[:10]]
    for seed in SEEDS:
        for name, (config, size) in SIZES.items():
            rebuilt = rebuilt_by(run(autoencoder.recipe(known, seed, config, STEPS)), pictures)
            results[name].append({"seed": seed, **left_of(pictures, rebuilt, attributes, reader),
                                  "seconds": seconds_a_step(config.latent_channels, size)})
            rows += [rebuilt[:10]] if seed == 0 else []
            print(name, results[name][-1], flush=True)
    study.keep(__file__, {"steps": STEPS, "pictures": N, "batch of the diffusion": 64},
               {"sizes": results, "seconds on the picture": seconds_a_step(3, 32),
                "originals": left_of(pictures, pictures + 1e-6, attributes, reader)}, path)
    save_rows(rows, ("unseen", *SIZES), Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
