"""Chapter 6, on `06b_editing_and_comparisons.ipynb`: numbers for sentences, diversity, the step of `draw`."""

import torch
from torch.nn import functional as F

from minidiff.data.captions import (
    LENGTH,
    VOCABULARY,
    all_combinations,
    caption_index,
    detokenize,
    every_caption,
    is_true_of,
    parse,
    sentence,
    tokenize,
)
from minidiff.data.clouds import Mixture
from minidiff.diffusion.exact import exact_denoiser, log_density
from minidiff.diffusion.levels import spaced_levels
from minidiff.diffusion.samplers import ddim_step, heun_step, last, sample
from minidiff.diffusion.schedule import Schedule, add_noise
from minidiff.evaluation.metrics import diversity, wilson
from minidiff.evaluation.readers import ink_of
from minidiff.exercises.form import Exercise, randn, there_and_back
from minidiff.pipelines.language import upsample
from minidiff.tools.runtime import noise_for


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
    return last(sample(denoise, noisy, schedule, steps, start=level))


def picture_cases():
    return [(exact_denoiser(Mixture(randn(s, 5, *shape), 0.3), schedule), randn(s + 1, 7, *shape), level, steps,
             schedule, randn(s + 2, 7, *shape))
            for s, shape, schedule, level, steps in ((1, (3, 2, 2), Schedule.cosine(101), 61, 7),
                                                     (4, (2,), Schedule.cosine(211), 97, 13))]


def restarted(begin=lambda z, a, noise: a.sqrt() * z + (1 - a).sqrt() * noise, noised_at=lambda level, S: level,
              stops=lambda schedule, steps, level: spaced_levels(schedule, steps, level)):
    """Somebody's way from a picture."""
    def answer(denoise, z, level, steps, schedule, noise):
        x = begin(z, schedule.alpha_bar[noised_at(level, schedule.levels)], noise)
        levels = stops(schedule, steps, level)
        for t, s in zip(levels, levels[1:]):
            x = ddim_step(denoise, x, t, s, schedule)
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


def longer(score, captions):
    """`upsample` by a writer that always takes the best word."""
    return upsample(score, captions, torch.Generator().manual_seed(0), temperature=1e-3)


def writer_cases():
    """Writers who only look at the last word, and dislike what the captions say."""
    def case(seed, captions):
        likes = randn(seed, len(VOCABULARY), len(VOCABULARY))
        return lambda ids: likes[ids], captions

    return [case(51, ["a seven", "a thick digit", "a digit leaning left", "a thin red digit upright", "a digit"]),
            case(52, ["a blue digit", "a plain green four leaning right", "a zero upright"])]


def written(keep=lambda said: said, look=lambda logits: logits[:, -1]):
    """Somebody's writer, word by word; keep: what of the caption must stay true."""
    def answer(score, captions):
        every = all_combinations()
        texts, said = tokenize([sentence(row) for row in every]), torch.tensor([parse(c) for c in captions])
        fits, ids = is_true_of(keep(said), every).T, texts[:1, :1].repeat(len(captions), 1)
        for i in range(1, LENGTH):
            possible = fits.float() @ F.one_hot(texts[:, i], len(VOCABULARY)).float() > 0
            best = look(score(ids)).masked_fill(~possible, -torch.inf).argmax(1, keepdim=True)
            ids, fits = torch.cat([ids, best], 1), fits & (texts[:, i] == best)
        return detokenize(ids)

    return answer


def best_in_all(score, captions):
    """Of all sentences that fit, the one with the largest sum."""
    every = all_combinations()
    texts = tokenize([sentence(row) for row in every])
    total = score(texts[:, :-1]).gather(2, texts[:, 1:, None]).sum((1, 2))
    fits = is_true_of(torch.tensor([parse(c) for c in captions]), every).T
    return [sentence(every[row]) for row in total.where(fits, -torch.inf).argmax(1)]


def only(*columns):
    """Forget what a caption says but for some columns."""
    keep = torch.tensor([column in columns for column in range(4)])
    return lambda said: said.where(keep, -1)


