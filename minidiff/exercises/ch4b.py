"""Chapter 4, on `04b_samplers_and_guidance.ipynb`: where an error counts, cutting, putting back, the stride, trust."""

import math

import torch

from minidiff.data.clouds import Mixture
from minidiff.diffusion.exact import exact_denoiser
from minidiff.diffusion.guidance import clipped, inpainting
from minidiff.diffusion.levels import spaced_levels
from minidiff.diffusion.losses import denoising_loss
from minidiff.diffusion.samplers import last, sample
from minidiff.diffusion.schedule import Schedule, from_eps
from minidiff.evaluation.metrics import frechet_distance, wilson
from minidiff.exercises.form import Exercise, randn, some_digits


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


def cutting(cut=lambda x0: x0.clamp(-1, 1), back=lambda x0, xt, signal, noise: (xt - signal * x0) / noise):
    """Somebody's clipping."""
    return lambda eps, xt, t, schedule: back(cut(from_eps(eps, xt, t, schedule, "x0")), xt, *schedule.at(t, like=xt))


def put_back(xs, known, mask, t, s, schedule, z):
    """What `inpainting` makes of a step that gave xs."""
    return inpainting(lambda *_, **__: xs, known, mask)(None, xs, t, s, schedule, noise=lambda: z)


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


