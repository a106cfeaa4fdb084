"""Chapter 4, on `04b_samplers_and_guidance.ipynb`: the stride, and how far numbers can be trusted."""

import math

import torch

from minidiff.data.clouds import Mixture
from minidiff.diffusion.exact import exact_denoiser
from minidiff.diffusion.samplers import ddim_step, sample
from minidiff.diffusion.schedule import Schedule
from minidiff.evaluation.metrics import frechet_distance, wilson
from minidiff.exercises import Exercise, randn


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


def even(schedule, steps):
    return torch.linspace(schedule.levels, 0, steps + 1).round().long().tolist()


def pairs(schedule, steps):
    return list(zip(even(schedule, steps), even(schedule, steps)[1:]))


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
    *_, (_, end) = sample(lambda xt, t, cond: denoise(xt, t), x, schedule, steps, ddim_step)
    return end


def walk_cases():
    return [(exact_denoiser(Mixture(randn(s, 5, 2), 0.2), schedule), randn(s + 1, 7, 2), schedule, steps)
            for s, schedule, steps in ((21, Schedule.cosine(101), 13), (23, Schedule.cosine(211), 29))]


def crowds(seed, N, M, D):
    """Two crowds of features with means, spreads and leanings of their own."""
    return randn(seed, N, D) @ randn(seed + 1, D, D) + 1, randn(seed + 2, M, D) @ randn(seed + 3, D, D)


def apart(root=lambda S, T: torch.linalg.eigvals(S @ T).real.clamp_min(0).sqrt().sum(), gap=2, twice=2, correction=1,
          spreads=1, last=lambda d: d):
    """Somebody's Frechet distance."""
    def answer(a, b):
        S, T = (x.double().T.cov(correction=correction) for x in (a, b))
        way = (a.mean(0) - b.mean(0)).double().norm() ** gap
        return last(way + spreads * (S.trace() + T.trace() - twice * root(S, T))).item()

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
                walking(lambda sched, n: [(t, t - 1) for t in even(sched, n)[:-1]]),
            "A rounded stride is nearer, but it still drifts away from the list: look the next level up.":
                walking(lambda sched, n: [(t, max(t - round(sched.levels / n), 0)) for t in even(sched, n)[:-1]]),
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
        prompt="You draw 100 digits, and the judge reads all 100 as asked. The share seen is 1. Where does the 95 % "
               "interval of the text (Wilson's, z = 1.96) begin? Three decimals. Guess first; then you may call "
               "`minidiff.metrics.wilson`.",
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
            "That is its root; the score is the squared distance.": apart(last=lambda d: d.sqrt())}),
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