def unequal_places(loud):
    """Whether a guidance draws points as asked, and each of the three places that were asked for as often."""
    asked, others = torch.tensor([[[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]], [[0.8, 0.3], [3.6, -1.0], [-2.0, -2.0]]])
    schedule, one = Schedule.cosine(1000), torch.ones(600, dtype=torch.long)
    told, nothing = (exact_denoiser(Mixture(means, 0.4), schedule) for means in (asked, torch.cat([asked, others])))
    if loud(torch.zeros(2, 2), torch.ones(2, 2), 500) is None:
        return None, ""
    x = last(sample(lambda xt, t, cond: loud(nothing(xt, t), told(xt, t), int(t[0])), noise_for(range(600), (2,)),
                    schedule, 25))
    mine, theirs = (log_density(Mixture(means, 0.4), x, one, schedule) for means in (asked, others))
    right, place = (mine > theirs).float().mean().item(), torch.cdist(x, asked).argmin(1)
    rarest = torch.bincount(place, minlength=3).min().item() / 600
    return right >= 0.99 and rarest >= 0.3, (f"{right:.1%} as asked, the goal is 99 %; the rarest of the three places "
                                             f"gets {rarest:.1%}, the goal is 30 %")


def step_cases():
    schedule = Schedule.cosine(101)
    return [(exact_denoiser(Mixture(randn(61 + t, 5, 3), 0.3), schedule), randn(62 + t, 7, 3), t, s, schedule)
            for t, s in ((61, 43), (97, 71), (13, 0), (29, 1))]


