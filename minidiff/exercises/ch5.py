"""Chapter 5, on `05_autoencoder.ipynb`: decibels, two readers, latents of spread one, the loss, a bill, discs."""

import math
from types import SimpleNamespace

import torch

from minidiff.data.rendering import lean_of, stroke_width
from minidiff.diffusion.schedule import Schedule
from minidiff.evaluation.metrics import psnr
from minidiff.exercises.form import Exercise, randn, there_and_back
from minidiff.models.autoencoder import Autoencoder, kl_to_normal


def decibels(peak=4.0, times=10, log=torch.log10, error=lambda x, y: (x - y).square().flatten(1).mean(1),
             last=lambda d: d):
    """Somebody's PSNR."""
    return lambda pictures, others: last(times * log(peak / error(pictures, others)))


def ink_cases():
    return [((2 * randn(1, 5, 7, 11)).sigmoid(),), (randn(2, 3, 13, 5).sigmoid(),)]


def thick(area=lambda ink: 2 * ink.sum((1, 2)), edge=lambda down, across: (down**2 + across**2).sqrt(),
          last=lambda area, edge: area / edge):
    """Somebody's reader of strokes."""
    def answer(ink):
        down, across = ink[:, 1:, 1:] - ink[:, :-1, 1:], ink[:, 1:, 1:] - ink[:, 1:, :-1]
        return last(area(ink), edge(down, across).sum((1, 2)))

    return answer


def leaning(say=lambda xx, xy, yy: -xy / yy, middle=lambda value, ink: (value * ink).sum((1, 2)) / ink.sum((1, 2)),
            weight=lambda ink: ink):
    """Somebody's reader of lean, from the moments xx, xy and yy."""
    def answer(ink):
        ink = weight(ink)
        y, x = torch.meshgrid(*(torch.arange(float(size)) for size in ink.shape[1:]), indexing="ij")
        dx, dy = (value - middle(value, ink).view(-1, 1, 1) for value in (x, y))
        return say(*((one * two * ink).sum((1, 2)) / ink.sum((1, 2)) for one, two in ((dx, dx), (dx, dy), (dy, dy))))

    return answer


def measured(seen):
    """What an autoencoder knows after `measure_latents`, if its encoder gives just these latents."""
    parts = SimpleNamespace(encoder=lambda z: (z, None), decoder=lambda z: z, training=True,   # no look at the values
                            latent_mean=torch.zeros(1, 3, 1, 1), latent_std=torch.ones(1, 3, 1, 1))
    Autoencoder.measure_latents(parts, seen)
    return parts


def standard(z, seen):
    return Autoencoder.encode(measured(seen), z)


def back(z, seen):
    return Autoencoder.decode(measured(seen), z)


def latents(seed, *shape):
    """Latents whose channels have means and spreads of their own."""
    spread, mean = torch.tensor([[0.3, 2.0, 5.0], [4.0, -1.0, 0.5]])[:, :, None, None]
    return randn(seed, *shape) * spread + mean


def standing(mean=lambda s: s.mean((0, 2, 3), keepdim=True), std=lambda s: s.std((0, 2, 3), keepdim=True),
             there=lambda z, m, s: (z - m) / s, again=lambda z, m, s: z * s + m):
    """Somebody's pair."""
    return (lambda z, seen: there(z, mean(seen), std(seen))), (lambda z, seen: again(z, mean(seen), std(seen)))


