"""Chapter 7, on `07_flow_matching.ipynb`: velocities, circle and chord, which way time runs, a map that is known."""

import math

import torch

from minidiff.data.clouds import named_mixture
from minidiff.diffusion.exact import exact_denoiser
from minidiff.diffusion.flow import angle_step
from minidiff.diffusion.samplers import ddim_step, last, sample
from minidiff.diffusion.schedule import Schedule, from_eps
from minidiff.exercises.form import Exercise, randn, there_and_back
from minidiff.tools.runtime import noise_for


def column(numbers, like):
    """One number per picture (B,), shaped to multiply pictures (B, ...)."""
    return numbers.view(-1, *[1] * (like.ndim - 1))


def velocity(x0, eps, angle):
    """dx/dphi of x = cos(phi) x0 + sin(phi) eps."""
    return column(angle.cos(), x0) * eps - column(angle.sin(), x0) * x0


def velocity_cases():
    return [(randn(701, 5, 3), randn(702, 5, 3), torch.linspace(0.1, 1.4, 5)),
            (randn(703, 7, 2, 3), randn(704, 7, 2, 3), torch.linspace(0, math.pi / 2, 7))]


def turn(eps, xt, t, s, schedule):
    """`ddim_step` with a given guess of the noise."""
    return ddim_step(lambda *_: eps, xt, t, s, schedule)


def turn_cases():
    return [(randn(711 + t, 5, 3), randn(712 + t, 5, 3), t, s, Schedule.cosine(101))
            for t, s in ((53, 47), (97, 61), (13, 0))]


def turned(move=lambda x, v, d: math.cos(d) * x + math.sin(d) * v, way=1, across=lambda eps, v: v):
    """Somebody's turn: move(x, v, d) with their angle and their v."""
    def answer(eps, xt, t, s, schedule):
        at, to = (math.atan2(schedule.noise[level], schedule.signal[level]) for level in (t, s))
        x0 = (xt - math.sin(at) * eps) / math.cos(at)
        return move(xt, across(eps, math.cos(at) * eps - math.sin(at) * x0), way * (to - at))

    return answer


def flow_loss(predict, x0, eps, tau):
    """The loss of flow matching on the straight path, a value per picture."""
    return flow_lesson()(predict, x0, eps, tau)


def flow_lesson(place=lambda x0, eps, tau: (1 - tau) * x0 + tau * eps, target=lambda x0, eps: eps - x0):
    """Somebody's lesson, with the point where they ask and what they want to hear."""
    def answer(predict, x0, eps, tau):
        xt = place(x0, eps, column(tau, x0))
        return (predict(xt, tau) - target(x0, eps)).square().flatten(1).mean(1)

    return answer


def flow_cases():
    def predict(xt, tau):
        return column(1 + tau, xt) * xt.sin()

    return [(predict, randn(721, 5, 3), randn(722, 5, 3), torch.linspace(0.05, 0.95, 5)),
            (predict, randn(723, 7, 2, 2), randn(724, 7, 2, 2), torch.linspace(0, 1, 7))]


def on_chord(scale=lambda signal, noise: signal + noise):
    """Somebody's way onto the chord, and back; scale is what the circle's points are divided by."""
    def to_chord(x, t, schedule):
        return x / scale(*schedule.at(t, like=x))

    def to_circle(y, t, schedule):
        return y * scale(*schedule.at(t, like=y))

    return to_chord, to_circle


def chord_cases():
    schedule = Schedule.cosine(101)
    return [(randn(731, 5, 3), torch.tensor([1, 13, 53, 89, 101]), schedule),
            (randn(732, 3, 2, 2), torch.tensor([0, 47, 97]), schedule)]


def walk(velocity, x, steps):
    """x: noise -> points; velocity(x, tau) is eps - x0, and tau is the share of noise, 0 for a point of the data."""
    for i in range(steps):
        tau = i / steps
        x = x + velocity(x, tau) / steps
    return x


def walked(tau=lambda i, steps: 1 - i / steps, sign=-1, count=lambda steps: steps):
    """Somebody's walk."""
    def answer(velocity, x, steps):
        for i in range(count(steps)):
            x = x + sign * velocity(x, tau(i, steps)) / steps
        return x

    return answer


def walk_cases():
    def velocity(x, tau):
        return (1.3 + tau**2) * x.tanh() - 0.4

    return [(velocity, randn(741, 11, 2), 5), (velocity, randn(742, 3, 1), 13)]


