"""How wide may latents spread?  The same latents given to the same small diffusion: as they come, made as wide as
Stable Diffusion's, multiplied by Stable Diffusion's number, and measured channel by channel.  Three seeds.
The picture: what each draws, from the same noise.
"""

import sys
from pathlib import Path

import torch
from common import (
    DEVICE,
    SEEDS,
    balanced,
    by_parts,
    diffusion_on,
    drawn_latents,
    right_and_far,
    save_rows,
    trained_classifier,
)

from minidiff.data import load_captioned_digits
from minidiff.pipelines import autoencoder, text2image
from minidiff.tools import budget, study
from minidiff.training import run

STEPS, UNET_STEPS, BATCH = budget(400, 400, 3), budget(250, 250, 3), budget(128, 128, 16)
N = budget(500, 500, 20)


def main(path=None):
    (known, _), reader = load_captioned_digits(DEVICE), trained_classifier()
    crowd, asked = balanced(known, 2 * N), torch.arange(N) % 10
    model = run(autoencoder.recipe(known, steps=STEPS))
    latents, attributes = text2image.latents_of(known, model, budget(30_000, 30_000, 1_000))
    mean, std = model.latent_mean, model.latent_std
    ways = {"as they come": (0.0, 1.0), "spread 5.49": (mean, std / 5.49), "times 0.18215": (0.0, 1 / 0.18215),
            "measured": (mean, std)}
    results, rows = {name: [] for name in ways}, []
    for seed in SEEDS:
        for name, (shift, scale) in ways.items():
            given = (latents * std + mean - shift) / scale
            net = diffusion_on(given, attributes[:, 0], UNET_STEPS, BATCH, seed)
            z = drawn_latents(net, asked, given.shape[1:])
            drawn = by_parts(lambda z: model.decoder(z * scale + shift).clamp(-1, 1), z)
            results[name].append({"seed": seed, "spread": given.std().item(),
                                  **right_and_far(reader, drawn, asked, crowd)})
            rows += [drawn[:10]] if seed == 0 else []
            print(name, results[name][-1], flush=True)
    study.keep(__file__, {"steps": STEPS, "steps of the diffusion": UNET_STEPS, "pictures": N},
               {"spread by channel": std.flatten().tolist(), "ways": results}, path)
    save_rows(rows, list(ways), Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
