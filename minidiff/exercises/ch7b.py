"""Chapter 7, on `07b_few_steps.ipynb`: what one call draws, the boundary, pairs, two steps in one, guidance twice."""

import torch

from minidiff.diffusion.guidance import guided
from minidiff.diffusion.levels import spaced_levels
from minidiff.diffusion.schedule import Schedule
from minidiff.exercises.ch7 import column
from minidiff.exercises.form import Exercise, randn


def guess(v, xt, t, schedule):
    """The picture that a prediction of v implies: f = c_skip xt + c_out F."""
    signal, noise = schedule.at(t, like=xt)
    return signal * xt - noise * v


def guessed(skip=lambda signal, noise: signal, out=lambda signal, noise: -noise):
    """Somebody's guess, with their c_skip and c_out."""
    def answer(v, xt, t, schedule):
        signal, noise = schedule.at(t, like=xt)
        return skip(signal, noise) * xt + out(signal, noise) * v

    return answer


def guess_cases():
    schedule = Schedule.cosine(101)
    return [(randn(761, 5, 3), randn(762, 5, 3), torch.tensor([0, 13, 53, 89, 101]), schedule),
            (randn(763, 3, 2, 2), randn(764, 3, 2, 2), torch.tensor([97, 47, 0]), schedule)]


def reflow_loss(predict, noise, x0, tau, generator):
    """noise, x0 (B, ...): pairs, a noise and where the flow carried it; tau (B,): where on the way, 1 is noise."""
    tau = tau.view(-1, *[1] * (x0.ndim - 1))
    eps = torch.randn(x0.shape, generator=generator)
    xt = (1 - tau) * x0 + tau * eps
    return (predict(xt, tau) - (eps - x0)).square().mean()


def reflowed(place=lambda noise, fresh: noise, target=lambda noise, fresh: noise):
    """Somebody's lesson of reflow, with the noise where they stand and the noise that they ask for."""
    def answer(predict, noise, x0, tau, generator):
        tau, fresh = column(tau, x0), torch.randn(x0.shape, generator=generator)
        xt = (1 - tau) * x0 + tau * place(noise, fresh)
        return (predict(xt, tau) - (target(noise, fresh) - x0)).square().mean()

    return answer


def reflow_cases():
    def predict(xt, tau):
        return (1 + tau) * xt.sin()

    return [(predict, randn(771 + i, *shape), randn(772 + i, *shape), torch.linspace(0.1, 0.9, shape[0]),
             torch.Generator().manual_seed(i)) for i, shape in enumerate(((5, 3), (7, 2, 2)))]


def shortcut(xs, xt, t, s, schedule):
    """The x0 with which a single DDIM step from xt lands on xs."""
    (signal_t, noise_t), (signal_s, noise_s) = schedule.curves[t], schedule.curves[s]
    ratio = noise_s / noise_t
    return (xs - ratio * xt) / (signal_s - ratio * signal_t)


def shortcut_cases():
    schedule = Schedule.cosine(101)
    return [(randn(781 + t, 5, 3), randn(782 + t, 5, 3), t, s, schedule) for t, s in ((97, 61), (53, 29), (31, 0))]


def shortened(ratio=lambda signal_t, noise_t, signal_s, noise_s: noise_s / noise_t, keep=1, divide=True):
    """Somebody's shortcut, with their ratio, and what they forget."""
    def answer(xs, xt, t, s, schedule):
        (signal_t, noise_t), (signal_s, noise_s) = schedule.curves[t], schedule.curves[s]
        r = ratio(signal_t, noise_t, signal_s, noise_s)
        return (xs - keep * r * xt) / (signal_s - r * signal_t if divide else 1)

    return answer


def ask_student(student, null, w, xt, t, cond):
    """student(xt, t, cond) -> eps: it learned from a teacher that was guided with w.  null: the condition that says
    nothing."""
    nothing = null.expand_as(cond)
    uncond, with_cond = student(xt, t, nothing), student(xt, t, cond)
    return uncond + w * (with_cond - uncond)


def student_cases():
    def student(xt, t, cond):
        return xt * cond.mean((1, 2))[:, None] + t[:, None] / 101

    return [(student, randn(790, 1, 2, 3), 3.25, randn(791, 5, 3), torch.tensor([101, 53, 7, 89, 31]),
             randn(792, 5, 2, 3))]


