"""Chapter 5, on the first half of `05_autoencoder.ipynb`: decibels, two readers, latents of spread one."""

import math
from types import SimpleNamespace

import torch

from minidiff.data.rendering import lean_of, stroke_width
from minidiff.evaluation.metrics import psnr
from minidiff.exercises import Exercise, randn, there_and_back
from minidiff.models.autoencoder import Autoencoder


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
    parts = SimpleNamespace(encoder=lambda z: (z, None), decoder=lambda z: z, config=SimpleNamespace(widths=()),
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
]