def stepping(ask=lambda denoise, ahead, xt, y, a, t, s: denoise(ahead, s), mean=lambda one, two: (one + two) / 2,
             start=lambda y, on: y, end=lambda y, a: a.sqrt() * y, at_zero=False):
    """Somebody's second-order step."""
    def answer(denoise, xt, t, s, schedule):
        def at(x, level):
            return denoise(x, torch.full((len(x),), level))

        a_t, a_s = schedule.alpha_bar[t], schedule.alpha_bar[s]
        y, way = xt / a_t.sqrt(), (1 / a_s - 1).sqrt() - (1 / a_t - 1).sqrt()
        slope, on = (one := at(xt, t)), y + way * one
        if s > 0 or at_zero:
            slope, y = mean(one, ask(at, a_s.sqrt() * on, xt, on, a_s, t, s)), start(y, on)
        return end(y + way * slope, a_s)

    return answer


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
               "take `minidiff.diffusion.ddim_step`.)",
        signature="my_from_picture(denoise, z, level, steps, schedule, noise)",
        shapes="denoise(xt, t (B,)) -> eps; z, noise (B, ...), schedule.alpha_bar (S + 1,) -> (B, ...)",
        hints=("`add_noise(z, torch.full((len(z),), level), noise, schedule)` is where the walk begins.",
               "`for t, s in zip(levels, levels[1:])`: eps at t, the x0 that follows, and both again at s.",
               "Or `last(sample(..., steps, start=level))`, where the denoiser that you give to `sample` has three "
               "arguments, (xt, t, cond)."),
        mistakes={
            "The latent was not noised: the denoiser is told a level at which it would expect noise.":
                restarted(lambda z, a, noise: z),
            "You began with pure noise: nothing is left of the picture.": restarted(lambda z, a, noise: noise),
            "The roots are missing when the latent is noised.": restarted(lambda z, a, noise: a * z + (1 - a) * noise),
            "The noise was simply added; the latent itself must shrink by √ᾱ.":
                restarted(lambda z, a, noise: z + (1 - a).sqrt() * noise),
            "The walk begins at level S, where the noised latent is not: it begins at `level`.":
                restarted(stops=lambda schedule, steps, level: spaced_levels(schedule, steps)),
            "The latent was noised to level S; `level` says how much of it may be lost.":
                restarted(noised_at=lambda level, S: S),
            "You took the stops of the whole walk and left out those above the level: those are fewer than `steps`.":
                restarted(stops=lambda schedule, steps, level: [level, *(t for t in spaced_levels(schedule, steps)
                                                                         if t < level)])}),
    Exercise(
        "6.7", "How varied?", "code", stars=2, minutes=25, reference=diversity,
        cases=lambda: [crowd_case(31, 17, 5, 7), crowd_case(41, 13, 3, 2)],
        prompt="Diversity: the mean distance between two pictures of the same digit, stroke and lean (the color may "
               "differ, and so only the ink is compared: the brightest of the three channels, (x + 1) / 2), divided by "
               "the root of the number of pixels. Every pair of pictures counts as much as every other pair, and none "
               "is compared with itself.",
        signature="my_diversity(pictures, attributes)",
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
    Exercise(
        "6.9", "Make it longer", "code", stars=3, minutes=30, reference=longer, cases=writer_cases,
        prompt="A writer makes terse captions detailed: of all 630 full sentences only those count with which the "
               "terse caption stays true. It begins with `<start>` and goes on word by word, always with the word that "
               "`score` likes best, among the words that continue at least one of these sentences. (You may use what "
               "is in `minidiff.data`: all_combinations, sentence, parse, is_true_of, tokenize, detokenize.)",
        signature="my_longer(score, terse)",
        shapes="score(ids (B, l)) -> (B, l, V): at each place, how each next word is liked; B strings -> B strings",
        hints=("For one caption: `rows = [r for r in all_combinations() if ...]`, `texts = tokenize([sentence(r) for r "
               "in rows])`.",
               "At place i: `score(texts[:1, :i])[0, -1]` are the likes; `texts[:, i]` are the words that may come.",
               "Take the best of them, and go on with `texts[texts[:, i] == best]` until one is left."),
        mistakes={
            "The writer forgot what was asked for: the terse caption must stay true.": written(only()),
            "The digit is kept, but stroke, color and lean that were said must stay true as well.": written(only(0)),
            "Those are the words that are liked *least*.": written(look=lambda logits: -logits[:, -1]),
            "You looked at the likes of the first place; the next word is told by the last one.":
                written(look=lambda logits: logits[:, 0]),
            "That is the best sentence as a whole; the writer goes word by word and cannot look ahead.": best_in_all,
            "Nothing was added: what is not said must be said in the end.": lambda score, captions: list(captions)}),
    Exercise(
        "6.10", "As asked, and as varied", "open", stars=2, minutes=25, goal=unequal_places,
        reference=lambda nothing, told, t: nothing + 3 * (told - nothing) if t < 500 else told,
        prompt="A world on a plane: somebody asks for points of three places, and each of these has strangers nearby, "
               "one of them very near. Plain answers (w = 1) give nine in ten as asked. With w = 3 all are, but the "
               "place with near strangers is hardly visited any more. Write guidance that gets both: 99 % as asked, "
               "and 30 % at least for each of the three.",
        signature="my_guidance(nothing, told, t)",
        shapes="nothing, told (B, 2): what an exact denoiser says at level t, an integer -> (B, 2)",
        hints=("Try `told`, then `nothing + w * (told - nothing)` for several w: no single w does both.",
               "To which place a point goes is decided in the upper half of the levels.",
               "Exaggerate only where that is decided already: `if t < 500`.")),
    Exercise(
        "6.11", "The step of `draw`", "code", stars=2, minutes=25, reference=heun_step, cases=step_cases,
        prompt="`draw` takes second-order steps. With y = x / √ᾱ and k = √(1/ᾱ − 1), DDIM goes in a straight line: y + "
               "(k_s − k_t) · eps, and times √ᾱ_s it is x again. The second-order step goes there only to look: it "
               "asks for eps there, too, and then goes from where it stood, with the mean of both. To level 0 it goes "
               "straight.",
        signature="my_step(denoise, xt, t, s, schedule)",
        shapes="denoise(xt, t (B,)) -> eps; xt (B, ...), integers t > s >= 0, schedule.alpha_bar (S + 1,) -> (B, ...)",
        hints=("`y = xt / a_t.sqrt()`, `one = denoise(xt, torch.full((len(xt),), t))`, and `way` is k_s − k_t.",
               "Ahead is `a_s.sqrt() * (y + way * one)`, at level s; the answer there is `two`.",
               "`a_s.sqrt() * (y + way * (one + two) / 2)`, and with `one` alone if s is 0."),
        mistakes={
            "That is DDIM: the look ahead is missing.": stepping(mean=lambda one, two: one),
            "Ahead the level is s; you asked for level t there.":
                stepping(lambda at, ahead, xt, y, a, t, s: at(ahead, t)),
            "You asked for level s at the place where you stood; go there first.":
                stepping(lambda at, ahead, xt, y, a, t, s: at(xt, s)),
            "The denoiser knows x, not y: multiply by √ᾱ_s before you ask.":
                stepping(lambda at, ahead, xt, y, a, t, s: at(y, s)),
            "You went with the second answer alone; take the mean of both.": stepping(mean=lambda one, two: two),
            "The sum of both answers must be halved.": stepping(mean=lambda one, two: one + two),
            "You went on from ahead, and took the way twice; go from where you stood.":
                stepping(start=lambda y, on: on),
            "At the end y must be x again: times √ᾱ_s.": stepping(end=lambda y, a: y),
            "To level 0 go straight: there is no noise left to ask about.": stepping(at_zero=True)}),
]