def pictures_looked_at(steps=14, below=700):
    """How many pictures a guided network looks at on the way to one, by Heun's steps."""
    levels, looked = spaced_levels(Schedule.cosine(1000), steps), []
    denoise = guided(lambda xt, t, cond: looked.append(len(xt)) or xt, torch.zeros(1, 1), 3.25, below)
    for t, s in zip(levels, levels[1:]):
        for level in (t, s) if s else (t,):
            denoise(torch.zeros(1, 1), torch.tensor([level]), torch.zeros(1, 1))
    return sum(looked)


EXERCISES = [
    Exercise(
        "7.9", "What one call draws", "number", stars=1, minutes=5, reference=lambda: 0.7 * 0.6 - 0.3 * 1.0,
        prompt="The data are numbers, −1 in 30 of 100 cases and 0.6 in the other 70. A network has learned to guess "
               "them from pure noise that says nothing about them, and its squared error is as small as possible. What "
               "does it draw in one call?",
        reason="0.7 · 0.6 − 0.3 · 1 = 0.12. That is the mean, which is not in the data at all, like the mean picture.",
        hints=("Which constant c makes 0.3 (−1 − c)² + 0.7 (0.6 − c)² smallest?", "Set the derivative to zero.",
               "It is the mean."),
        mistakes={"That is the more frequent number, which would be best if we counted misses. A squared error is "
                  "smallest at the mean.": 0.6,
                  "That is the midpoint of the two numbers, but they are not equally frequent.": -0.2,
                  "The shares are swapped: −1 is the rare one.": 0.3 * 0.6 - 0.7}),
    Exercise(
        "7.10", "Find the bug: pairs that came apart", "bug", stars=2, minutes=15, broken=reflow_loss,
        prompt="Reflow trains on pairs of a noise and the point to which the flow carried that noise. This loss trains "
               "without an error but straightens nothing. Fix it.",
        hints=("What does it do with `noise`?", "With fresh noise at each step it is ordinary flow matching on points "
               "that a machine drew.", "Stand at (1 − τ) · x0 + τ · noise, and ask for noise − x0."),
        reference=reflowed(), cases=reflow_cases,
        mistakes={
            "Now you stand on the pair's path, but you still ask for the velocity toward a fresh noise.":
                reflowed(target=lambda noise, fresh: fresh),
            "Now you ask for the pair's velocity, but you still stand on the path to a fresh noise.":
                reflowed(place=lambda noise, fresh: fresh),
            "Half of the noise is still drawn afresh. A pair stays fixed for the whole training.":
                reflowed(*[lambda noise, fresh: (noise + fresh) / 2] * 2)}),
    Exercise(
        "7.11", "Two steps in one", "code", stars=2, minutes=25, reference=shortcut, cases=shortcut_cases,
        prompt="Two DDIM steps of the teacher led from xt at level t to xs at level s. Which picture x0 must the "
               "student guess at xt so that its single DDIM step lands there? Its step is "
               "xs = signal_s · x0 + noise_s · (xt − signal_t · x0) / noise_t.",
        signature="my_target(xs, xt, t, s, schedule)",
        shapes="xs, xt (B, ...), t > s >= 0 integers; schedule.curves[t] = (signal, noise) -> x0 (B, ...)",
        hints=("It is one linear equation in x0: collect everything that is multiplied by x0.",
               "With r = noise_s / noise_t it reads xs = r · xt + (signal_s − r · signal_t) · x0.",
               "`(xs - r * xt) / (signal_s - r * signal_t)`; at s = 0 that is xs itself."),
        mistakes={
            "That is xs, which is right only at s = 0. Above it xs is noisy, but the student must guess a clean "
            "picture.":
                lambda xs, xt, t, s, schedule: xs.clone(),
            "The ratio is upside down: it is noise_s / noise_t, which is smaller than 1.":
                shortened(lambda signal_t, noise_t, signal_s, noise_s: noise_t / noise_s if noise_s else 0),
            "xs / signal_s forgets the noise that is still in xs.":
                lambda xs, xt, t, s, schedule: xs / schedule.curves[s][0],
            "A sign is wrong: r · xt must be subtracted.": shortened(keep=-1),
            "r is noise_s alone; it must be divided by noise_t.":
                shortened(lambda signal_t, noise_t, signal_s, noise_s: noise_s),
            "The division by signal_s − r · signal_t is missing.": shortened(divide=False)}),
    Exercise(
        "7.12", "The boundary", "code", stars=2, minutes=15, reference=guess, cases=guess_cases,
        prompt="A consistency model guesses the picture as f = c_skip · xt + c_out · F, where F is the network's "
               "output. Ours predicts v. Return the picture, so that at level 0 it is xt itself, whatever the network "
               "says.",
        signature="my_guess(v, xt, t, schedule)", shapes="v, xt (B, ...), t (B,) levels of a circle -> x0 (B, ...)",
        hints=("`signal, noise = schedule.at(t, like=xt)` are cos φ and sin φ.",
               "Multiply xt = cos φ x0 + sin φ eps by cos φ, v = cos φ eps − sin φ x0 by sin φ, and subtract.",
               "`signal * xt - noise * v`: c_skip = cos φ is 1 at level 0, c_out = −sin φ is 0."),
        mistakes={
            "You forgot c_skip: at level 0 your guess is 0 instead of xt. Without the boundary condition all guesses "
            "may agree on one mean picture.": guessed(skip=lambda signal, noise: 0),
            "c_skip is 1 everywhere, which is right at level 0 but too large "
            "above.": guessed(skip=lambda signal, noise: 1),
            "c_out has the wrong sign: x0 = cos φ · xt − sin φ · v.": guessed(out=lambda signal, noise: noise),
            "Signal and noise are swapped: at level 0 your guess is −v instead of xt.":
                guessed(skip=lambda signal, noise: noise, out=lambda signal, noise: -signal),
            "You took v for eps: it is from eps that the picture is (xt − noise · eps) / signal.":
                guessed(skip=lambda signal, noise: 1 / signal, out=lambda signal, noise: -noise / signal)}),
    Exercise(
        "7.13", "How many looks", "number", stars=2, minutes=15, reference=pictures_looked_at,
        prompt="The machine takes 14 steps of Heun over the levels 1000, 929, 857, 786, 714, 643, ..., 71, 0, with "
               "guidance below level 700. A guided call looks at the latent twice, once with the caption and once "
               "without. How many times does the network look at a latent to draw one picture? (The student looks "
               "once.)",
        reason="There are 27 calls, two in each step but the last. The 9 above level 700 count once, the 18 below it "
               "twice.",
        hints=("Each step asks at its own level and at the next one; the last step does not ask at level 0.",
               "Level 1000 is asked once, and each of 929, ..., 71 twice: as the end of a step and as the start of the "
               "next one.", "Above 700: 1 + 2 · 4 calls, one look each. Below: 2 · 9 calls, two looks each."),
        mistakes={"That is the number of calls, but a guided call looks twice.": 27,
                  "That is with guidance everywhere, but above level 700 there is none.": 54,
                  "Heun asks twice per step, at its own level and at the next one.": 23}),
    Exercise(
        "7.14", "Find the bug: told twice", "bug", stars=1, minutes=10, broken=ask_student,
        prompt="A student learned from the pictures of a teacher that was guided with w. Somebody draws with the "
               "student in this way, and all the colors glare. Fix it, but keep the arguments.",
        hints=("Where is w in what the student has learned?", "The guidance is baked in: the student's plain answer is "
               "already the guided one.", "`return student(xt, t, cond)`: one call, and no null condition."),
        reference=lambda student, null, w, xt, t, cond: student(xt, t, cond), cases=student_cases,
        mistakes={
            "w = 0 ignores the caption: that is the answer to a sentence that says nothing.":
                lambda student, null, w, xt, t, cond: student(xt, t, null.expand_as(cond)),
            "Half the guidance is still guidance: the student needs none.":
                lambda student, null, w, xt, t, cond: guided(student, null, w / 2)(xt, t, cond),
            "w − 1 is the same guidance counted from 0; the student needs none.":
                lambda student, null, w, xt, t, cond: guided(student, null, w - 1)(xt, t, cond)}),
]
