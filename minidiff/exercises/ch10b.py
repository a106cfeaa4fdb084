"""Chapter 10, on `10b_adapters_for_films.ipynb`: an adapter that is taken out, uneven films, windows, drift."""

import math
from itertools import pairwise

import torch

from minidiff.data.clouds import Mixture
from minidiff.diffusion.exact import exact_denoiser
from minidiff.diffusion.guidance import in_windows
from minidiff.diffusion.samplers import ddim_step, level_of
from minidiff.diffusion.schedule import Schedule, add_noise
from minidiff.evaluation.motion import overlap, second_difference
from minidiff.exercises.form import Exercise, randn
from minidiff.tools.runtime import generator_for


def adapted(frozen=lambda W, own, alpha, training: W if training else own,
            strength=lambda alpha, training, rank: 1 if training else alpha, change=lambda A, B: B @ A):
    """Somebody's layer with a domain adapter: which weight is frozen, how much the adapter counts, its change."""
    def answer(z, W, own, A, B, alpha, training):
        return z @ (frozen(W, own, alpha, training) + strength(alpha, training, len(A)) * change(A, B)).T

    return answer


def adapter_cases():
    return [(randn(1081, 7, 5), randn(1082, 5, 5), randn(1083, 5, 5), randn(1084, 2, 5), randn(1085, 5, 2), alpha,
             training) for alpha, training in ((0.3, True), (0.3, False), (0.0, False))]


def uneven(change=lambda films: films.diff(n=2, dim=1), size=lambda change, films: change.abs().mean()):
    """Somebody's second difference in time: the change, and how its size is measured."""
    return lambda films: size(change(films), films)


def all_starts(frames, size, step):
    """Where the windows begin: the last one ends with the film."""
    return [*range(0, frames - size, step), frames - size]


def windowed(starts=lambda frames, size, overlap: all_starts(frames, size, size - overlap),
             mean=lambda total, count, windows: total / count):
    """Somebody's windows: where they begin, and what is made of the sum and of the number of answers."""
    def answer(denoise, xt, size, overlap):
        total, count = torch.zeros_like(xt), torch.zeros(1, xt.shape[1], 1)
        begin = starts(xt.shape[1], size, overlap)
        for start in begin:
            total[:, start:start + size] += denoise(xt[:, start:start + size])
            count[:, start:start + size] += 1
        return mean(total, count, len(begin))

    return answer


def one_window_wins(order=lambda starts: starts):
    """Somebody who overwrites what an earlier window has said."""
    def answer(denoise, xt, size, overlap):
        out = torch.zeros_like(xt)
        for start in order(all_starts(xt.shape[1], size, size - overlap)):
            out[:, start:start + size] = denoise(xt[:, start:start + size])
        return out

    return answer


def window_cases():
    def denoise(window):
        when = torch.arange(window.shape[1]).view(-1, 1) / 3
        return (window + window.mean(1, keepdim=True) + when).sin()

    return [(denoise, randn(1101 + n, n, frames, 3), 5, shared) for n, frames, shared in
            ((2, 11, 2), (3, 13, 3), (2, 11, 1))]


def drifted(share=lambda one, first: torch.minimum(one, first).sum(2) / torch.maximum(one, first).sum(2),
            beside=lambda ink: ink[:, :1], mean=lambda each: each.mean(0)):
    """Somebody's drift: how much two frames share, which frame each one is compared with, and the mean."""
    def answer(films):
        ink = films.flatten(2)                                   # (B, F, H W)
        return mean(share(ink, beside(ink).expand_as(ink)))

    return answer


PERIOD, KNOWN, LENGTH = 13, 4, 16


def tracks():
    """Points (39, 16, 2) that run along three closed curves: each curve, from each of its 13 places on."""
    wave = torch.arange(1, 4)
    angle = 2 * math.pi * wave[:, None] * torch.arange(PERIOD) / PERIOD
    waves = torch.stack([angle.cos(), angle.sin()])
    curves = torch.einsum("kdwc,cwf->kfd", randn(1, 3, 2, 3, 2) / wave[:, None], waves)
    curves = curves / curves.std()
    every = torch.stack([curves.roll(-start, 1) for start in range(PERIOD)], 1).flatten(0, 1)
    return torch.cat([every, every], 1)[:, :LENGTH]


