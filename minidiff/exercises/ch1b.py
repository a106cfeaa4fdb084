"""Chapter 1, on `01b_samplers_and_rivals.ipynb`: averaged weights, a step with chance, a schedule, few questions."""

from types import SimpleNamespace

import torch

from minidiff.data.clouds import named_mixture
from minidiff.diffusion.exact import exact_denoiser
from minidiff.diffusion.samplers import ddpm_step, heun_step, last, sample
from minidiff.diffusion.schedule import Schedule, from_eps
from minidiff.exercises.form import Exercise, randn
from minidiff.tools.runtime import noise_for
from minidiff.training.ema import EMA


def average(shadow, weights, updates, decay):
    """`EMA.update` on a single tensor."""
    ema = EMA(SimpleNamespace(state_dict=lambda: {"w": shadow}), decay)
    ema.updates = updates
    ema.update(SimpleNamespace(state_dict=lambda: {"w": weights}))
    return ema.shadow["w"]


def warming(decay_at):
    """Somebody's moving average with the decay that they use at an update."""
    def answer(shadow, weights, updates, decay):
        kept = decay_at(updates, decay)
        return kept * shadow + (1 - kept) * weights

    return answer


def step_cases():
    """A jump in the middle, one from high noise, and the two last steps."""
    return [(randn(15 + t, 5, 3), randn(16 + t, 5, 3), t, s, Schedule.cosine(101), randn(17 + t, 5, 3))
            for t, s in ((53, 47), (97, 61), (13, 0), (1, 0))]


def ddpm(eps, xt, t, s, schedule, z):
    """`ddpm_step` with a given guess of the noise, and given fresh noise."""
    return ddpm_step(lambda *_: eps, xt, t, s, schedule, noise=lambda: z)


def algorithm_2(spread=None, eps_factor=None, keep=None):
    """Somebody's DDPM step; each argument is a function of (keep, a_t, a_s) that replaces the right one."""
    def answer(eps, xt, t, s, schedule, z):
        a_t, a_s = schedule.alpha_bar[t], schedule.alpha_bar[s]
        kept = a_t / a_s if keep is None else keep(schedule.alpha_bar, t, s)
        size = ((1 - a_s) / (1 - a_t) * (1 - kept)).sqrt() if spread is None else spread(kept, a_t, a_s)
        part = (1 - kept) / (1 - a_t).sqrt() if eps_factor is None else eps_factor(kept, a_t)
        return (xt - part * eps) / kept.sqrt() + size * z

    return answer


def make_alpha_bar(levels):
    """levels, an integer -> alpha_bar (levels + 1,): 1 at level 0, next to nothing at the last."""
    first, last = 0.0001, 0.02
    beta = torch.linspace(first, last, levels)                   # the share of noise in each portion
    alpha = 1 - beta
    alpha_bar = torch.cumprod(alpha, 0)
    return torch.cat([torch.ones(1), alpha_bar])


def from_portions(first, last, kept=lambda alpha_bar: alpha_bar):
    """Somebody's schedule, from functions of the number of levels."""
    def answer(levels):
        beta = torch.linspace(first(levels), last(levels), levels)
        return kept(torch.cat([torch.ones(1), torch.cumprod(1 - beta, 0)]))

    return answer


def twenty_questions(walk):
    """Whether a walk asks at most twenty questions, and ends half as far from the truth as DDIM with as many."""
    schedule, moons, asked = Schedule.cosine(1000), named_mixture("two moons"), []
    exact, noise = exact_denoiser(moons, schedule), noise_for(range(211), (2,))

    def denoise(xt, t, cond=None):
        asked.append(len(xt))
        return exact(xt, t)

    end = walk(denoise, noise.clone(), schedule)
    if end is None:
        return None, ""
    truth = last(sample(exact, noise, schedule, 200, heun_step))
    plain = last(sample(exact, noise, schedule, 20))
    mine, ddim = ((x - truth).norm(dim=1).mean().item() for x in (end, plain))
    count = sum(asked) / len(noise)                              # all points at once are one question
    return count <= 20 and mine < ddim / 2, (f"{count:.3g} questions of at most 20; your points end {mine:.4f} from "
                                             f"where they should, DDIM's {ddim:.4f}, and half of that is the goal")


