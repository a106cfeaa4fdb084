"""Chapter 10, on `10_motion.ipynb`: where a point goes, between grid lines, folded time, what a sum cannot tell."""

import math

import torch

from minidiff.exercises.form import Exercise, randn, there_and_back
from minidiff.models.motion import along_time, as_pictures


def carried(angle=lambda degrees, when: degrees * when * math.pi / 180, size=lambda growth, when: (growth * when).exp(),
            pose=lambda z, turned, step, when: z * turned + step * when):
    """Somebody's way of a point, as a complex number: their angle, their size, and what they do with both."""
    def answer(points, speed, when):
        (degrees, growth, right, up), when = speed, when[:, None]
        turned = torch.polar(size(growth, when), angle(degrees, when))                 # (F, 1)
        return torch.view_as_real(pose(torch.view_as_complex(points), turned, torch.complex(right, up), when))

    return answer


def carrying_cases():
    return [(5 * randn(1001, 5, 2), torch.tensor([6.0, 0.05, -1.0, 0.7]), torch.arange(7) - 3.0),
            (5 * randn(1002, 2, 2), torch.tensor([-11.0, -0.1, 0.4, 1.3]), torch.tensor([0.5, -2.25, 3.0]))]


def between(beyond=lambda below, at, above: (below - above) / (2 * (below - 2 * at + above)),
            reached=lambda best, step, beyond: best + step * beyond):
    """Somebody's top: how far beyond the best of the grid, in its steps, and what they make of it."""
    def answer(angles, scores):
        best = scores.argmax(1)
        three = (scores.gather(1, (best + i)[:, None])[:, 0] for i in (-1, 0, 1))
        return reached(angles[best], angles[1] - angles[0], beyond(*three))

    return answer


def scoring_cases():
    grids = ((1011, torch.arange(-30.0, 31, 3), 7, 10.0), (1012, torch.arange(-60.0, 61, 5), 5, 20.0))
    return [(angles, (-((angles - 7 * randn(seed, n, 1)) / wide).square() / 2).exp()
             + 0.01 * randn(seed + 10, n, len(angles))) for seed, angles, n, wide in grids]