def gone_on(denoise, begun, schedule, candidates=24):
    """A way to reach the goal of 10.12: each piece is drawn several times, and the denoiser chooses."""
    generator, film = generator_for(1121), begun

    def noised(x, t):
        eps = torch.randn(x.shape, generator=generator)
        return add_noise(x, level_of(t, x), eps, schedule), eps

    while film.shape[1] < LENGTH:
        known = film[:, -KNOWN:].repeat(candidates, 1, 1)
        x = torch.randn(len(known), 8, 2, generator=generator)
        for t, s in pairwise(range(1000, -1, -50)):
            x = torch.cat([noised(known, t)[0], x[:, KNOWN:]], 1)
            x = ddim_step(lambda x, t, cond: denoise(x, t), x, t, s, schedule)
        xt, eps = noised(torch.cat([known, x[:, KNOWN:]], 1), 100)
        doubt = (denoise(xt, level_of(100, xt)) - eps).square().mean((1, 2))
        best = doubt.view(candidates, -1).argmin(0)
        pieces = x[:, KNOWN:].unflatten(0, (candidates, -1))[best, torch.arange(len(best))]
        film = torch.cat([film, pieces], 1)
    return film


def went_on(answer):
    """Do the films go on as the points run?"""
    films, schedule = tracks(), Schedule.cosine(1000)
    exact = exact_denoiser(Mixture(films[:, :8], 0.05), schedule)
    mine = answer(lambda xt, t: exact(xt, t), films[:, :KNOWN].clone(), schedule)
    if mine is None:
        return None, ""
    if mine.shape != films.shape:
        return False, f"your films have the shape {tuple(mine.shape)}, expected {tuple(films.shape)}"
    error = (mine - films)[:, KNOWN:].square()
    right = (error.mean((1, 2)).sqrt() < 0.2).float().mean().item()
    pieces = [(part.mean((1, 2)).sqrt() < 0.2).float().mean().item() for part in error.split(4, 1)]
    return right >= 0.9, (f"{right:.0%} of the films go on as they should (the goal: 90 %); of their three pieces of "
                          f"four frames {', '.join(f'{share:.0%}' for share in pieces)} are right")


