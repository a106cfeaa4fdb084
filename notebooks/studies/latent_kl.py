"""How much KL?  Autoencoders with KL weights over five decades, each trained as long: what is rebuilt, what comes out
of random codes, and what a diffusion on their latents draws.  The picture: decoded random codes and drawn digits, for
each weight.
"""

import sys
from pathlib import Path

import torch
from common import (
    DEVICE,
    balanced,
    by_parts,
    diffusion_on,
    drawn_latents,
    rebuilt_by,
    right_and_far,
    save_rows,
    trained_classifier,
)

from minidiff.data import load_captioned_digits
from minidiff.evaluation import psnr
from minidiff.models import AutoencoderConfig, kl_to_normal
from minidiff.pipelines import autoencoder, text2image
from minidiff.tools import budget, generator_for, noise_for, study
from minidiff.training import run

WEIGHTS = budget([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1], [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1], [1e-4])
STEPS, UNET_STEPS, BATCH = budget(400, 400, 3), budget(250, 250, 3), budget(128, 128, 16)
N = budget(500, 500, 20)


def main(path=None):
    (known, unseen), reader = load_captioned_digits(DEVICE), trained_classifier()
    pictures, _ = unseen.sample(2 * N, generator_for(7, device=DEVICE))
    crowd = balanced(known, 2 * N)
    asked = torch.arange(N) % 10
    weights, rows = [], []
    for weight in WEIGHTS:
        model = run(autoencoder.recipe(known, 0, AutoencoderConfig(kl_weight=weight), STEPS))
        mean, logvar = (torch.cat(part) for part in zip(*(
            tuple(t.detach() for t in model.encoder(some)) for some in pictures.split(500))))
        kl = kl_to_normal(mean, logvar).mean((0, 2, 3))
        codes = noise_for(range(N), (4, 4, 4)).to(DEVICE)
        dreamed = by_parts(lambda z: model.decoder(z).clamp(-1, 1), codes)          # the prior of the KL term
        latents, attributes = text2image.latents_of(known, model, budget(30_000, 30_000, 1_000))
        net = diffusion_on(latents, attributes[:, 0], UNET_STEPS, BATCH)
        drawn = by_parts(lambda z: model.decode(z).clamp(-1, 1), drawn_latents(net, asked, (4, 4, 4)))
        weights.append({"weight": weight, "psnr": psnr(rebuilt_by(model, pictures), pictures).mean().item(),
                        "kl by channel": kl.tolist(), "spread by channel": mean.std((0, 2, 3)).tolist(),
                        "noise": (logvar / 2).exp().mean().item(),
                        "random codes": right_and_far(reader, dreamed, asked, crowd),
                        "drawn": right_and_far(reader, drawn, asked, crowd)})
        rows += [dreamed[:10], drawn[:10]]
        print(weights[-1], flush=True)
    study.keep(__file__, {"steps": STEPS, "steps of the diffusion": UNET_STEPS, "pictures": N}, weights, path)
    ways = [f"{weight:g}, {what}" for weight in WEIGHTS for what in ("random", "drawn")]
    save_rows(rows, ways, Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