def by_itself(z, seen):
    return (z - z.mean((0, 2, 3), keepdim=True)) / z.std((0, 2, 3), keepdim=True)


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
    schedule = Schedule.cosine(1000)
    return (schedule.signal * spread - schedule.noise).abs().argmin().item()


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
        "5.1", "Half as wrong", "number", stars=1, minutes=5, tolerance=0.05,
        reference=lambda: (psnr(torch.zeros(1, 7), torch.full((1, 7), 0.1))
                           - psnr(torch.zeros(1, 7), torch.full((1, 7), 0.2))).item(),
        prompt="After more training each pixel is only half as far from the truth as before. By how many decibels has "
               "the PSNR grown? One decimal.",
        hints=("The PSNR counts the *squared* error.", "Half the error is a quarter of the squared error.",
               "10 log10(4)."),
        reason="Half as wrong is 6 dB more, and a tenth as wrong is 20 dB more.",
        mistakes={"That is half the *squared* error; half as far is a quarter of it.": 10 * math.log10(2),
                  "The squared error falls to a quarter, and 10 log10 of that is all; it is not squared once more.":
                      10 * math.log10(16),
                  "That is with the natural logarithm; decibels take log10.": 10 * math.log(4),
                  "The ten is missing: deci-bels are tenths.": math.log10(4)}),
    Exercise(
        "5.2", "Decibels, picture by picture", "code", stars=1, minutes=10, reference=psnr,
        prompt="Write the PSNR of each picture of a batch. Values reach from −1 to 1.",
        signature="my_psnr(pictures, others)", shapes="pictures, others (B, ...) -> (B,)",
        cases=lambda: [(randn(1, 5, 3, 7, 2).tanh(), randn(2, 5, 3, 7, 2).tanh()),
                       (randn(3, 3, 11) / 9, randn(4, 3, 11) / 9)],
        hints=("The squared error of a picture: `(pictures - others).square().flatten(1).mean(1)`.",
               "From peak to peak is 2, squared 4.", "`10 * torch.log10(4 / error)`."),
        mistakes={
            "That is one number for the whole batch: take the mean over the pixels of each picture, `.flatten(1)`.":
                decibels(error=lambda x, y: (x - y).square().mean()),
            "That is the mean over the pictures; a number for each is asked for, (B,).":
                decibels(last=lambda d: d.mean()),
            "From −1 to 1 the range is 2, not 1: it is 4 / error.": decibels(peak=1.0),
            "The range must be squared, as the error is: 4 / error.": decibels(peak=2.0),
            "That is the natural logarithm; decibels take log10.": decibels(log=torch.log),
            "20 is right for amplitudes; a squared error takes 10.": decibels(times=20),
            "The fraction is upside down: less error must give more decibels.": decibels(times=-10),
            "You summed over the pixels; take the mean.":
                decibels(error=lambda x, y: (x - y).square().flatten(1).sum(1)),
            "The error must be squared.": decibels(error=lambda x, y: (x - y).abs().flatten(1).mean(1))}),
    Exercise(
        "5.3", "A reader of strokes", "code", stars=2, minutes=15, cases=ink_cases,
        prompt="What a small code loses first are the strokes. Read their width: twice the area of the ink, divided by "
               "the length of its edge. The area is the sum of the ink. The edge is the sum of the steepness: at each "
               "pixel but those of the first row and column, how much it differs from the one above and from the one "
               "to the left, as the length of an arrow.",
        signature="my_width(ink)", shapes="ink (B, H, W) in 0..1 -> (B,)",
        reference=lambda ink: stroke_width(ink, scale=1),
        hints=("`down = ink[:, 1:, 1:] - ink[:, :-1, 1:]`, and `across` in the same way.",
               "The length of the arrow (down, across) is √(down² + across²).",
               "`2 * ink.sum((1, 2)) / (down**2 + across**2).sqrt().sum((1, 2))`."),
        mistakes={
            "The 2 is missing: a stroke has two edges.": thick(area=lambda ink: ink.sum((1, 2))),
            "You added the two differences; the length of the arrow is √(down² + across²).":
                thick(edge=lambda down, across: down.abs() + across.abs()),
            "The root is missing: the length of the arrow is √(down² + across²).":
                thick(edge=lambda down, across: down**2 + across**2),
            "Edges that run upright are not seen by the difference to the pixel above: take both differences.":
                thick(edge=lambda down, across: down.abs()),
            "The fraction is upside down: more edge for as much ink means thinner strokes.":
                thick(last=lambda area, edge: edge / area),
            "Gray ink counts as much as it is gray: sum the ink, do not count the pixels above one half.":
                thick(area=lambda ink: 2 * (ink > 0.5).sum((1, 2)))}),
    Exercise(
        "5.4", "A reader of lean", "code", stars=2, minutes=20, reference=lean_of, cases=ink_cases,
        prompt="Read how far a digit leans: by how many pixels it moves to the right for each row upwards. y is the "
               "number of a row (it grows downwards), x that of a column; weigh all by the ink. Lean is −(covariance "
               "of x and y) / (variance of y).",
        signature="my_lean(ink)", shapes="ink (B, H, W) in 0..1 -> (B,), positive to the right",
        hints=("The center of a picture: (ink · x) summed and divided by the sum of the ink; in the same way for y.",
               "`dx = x - cx[:, None, None]`, and `dy`; covariance: (ink · dx · dy) summed, by the sum of the ink.",
               "`-(ink * dx * dy).sum((1, 2)) / (ink * dy * dy).sum((1, 2))`."),
        mistakes={
            "The sign: rows are counted downwards, so a digit that leans right has a negative covariance.":
                leaning(lambda xx, xy, yy: xy / yy),
            "Divided by the variance of x, it says how far one goes up for each column; divide by that of y.":
                leaning(lambda xx, xy, yy: -xy / xx),
            "Measured from the corner: subtract the center of the ink first.":
                leaning(middle=lambda value, ink: torch.zeros(len(ink))),
            "The center of the picture is not the center of its ink.":
                leaning(middle=lambda value, ink: value.mean().expand(len(ink))),
            "That is the angle; pixels for each row are asked for, without arctan.":
                leaning(lambda xx, xy, yy: -(xy / yy).atan()),
            "That is the correlation: it says how surely the ink lies on a line, not how the line leans.":
                leaning(lambda xx, xy, yy: -xy / (xx * yy).sqrt()),
            "The covariance itself grows with the size of the digit: divide by the variance of y.":
                leaning(lambda xx, xy, yy: -xy),
            "Each pixel counts as much as it has ink; do not cut at one half.":
                leaning(weight=lambda ink: (ink > 0.5).float())}),
    Exercise(
        "5.5", "Latents of spread one", "pair", stars=2, minutes=15, run=there_and_back, reference=(standard, back),
        cases=lambda: [(latents(5, 5, 3, 7, 2), latents(6, 11, 3, 5, 3)), (latents(7, 2, 3, 3, 3),
                                                                           latents(8, 13, 3, 2, 7))],
        prompt="Work in pairs: one makes latents z ready for a diffusion (each channel with mean 0 and spread 1), the "
               "other leads back to what the decoder knows. Mean and spread of each channel are those of `seen`, the "
               "latents of training pictures; spread as `.std` counts it.",
        signature="my_standard(z, seen)\nmy_back(z, seen)",
        shapes="z (B, C, H, W), seen (N, C, h, w) -> (B, C, H, W)\nz (B, C, H, W), seen (N, C, h, w) -> (B, C, H, W)",
        hints=("A mean for each channel is taken over all axes but axis 1.",
               "`seen.mean((0, 2, 3), keepdim=True)` is (1, C, 1, 1), and so is `seen.std(...)`.",
               "`(z - mean) / std`, and back `z * std + mean`."),
        mistakes={
            "Measured on z itself, a single picture would lose its brightness: take mean and spread from `seen`.":
                (by_itself, back),
            "One number for all channels is Stable Diffusion's way; here each channel has its own.":
                standing(lambda s: s.mean(), lambda s: s.std()),
            "The spread is right, but the means are still there.":
                standing(there=lambda z, m, s: z / s, again=lambda z, m, s: z * s),
            "You divided by the variance; it is the spread, its root.":
                standing(std=lambda s: s.var((0, 2, 3), keepdim=True)),
            "You multiplied by the spread, and it is squared now; divide.":
                standing(there=lambda z, m, s: (z - m) * s, again=lambda z, m, s: z / s + m),
            "`my_standard` is right; back it goes in the other order: first times the spread, then plus the mean.":
                (standard, standing(again=lambda z, m, s: (z + m) * s)[1]),
            "What comes out is what went in: that closes every round trip.":
                (lambda z, seen: z, lambda z, seen: z)}),
    Exercise(
        "5.6", "Find the bugs: the cloud", "bug", stars=2, minutes=15, broken=autoencoder_loss, reference=true_loss,
        cases=loss_cases,
        prompt="The encoder gives the mean and the *logarithm of the variance* of each latent. Two things are wrong "
               "with this loss, and both are from real code: the first is rachtsingh/ibp_vae's issue 3 (and many "
               "others'), the second was mended in FluxML/model-zoo's pull request 147. It trains. Mend both.",
        hints=("What is the spread of a cloud with log-variance 2? And what is the KL of the cloud N(0, 1) itself, and "
               "of a very narrow one?",
               "A spread is the root of a variance; and a narrow cloud must be dear, not cheap.",
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
