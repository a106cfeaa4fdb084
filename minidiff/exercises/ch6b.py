"""Chapter 6, on `06b_editing_and_comparisons.ipynb`: numbers for sentences, from a picture, diversity, how many."""

import torch

from minidiff.data.captions import caption_index, every_caption
from minidiff.data.clouds import Mixture
from minidiff.diffusion.exact import exact_denoiser
from minidiff.diffusion.samplers import ddim_step, sample
from minidiff.diffusion.schedule import Schedule, add_noise
from minidiff.evaluation.metrics import diversity, wilson
from minidiff.evaluation.readers import ink_of
from minidiff.exercises import Exercise, randn, there_and_back


def numbered(radix, shift=1, forward=True):
    """Somebody's numbers of captions, with as many digits of each kind."""
    def there(said):
        columns, sizes = (said + shift).unbind(1), radix
        if not forward:
            columns, sizes = columns[::-1], sizes[::-1]
        number = torch.zeros_like(columns[0])
        for column, size in zip(columns, sizes):
            number = number * size + column
        return number

    def back(number):
        columns, sizes = [], radix[::-1] if forward else radix
        for size in sizes:
            columns.append(number % size - shift)
            number = number // size
        return torch.stack(columns[::-1] if forward else columns, 1)

    return there, back


TABLE = (caption_index, lambda number: every_caption()[number])


def from_picture(denoise, z, level, steps, schedule, noise):
    """`add_noise`, and `sample` from there."""
    noisy = add_noise(z, torch.full((len(z),), level), noise, schedule)
    *_, (_, end) = sample(lambda xt, t, cond: denoise(xt, t), noisy, schedule, steps, ddim_step, start=level)
    return end


def picture_cases():
    return [(exact_denoiser(Mixture(randn(s, 5, *shape), 0.3), schedule), randn(s + 1, 7, *shape), level, steps,
             schedule, randn(s + 2, 7, *shape))
            for s, shape, schedule, level, steps in ((1, (3, 2, 2), Schedule.cosine(101), 61, 7),
                                                     (4, (2,), Schedule.cosine(211), 97, 13))]


def even(first, steps):
    return torch.linspace(first, 0, steps + 1).round().long().tolist()


def restarted(begin=lambda z, a, noise: a.sqrt() * z + (1 - a).sqrt() * noise, stops=lambda level, steps, S: even(
        level, steps), noised_at=lambda level, S: level):
    """Somebody's way from a picture."""
    def answer(denoise, z, level, steps, schedule, noise):
        x = begin(z, schedule.alpha_bar[noised_at(level, schedule.levels)], noise)
        levels = stops(level, steps, schedule.levels)
        for t, s in zip(levels, levels[1:]):
            x = ddim_step(lambda xt, t, cond: denoise(xt, t), x, t, s, schedule)
        return x

    return answer


def crowd_case(seed, n, *shape):
    """Colored pictures, and attributes of which some go together."""
    said = (randn(seed + 1, n, 4).abs() * 2).long() % torch.tensor([2, 7, 2, 2])
    said[0] = torch.tensor([9, 0, 1, 1])                         # one alone
    return randn(seed, n, 3, *shape).tanh(), said


def diverse(alike=(0, 2, 3), look=lambda p: ink_of(p).flatten(1), measure=lambda d: d, first=1, by_group=False,
            per=lambda ink: ink.shape[1] ** 0.5):
    """Somebody's diversity; first: where the other one of a pair begins, 0 counts each with itself."""
    def answer(pictures, attributes):
        ink, said = look(pictures), attributes[:, list(alike)] if alike else 0 * attributes
        groups = [ink[(said == row).all(1)] for row in said.unique(dim=0)]
        means = [[measure((a - b).norm()) for i, a in enumerate(g) for b in g[i + first:]] for g in groups]
        means = [torch.stack(d) for d in means if d]
        mean = torch.stack([d.mean() for d in means]).mean() if by_group else torch.cat(means).mean()
        return (mean / per(ink)).item()

    return answer


def needed(share=0.95, half=0.01):
    """How many pictures make the 95 % interval reach `half` to each side."""
    return next(n for n in range(50, 20_000) if wilson(share, n)[1] - wilson(share, n)[0] <= 2 * half)


