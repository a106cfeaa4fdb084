"""Chapter 5, on the second half of `05_autoencoder.ipynb`: the loss, narrow latents, attention's bill, discs."""

import math
from types import SimpleNamespace

import torch

from minidiff.diffusion.schedule import Schedule
from minidiff.evaluation.metrics import psnr
from minidiff.exercises import Exercise, randn
from minidiff.models.autoencoder import Autoencoder, kl_to_normal


def autoencoder_loss(pictures, mean, logvar, decode, weight, seed):
    """pictures (B, 3, H, W); mean, logvar (B, C, h, w) of the clouds of their latents -> the loss, a number"""
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed))
    spread = logvar.exp()
    rebuilt = decode(mean + spread * noise)
    error = (rebuilt - pictures).square().mean()
    kl = (mean.square() + logvar.exp() - 1 + logvar) / 2         # of each cloud from N(0, 1)
    return error + weight * kl.mean()


def true_loss(pictures, mean, logvar, decode, weight, seed):
    """`Autoencoder.loss` with a given answer of the encoder."""
    parts = SimpleNamespace(encoder=lambda pictures: (mean, logvar), decoder=decode,
                            config=SimpleNamespace(kl_weight=weight))
    return Autoencoder.loss(parts, pictures, torch.Generator().manual_seed(seed))


def loss_cases():
    def case(seed, weight, *shape):
        mix = randn(seed, shape[1], 3)
        return (randn(seed + 1, shape[0], 3, *shape[2:]).tanh(), randn(seed + 2, *shape), randn(seed + 3, *shape) - 1,
                lambda z: torch.einsum("bchw,cd->bdhw", z, mix).tanh(), weight, seed)

    return [case(1, 0.7, 5, 2, 3, 7), case(6, 2.0, 3, 5, 2, 11)]


def clouded(spread=lambda logvar: (logvar / 2).exp(), kl=kl_to_normal, sign=1, count=torch.mean):
    """Somebody's repair."""
    def answer(pictures, mean, logvar, decode, weight, seed):
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed))
        rebuilt = decode(mean + spread(logvar) * noise)
        return (rebuilt - pictures).square().mean() + sign * weight * count(kl(mean, logvar))

    return answer


def as_loud_as_noise(spread):
    """The level at which latents of this spread and the noise are equally strong."""
    a = Schedule.cosine(1000).alpha_bar
    return (a.sqrt() * spread - (1 - a).sqrt()).abs().argmin().item()


def paint(codes):
    """Discs (N, 1, 32, 32) from the places x and y of their centers, and their radii (N, 3)."""
    x, y, radius = (part.view(-1, 1, 1, 1) for part in codes.unbind(1))
    place = torch.arange(32.0)
    return (radius - ((place - x) ** 2 + (place[:, None] - y) ** 2).sqrt() + 0.5).clamp(0, 1) * 2 - 1


def weigh(pictures):
    """The center of the ink, and the radius of a disc with as much ink."""
    ink, place = (pictures[:, 0] + 1) / 2, torch.arange(32.0)
    area = ink.sum((1, 2))
    return torch.stack([(ink.sum(1) * place).sum(1) / area, (ink.sum(2) * place).sum(1) / area,
                        (area / math.pi).sqrt()], 1)


def three_numbers(pair):
    """Whether discs come back from three numbers, and how a linear code does with as many."""
    chance = torch.rand(503, 3, generator=torch.Generator().manual_seed(7))
    discs = paint(chance * torch.tensor([13.0, 13.0, 5.0]) + torch.tensor([9.0, 9.0, 2.5]))
    if (codes := pair[0](discs.clone())) is None or (rebuilt := pair[1](codes)) is None:
        return None, ""
    if codes.shape != (503, 3) or rebuilt.shape != discs.shape:
        return False, (f"for 503 pictures the codes must be (503, 3) and the pictures (503, 1, 32, 32), "
                       f"got {tuple(codes.shape)} and {tuple(rebuilt.shape)}")
    flat = discs.flatten(1) - discs.flatten(1).mean(0)
    axes = torch.linalg.svd(flat, full_matrices=False)[2]
    line = [psnr(flat @ axes[:k].T @ axes[:k], flat).mean().item() for k in (3, 64)]
    mine = psnr(rebuilt, discs).clamp_max(99).mean().item()
    return mine >= 30, (f"{mine:.1f} dB with three numbers, the goal is 30 (the best linear code has {line[0]:.1f} dB "
                        f"with three numbers, and {line[1]:.1f} dB with 64)")