def carry(z, data):
    """Where the flow of one dimension carries each noise: it keeps the order."""
    return data.sort().values[z.argsort().argsort()]


def five_calls(path):
    """Whether a walk asks five times at most, and ends half as far from the truth as DDIM with as many."""
    schedule, moons, asked = Schedule.cosine(1000), named_mixture("two moons"), []
    exact, noise = exact_denoiser(moons, schedule), noise_for(range(211), (2,))

    def denoise(xt, t, cond=None):
        asked.append(len(xt))
        return exact(xt, t)

    end = path(denoise, noise.clone(), schedule)
    if end is None:
        return None, ""
    truth = last(sample(exact, noise, schedule, 200, angle_step))
    mine, ddim = ((x - truth).norm(dim=1).mean().item() for x in (end, last(sample(exact, noise, schedule, 5))))
    count = sum(asked) / len(noise)                              # all points at once are one call
    return count <= 5 and mine < ddim / 2, (f"{count:.3g} calls of at most 5; your points end {mine:.4f} from where "
                                            f"they should, DDIM's {ddim:.4f}, and half of that is the goal")


def last_velocity_too(denoise, x, schedule):
    """Five turns, each with the last two velocities.  [Adams and Bashforth's method of order 2, in the angle]"""
    angle = torch.atan2(schedule.noise, schedule.signal).tolist()
    levels, before, stride = [round(1000 * (i / 5) ** 1.25) for i in range(5, -1, -1)], None, 0.0
    for t, s in zip(levels, levels[1:]):
        at, d = torch.full((len(x),), t), angle[s] - angle[t]
        v = from_eps(denoise(x, at), x, at, schedule, "v")
        bent = v if before is None or s == 0 else v + d / (2 * stride) * (v - before)
        stride, before = d, math.cos(d) * v - math.sin(d) * x    # what v will be at the end, if it turns along
        x = math.cos(d) * x + math.sin(d) * bent
    return x