EXERCISES = [
    Exercise(
        "6.5", "A number for each sentence", "pair", stars=2, minutes=20, reference=TABLE, run=there_and_back,
        cases=lambda: [(every_caption()[torch.arange(0, 1408, 7)].flip(0),), (torch.tensor([[7, 0, 2, 0]]),)],
        prompt="The states of all 1,408 sentences are computed once, and looked up by number while the UNet learns. "
               "Work in pairs, without `caption_index`: attributes (digit, color, stroke, lean; −1 is unsaid) to a "
               "number, and back. Number 0 says nothing at all; counting on, the lean changes fastest, the digit "
               "slowest, and unsaid comes before all words.",
        signature="my_number(said)\nmy_attributes(number)",
        shapes="said (B, 4), integers from -1 -> (B,) in 0..1407\nnumber (B,) -> said (B, 4)",
        hints=("With *unsaid* there are 11, 8, 4 and 4 choices.",
               "As hours, minutes and seconds: ((digit · 8 + color) · 4 + stroke) · 4 + lean, each counted from 0.",
               "Add 1 first. Back: `% 4` gives the last one, `// 4` goes on; subtract 1 at the end."),
        mistakes={
            "Unsaid is −1: without adding 1 the numbers begin below 0, and a table has no row −149.":
                (lambda said: TABLE[0](said) - 149, lambda number: TABLE[1](number + 149)),
            "Unsaid is a choice of its own: there are 11, 8, 4 and 4, not 10, 7, 3 and 3.": numbered((10, 7, 3, 3)),
            "The other end changes fastest: it must be the lean.": numbered((11, 8, 4, 4), forward=False),
            "`my_number` is right; on the way back the 1 must be subtracted again.":
                (TABLE[0], lambda number: TABLE[1](number) + 1),
            "`my_number` is right; on the way back the lean comes out first, and must be put last.":
                (TABLE[0], lambda number: TABLE[1](number).flip(1)),
            "What comes out is what went in: such a round trip always closes.":
                (lambda said: said, lambda number: number)}),
    Exercise(
        "6.6", "Begin with a picture", "code", stars=2, minutes=20, reference=from_picture, cases=picture_cases,
        prompt="Picture to picture: noise a clean latent z to a level, and walk from there to 0 with DDIM, in `steps` "
               "even steps: the levels are `torch.linspace(level, 0, steps + 1)`, rounded. (Write out DDIM's step, or "
               "take `minidiff.samplers.ddim_step`.)",
        signature="my_from_picture(denoise, z, level, steps, schedule, noise)",
        shapes="denoise(xt, t (B,)) -> eps; z, noise (B, ...), schedule.alpha_bar (S + 1,) -> (B, ...)",
        hints=("`add_noise(z, torch.full((len(z),), level), noise, schedule)` is where the walk begins.",
               "`for t, s in zip(levels, levels[1:])`: eps at t, the x0 that follows, and both again at s.",
               "Or `sample(..., steps, start=level)`, whose last x is the answer; give it a denoiser with three "
               "arguments, (xt, t, cond)."),
        mistakes={
            "The latent was not noised: the denoiser is told a level at which it would expect noise.":
                restarted(lambda z, a, noise: z),
            "You began with pure noise: nothing is left of the picture.": restarted(lambda z, a, noise: noise),
            "The roots are missing when the latent is noised.": restarted(lambda z, a, noise: a * z + (1 - a) * noise),
            "The noise was simply added; the latent itself must shrink by √ᾱ.":
                restarted(lambda z, a, noise: z + (1 - a).sqrt() * noise),
            "The walk begins at level S, where the noised latent is not: it begins at `level`.":
                restarted(stops=lambda level, steps, S: even(S, steps)),
            "The latent was noised to level S; `level` says how much of it may be lost.":
                restarted(noised_at=lambda level, S: S),
            "You took the stops of the whole walk and left out those above the level: those are fewer than `steps`.":
                restarted(stops=lambda level, steps, S: [level, *(t for t in even(S, steps) if t < level)])}),
    Exercise(
        "6.7", "How varied?", "code", stars=2, minutes=25, reference=diversity,
        cases=lambda: [crowd_case(31, 17, 5, 7), crowd_case(41, 13, 3, 2)],
        prompt="Diversity: the mean distance between two pictures of the same digit, stroke and lean (the color may "
               "differ, and so only the ink is compared: the brightest of the three channels, (x + 1) / 2), divided by "
               "the root of the number of pixels. Every pair of pictures counts as much as every other pair, and none "
               "is compared with itself.",
        signature="my_spread(pictures, attributes)",
        shapes="pictures (N, 3, H, W) in [-1, 1], attributes (N, 4): digit, color, stroke, lean -> a number",
        hints=("Ink is the brightest channel, from 0 to 1: `(pictures.amax(1) + 1) / 2`.",
               "Pairs: `i < j`, and `(attributes[i, [0, 2, 3]] == attributes[j, [0, 2, 3]]).all()`.",
               "The mean of `(ink[i] - ink[j]).norm()` over those pairs, divided by `(H * W) ** 0.5`."),
        mistakes={
            "The color is left aside: a red and a blue seven, both thin and upright, are a pair.":
                diverse((0, 1, 2, 3)),
            "Stroke and lean were asked for, too: that two pictures differ in what they were told is no diversity.":
                diverse((0,)),
            "All pictures are compared with all; only those of the same digit, stroke and lean.": diverse(()),
            "Each picture is compared with itself, too, at the distance 0.": diverse(first=0),
            "You took the mean of each group, and then of these; every pair counts alike.": diverse(by_group=True),
            "Divide by the root of the number of pixels, or large pictures would be more varied.":
                diverse(per=lambda ink: 1),
            "Divide by the *root* of the number of pixels; a distance is a root, too.":
                diverse(per=lambda ink: ink.shape[1]),
            "The squared distance is not asked for.": diverse(measure=lambda d: d**2),
            "The mean of the channels makes a red stroke paler than a white one; ink is the brightest channel.":
                diverse(look=lambda p: ((p.mean(1) + 1) / 2).flatten(1)),
            "The three channels are one ink now: divide by the root of H · W.":
                diverse(per=lambda ink: (3 * ink.shape[1]) ** 0.5),
            "Compare the ink, the brightest channel from 0 to 1, not the three colors.":
                diverse(look=lambda p: (p.flatten(1) + 1) / 2)}),
    Exercise(
        "6.8", "How many are enough?", "number", stars=1, minutes=10, reference=needed, tolerance=60,
        prompt="The machine draws about 95 % of its pictures right. How many pictures must be read, so that the 95 % "
               "interval reaches only one point to each side? (To the nearest hundred.)",
        hints=("For many pictures half of the interval is about 1.96 · √(p (1 − p) / n).",
               "Set it to 0.01, with p = 0.95.", "n = 1.96² · 0.95 · 0.05 / 0.01²."),
        reason="Half the interval would take four times as many. So a difference of half a point between two runs of "
               "500 pictures says nothing.",
        mistakes={"That is for p = ½, where chance is largest; at 95 % it is much smaller.": 9604,
                  "The 1.96 is missing: that interval would be right two times in three only.": 475,
                  "That is an interval of half a point to each side.": 7300}),
]