def two_guesses(denoise, x, schedule):
    """Twenty steps, each with the last two guesses of x0.  [DPM-Solver++(2M): Lu et al. 2022]"""
    signal, noise, guess = schedule.signal, schedule.noise, None
    time, levels = (signal / noise).log(), [round(1000 * (i / 20) ** 1.25) for i in range(20, -1, -1)]
    for r, t, s in zip([None, *levels], levels, levels[1:]):
        at = torch.full((len(x),), t)
        before, guess = guess, from_eps(denoise(x, at), x, at, schedule, "x0")
        bent = 0 if r is None or s == 0 else (time[s] - time[t]) / (2 * (time[t] - time[r])) * (guess - before)
        x0, shrink = guess + bent, noise[s] / noise[t]
        x = (shrink * x + (signal[s] - shrink * signal[t]) * x0).float()
    return x


EXERCISES = [
    Exercise(
        "1.6", "The average of the weights", "code", stars=2, minutes=15, reference=average,
        cases=lambda: [(randn(13, 5, 3), randn(14, 5, 3), n, 0.99) for n in (0, 7, 1009)],
        prompt="`ema` keeps a moving average of the weights: it keeps `decay` of itself and takes the rest from the "
               "new weights. In the first updates the decay is only (1 + n) / (10 + n), if that is less; n counts the "
               "updates, this one included. Return the new average, and leave the old one as it is.",
        signature="my_ema(shadow, weights, updates, decay)",
        shapes="shadow, weights (...), updates: how many there have been before this one, decay -> (...)",
        hints=("The first update has n = 1.", "`min(decay, (1 + n) / (10 + n))` is kept of the old average.",
               "`kept * shadow + (1 - kept) * weights`."),
        mistakes={
            "The order is swapped: the decay says how much of the *old average* is kept.":
                lambda shadow, weights, updates, decay: warming(lambda n, d: min(d, (2 + n) / (11 + n)))(
                    weights, shadow, updates, decay),
            "The beginning is missing: the full decay keeps the first, random weights in the average for long.":
                warming(lambda n, d: d),
            "One update late: n counts this update, too, so that the first one has n = 1.":
                warming(lambda n, d: min(d, (1 + n) / (10 + n))),
            "You took the larger of both decays; at the beginning the small one must win.":
                warming(lambda n, d: max(d, (2 + n) / (11 + n)))}),
    Exercise(
        "1.7", "A step with chance, from eps", "code", stars=2, minutes=20, reference=ddpm, cases=step_cases,
        prompt="The package takes DDPM's step through x0. The paper's algorithm 2 has no x0: xt minus a part of eps, "
               "divided by a root, plus noise. Write it for a jump from level t to any lower level s. `z` is fresh "
               "noise of spread 1; scale it to the variance (1 − ᾱ_s) / (1 − ᾱ_t) · (1 − ᾱ_t / ᾱ_s).",
        signature="my_ddpm_step(eps, xt, t, s, schedule, z)",
        shapes="eps, xt, z (B, ...), t > s >= 0 integers -> xs (B, ...)",
        hints=("The whole jump keeps the share ᾱ_t / ᾱ_s of the variance; call it `kept`. One minus it is its noise.",
               "The mean is (xt − (1 − kept) / √(1 − ᾱ_t) · eps) / √kept.",
               "Add `((1 - a_s) / (1 - a_t) * (1 - kept)).sqrt() * z`: at s = 0 that is nothing, as it must be."),
        mistakes={
            "Noise at the last step: at s = 0 the variance (1 − ᾱ_s) / (1 − ᾱ_t) · (1 − kept) is zero, yours is not.":
                algorithm_2(spread=lambda kept, a_t, a_s: (1 - kept).sqrt()),
            "z is added as it is, with spread 1; it must be scaled to the spread of the jump's noise.":
                algorithm_2(spread=lambda kept, a_t, a_s: 1),
            "That is the larger one of the paper's two variances, 1 − kept; the smaller one is asked for.":
                algorithm_2(spread=lambda kept, a_t, a_s: (1 - kept).sqrt() * (a_s < 1)),
            "You multiplied z by the variance; a spread is its root.":
                algorithm_2(spread=lambda kept, a_t, a_s: (1 - a_s) / (1 - a_t) * (1 - kept)),
            "There is no fresh noise: that is a mean, and points that only follow means pile up.":
                algorithm_2(spread=lambda kept, a_t, a_s: 0),
            "eps is divided by 1 − ᾱ_t; it must be the root, √(1 − ᾱ_t).":
                algorithm_2(eps_factor=lambda kept, a_t: (1 - kept) / (1 - a_t)),
            "All of the noise was taken out; the jump takes out only its own portion of it.":
                algorithm_2(eps_factor=lambda kept, a_t: (1 - a_t).sqrt()),
            "You used ᾱ_t where the paper has α: here that is ᾱ_t / ᾱ_s, what the jump itself keeps.":
                algorithm_2(keep=lambda alpha_bar, t, s: alpha_bar[t]),
            "That is the step from t to t − 1; the jump may be longer, so kept = ᾱ_t / ᾱ_s.":
                algorithm_2(keep=lambda alpha_bar, t, s: alpha_bar[t] / alpha_bar[t - 1])}),
    Exercise(
        "1.8", "Find the bug: fifty levels", "bug", stars=2, minutes=15, broken=make_alpha_bar,
        prompt="With 1,000 levels this schedule ends in noise. With 50, the default of tanelp/tiny-diffusion, it ends "
               "with more signal than noise (zoubohao/DenoisingDiffusionProbabilityModel-ddpm- has it as issue 14). "
               "Mend it: for 1,000 levels nothing may change; where there are fewer portions, each must be larger, "
               "all by the same factor.",
        hints=("Look at `make_alpha_bar(1000)[-1]` and at `make_alpha_bar(50)[-1]`.",
               "The sum of all portions decides where it ends. With 50 levels there are 20 times fewer.",
               "Multiply `first` and `last` by 1000 / levels."),
        reference=lambda levels: Schedule.linear(levels, 1e-4 * 1000 / levels, 0.02 * 1000 / levels).alpha_bar.float(),
        cases=lambda: [(1000,), (53,), (211,)],
        mistakes={
            "Upside down: with fewer levels each portion must be larger, so 1000 / levels.":
                from_portions(lambda n: 1e-4 * n / 1000, lambda n: 0.02 * n / 1000),
            "Only the last portion is scaled; all of them must be larger by the same factor, the first one too.":
                from_portions(lambda n: 1e-4, lambda n: 0.02 * 1000 / n),
            "With the root of 1000 / levels the portions are still too small: their *sum* must stay as it was.":
                from_portions(lambda n: 1e-4 * (1000 / n) ** 0.5, lambda n: 0.02 * (1000 / n) ** 0.5),
            "Stretching ᾱ itself ends in noise, but changes the 1,000 levels, too: mend the portions instead.":
                from_portions(lambda n: 1e-4, lambda n: 0.02, lambda a: (a - a[-1]) / (1 - a[-1]))}),
    Exercise(
        "1.9", "Twenty questions", "open", stars=3, minutes=60, reference=two_guesses, goal=twenty_questions,
        prompt="Walk from noise `x` at level 1000 to level 0 in any way you like, with at most twenty questions to "
               "`denoise`. The goal: end half as far from where infinitely many steps would end as DDIM does with its "
               "twenty. The cloud is two moons, the denoiser exact.",
        signature="my_walk(denoise, x, schedule)",
        shapes="denoise(xt, t (B,)) -> eps, x (B, 2) at level 1000 -> points (B, 2) at level 0",
        hints=("Begin with DDIM's loop, and other levels: shorter steps near the end, `1000 * (i / 20) ** 1.25`. This "
               "alone does not help yet.",
               "Heun asks twice a step to learn how the way bends. The question of the step *before* tells it, too.",
               "Keep the last guess: in the time k = √(1/ᾱ − 1) walk with the slope eps + (k_s − k_t) / (2 (k_t − k_r))"
               " · (eps − last eps), where r is the level before t; the last step to 0 with eps "
               "alone. It needs the levels of the first hint.")),
]
