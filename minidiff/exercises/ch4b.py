"""Chapter 4, on `04b_samplers_and_guidance.ipynb`: where an error counts, cutting, putting back."""

from functools import cache

import torch

from minidiff.data.digits import load_digits
from minidiff.diffusion.guidance import clipped, inpainting
from minidiff.diffusion.losses import denoising_loss
from minidiff.diffusion.schedule import Schedule, from_eps, to_eps
from minidiff.exercises import Exercise, randn


def min_snr(guess, eps, t, schedule):
    """`denoising_loss` of a network that said this guess."""
    return denoising_loss(lambda *_: guess, torch.zeros_like(eps), t, eps, schedule, weight="min-snr")


def weighing(weight, per=lambda error: error.flatten(1).mean(1), error=lambda guess, eps: (guess - eps).square()):
    """Somebody's loss: weight(alpha_bar, SNR) times the error."""
    def answer(guess, eps, t, schedule):
        a = schedule.alpha_bar[t]
        return weight(a, a / (1 - a)) * per(error(guess, eps))

    return answer


def right_weight(a, snr):
    return (5 / snr).clamp_max(1)


def levels_cases():
    return [(randn(1, 7, 3, 5), randn(2, 7, 3, 5), torch.tensor([3, 13, 29, 53, 61, 71, 97]), Schedule.cosine(101)),
            (randn(3, 2, 11), randn(4, 2, 11), torch.tensor([17, 7]), Schedule.linear(19, 0.01, 0.3))]


def cutting(cut=lambda x0: x0.clamp(-1, 1), back=lambda x0, xt, t, schedule: to_eps(x0, xt, t, schedule, "x0")):
    """Somebody's clipping."""
    return lambda eps, xt, t, schedule: back(cut(from_eps(eps, xt, t, schedule, "x0")), xt, t, schedule)


def put_back(xs, known, mask, t, s, schedule, z):
    """What `inpainting` makes of a step that gave xs."""
    return inpainting(lambda *_, **__: xs, known, mask)(None, xs, t, s, schedule, noise=lambda: z)


@cache
def some_digits():
    return load_digits().val[::101]


def known_cases():
    """Digits of which the upper half is known, among others half way; and a mask for each of two, to level 0, too."""
    digits, chance, upper = some_digits().clone(), randn(9, 2, 3, 7) > 0.2, torch.zeros(1, 32, 32, dtype=torch.bool)
    upper[:, :16] = True
    return [(digits.flip(0) * 0.8 + 0.6 * randn(5, *digits.shape), digits, upper, 53, 41, Schedule.cosine(101),
             randn(7, *digits.shape)),
            *((randn(8 + s, 2, 3, 7), randn(10 + s, 2, 3, 7), chance.clone(), s + 5, s, Schedule.cosine(23),
               randn(11 + s, 2, 3, 7)) for s in (0, 13))]


def repainting(there=lambda known, a, z: a.sqrt() * known + (1 - a).sqrt() * z, mask_of=lambda mask: mask, level=1,
               join=torch.where):
    """Somebody's way of putting back what is known; level: 1 for s, 0 for t."""
    def answer(xs, known, mask, t, s, schedule, z):
        return join(mask_of(mask), there(known, schedule.alpha_bar[(t, s)[level]], z), xs)

    return answer


