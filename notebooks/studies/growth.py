"""What does more cost, and what does it bring?  Number of digits, width of the UNet, channels of the latent, size of
the picture (digits scaled up): one of them at a time, all else as `make demo` has it, 500 and 800 steps.
Seconds of training, and what is drawn right.  `growth_gpu.json` is the same on a GPU.

The readers look at pictures of 32 x 32; larger ones are scaled down for them.
"""

import sys

import torch
from common import DEVICE, by_parts, parameters, ready
from torch.nn import functional as F

from minidiff.data import CaptionedDigits, sentence
from minidiff.diffusion import guided, heun_step, last, sample
from minidiff.evaluation import accuracy, diversity, frechet_with_floor, psnr, read
from minidiff.models import AutoencoderConfig, UNetConfig
from minidiff.pipelines import autoencoder, text2image
from minidiff.tools import autocast, budget, generator_for, noise_for, study
from minidiff.training import train

N = budget(1_000, 1_000, 24)                                     # captions
SIZES = [32, 64, 128] if DEVICE.type == "cuda" else [32, 64]     # at 128 two cores would take half an hour
PLAN = {"digits": [450, 1_500, 4_500], "width": [32, 64, 128], "channels": [2, 4, 8], "size": SIZES}
BUILT = {}                                                       # autoencoders
USUAL = {"digits": 4_500, "width": 64, "channels": 4, "size": 32}


class Scaled:
    """Captioned digits whose pictures come in another size."""

    def __init__(self, captioned, size):
        self.captioned, self.size, self.labels = captioned, size, captioned.labels
        self.checksum = f"{captioned.checksum}, {size} pixels"

    def sample(self, count, generator):
        pictures, attributes = self.captioned.sample(count, generator)
        return F.interpolate(pictures, size=(self.size, self.size), mode="bilinear"), attributes


def fewer(captioned, count):
    """Captioned digits with the first digits of each class only."""
    rows = torch.cat([torch.arange(count // 10, device=DEVICE) + start for start in captioned.start.tolist()])
    return CaptionedDigits(captioned.ink[rows].cpu(), captioned.labels[rows].cpu(), DEVICE)


def trained(recipe):
    """The trained model, and the seconds that it took."""
    *_, state = train(recipe)
    return recipe.model, state.seconds


@torch.no_grad()
def drawn(asked, parts, model, net, size):
    """Pictures as asked (N, 4), scaled to 32 x 32 for the readers."""
    pictures, null = [], parts.clip.text_states([""])
    for rows in torch.arange(len(asked), device=DEVICE).split(100):
        text = parts.clip.text_states([sentence(row) for row in asked[rows].tolist()])
        noise = noise_for(rows.tolist(), (net.config.channels, size // 8, size // 8)).to(DEVICE)
        with autocast(DEVICE):
            denoise = guided(net, null, 3.0, text2image.BELOW)
            z = last(sample(denoise, noise, net.schedule, budget(15, 15, 3), heun_step, text))
            pictures.append(F.avg_pool2d(model.decode(z.float()).clamp(-1, 1), size // 32))
    return torch.cat(pictures)


def row(known, parts, digits, width, channels, size):
    """Train the autoencoder and the UNet of one machine (the UNet on so many digits), and measure them -> a dict."""
    steps = {"autoencoder": budget(500, 500, 3), "unet": budget(800, 800, 3)}
    batch = budget(text2image.QUICK["unet"]["batch"], text2image.QUICK["unet"]["batch"], 16)
    captioned = Scaled(known, size)
    if (channels, size) not in BUILT:                            # the same one for all rows that differ elsewhere
        BUILT[channels, size] = trained(autoencoder.recipe(captioned, 0, AutoencoderConfig(latent_channels=channels),
                                                           steps["autoencoder"], budget(64, 64, 8)))
    model, building = BUILT[channels, size]
    few = Scaled(fewer(known, digits) if digits < 4_500 else known, size)
    encoded = text2image.latents_of(few, model, budget(60_000, 60_000, 1_000))
    config = UNetConfig(channels, (width,), attention=(False,), pooled=True)
    settings = text2image.QUICK["unet"] | {"config": config, "steps": steps["unet"], "batch": batch}
    net, seconds = trained(text2image.unet_recipe(few, parts.clip, model, 0, encoded, **settings))
    generator = generator_for(3, device=DEVICE)
    asked = known.allowed[torch.randint(len(known.allowed), (N,), generator=generator, device=DEVICE)]
    real, crowd = known.render(known.rows_for(asked[:, 0], generator), asked), known.sample(2 * N, generator)[0]
    pictures = drawn(asked, parts, model, net, size)
    some, _ = captioned.sample(budget(500, 500, 20), generator)
    distance, floor = frechet_with_floor(by_parts(parts.classifier.features, pictures).detach(),
                                         by_parts(parts.classifier.features, crowd).detach())
    with torch.no_grad():
        rebuilt = model.decode(model.encode(some)).clamp(-1, 1)
    return {"autoencoder seconds": building, "unet seconds": seconds,
            "weights": parameters(net), "psnr": psnr(rebuilt, some).mean().item(),
            **accuracy(read(parts.classifier, pictures), asked),
            "diversity": diversity(pictures, asked) / diversity(real, asked), "distance": distance / floor}


def main(path=None):
    known, _, parts = ready()
    done, results = {}, {what: [] for what in PLAN}
    for what, values in PLAN.items():
        for value in values if budget(True, True, False) else values[:1]:
            settings = tuple((USUAL | {what: value}).items())
            done[settings] = done.get(settings) or row(known, parts, **dict(settings))       # the usual one but once
            results[what].append({what: value} | done[settings])
            print(results[what][-1], flush=True)
    study.keep(__file__, {"captions": N, "usual": USUAL}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
