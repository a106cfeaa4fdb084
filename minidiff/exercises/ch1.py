"""Chapter 1, on `01_toy_diffusion.ipynb`: noise, its coordinates, the first guess, the landscape."""

import math

import torch

from minidiff.data.clouds import Mixture
from minidiff.diffusion.exact import exact_denoiser, log_density
from minidiff.diffusion.samplers import ddim_step
from minidiff.diffusion.schedule import Schedule, add_noise, from_eps, to_eps
from minidiff.exercises.form import Exercise, randn, some_digits, there_and_back
from minidiff.tools.runtime import noise_for


def two_portions():
    """What is left of a clean 1 after a portion that keeps 80 % of the variance, and one that keeps half."""
    keeps = (Schedule.keeping_variance(torch.tensor([1.0, keep])) for keep in (0.8, 0.5))
    x, once = torch.ones(1, 1), torch.tensor([1])
    for schedule in keeps:
        x = add_noise(x, once, torch.zeros(1, 1), schedule)
    return x.item()


def noise_cases():
    """Digits at levels of their own, both ends of the schedule among them; wide pictures in colors; and points."""
    alpha_bar, t = Schedule.cosine(11).alpha_bar.float(), torch.tensor([2, 11, 0, 5, 7])
    return [(some_digits().clone(), t, randn(1, 5, 1, 32, 32), alpha_bar),
            (randn(2, 5, 3, 7, 11), t, randn(3, 5, 3, 7, 11), alpha_bar),
            (randn(4, 3, 2), torch.tensor([10, 1, 4]), randn(5, 3, 2), alpha_bar)]


def mixing(signal, noise, level=lambda t: t):
    """Somebody's add_noise: functions of alpha_bar for both factors, and another level perhaps."""
    def answer(x0, t, eps, alpha_bar):
        a = alpha_bar[level(t)].view(-1, *[1] * (x0.ndim - 1))
        return signal(a) * x0 + noise(a) * eps

    return answer


def conversion_cases():
    return [(randn(5, 7, 3), randn(6, 7, 3), torch.tensor([1, 13, 29, 41, 53, 67, 83]), Schedule.cosine(101)),
            (randn(7, 2, 3, 5), randn(8, 2, 3, 5), torch.tensor([17, 5]), Schedule.linear(19))]


def conversion(formula):
    """Somebody's function of (eps or v, xt, t, schedule), as a formula of (eps or v, xt, signal, noise)."""
    return lambda x, xt, t, schedule: formula(x, xt, *schedule.at(t, like=xt))


def one_giant_step():
    """Where DDIM takes noise in a single step, on average, in a world of the two points -1 and 3."""
    schedule, world = Schedule.cosine(1000), Mixture(torch.tensor([[-1.0], [3.0]]))
    return ddim_step(exact_denoiser(world, schedule), noise_for(range(101), (1,)), 1000, 0, schedule).mean().item()


def height_cases():
    return [(randn(9, 7, 2), 0.3, randn(10, 5, 2), 0.64), (randn(11, 3, 2), 0.7, randn(12, 11, 2), 0.2)]


def exact_height(means, std, xt, a):
    """`log_density` on a schedule whose only level has alpha_bar a."""
    schedule = Schedule.keeping_variance(torch.tensor([1.0, a]))
    return log_density(Mixture(means, std), xt, torch.ones(len(xt), dtype=torch.long), schedule)


def height(variance=lambda a, std: a * std**2 + 1 - a, area=1, root=0.5, count=len, sum_up=torch.logsumexp):
    """Somebody's log density; each argument is a place where people differ from the truth."""
    def answer(means, std, xt, a):
        v = variance(a, std)
        logits = -(xt[:, None] - a**root * means).square().sum(-1) / (2 * v)
        return sum_up(logits, 1) - math.log(count(means)) - area * math.log(2 * math.pi * v)

    return answer