def walk(denoise, x, schedule, steps):
    """denoise(xt, t) -> eps, noise x (B, ...) at level S, a Schedule, a number of steps -> x (B, ...) at level 0"""
    S, a = schedule.levels, schedule.alpha_bar
    levels = torch.linspace(S, 0, steps + 1).round().long().tolist()
    for t in levels[:-1]:
        s = max(t - S // steps, 0)                               # the level to go to
        eps = denoise(x, torch.full((len(x),), t))
        x0 = (x - (1 - a[t]).sqrt() * eps) / a[t].sqrt()
        x = a[s].sqrt() * x0 + (1 - a[s]).sqrt() * eps
    return x


def pairs(schedule, steps):
    levels = spaced_levels(schedule, steps)
    return list(zip(levels, levels[1:]))


def walking(stops=pairs, ask=lambda t, s: t):
    """Somebody's repair: from where to where, and at which level the denoiser is asked."""
    def answer(denoise, x, schedule, steps):
        a = schedule.alpha_bar
        for t, s in stops(schedule, steps):
            eps = denoise(x, torch.full((len(x),), ask(t, s)))
            x = a[s].sqrt() * (x - (1 - a[t]).sqrt() * eps) / a[t].sqrt() + (1 - a[s]).sqrt() * eps
        return x

    return answer


def by_ddim(denoise, x, schedule, steps):
    """`sample` with even levels."""
    return last(sample(denoise, x, schedule, steps))


def walk_cases():
    return [(exact_denoiser(Mixture(randn(s, 5, 2), 0.2), schedule), randn(s + 1, 7, 2), schedule, steps)
            for s, schedule, steps in ((21, Schedule.cosine(101), 13), (23, Schedule.cosine(211), 29))]


def crowds(seed, N, M, D):
    """Two crowds of features with means, spreads and leanings of their own."""
    return randn(seed, N, D) @ randn(seed + 1, D, D) + 1, randn(seed + 2, M, D) @ randn(seed + 3, D, D)


def apart(root=lambda S, T: torch.linalg.eigvals(S @ T).real.clamp_min(0).sqrt().sum(), gap=2, twice=2, correction=1,
          spreads=1, end=lambda d: d):
    """Somebody's Frechet distance."""
    def answer(a, b):
        S, T = (x.double().T.cov(correction=correction) for x in (a, b))
        way = (a.mean(0) - b.mean(0)).double().norm() ** gap
        return end(way + spreads * (S.trace() + T.trace() - twice * root(S, T))).item()

    return answer


def ring():
    """A crowd of 500 on a ring of radius 3."""
    angle = torch.arange(500) * (2 * math.pi / 500)
    return torch.stack([angle.cos(), angle.sin()], 1) * (3 + 0.2 * randn(31, 500, 1))


def fooled(make):
    """Whether a crowd is at no distance from the ring, and nowhere near it."""
    real = ring()
    if (made := make(real.clone())) is None:
        return None, ""
    if made.ndim != 2 or made.shape[1] != 2 or not made.is_floating_point():
        return False, f"points (N, 2) are asked for, got {tuple(made.shape)} of {str(made.dtype)[6:]}"
    distance, near = frechet_distance(made, real), torch.cdist(made.float(), real).min().item()
    return distance < 0.01 and near > 1 and len(made) >= 500, (
        f"the Frechet distance is {distance:.4f}, the goal 0.01; the nearest of your {len(made)} points lies "
        f"{near:.2f} from a real one, the goal is 1")


def two_places(real):
    """Three in four in the middle, where nobody is; the others on a circle twice as wide."""
    angle, N = torch.arange(len(real) // 4) * (8 * math.pi / len(real)), len(real)
    far = 8**0.5 * torch.stack([angle.cos(), angle.sin()], 1)
    values, vectors = torch.linalg.eigh(real.T.cov())
    return torch.cat([far, torch.zeros(N - len(far), 2)]) @ (vectors * values.sqrt()).T + real.mean(0)


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
        hints=("`signal, noise = schedule.at(t, like=xt)` gives √ᾱ and √(1−ᾱ), both in the right shape.",
               "`x0 = (xt - noise * eps) / signal`, and then `.clamp(-1, 1)`.",
               "The noise of that picture: `(xt - signal * x0) / noise`."),
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
                cutting(back=lambda x0, xt, signal, noise: xt - signal * x0),
            "On the way back the roots are missing.":
                cutting(back=lambda x0, xt, signal, noise: (xt - signal**2 * x0) / noise**2)}),
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
    Exercise(
        "4.8", "Find the bug: the stride", "bug", stars=2, minutes=15, broken=walk, reference=by_ddim,
        cases=walk_cases,
        prompt="DDIM with even levels. With 1,000 levels and 25 or 100 steps it is right; with 600 steps some noise is "
               "left at the end. huggingface/diffusers had this bug (its issues 9261 and 12633). Mend it; the levels "
               "stay as they are.",
        hints=("Print `levels`, and the pairs (t, s), for 101 levels and 13 steps.",
               "The strides between rounded levels are not all equal, and 101 // 13 cuts off what is behind the point.",
               "The level to go to is the next of the list: `for t, s in zip(levels, levels[1:])`."),
        mistakes={
            "The next stop is not one level below: `levels` leaves many out, and the walk must go as far.":
                walking(lambda sched, n: [(t, t - 1) for t in spaced_levels(sched, n)[:-1]]),
            "A rounded stride is nearer, but it still drifts away from the list: look the next level up.":
                walking(lambda sched, n: [(t, max(t - round(sched.levels / n), 0))
                                          for t in spaced_levels(sched, n)[:-1]]),
            "The strides agree now, but the denoiser is asked at the level to go to; x still stands at t.":
                walking(ask=lambda t, s: s),
            "Now it stops one level too early: the last step must go to level 0.":
                walking(lambda sched, n: pairs(sched, n)[:-1]),
            "The walk agrees with itself now, but at other levels and in another number of steps: keep the list.":
                walking(lambda sched, n: [(t, max(t - sched.levels // n, 0))
                                          for t in range(sched.levels, 0, -(sched.levels // n))])}),
    Exercise(
        "4.9", "A hundred of a hundred", "number", stars=1, minutes=10, tolerance=2e-3,
        reference=lambda: wilson(1.0, 100)[0],
        prompt="You draw 100 digits, and the classifier reads all 100 as asked. The share seen is 1. Where does the "
               "95 % interval of the text (Wilson's, z = 1.96) begin? Three decimals. Guess first; then you may call "
               "`minidiff.evaluation.wilson`.",
        hints=("A machine that errs once in a hundred draws 100 right ones quite often.",
               "`wilson` gives middle ± half. With a share of 1, middle minus half is 1 / (1 + z² / n).",
               "100 / (100 + 3.84)."),
        reason="So 100 of 100 does not tell 96.5 % from 100 %. Who wants to see a difference of a point needs "
               "thousands of pictures.",
        mistakes={"A hundred right ones do not prove that there are no wrong ones; the interval is never empty.": 1.0,
                  "95 % is how sure the interval is, not where it begins.": 0.95,
                  "That is the rule of three, 1 − 3 / n: one-sided, and so a little narrower.": 0.97,
                  "That would be one wrong digit in a hundred; even two or three are possible.": 0.99}),
    Exercise(
        "4.10", "The distance of two crowds", "code", stars=3, minutes=25, reference=frechet_distance, tolerance=1e-3,
        cases=lambda: [crowds(41, 31, 23, 3), crowds(45, 13, 17, 5)],
        prompt="The text has the Fréchet distance of two crowds on a line. Write it for features of D numbers: "
               "|m − m'|² + trace(S) + trace(S') − 2 trace((S S')^½), where S and S' are the covariances. The trace of "
               "the matrix root is the sum of the roots of the eigenvalues of S S'.",
        signature="my_frechet(a, b)", shapes="a (N, D), b (M, D) -> a number",
        hints=("`a.T.cov()` is the covariance (D, D) of N features.",
               "`torch.linalg.eigvals(S @ T)` are complex by type only: take `.real`, and cut at zero before the root.",
               "`(a.mean(0) - b.mean(0)).square().sum() + S.trace() + T.trace() - 2 * roots.sum()`."),
        mistakes={
            "The root of each *element* is not the root of the matrix: take the eigenvalues of S S'.":
                apart(lambda S, T: (S @ T).diagonal().clamp_min(0).sqrt().sum()),
            "The root of S S' is missing.": apart(lambda S, T: (S @ T).trace()),
            "The 2 is missing: two equal crowds must have the distance 0.": apart(twice=1),
            "The way between the means must be squared.": apart(gap=1),
            "You compared number by number; how they go together (what stands beside the diagonal) counts, too.":
                apart(lambda S, T: (S.diagonal() * T.diagonal()).sqrt().sum()),
            "Divide by N − 1, as `cov` does, not by N.": apart(correction=0),
            "Only the means are compared: a machine that draws the same mean picture each time would be perfect.":
                apart(spreads=0),
            "That is its root; the score is the squared distance.": apart(end=lambda d: d.sqrt())}),
    Exercise(
        "4.11", "Fool the distance", "open", stars=3, minutes=25, reference=two_places, goal=fooled,
        prompt="`real` is a crowd of 500 points on a ring of radius about 3 (it has some width). Make a crowd of at "
               "least 500 points whose Fréchet distance to it is less than 0.01, although not a single one lies within "
               "1 of a real point. What does that say about a low distance?",
        signature="my_crowd(real)", shapes="real (500, 2) -> points (N, 2), N at least 500",
        hints=("The distance knows nothing of the ring but its mean and its covariance.",
               "Most of your points can stand in the middle, where nobody is; then the others must stand far outside.",
               "With a quarter of them on a circle of radius r the variance along each axis is r² / 8. What is the "
               "ring's? Half of 3².")),
]
