"""Chapter 6, on `06b_editing_and_comparisons.ipynb`: captions made longer, guidance, the step of `draw`."""

import torch
from torch.nn import functional as F

from minidiff.data.captions import (
    LENGTH,
    VOCABULARY,
    all_combinations,
    detokenize,
    is_true_of,
    parse,
    sentence,
    tokenize,
)
from minidiff.data.clouds import Mixture
from minidiff.diffusion.exact import exact_denoiser, log_density
from minidiff.diffusion.samplers import heun_step, sample
from minidiff.diffusion.schedule import Schedule
from minidiff.exercises import Exercise, randn
from minidiff.pipelines import language
from minidiff.tools.runtime import noise_for


def longer(score, captions):
    """`upsample` by a writer that always takes the best word."""
    return language.upsample(score, captions, torch.Generator().manual_seed(0), temperature=1e-3)


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
    *_, (_, x) = sample(lambda xt, t, cond: loud(nothing(xt, t), told(xt, t), int(t[0])), noise_for(range(600), (2,)),
                        schedule, 25)
    mine, theirs = (log_density(Mixture(means, 0.4), x, one, schedule) for means in (asked, others))
    right, place = (mine > theirs).float().mean().item(), torch.cdist(x, asked).argmin(1)
    rarest = torch.bincount(place, minlength=3).min().item() / 600
    return right >= 0.99 and rarest >= 0.3, (f"{right:.1%} as asked, the goal is 99 %; the rarest of the three places "
                                             f"gets {rarest:.1%}, the goal is 30 %")


def second_order(denoise, xt, t, s, schedule):
    """`heun_step` of a denoiser without a condition."""
    return heun_step(lambda xt, t, cond: denoise(xt, t), xt, t, s, schedule)


def step_cases():
    schedule = Schedule.cosine(101)
    return [(exact_denoiser(Mixture(randn(61 + t, 5, 3), 0.3), schedule), randn(62 + t, 7, 3), t, s, schedule)
            for t, s in ((61, 43), (97, 71), (13, 0), (29, 1))]


def stepping(ask=lambda denoise, ahead, xt, y, a, t, s: denoise(ahead, s), mean=lambda one, two: (one + two) / 2,
             start=lambda y, on: y, last=lambda y, a: a.sqrt() * y, at_zero=False):
    """Somebody's second-order step."""
    def answer(denoise, xt, t, s, schedule):
        def at(x, level):
            return denoise(x, torch.full((len(x),), level))

        a_t, a_s = schedule.alpha_bar[t], schedule.alpha_bar[s]
        y, way = xt / a_t.sqrt(), (1 / a_s - 1).sqrt() - (1 / a_t - 1).sqrt()
        slope, on = (one := at(xt, t)), y + way * one
        if s > 0 or at_zero:
            slope, y = mean(one, ask(at, a_s.sqrt() * on, xt, on, a_s, t, s)), start(y, on)
        return last(y + way * slope, a_s)

    return answer


EXERCISES = [
    Exercise(
        "6.9", "Make it longer", "code", stars=3, minutes=30, reference=longer, cases=writer_cases,
        prompt="A writer makes terse captions detailed: of all 630 full sentences only those count with which the "
               "terse caption stays true. It begins with `<start>` and goes on word by word, always with the word that "
               "`score` likes best, among the words that continue at least one of these sentences. (You may use what "
               "is in `minidiff.captions`: all_combinations, sentence, parse, is_true_of, tokenize, detokenize.)",
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
        "6.11", "The step of `draw`", "code", stars=2, minutes=25, reference=second_order, cases=step_cases,
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
            "At the end y must be x again: times √ᾱ_s.": stepping(last=lambda y, a: y),
            "To level 0 go straight: there is no noise left to ask about.": stepping(at_zero=True)}),
]