EXERCISES = [
    Exercise(
        "1.1", "Two portions", "number", stars=1, minutes=5, reference=two_portions, tolerance=5e-3,
        prompt="A clean 1.0 gets two portions of noise. The first keeps 80 % of the variance, the second keeps half of "
               "the variance that it finds. By which number is the clean 1.0 multiplied in the end?",
        hints=("What does a portion that keeps the share a of the variance multiply the number by?",
               "Shares of variance multiply: 0.8 · 0.5.", "The factor is the root of that product, √0.4."),
        reason="Shares of variance multiply, so both are one jump with ᾱ = 0.4; the signal is multiplied by its root.",
        mistakes={"That is ᾱ, the share of the variance; the number itself is multiplied by its root.": 0.4,
                  "You added the losses (20 % and 50 %); the second portion halves what the first has left.": 0.3,
                  "You counted only the second portion; both multiply the number, √0.8 · √0.5.": 0.5**0.5}),
    Exercise(
        "1.2", "Noise, a level for each", "code", stars=1, minutes=10, cases=noise_cases, pictures=True,
        prompt="Noise a whole batch in one go: picture i to its own level `t[i]`. You get `alpha_bar` as a tensor of "
               "S + 1 numbers, and must make it fit pictures (B, C, H, W) as well as points (B, 2).",
        signature="my_add_noise(x0, t, eps, alpha_bar)",
        shapes="x0, eps (B, ...), t (B,) integer levels, alpha_bar (S + 1,) -> xt (B, ...)",
        hints=("`alpha_bar[t]` looks up one number for each picture: (B,).",
               "To multiply (B, C, H, W), it must be (B, 1, 1, 1): `.view(-1, *[1] * (x0.ndim - 1))`.",
               "`a = alpha_bar[t].view(...)`, then `a.sqrt() * x0 + (1 - a).sqrt() * eps`."),
        reference=lambda x0, t, eps, alpha_bar: add_noise(x0, t, eps, Schedule.keeping_variance(alpha_bar)),
        mistakes={
            "The two factors are swapped: √ᾱ belongs to the picture, √(1 − ᾱ) to the noise.":
                mixing(lambda a: (1 - a).sqrt(), torch.sqrt),
            "The roots are missing: ᾱ is a share of the variance, and numbers are multiplied by its root.":
                mixing(lambda a: a, lambda a: 1 - a),
            "The noise has the factor 1 − √ᾱ; it is the variances that add up to 1, so it must be √(1 − ᾱ).":
                mixing(torch.sqrt, lambda a: 1 - a.sqrt()),
            "The levels are off by one: `alpha_bar[0]` is level 0, the clean picture, so it is `alpha_bar[t]`.":
                mixing(torch.sqrt, lambda a: (1 - a).sqrt(), lambda t: (t - 1).clamp_min(0)),
            "The levels are off by one, and for level 0 Python takes `alpha_bar[-1]`, pure noise: it is "
            "`alpha_bar[t]`.":
                mixing(torch.sqrt, lambda a: (1 - a).sqrt(), lambda t: t - 1),
            "All pictures got the level of the first; each has its own `t[i]`.":
                mixing(torch.sqrt, lambda a: (1 - a).sqrt(), lambda t: t[:1]),
            "The noise is subtracted; it is added, with the factor √(1 − ᾱ).":
                mixing(torch.sqrt, lambda a: -(1 - a).sqrt())}),
    Exercise(
        "1.3", "There and back", "pair", stars=2, minutes=15, cases=conversion_cases, run=there_and_back,
        prompt="Work in pairs: one writes `eps_to_v`, the other, without looking, `v_to_eps`. The formula of the text, "
               "v = √ᾱ eps − √(1−ᾱ) x0, needs x0; you have xt. The round trip must close.",
        signature="eps_to_v(eps, xt, t, schedule)\nv_to_eps(v, xt, t, schedule)",
        shapes="eps, xt (B, ...), t (B,) levels -> v (B, ...)\nv, xt (B, ...), t (B,) levels -> eps (B, ...)",
        hints=("`signal, noise = schedule.at(t, like=xt)` gives √ᾱ and √(1−ᾱ), both in the right shape.",
               "Solve xt = signal · x0 + noise · eps for x0, put it into v, and use signal² + noise² = 1.",
               "v = (eps − noise · xt) / signal, and so eps = noise · xt + signal · v."),
        reference=(lambda eps, xt, t, schedule: from_eps(eps, xt, t, schedule, "v"),
                   lambda v, xt, t, schedule: to_eps(v, xt, t, schedule, "v")),
        mistakes={
            "The round trip closes, but v has the wrong sign: it is √ᾱ eps − √(1−ᾱ) x0, nearly eps at low noise.":
                (conversion(lambda eps, xt, signal, noise: -(eps - noise * xt) / signal),
                 conversion(lambda v, xt, signal, noise: noise * xt - signal * v)),
            "What comes out is what went in: that closes every round trip, and says nothing.":
                (lambda eps, *rest: eps, lambda v, *rest: v),
            "You used xt as if it were x0: first take the noise out, x0 = (xt − √(1−ᾱ) eps) / √ᾱ.":
                (conversion(lambda eps, xt, signal, noise: signal * eps - noise * xt),
                 conversion(lambda v, xt, signal, noise: (v + noise * xt) / signal)),
            "√ᾱ and √(1−ᾱ) are swapped.":
                (conversion(lambda eps, xt, signal, noise: (eps - signal * xt) / noise),
                 conversion(lambda v, xt, signal, noise: signal * xt + noise * v)),
            "`eps_to_v` is right; your `v_to_eps` subtracts √(1−ᾱ) xt, which must be added.":
                (lambda eps, xt, t, schedule: from_eps(eps, xt, t, schedule, "v"),
                 conversion(lambda v, xt, signal, noise: signal * v - noise * xt))}),
    Exercise(
        "1.4", "One giant step", "number", stars=1, minutes=5, reference=one_giant_step, tolerance=0.06,
        prompt="A world of two clean points, −1 and 3, equally frequent. Start from noise at level 1000 and let DDIM, "
               "with the exact denoiser, go to level 0 in a single step. Where do the points land, on average?",
        hints=("At level 1000 nothing can be known about the clean point.", "The guess of x0 is then the mean of all.",
               "(−1 + 3) / 2, and a step to level 0 puts no noise back."),
        reason="The first guess is the mean of everything, and here it is a place where no point is: a mean is a good "
               "direction and a bad place, so small steps are needed.",
        mistakes={"That is where the noise is, in the middle of the line; the guess of x0 is the mean of the data.": 0,
                  "That is one of the two points; in a single step nothing decides between them.": 3,
                  "That is the other one of the two points; in a single step nothing decides between them.": -1}),
    Exercise(
        "1.5", "The height of the landscape", "code", stars=3, minutes=25, reference=exact_height, cases=height_cases,
        prompt="Write the logarithm of the noisy landscape on a plane: K round Gaussians of spread `std`, all equally "
               "frequent, at the level where ᾱ = a. Noise moves the centers and widens the Gaussians.",
        signature="my_log_density(means, std, xt, a)",
        shapes="means (K, 2), std and a numbers, xt (B, 2) -> (B,)",
        hints=("A center moves to √a · mean. Variances add: a · std² of the cloud, 1 − a of the noise.",
               "On a plane a Gaussian of variance v has the height exp(−distance² / 2v) / (2π v).",
               "With logits (B, K) = −distance² / 2v: `logits.logsumexp(1) - log(K) - log(2π v)`."),
        mistakes={
            "The width is not right: std² belongs to the clean cloud, which shrinks with the signal, to a std².":
                height(variance=lambda a, std: std**2 + 1 - a),
            "std is a spread; what adds up are variances, so it must be squared.":
                height(variance=lambda a, std: a * std + 1 - a),
            "You added the spreads of cloud and noise; what adds up are variances, a std² + 1 − a.":
                height(variance=lambda a, std: (a**0.5 * std + (1 - a) ** 0.5) ** 2),
            "Only the exponentials are summed: each Gaussian is 1/K of the cloud, and 2π v times lower than that.":
                height(area=0, count=lambda means: 1),
            "A factor is missing: a Gaussian on a plane is 2π v times lower than exp(−distance² / 2v).": height(area=0),
            "That is the factor of a Gaussian on a line, √(2π v); on a plane it is 2π v.": height(area=0.5),
            "The centers did not move: noise takes a mean to √a · mean.": height(root=0),
            "The centers moved to a · mean; it is the root, √a · mean.": height(root=1),
            "The heights of K Gaussians are added, and each is only 1/K of the cloud: log K is missing.":
                height(count=lambda means: 1),
            "You took the mean of the logarithms; it is the logarithm of the mean, `logsumexp`.":
                height(count=lambda means: 1, sum_up=torch.mean)}),
]