EXERCISES = [
    Exercise(
        "10.8", "An adapter that is taken out again", "code", stars=1, minutes=10, reference=adapted(),
        cases=adapter_cases,
        prompt="AnimateDiff's domain adapter learns how the frames of the clips look, their watermark included, so "
               "that the motion module does not have to. While the module learns, a layer of the UNet computes "
               "W z + B A z (eq. 4). When films are drawn, the weight `own` of somebody's own machine takes W's "
               "place, and the adapter counts `alpha` times, or not at all if `alpha` is 0. Write this layer for a "
               "batch of inputs.",
        signature="my_query(z, W, own, A, B, alpha, training)",
        shapes="z (N, in), W and own (out, in), A (r, in), B (out, r), alpha a number, training a bool -> (N, out)",
        hints=("While the module learns, `alpha` has no say: the adapter counts once.",
               "The inputs are rows, so W z is `z @ W.T`, and B A z is `z @ A.T @ B.T`.",
               "`z @ (W if training else own).T + (1 if training else alpha) * z @ A.T @ B.T`"),
        mistakes={
            "While the module learns, your adapter counts `alpha` times. There it counts once.":
                adapted(strength=lambda alpha, training, rank: alpha),
            "When films are drawn, your adapter still counts once; it must count `alpha` times.":
                adapted(strength=lambda alpha, training, rank: 1),
            "Your adapter counts `alpha` times while the module learns, and once when films are drawn. It is the other "
            "way around.": adapted(strength=lambda alpha, training, rank: alpha if training else 1),
            "You multiplied both A and B by `alpha`, so the adapter counts alpha² times.":
                adapted(strength=lambda alpha, training, rank: 1 if training else alpha**2),
            "You divided `alpha` by the rank, as in chapter 8. In equation 4 it is a plain strength.":
                adapted(strength=lambda alpha, training, rank: 1 if training else alpha / rank),
            "When films are drawn, your adapter is always gone. It counts `alpha` times.":
                adapted(strength=lambda alpha, training, rank: 1 if training else 0),
            "The module learns beside W. The weight `own` comes in only when films are drawn.":
                adapted(lambda W, own, alpha, training: own),
            "When films are drawn, `own` stands in the place of W.": adapted(lambda W, own, alpha, training: W),
            "When films are drawn, `own` stands in the place of W; you added the two.":
                adapted(lambda W, own, alpha, training: W if training else W + own),
            "When films are drawn, you weakened `own` as well. `alpha` is for the adapter only.":
                adapted(lambda W, own, alpha, training: W if training else (1 - alpha) * own),
            "The frozen weight is missing: the adapter is added to its output.":
                adapted(lambda W, own, alpha, training: 0),
            "Your change is transposed: A comes first, then B.": adapted(change=lambda A, B: (B @ A).T)}),
    Exercise(
        "10.9", "How unevenly does it go?", "code", stars=1, minutes=10, reference=second_difference,
        cases=lambda: [(randn(1091, 2, 5, 3, 7, 2).tanh(),), (randn(1092, 3, 7, 5, 2, 3).tanh() + 0.3,)],
        prompt="A film that flickers changes back and forth, but one that runs evenly changes by the same amount from "
               "frame to frame, so its second difference in time, x_(f+1) − 2 x_f + x_(f−1), is zero. Return the "
               "mean of its absolute value over films, frames and pixels.",
        signature="my_unevenness(films)", shapes="films (B, F, C, H, W) -> a number",
        hints=("The frames are axis 1: `films[:, 1:-1]` leaves out the first and the last.",
               "`films[:, 2:]` are the frames after these, and `films[:, :-2]` the frames before.",
               "`(films[:, 2:] - 2 * films[:, 1:-1] + films[:, :-2]).abs().mean()`"),
        mistakes={
            "That is the first difference. It is large for an even motion, too.":
                uneven(lambda films: films.diff(dim=1)),
            "The frame in the middle is missing, so this is a first difference over two steps.":
                uneven(lambda films: films[:, 2:] - films[:, :-2]),
            "The frame in the middle counts twice: x_(f+1) − 2 x_f + x_(f−1).":
                uneven(lambda films: films[:, 2:] - films[:, 1:-1] + films[:, :-2]),
            "You took the mean of the squares; take that of the absolute values.":
                uneven(size=lambda change, films: change.square().mean()),
            "You took the root of the mean square. The mean of the absolute values is smaller.":
                uneven(size=lambda change, films: change.square().mean().sqrt()),
            "You took the mean first, so changes back and forth cancel. Take the absolute values before the mean.":
                uneven(size=lambda change, films: change.mean().abs()),
            "You took the absolute values of the first differences before their difference. Then back and forth "
            "look alike.": uneven(lambda films: films.diff(dim=1).abs().diff(dim=1)),
            "You took differences between channels. The frames are axis 1.":
                uneven(lambda films: films.diff(n=2, dim=2)),
            "You let the first frame follow the last one, because `roll` wraps around.":
                uneven(lambda films: films.roll(-1, 1) - 2 * films + films.roll(1, 1)),
            "You divided by the number of all frames; the first and the last have no second difference.":
                uneven(size=lambda change, films: change.abs().sum() / films.numel())}),
    Exercise(
        "10.10", "Longer than it learned", "code", stars=2, minutes=20, cases=window_cases,
        reference=lambda denoise, xt, size, overlap: in_windows(lambda x, t, cond: denoise(x), size, overlap)(xt, None),
        prompt="A denoiser knows clips of `size` frames, but a film is longer. So ask it about windows of `size` "
               "frames. The first begins with the film, each shares `overlap` frames with the one before, and the "
               "last ends with the film, even if it must then share more. Where several windows answer for a frame, "
               "return the mean of their answers.",
        signature="my_windows(denoise, xt, size, overlap)",
        shapes="denoise(window (B, size, D)) -> (B, size, D); xt (B, F, D), F > size > overlap -> (B, F, D)",
        hints=("Each window begins `size - overlap` frames after the one before.",
               "The windows begin at `[*range(0, frames - size, size - overlap), frames - size]`.",
               "Add each answer to `total[:, start:start + size]`, add 1 to `count[start:start + size]`, and return "
               "`total / count[:, None]`."),
        mistakes={
            "You added up the answers; where windows overlap, take their mean.":
                windowed(mean=lambda total, count, windows: total),
            "Where windows overlap, you kept what the last of them says. Take the mean.": one_window_wins(),
            "Where windows overlap, you kept what the first of them says. Take the mean.":
                one_window_wins(lambda starts: starts[::-1]),
            "Your windows begin `size` frames apart, so they do not overlap.":
                windowed(lambda frames, size, overlap: all_starts(frames, size, size)),
            "Your windows begin `overlap` frames apart. Windows that share `overlap` frames begin `size - overlap` "
            "apart.": windowed(lambda frames, size, overlap: all_starts(frames, size, overlap)),
            "Where the windows do not come out even, the last frames are in none. Add a window that ends with the "
            "film.": windowed(lambda frames, size, overlap: range(0, frames - size + 1, size - overlap)),
            "The last window is missing, because `range` stops before its end.":
                windowed(lambda frames, size, overlap: range(0, frames - size, size - overlap)),
            "Your last windows are cut off by the end of the film, but the denoiser knows only clips of `size` "
            "frames. Move the last one back instead.":
                windowed(lambda frames, size, overlap: range(0, frames, size - overlap)),
            "You divided by the number of all windows. Divide each frame by the number of windows that contain it.":
                windowed(mean=lambda total, count, windows: total / windows),
            "You divided by 2 where windows overlap, but a frame can be in three of them or more.":
                windowed(mean=lambda total, count, windows: total / count.clamp_max(2))}),
    Exercise(
        "10.11", "Is it still the same digit?", "code", stars=1, minutes=15,
        reference=lambda films: torch.stack([overlap(frame, films[:, 0]).mean() for frame in films.unbind(1)]),
        cases=lambda: [(randn(1111, 2, 5, 7, 3).sigmoid(),), (randn(1112, 3, 7, 2, 5).sigmoid(),)],
        prompt="A long film can drift: bit by bit, one digit becomes another. The frames of these films have been "
               "turned and moved back to the pose of the first. Compare each frame with the first one by a soft IoU: "
               "the smaller ink at each pixel, summed, divided by the sum of the larger. Return the mean "
               "over the films, as a curve along time.",
        signature="my_drift(films)", shapes="films (B, F, H, W), ink between 0 and 1, some in every frame -> (F,)",
        hints=("`films[:, :1]` is the first frame with its time axis kept.",
               "`torch.minimum(films, films[:, :1])` is the smaller ink at each pixel; sum it over the last two axes.",
               "With `both` and `either` (B, F): `(both / either).mean(0)`."),
        mistakes={
            "You compared each frame with the one before. A slow drift does not show in that.":
                drifted(beside=lambda ink: torch.cat([ink[:, :1], ink[:, :-1]], 1)),
            "You compared with the last frame; compare with the first.": drifted(beside=lambda ink: ink[:, -1:]),
            "You multiplied the inks. For a frame and itself that is less than the larger ink, so it would not be 1.":
                drifted(lambda one, first: (one * first).sum(2) / torch.maximum(one, first).sum(2)),
            "You divided by the sum of both inks, which counts what they share twice.":
                drifted(lambda one, first: torch.minimum(one, first).sum(2) / (one + first).sum(2)),
            "That is Dice: twice what they share, over the sum of both.":
                drifted(lambda one, first: 2 * torch.minimum(one, first).sum(2) / (one + first).sum(2)),
            "You divided by the ink of the first frame. Then a frame full of ink has the best score.":
                drifted(lambda one, first: torch.minimum(one, first).sum(2) / first.sum(2)),
            "You thresholded the ink at 0.5 first. A soft IoU takes it as it is.":
                drifted(lambda one, first: ((one > 0.5) & (first > 0.5)).sum(2) / ((one > 0.5) | (first > 0.5)).sum(2)),
            "You divided pixel by pixel, so that a faint pixel counts as much as a bright one. Sum first.":
                drifted(lambda one, first: (torch.minimum(one, first) / torch.maximum(one, first)).mean(2)),
            "You summed over all films before you divided, so a film with much ink counts more. Each film has its own "
            "IoU.": drifted(lambda one, first: torch.minimum(one, first).sum((0, 2), keepdim=True)[..., 0]
                            / torch.maximum(one, first).sum((0, 2), keepdim=True)[..., 0]),
            "That is a number per film. The curve has one for each frame, the mean over the films.":
                drifted(mean=lambda each: each.mean(1)),
            "The mean over the films is missing.": drifted(mean=lambda each: each),
            "That is how much is lost; the IoU is how much is kept.": drifted(mean=lambda each: 1 - each.mean(0))}),
    Exercise(
        "10.12", "The film goes on", "open", stars=3, minutes=45, reference=gone_on, goal=went_on,
        prompt="A denoiser knows clips of 8 frames, and each frame is a point in the plane. Films have begun: their "
               "first 4 frames are given. Draw the next 12, four at a time, so that the last 4 frames of what is "
               "there begin the next clip. A film is right if its new frames are within 0.2 of the true ones, as a "
               "root mean square, and the goal is 90 % of the films. Putting the known frames back in each step, as "
               "exercise 4.7 does, is not enough. It gets fewer than 10 % right, because a film that has gone astray "
               "once does not find its way back.",
        signature="my_film(denoise, begun, schedule)",
        shapes="denoise(xt (N, 8, 2), t (N,)) -> eps; begun (N, 4, 2) -> the films (N, 16, 2), `begun` included",
        hints=("Begin with 4.7: from noise at level 1000 walk down, and before each step replace the first four frames "
               "by the known ones with noise of that level added.",
               "Then a clip and its beginning may still not fit together. Draw many candidates for each piece at once "
               "and let the denoiser choose: it predicts the noise well in a clip that it believes.",
               "Add noise of level 100 to each candidate, known frames included, and keep the one for which "
               "`(denoise(xt, t) - eps).square().mean((1, 2))` is smallest. 24 candidates are enough.")),
]
