"""How wide may latents spread?  The same latents given to the same small diffusion: as they come, made as wide as
Stable Diffusion's, multiplied by Stable Diffusion's number, and measured channel by channel.  Three seeds.
The picture: what each draws, from the same noise.
"""

from pathlib import Path

import torch
from digits_unet import DEVICE, FOLDER, by_parts, trained_judge
from latent_kl import STEPS, UNET_STEPS, N, balanced, diffusion_on, drawn_latents, judged
from latent_seeds import save_rows

from minidiff.data import load_captioned_digits
from minidiff.pipelines import autoencoder, text2image
from minidiff.tools import budget, study
from minidiff.training import train

SEEDS = budget([0, 1, 2], [0, 1, 2], [0])


def main():
    (known, _), judge = load_captioned_digits(FOLDER, DEVICE), trained_judge()
    crowd, asked = balanced(known, 2 * N), torch.arange(N) % 10
    training = autoencoder.recipe(known, steps=STEPS)
    for _ in train(training):
        pass
    model = training.model
    latents, attributes = text2image.latents_of(known, model, budget(30_000, 30_000, 1_000))
    mean, std = model.latent_mean, model.latent_std
    ways = {"as they come": (0.0, 1.0), "spread 5.49": (mean, std / 5.49), "times 0.18215": (0.0, 1 / 0.18215),
            "measured": (mean, std)}
    results, rows = {name: [] for name in ways}, []
    for seed in SEEDS:
        for name, (shift, scale) in ways.items():
            given = (latents * std + mean - shift) / scale
            z = drawn_latents(diffusion_on(given, attributes[:, 0], seed), asked, given.shape[1:])
            drawn = by_parts(lambda z: model.decoder(z * scale + shift).clamp(-1, 1), z)
            results[name].append({"seed": seed, "spread": given.std().item(), **judged(judge, drawn, asked, crowd)})
            rows += [drawn[:10]] if seed == 0 else []
            print(name, results[name][-1], flush=True)
    study.keep(__file__, {"steps": STEPS, "steps of the diffusion": UNET_STEPS, "pictures": N},
               {"spread by channel": std.flatten().tolist(), "ways": results})
    save_rows(rows, list(ways), Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
