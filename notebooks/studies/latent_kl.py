"""How much KL?  Autoencoders with KL weights over five decades, each trained as long: what is rebuilt, what comes out
of random codes, and what a diffusion on their latents draws.  The picture: decoded random codes and drawn digits, for
each weight.
"""

from pathlib import Path

import torch
from digits_unet import DEVICE, FOLDER, by_parts, trained_judge
from latent_seeds import rebuilt_by, save_rows

from minidiff.data import load_captioned_digits
from minidiff.diffusion import ddim_step, guided, sample
from minidiff.evaluation import frechet_with_floor, psnr
from minidiff.models import AutoencoderConfig, UNetConfig, kl_to_normal
from minidiff.pipelines import autoencoder, denoiser, digits, text2image
from minidiff.tools import autocast, budget, generator_for, noise_for, study
from minidiff.training import train

WEIGHTS = budget([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1], [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1], [1e-4])
STEPS, UNET_STEPS, BATCH = budget(400, 400, 3), budget(250, 250, 3), budget(128, 128, 16)
N = budget(500, 500, 20)


def diffusion_on(latents, digits, seed=0):
    """A small UNet trained on latents (N, C, h, w) that are told their digit."""
    states = digits.digit_states(digits)
    training = denoiser.recipe(latents, lambda rows, generator: states[rows], torch.zeros(1, 1, 10, device=DEVICE), seed,
                           UNetConfig(latents.shape[1], cond_width=10), UNET_STEPS, BATCH)
    for _ in train(training):
        pass
    return training.model


@torch.no_grad()
def drawn_latents(model, asked, shape):
    """Latents (N, *shape) drawn as asked with w = 2, 25 steps."""
    null, cond = torch.zeros(1, 1, 10, device=DEVICE), digits.digit_states(asked.to(DEVICE))
    seeds = range(len(asked))
    with autocast(DEVICE):
        for _, z in sample(guided(model, null, 2), noise_for(seeds, shape).to(DEVICE), model.schedule,
                           budget(25, 25, 3), ddim_step, cond, seeds):
            pass
    return z.float()


def judged(judge, pictures, asked, crowd):
    """Share of pictures that are the digit asked for, and their Frechet distance to a real crowd, with its floor."""
    real, attributes = crowd
    distance, floor = frechet_with_floor(by_parts(judge.features, pictures), by_parts(judge.features, real),
                                         attributes[:, 0])
    return {"right": (by_parts(judge, pictures).argmax(1).cpu() == asked).float().mean().item(),
            "frechet": distance, "floor": floor}


def balanced(captioned, count):
    """Real dressed digits, as many of each digit (count, 3, 32, 32), and their attributes (count, 4)."""
    pictures, attributes = captioned.sample(4 * count, generator_for(9, device=DEVICE))
    rows = torch.cat([(attributes[:, 0] == digit).nonzero()[:count // 10, 0] for digit in range(10)])
    return pictures[rows], attributes[rows]


def main():
    (known, unseen), judge = load_captioned_digits(FOLDER, DEVICE), trained_judge()
    pictures, _ = unseen.sample(2 * N, generator_for(7, device=DEVICE))
    crowd = balanced(known, 2 * N)
    asked = torch.arange(N) % 10
    weights, rows = [], []
    for weight in WEIGHTS:
        training = autoencoder.recipe(known, 0, AutoencoderConfig(kl_weight=weight), STEPS)
        for _ in train(training):
            pass
        model = training.model
        mean, logvar = (torch.cat(part) for part in zip(*(
            tuple(t.detach() for t in model.encoder(some)) for some in pictures.split(500))))
        kl = kl_to_normal(mean, logvar).mean((0, 2, 3))
        codes = noise_for(range(N), (4, 4, 4)).to(DEVICE)
        dreamed = by_parts(lambda z: model.decoder(z).clamp(-1, 1), codes)          # the prior of the KL term
        latents, attributes = text2image.latents_of(known, model, budget(30_000, 30_000, 1_000))
        drawn = by_parts(lambda z: model.decode(z).clamp(-1, 1),
                         drawn_latents(diffusion_on(latents, attributes[:, 0]), asked, (4, 4, 4)))
        weights.append({"weight": weight, "psnr": psnr(rebuilt_by(model, pictures), pictures).mean().item(),
                        "kl by channel": kl.tolist(), "spread by channel": mean.std((0, 2, 3)).tolist(),
                        "noise": (logvar / 2).exp().mean().item(),
                        "random codes": judged(judge, dreamed, asked, crowd),
                        "drawn": judged(judge, drawn, asked, crowd)})
        rows += [dreamed[:10], drawn[:10]]
        print(weights[-1], flush=True)
    study.keep(__file__, {"steps": STEPS, "steps of the diffusion": UNET_STEPS, "pictures": N},
               weights)
    ways = [f"{weight:g}, {what}" for weight in WEIGHTS for what in ("random", "drawn")]
    save_rows(rows, ways, Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