def folding(order=(0, 3, 4, 1, 2), frames_first=False):
    """Somebody's way to sequences of time and back: the order in which they put clips, frames, channels, rows and
    columns, or frames and clips, if they take the frames of all clips for neighbors."""
    def there(x, frames, shape):
        return x.unflatten(0, (frames, -1) if frames_first else (-1, frames)).permute(order).flatten(0, 2)

    def back(y, frames, shape):
        first = (frames, shape[0] // frames) if frames_first else (shape[0] // frames, frames)
        sizes = (*first, *shape[1:])
        y = y.unflatten(0, [sizes[i] for i in order[:3]])
        return y.permute([order.index(i) for i in range(5)]).reshape(shape)

    return there, back


def reshaped(y, frames, shape):
    """The way back of somebody who only reshapes."""
    return y.reshape(shape)


def with_mean_over_time(x, frames):
    """x (B F, C, H, W): the frames of all clips, one clip after the other -> the same, with the mean over the frames of
    its clip added to each place"""
    sequences = x.reshape(-1, frames, x.shape[1])                # (B H W, F, C)
    mean = sequences.mean(1, keepdim=True).expand_as(sequences)
    return x + mean.reshape(x.shape)


def averaged(mean=lambda y: y.mean(1, keepdim=True), keep=1, clips=lambda x, frames: x.unflatten(0, (-1, frames))):
    """Somebody's mean over time, of clips (B, F, C, H, W)."""
    def answer(x, frames):
        y = clips(x, frames)
        return keep * x + mean(y).expand_as(y).reshape(x.shape)

    return answer


def reshaped_back(order=(0, 3, 4, 1, 2), sizes=lambda b, f, c, h, w: (b, f, c, h, w), back=(0, 1, 2, 3, 4)):
    """Somebody who finds the mean at each place, and then puts it back wrongly."""
    def answer(x, frames):
        y = x.unflatten(0, (-1, frames))
        mean = y.mean(1, keepdim=True).expand_as(y).permute(order)
        return x + mean.reshape(sizes(*y.shape)).permute(back).reshape(x.shape)

    return answer


EXERCISES = [
    Exercise(
        "10.1", "Where does a turning point go?", "code", stars=2, minutes=20, reference=carried(),
        cases=carrying_cases,
        prompt="From frame to frame a digit turns by `degrees` counterclockwise, its size is multiplied by "
               "exp(`log_size`), and it moves by `right` and `up` pixels. `when` is the time of a frame, "
               "counted from the middle of the clip, where nothing has happened yet. At that time the digit is "
               "turned and resized about the middle of the picture first, and then it is moved. Where in each frame "
               "are the given points of the digit? Points are pairs (x, y), counted from the middle, with y up.",
        signature="my_points(points, speed, when)",
        shapes="points (N, 2); speed (4,): degrees, log_size, right, up, per frame; when (F,) -> (F, N, 2)",
        hints=("The angle at the time `when` is degrees · when · π / 180, and the size is exp(log_size · when).",
               "Counterclockwise, with y up, (x, y) goes to (x cos − y sin, x sin + y cos).",
               "With `angle` and `size` (F, 1), the new x is `size * (x * angle.cos() - y * angle.sin()) + right * "
               "when[:, None]`, and the new y is found likewise; `torch.stack([x, y], -1)` joins "
               "them."),
        mistakes={
            "You turned clockwise. With y up, counterclockwise means (x cos − y sin, x sin + y cos).":
                carried(lambda degrees, when: -degrees * when * math.pi / 180),
            "Your angle is in degrees, but sine and cosine want radians: multiply by π / 180.":
                carried(lambda degrees, when: degrees * when),
            "You turned by the angle of one frame only; multiply it by `when`.":
                carried(lambda degrees, when: degrees * math.pi / 180 * when**0),
            "Your size is 1 + log_size · when. Sizes multiply from frame to frame, so it is exp(log_size · when).":
                carried(size=lambda growth, when: 1 + growth * when),
            "You took log_size · when for the size itself. It is a logarithm: take exp of it.":
                carried(size=lambda growth, when: growth * when),
            "You multiplied exp(log_size) by `when`. In the middle of the clip the size is 1: `when` belongs inside "
            "exp.": carried(size=lambda growth, when: growth.exp() * when),
            "You moved the point first, so that its shift was turned and resized, too. Move it last.":
                carried(pose=lambda z, turned, step, when: (z + step * when) * turned),
            "You moved by the shift of one frame; after `when` frames it is `when` times as far.":
                carried(pose=lambda z, turned, step, when: z * turned + step),
            "You subtracted `up` as if y pointed down. Here it points up, so add it.":
                carried(pose=lambda z, turned, step, when: z * turned + step.conj() * when),
            "You resized the shift as well, but it is in pixels of the picture, whatever the size of the digit.":
                carried(pose=lambda z, turned, step, when: z * turned + step * when * turned.abs())}),
    Exercise(
        "10.2", "Between the grid lines", "code", stars=2, minutes=20, reference=between(), cases=scoring_cases,
        prompt="`register` tries angles on a grid, and each gets a score. The best angle of the grid can be off by "
               "half a step. So put a parabola through the best score and the scores of its two neighbors, and return "
               "the angle at its top.",
        signature="my_angle(angles, scores)",
        shapes="angles (A,), at equal distances; scores (N, A), the best never the first or the last -> (N,)",
        hints=("Call the three scores below, at and above, and count steps from the best angle: −1, 0 and 1.",
               "The parabola a u² + b u + c has a = (below + above) / 2 − at and b = (above − below) / 2, and its top "
               "is at u = −b / (2 a).",
               "`best + step * (below - above) / (2 * (below - 2 * at + above))`, where `step` is the distance between "
               "two angles of the grid. The three scores of each row: "
               "`scores[torch.arange(len(scores)), i + k]`, where i is `scores.argmax(1)` and k is −1, 0 or 1."),
        mistakes={
            "That is the best angle of the grid; the top of the parabola lies beside it.":
                between(reached=lambda best, step, beyond: best),
            "Your top lies on the wrong side. It is nearer to the neighbor with the higher score.":
                between(reached=lambda best, step, beyond: best - step * beyond),
            "You found the top in steps of the grid; multiply by the distance between two of its angles.":
                between(reached=lambda best, step, beyond: best + beyond),
            "You assumed steps of 3 degrees. Take the step from `angles`.":
                between(reached=lambda best, step, beyond: best + 3 * beyond),
            "That is how far the top is from the best angle of the grid; add that angle.":
                between(reached=lambda best, step, beyond: step * beyond),
            "Your top is twice as far from the best angle as it should be: the 2 of −b / (2 a) is missing.":
                between(reached=lambda best, step, beyond: best + 2 * step * beyond),
            "In the denominator the best score counts twice: below − 2 at + above.":
                between(lambda below, at, above: (below - above) / (2 * (below - at + above))),
            "That is the mean of the three angles, weighted by their scores. It is pulled toward the middle one.":
                between(lambda below, at, above: (above - below) / (below + at + above)),
            "That is the mean of all angles, weighted by their scores. Only three scores make the parabola.":
                lambda angles, scores: scores @ angles / scores.sum(1)}),
    Exercise(
        "10.3", "Folding time", "pair", stars=2, minutes=20, run=there_and_back,
        reference=(lambda x, frames, shape: along_time(x, frames, everywhere=False),
                   lambda y, frames, shape: as_pictures(y, shape, frames, everywhere=False)),
        cases=lambda: [(randn(1031 + n, n * frames, *size), frames, (n * frames, *size))
                       for n, frames, size in ((2, 5, (3, 2, 7)), (3, 2, (5, 3, 2)))],
        prompt="A UNet sees the frames of all clips as one long batch, one clip after the other. Attention along time "
               "needs a sequence for each place: what the frames of a clip hold there, in order. Write `to_time`, from "
               "pictures to sequences, where clips come first, then rows, then columns. Write `to_pictures`, which "
               "goes back. `shape` is the shape of the pictures.",
        signature="to_time(x, frames, shape)\nto_pictures(y, frames, shape)",
        shapes="x (B F, C, H, W); frames is F; shape is (B F, C, H, W) -> (B H W, F, C)\n"
               "y (B H W, F, C), and the same frames and shape -> (B F, C, H, W)",
        hints=("`x.unflatten(0, (-1, frames))` separates clips from frames: (B, F, C, H, W).",
               "Bring the five axes into the order B, H, W, F, C by `permute`, and join the first three by `flatten`.",
               "There: `x.unflatten(0, (-1, frames)).permute(0, 3, 4, 1, 2).flatten(0, 2)`. Back: "
               "`y.unflatten(0, (-1, *shape[2:])).permute(0, 3, 4, 1, 2).reshape(shape)`."),
        mistakes={
            "You only reshaped, so your sequences are cut from neighboring numbers of one picture. The axes must "
            "change places.": (lambda x, frames, shape: x.reshape(-1, frames, shape[1]), reshaped),
            "Your `to_time` is right, but the way back needs a permutation, too. A reshape alone mixes the axes.":
                (folding()[0], reshaped),
            "You split the first axis into frames, then clips. It holds clips, then frames: one clip after the other.":
                folding((1, 3, 4, 0, 2), frames_first=True),
            "Your columns come before the rows.": folding((0, 4, 3, 1, 2)),
            "Your places come before the clips. The sequences of one clip must stand together.":
                folding((3, 4, 0, 1, 2)),
            "Time and channels are swapped: each sequence is (F, C), with a frame in each row.":
                folding((0, 3, 4, 2, 1)),
            "You put all places of a clip into one sequence. That is attention everywhere; here each place has its "
            "own.": (lambda x, frames, shape: along_time(x, frames),
                     lambda y, frames, shape: as_pictures(y, shape, frames))}),
    Exercise(
        "10.4", "Everywhere, or at each place?", "number", stars=1, minutes=10,
        reference=lambda: (8 * 16) ** 2 / (16 * 8**2),
        prompt="A clip has 8 frames, and its latent has 4 × 4 places. If attention looks everywhere, each place at "
               "each time looks at all places at all times, in one big table of weights. If it looks along time only, "
               "each place has a table of its own. How many times as many weights does one head have in the big one as "
               "it has in all the small tables together?",
        reason="One table of 128 · 128 = 16,384 weights, against 16 tables of 8 · 8 = 64. The factor is the number of "
               "places, so for a latent of 64 × 64 places it is 4,096. That is a reason to look along time only.",
        hints=("Everywhere, a sequence has 8 · 16 members.", "A table of attention is as wide as it is high.",
               "128² / (16 · 8²)"),
        mistakes={"You compared with the table of a single place; there are 16 of them.": 256,
                  "That is all the tables along time over the one table everywhere; the question is the other way "
                  "around.": 1 / 16,
                  "That is how many weights there are everywhere; the question asks how many times as many.": 16384,
                  "That is how many weights all tables along time have together.": 1024,
                  "You compared with a table for each frame, where places look at each other. Here times look at each "
                  "other.": 8,
                  "You compared the lengths of the sequences. Attention has a weight for each pair.": 1,
                  "A latent of 4 × 4 has 16 places.": 4}),
    Exercise(
        "10.5", "Find the bug: a fold without a turn", "bug", stars=2, minutes=15, broken=with_mean_over_time,
        reference=averaged(), cases=lambda: [(randn(1051, 10, 3, 2, 7), 5), (randn(1052, 6, 5, 3, 2), 2)],
        prompt="The simplest layer along time adds the mean over the frames of a clip to each of its places. This one "
               "runs without an error, and the shapes are right, but places and channels end up in the wrong "
               "sequences. While such a layer is still zero, nobody notices it. Issue 171 of Open-Sora-Plan reports a "
               "bug of this kind. Fix it.",
        hints=("In which order does `x` hold its numbers, and which of them stand next to each other?",
               "Only neighboring axes can be joined. In (B, F, C, H, W) there is C between the frames and the places.",
               "`clips = x.unflatten(0, (-1, frames))`, then"
               " `(clips + clips.mean(1, keepdim=True)).flatten(0, 1)`."),
        mistakes={
            "Your sequences are right now, but on the way back you only reshape, and the places get mixed there.":
                reshaped_back(),
            "On the way back you swapped time and channels.":
                reshaped_back((0, 3, 4, 1, 2), lambda b, f, c, h, w: (b, h, w, c, f), (0, 4, 3, 1, 2)),
            "You split the first axis into frames, then clips. It holds one clip after the other.":
                averaged(lambda y: y.mean(0, keepdim=True), clips=lambda x, frames: x.unflatten(0, (frames, -1))),
            "You took the mean over all clips, too. Each clip has its own.":
                averaged(lambda y: y.mean((0, 1), keepdim=True)),
            "You took the mean over the places as well. Each place has its own.":
                averaged(lambda y: y.mean((1, 3, 4), keepdim=True)),
            "You took the mean over the clips instead of the frames.": averaged(lambda y: y.mean(0, keepdim=True)),
            "The frames themselves are missing: the mean is added to them.": averaged(keep=0)}),
    Exercise(
        "10.6", "What a sum cannot tell", "code", stars=2, minutes=15,
        reference=lambda f: f - f[:1] - f[:, :1] + f[:1, :1],
        cases=lambda: [(randn(1061, 7, 5, 2),), (randn(1062, 7, 1, 3) + randn(1063, 1, 5, 3),)],
        prompt="A module is told the position p and the motion m as one vector f(p, m). If f is a plain sum, "
               "u(p) + v(m), then a motion changes every position alike. The mixed difference f(p, m) − f(0, m) − "
               "f(p, 0) + f(0, 0) shows whether it is. Return it for all positions and motions of a table.",
        reason="For a sum the difference is zero everywhere, as in case 2. An MLP can give it any value, "
               "and so it can say where a motion carries each place.",
        signature="my_mixed(f)", shapes="f (P, M, D): positions, motions, numbers -> (P, M, D)",
        hints=("`f[:1]` is the row of position 0, and `f[:, :1]` is the column of motion 0.",
               "Slices such as these keep their axes, so they broadcast by themselves.",
               "`f - f[:1] - f[:, :1] + f[:1, :1]`"),
        mistakes={
            "f(0, 0) is missing. It was subtracted twice, so add it once.": lambda f: f - f[:1] - f[:, :1],
            "You subtracted f(0, 0) once more; add it.": lambda f: f - f[:1] - f[:, :1] - f[:1, :1],
            "You subtracted f(0, m) only. That is how far a position is from position 0.": lambda f: f - f[:1],
            "You subtracted f(p, 0) only. That is what a motion changes.": lambda f: f - f[:, :1],
            "You subtracted f(0, 0) only.": lambda f: f - f[:1, :1],
            "You subtracted means. That is zero for a sum as well, but here everything is compared with position 0 "
            "and motion 0.": lambda f: f - f.mean(0, True) - f.mean(1, True) + f.mean((0, 1), True),
            "You compared neighbors in the table. Compare with position 0 and motion 0.":
                lambda f: f.diff(dim=0).diff(dim=1),
            "Your sign is reversed.": lambda f: f[:1] + f[:, :1] - f - f[:1, :1],
            "You took the absolute value of the difference; its sign is asked for, too.":
                lambda f: (f - f[:1] - f[:, :1] + f[:1, :1]).abs()}),
    Exercise(
        "10.7", "Before and after", "number", stars=1, minutes=10, tolerance=0.005, reference=lambda: 4 / 7,
        prompt="A motion module has no positions in time, so it cannot know which frame comes first. Somebody sorts "
               "its frames until the film runs smoothly, but then a film and the same film played backward are "
               "equally likely. Equally many films are asked to be still, to turn left, turn right, grow, "
               "shrink, move left and move right. Apart from its direction, every film is right. What share of all "
               "films is right?",
        reason="Still films look the same backward and are always right. The other six motions are right half of the "
               "time: (1 + 6 · 1/2) / 7 = 4/7.",
        hints=("What does a film that grows look like when it is played backward?",
               "And what does a film that stays still look like?", "(1 + 6 · 0.5) / 7"),
        mistakes={"A still film is right in both directions.": 0.5,
                  "The still films are missing from your count, but not from your total.": 3 / 7,
                  "Only the direction is a matter of chance. The motion itself is the one asked for.": 1 / 7,
                  "The wrong direction is a wrong motion: turning left is not turning right.": 1,
                  "A moving film is right half of the time, not one time in seven.": 1 / 7 + 6 / 7 / 7,
                  "A growing film played backward shrinks, so these two motions depend on chance, too.": 5 / 7,
                  "That is in percent; a share is at most 1.": 400 / 7}),
]