EXERCISES = [
    Exercise(
        "4.5", "Where an error counts", "code", stars=2, minutes=15, reference=min_snr, cases=levels_cases,
        prompt="The network says the noise, but the error shall count as min-SNR wants it: the mean squared error of "
               "the *picture*, times min(SNR, 5), a number for each picture. You get the guessed and the true noise. "
               "(SNR = ᾱ / (1 − ᾱ); with the same xt, which error in x0 belongs to an error in eps?)",
        signature="my_min_snr(guess, eps, t, schedule)",
        shapes="guess, eps (B, ...), t (B,) levels from 1, schedule.alpha_bar (S + 1,) -> (B,)",
        hints=("x0 = (xt − √(1−ᾱ) eps) / √ᾱ: the squared error of x0 is (1 − ᾱ) / ᾱ, or 1 / SNR, times that of eps.",
               "`a = schedule.alpha_bar[t]`, `snr = a / (1 - a)`: the weight is `snr.clamp(max=5) / snr`.",
               "Times `(guess - eps).square().flatten(1).mean(1)`."),
        mistakes={
            "You took the larger of SNR and 5: nearly clean levels would drown all others.":
                weighing(lambda a, snr: snr.clamp_min(5) / snr),
            "min(SNR, 5) belongs to the error of the picture; yours is that of the noise, 1 / SNR is missing.":
                weighing(lambda a, snr: snr.clamp_max(5)),
            "That is the weight for the error of v; the error of the noise becomes that of the picture by 1 / SNR.":
                weighing(lambda a, snr: snr.clamp_max(5) / (snr + 1)),
            "SNR is upside down: signal by noise, ᾱ / (1 − ᾱ).": weighing(lambda a, snr: (1 / snr).clamp_max(5) * snr),
            "Nothing is cut off at 5: SNR times 1 / SNR is 1, DDPM's plain loss.": weighing(lambda a, snr: 1),
            "A squared error takes the squared factor: (1 − ᾱ) / ᾱ, without a root.":
                weighing(lambda a, snr: snr.clamp_max(5) / snr.sqrt()),
            "A number for each picture is asked for, (B,): take the mean over its pixels only.":
                lambda *case: min_snr(*case).mean(),
            "You summed over the pixels; take their mean.":
                weighing(right_weight, lambda error: error.flatten(1).sum(1)),
            "The error must be squared.": weighing(right_weight, error=lambda guess, eps: (guess - eps).abs())}),
    Exercise(
        "4.6", "No pixel brighter than white", "code", stars=2, minutes=15,
        prompt="Guidance has guessed a noise `eps` whose picture is brighter than white in places. Cut the *picture* "
               "to −1 … 1, and return the noise that belongs to the cut picture.",
        signature="my_clipped(eps, xt, t, schedule)",
        shapes="eps, xt (B, ...), t (B,) levels from 1, schedule.alpha_bar (S + 1,) -> eps (B, ...)",
        reference=lambda eps, xt, t, schedule: clipped(lambda *_: eps, schedule)(xt, t),
        cases=lambda: [(randn(1, 5, 1, 7, 11), randn(2, 5, 1, 7, 11), torch.tensor([2, 29, 53, 71, 97]),
                        Schedule.cosine(101)), (randn(3, 3, 5), randn(4, 3, 5), torch.tensor([7, 1, 11]),
                                                Schedule.cosine(13))],
        hints=("`a = schedule.at(t, like=xt)` is ᾱ in the right shape.",
               "`x0 = (xt - (1 - a).sqrt() * eps) / a.sqrt()`, and then `.clamp(-1, 1)`.",
               "The noise of that picture: `(xt - a.sqrt() * x0) / (1 - a).sqrt()`."),
        mistakes={
            "That is the cut picture; the sampler asks for noise, so say it as noise again.":
                cutting(back=lambda x0, *_: x0),
            "You cut the noise, which may be as large as it likes; cut the picture that it implies.":
                lambda eps, *rest: eps.clamp(-1, 1),
            "Pictures reach from −1 to 1; you cut at 0, and everything dark became gray.":
                cutting(lambda x0: x0.clamp(0, 1)),
            "Only what is too bright is cut; pixels can be darker than −1, too.": cutting(lambda x0: x0.clamp(max=1)),
            "You made the whole picture paler until its brightest pixel fits; cut only the pixels that are outside.":
                cutting(lambda x0: x0 / x0.abs().flatten(1).amax(1).clamp_min(1).view(-1, *[1] * (x0.ndim - 1))),
            "tanh changes every pixel; those inside −1 … 1 must stay as they are.": cutting(torch.tanh),
            "The picture is cut, but the noise is the old one: it must be computed again, from xt and the cut picture.":
                lambda eps, *rest: eps.clone(),
            "On the way back the division is missing: noise = (xt − √ᾱ x0) / √(1−ᾱ).":
                cutting(back=lambda x0, xt, t, schedule: xt - schedule.at(t, xt).sqrt() * x0),
            "On the way back the roots are missing.": cutting(
                back=lambda x0, xt, t, schedule: (xt - schedule.at(t, xt) * x0) / (1 - schedule.at(t, xt)))}),
    Exercise(
        "4.7", "Put back what is known", "code", stars=2, minutes=15, reference=put_back, cases=known_cases,
        pictures=True,
        prompt="A step has gone from level t to s, and made xs. Where `mask` is True the clean picture is known: put "
               "it back there, with as much of the noise z as belongs to the level at which xs now is.",
        signature="my_put_back(xs, known, mask, t, s, schedule, z)",
        shapes="xs, known, z (B, ...), mask bool, integers t > s >= 0, schedule.alpha_bar (S + 1,) -> xs (B, ...)",
        hints=("xs stands at level s. At which level must the known part stand?",
               "`a = schedule.alpha_bar[s]`: the known part is `a.sqrt() * known + (1 - a).sqrt() * z`.",
               "`torch.where(mask, there, xs)`."),
        mistakes={
            "The known part is put back clean: at level s the network expects noise in it, too.":
                repainting(lambda known, a, z: known),
            "That is the noise of level t, where the step came from; xs is at level s.": repainting(level=0),
            "The mask is upside down: where it is True the picture is known.": repainting(mask_of=lambda mask: ~mask),
            "You added the known part; it must take the place of what is there.":
                repainting(join=lambda mask, there, xs: xs + mask * there),
            "The roots are missing: √ᾱ for the picture, √(1 − ᾱ) for the noise.":
                repainting(lambda known, a, z: a * known + (1 - a) * z),
            "Only noise was put back, and the known picture is lost.":
                repainting(lambda known, a, z: (1 - a).sqrt() * z),
            "The noise is simply added; the picture must shrink by √ᾱ.":
                repainting(lambda known, a, z: known + (1 - a).sqrt() * z),
            "xs is at level s already; only the known part gets noise.": lambda xs, known, mask, t, s, schedule, z: (
                schedule.alpha_bar[s].sqrt() * torch.where(mask, known, xs) + (1 - schedule.alpha_bar[s]).sqrt() * z)}),
]