EXERCISES = [
    Exercise(
        "7.1", "A velocity", "code", stars=1, minutes=10, reference=velocity, cases=velocity_cases,
        prompt="A point walks along the circle, x = cos φ · x0 + sin φ · eps. Return its velocity dx/dφ at the angle "
               "φ.",
        signature="my_velocity(x0, eps, angle)", shapes="x0, eps (B, ...), angle (B,) in radians -> (B, ...)",
        hints=("The derivative of the cosine is minus the sine, and that of the sine is the cosine.",
               "There is one angle per picture. Shaped as `angle.view(-1, *[1] * (x0.ndim - 1))`, it multiplies "
               "pictures.",
               "cos φ · eps − sin φ · x0."),
        mistakes={
            "That is x itself; the velocity is its derivative.":
                lambda x0, eps, angle: column(angle.cos(), x0) * x0 + column(angle.sin(), x0) * eps,
            "The sign is wrong: your point runs backward, from noise to picture.":
                lambda x0, eps, angle: -velocity(x0, eps, angle),
            "Sine and cosine are swapped: at φ = 0 the point leaves the picture in the direction of eps.":
                lambda x0, eps, angle: column(angle.sin(), x0) * eps - column(angle.cos(), x0) * x0,
            "eps − x0 is the velocity on the chord, where the point walks straight; on the circle it turns.":
                lambda x0, eps, angle: eps - x0,
            "There is a plus where a minus must be: the derivative of cos φ is −sin φ.":
                lambda x0, eps, angle: column(angle.cos(), x0) * eps + column(angle.sin(), x0) * x0}),
    Exercise(
        "7.2", "DDIM is a turn", "code", stars=2, minutes=20, reference=turn, cases=turn_cases,
        prompt="Write DDIM's step as a rotation. Compute v from the guess eps and the point xt at level t, and turn: "
               "xs = cos δ · xt + sin δ · v, where δ is the angle of level s minus that of level t. "
               "The angle of a level is `math.atan2(noise, signal)`.",
        signature="my_turn(eps, xt, t, s, schedule)",
        shapes="eps, xt (B, ...), t > s >= 0 integers; schedule.signal, schedule.noise (S + 1,) -> xs (B, ...)",
        hints=("First compute the picture, x0 = (xt − sin φ · eps) / cos φ, with the angle φ of level t.",
               "Then v = cos φ · eps − sin φ · x0, and δ = φ_s − φ_t, which is negative on the way to the picture.",
               "`math.cos(d) * xt + math.sin(d) * v`."),
        mistakes={
            "You turned the other way, into the noise: δ = φ_s − φ_t is negative.": turned(way=-1),
            "That is a straight step, xt + δ v. It leaves the circle; a turn stays on it.":
                turned(lambda x, v, d: x + d * v),
            "You turned toward eps. A turn needs the velocity on the circle, v = cos φ · eps − sin φ · x0.":
                turned(across=lambda eps, v: eps),
            "Sine and cosine are swapped: a turn by zero must leave xt where it is.":
                turned(lambda x, v, d: math.sin(d) * x + math.cos(d) * v),
            "δ is in degrees; sine and cosine take radians.":
                turned(lambda x, v, d: math.cos(math.degrees(d)) * x + math.sin(math.degrees(d)) * v)}),
    Exercise(
        "7.3", "How much longer is the arc?", "number", stars=1, minutes=10,
        reference=lambda: math.pi / 2 / math.sqrt(2), tolerance=0.01,
        prompt="Let a picture x0 and its noise eps have length 1 and stand at a right angle, which is nearly true when "
               "they have many numbers. One point walks from x0 to eps along the circle, another along the chord. How "
               "many times as long as the chord is the arc?",
        reason="The arc is a quarter of a circle, π/2, and the chord is the root of 2. The detour costs only 11 %, so "
               "what makes a path hard to follow is not its length.",
        hints=("A quarter of a circle of radius 1 has the length π/2.", "The chord is the hypotenuse of a triangle "
               "with two sides of length 1.", "π/2 over the root of 2."),
        mistakes={"That is chord over arc; the arc is the longer one.": 2 * math.sqrt(2) / math.pi,
                  "That is the arc alone: divide by the chord.": math.pi / 2,
                  "You took half a circle; from picture to noise it is a quarter.": math.pi / math.sqrt(2)}),
    Exercise(
        "7.4", "A map without a network", "code", stars=2, minutes=15, reference=carry,
        cases=lambda: [(randn(751, 13), randn(752, 13)), (randn(753, 101), 3 * randn(754, 101).abs())],
        prompt="In one dimension a flow keeps the order. So for n noises and n points of the data its map can be "
               "written down: the smallest noise goes to the smallest point, and so on. Return where each noise goes.",
        signature="my_carry(z, data)", shapes="z, data (n,) -> (n,), the place of z[0] first",
        hints=("`z.argsort()` tells which noise is smallest, second, ... You need the opposite: the rank of each "
               "noise.",
               "The rank of each noise is `z.argsort().argsort()`.", "`data.sort().values[rank]`."),
        mistakes={
            "Those are the sorted data, but z is not sorted. Give each noise the point that has its rank.":
                lambda z, data: data.sort().values,
            "One `argsort` tells which noise is at each rank. A second one tells which rank each noise has.":
                lambda z, data: data.sort().values[z.argsort()],
            "The order is reversed: the largest noise went to the smallest point.":
                lambda z, data: data.sort(descending=True).values[z.argsort().argsort()],
            "The data are not sorted.": lambda z, data: data[z.argsort().argsort()]}),
    Exercise(
        "7.5", "A lesson of flow matching", "code", stars=2, minutes=15, reference=flow_loss, cases=flow_cases,
        prompt="Take the point (1 − τ) · x0 + τ · eps on the straight path from a picture to a noise. Ask the network "
               "for the velocity there, and return the mean squared error, one value per picture.",
        signature="my_flow_loss(predict, x0, eps, tau)",
        shapes="predict(xt, tau) -> (B, ...), x0, eps (B, ...), tau (B,) in 0..1, 1 is noise -> (B,)",
        hints=("At τ = 0 the point is the picture, and at τ = 1 it is the noise.",
               "The network should predict the derivative of (1 − τ) · x0 + τ · eps with respect to τ.",
               "`(predict(xt, tau) - (eps - x0)).square().flatten(1).mean(1)`."),
        mistakes={
            "Time is reversed: your τ = 1 is the picture, so a sampler that starts at τ = 1 would start from data.":
                flow_lesson(lambda x0, eps, tau: tau * x0 + (1 - tau) * eps),
            "The velocity has the wrong sign: with τ = 1 as noise it points from picture to noise, eps − x0.":
                flow_lesson(target=lambda x0, eps: x0 - eps),
            "Time and sign are both reversed. That is consistent, and Liu et al. do it that way, but this book's τ is "
            "the share of noise.":
                flow_lesson(lambda x0, eps, tau: tau * x0 + (1 - tau) * eps, lambda x0, eps: x0 - eps),
            "Your target is eps, which is noise prediction. The velocity is a difference.":
                flow_lesson(target=lambda x0, eps: eps),
            "That is a point on the circle. On the chord the shares are (1 − τ) and τ themselves, not their roots.":
                flow_lesson(lambda x0, eps, tau: (1 - tau).sqrt() * x0 + tau.sqrt() * eps),
            "You summed the loss over the numbers of a picture. Take the mean instead.":
                lambda predict, x0, eps, tau: flow_loss(predict, x0, eps, tau) * x0[0].numel()}),
    Exercise(
        "7.6", "Find the bug: which way time runs", "bug", stars=2, minutes=15, broken=walk,
        prompt="A network was trained as in 7.5. This sampler should draw with it, but ends in noise that is far too "
               "large. Issue 2 of splitmeanflow is about such a sign. Fix it: it must walk from noise, τ = 1, to the "
               "data.",
        hints=("Where does it think it is in its first step, and where is it really?",
               "Two things are backward, and fixing only one of them does not help.",
               "`tau = 1 - i / steps`, and `x - velocity(x, tau) / steps`."),
        reference=walked(), cases=walk_cases,
        mistakes={
            "Now it walks the right way, but it still thinks that it starts at the data: τ must fall from 1.":
                walked(tau=lambda i, steps: i / steps),
            "Now it knows where it is, but it still walks into the noise: the velocity points from data to noise.":
                walked(sign=1),
            "You are one step off: the first call must be at τ = 1, where the noise is.":
                walked(tau=lambda i, steps: 1 - (i + 1) / steps),
            "You take one step too few: after `steps` steps it must have arrived.":
                walked(count=lambda steps: steps - 1)}),
    Exercise(
        "7.7", "Circle and chord", "pair", stars=2, minutes=15, reference=on_chord(), cases=chord_cases,
        run=there_and_back,
        prompt="Move a point of the circle, signal · x0 + noise · eps, to the chord, and bring it back. On the chord "
               "the two shares sum to 1, and their ratio is the same as on the circle.",
        signature="to_chord(x, t, schedule)\nto_circle(y, t, schedule)",
        shapes="x (B, ...) on the circle, t (B,) levels -> (B, ...)\ny (B, ...) on the chord, t (B,) -> (B, ...)",
        hints=("`signal, noise = schedule.at(t, like=x)` are shaped to multiply x.",
               "Dividing both shares by the same number keeps their ratio. Which number makes their sum 1?",
               "x / (signal + noise), and back y · (signal + noise)."),
        mistakes={
            "You divided by the signal, so x0's share is 1 and that of eps is k, as in 1b's Heun. On the chord the "
            "shares sum to 1.": on_chord(lambda signal, noise: signal),
            "Your points lie outside the circle: divide on the way to the chord, and multiply on the way back.":
                on_chord(lambda signal, noise: 1 / (signal + noise)),
            "You divided by the root of signal² + noise², which is 1 on the circle, so nothing moved.":
                on_chord(lambda signal, noise: (signal**2 + noise**2).sqrt())}),
    Exercise(
        "7.8", "Five calls", "open", stars=3, minutes=60, reference=last_velocity_too, goal=five_calls,
        prompt="Walk from noise `x` at level 1000 to level 0 with at most five calls of `denoise`. The goal is to end "
               "half as far from where infinitely many steps would end as DDIM does with five. The cloud is two moons, "
               "and the denoiser is exact.",
        signature="my_path(denoise, x, schedule)",
        shapes="denoise(xt, t (B,)) -> eps, x (B, 2) at level 1000 -> points (B, 2) at level 0",
        hints=("Heun in the angle spends two calls per step, so you get only three. The velocity of the step before "
               "also tells how the path bends, and it costs nothing.",
               "Turn the old velocity along before you compare the two: after a turn by δ the old v has become "
               "cos δ · v − sin δ · x.",
               "Turn with v + δ / (2 δ_before) · (v − old v turned along), but in the first and last step with v "
               "alone. Levels 1000 · (i / 5)^1.25 help a little more.")),
]