EXERCISES = [
    Exercise(
        "5.6", "Find the bugs: the cloud", "bug", stars=2, minutes=15, broken=autoencoder_loss, reference=true_loss,
        cases=loss_cases,
        prompt="The encoder gives the mean and the *logarithm of the variance* of each latent. Two things are wrong "
               "with this loss, and both are from real code: the first is rachtsingh/ibp_vae's issue 3 (and many "
               "others'), the second was mended in FluxML/model-zoo's pull request 147. It trains. Mend both.",
        hints=("What is the spread of a cloud with log-variance 2? And what is the KL of the cloud N(0, 1) itself, and "
               "of a very narrow one?", "A spread is the root of a variance; and a narrow cloud must be dear, not "
                                        "cheap.",
               "`spread = (logvar / 2).exp()`, and `- logvar` at the end of the KL."),
        mistakes={
            "The spread is right now. But the KL still rewards narrow clouds: log variance must be subtracted.":
                clouded(kl=lambda m, v: (m.square() + v.exp() - 1 + v) / 2),
            "The KL is right now. But exp(logvar) is the variance; the noise is multiplied by its root.":
                clouded(lambda logvar: logvar.exp()),
            "Without noise it is a plain autoencoder: the decoder must see random members of the cloud.":
                clouded(lambda logvar: 0 * logvar),
            "The noise is multiplied by the log-variance itself; its spread is exp(logvar / 2).":
                clouded(lambda logvar: logvar / 2),
            "The log-variance itself multiplies the noise; its spread is exp(logvar / 2), the exponential first.":
                clouded(lambda logvar: logvar),
            "The whole KL got a minus sign: now it pushes the clouds away from N(0, 1).":
                clouded(sign=-1),
            "In the KL there was a variance already, and exp(logvar) was right; only the sign of logvar was not.":
                clouded(kl=lambda m, v: (m.square() + (v / 2).exp() - 1 - v) / 2),
            "The half of the KL has got lost.": clouded(kl=lambda m, v: 2 * kl_to_normal(m, v)),
            "The KL is a mean over all numbers, as the error is, not a sum.": clouded(count=torch.sum)}),
    Exercise(
        "5.7", "Narrow latents drown", "number", stars=2, minutes=10, reference=lambda: as_loud_as_noise(0.2),
        tolerance=1.5,
        prompt="Latents of spread 1 and the noise are equally strong at level 500 of the cosine schedule, where √ᾱ = "
               "cos(π t / 2000) and √(1 − ᾱ) = sin(π t / 2000). Somebody multiplies them by a number copied from "
               "elsewhere, and their spread is 0.2. At which level are they now as strong as the noise?",
        hints=("The spread of the signal at level t is 0.2 · √ᾱ.", "0.2 cos = sin means tan(π t / 2000) = 0.2.",
               "2000 / π · arctan(0.2)."),
        reason="From there on upwards, in seven levels of eight, the noise is stronger: most of what will be drawn is "
               "decided in an eighth of the walk.",
        mistakes={"That is for latents five times too wide: they stand out of the noise for longer, narrow ones drown.":
                      as_loud_as_noise(5),
                  "That is the arcsine; 0.2 cos = sin is a tangent.": 2000 / math.pi * math.asin(0.2),
                  "0.2 is a spread; you used it as a variance.": as_loud_as_noise(0.2**0.5),
                  "You squared it twice: 0.2 cos(…) = sin(…), and no more squares.": as_loud_as_noise(0.04),
                  "A fifth of 500 would be right on a straight line; the schedule is a cosine.": 100}),
    Exercise(
        "5.8", "Attention's bill", "number", stars=1, minutes=5, tolerance=0.5,
        reference=lambda: (512 * 512) ** 2 / (64 * 64) ** 2,
        prompt="In self-attention each place looks at each place. A picture of 512 × 512 pixels has a latent of 64 × "
               "64 places. By what factor are there fewer looks?",
        hints=("The latent has 8 · 8 times fewer places.", "Each of fewer places looks at fewer places.", "64 · 64."),
        reason="Places are 64 times fewer, looks 64² times. Nothing else in the network gains so much from a latent.",
        mistakes={"That is how many times fewer places there are; and each of them looks at as many times fewer.": 64,
                  "48 is how many times fewer *numbers* there are; looks are counted by places.": 48,
                  "You squared the 48; three channels or four at a place make no more places.": 48**2,
                  "That is the side; places are the side squared, looks are the places squared.": 8}),
    Exercise(
        "5.9", "Three numbers a disc", "open", stars=3, minutes=30, reference=(weigh, paint), goal=three_numbers,
        prompt="\"A weighted sum of a few fixed pictures cannot move ink.\" You can. The pictures show one disc each, "
               "somewhere, large or small: ink is clamp(radius − distance to the center + ½, 0, 1), and pictures are "
               "2 · ink − 1. Write an encoder that keeps three numbers a picture, and a decoder, without training. "
               "The goal: 30 dB.",
        signature="my_encode(pictures)\nmy_decode(codes)",
        shapes="pictures (N, 1, 32, 32) -> (N, 3)\ncodes (N, 3) -> pictures (N, 1, 32, 32)",
        hints=("Which three numbers say all about a disc?",
               "The center is the mean of the places, weighted by the ink (5.4 has it); the sum of the ink is π · "
               "radius².",
               "Decode with the formula: `place = torch.arange(32.0)`, `distance = ((place - x) ** 2 + (place[:, None] "
               "- y) ** 2).sqrt()`, with x and y as (N, 1, 1, 1).")),
]
