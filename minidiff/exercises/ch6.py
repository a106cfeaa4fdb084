"""Chapter 6, on `06_text_to_image.ipynb`: the bill, guidance below a level, three of four channels, scores."""

import math

import torch

from minidiff.data.captions import SIZES
from minidiff.diffusion.guidance import guided
from minidiff.diffusion.samplers import heun_step, sample
from minidiff.diffusion.schedule import Schedule
from minidiff.evaluation.metrics import accuracy
from minidiff.exercises.form import Exercise, randn


def latents_denoised(steps, below):
    """How many latents a network is asked about for one picture, with second-order steps and guidance below a level."""
    asked = []
    listening = guided(lambda xt, t, cond: asked.append(len(xt)) or 0 * xt, torch.zeros(1, 1, 1), 3, below)
    list(sample(listening, torch.ones(1, 1), Schedule.cosine(1000), steps, heun_step, torch.ones(1, 1, 1)))
    return sum(asked)


def guide(nothing, told, w, t, below):
    """`guided` with given answers of the network to nothing and to the caption."""
    denoise = guided(lambda xt, t, cond: cond, nothing, w, below)
    return denoise(told, torch.full((len(told),), t), told)


def guide_cases():
    return [(randn(2 * i, 5, 3, 2, 7), randn(2 * i + 1, 5, 3, 2, 7), w, t, below) for i, (w, t, below) in enumerate(
        [(3.5, 641, 700), (2.0, 700, 700), (3.5, 853, 700), (0.0, 941, 700), (0.0, 353, 700), (0.5, 211, math.inf),
         (2.0, 499, 500)])]


def louder(formula=lambda nothing, told, w: nothing + w * (told - nothing), where=lambda t, below: t < below,
           elsewhere=lambda nothing, told: told, silent=True):
    """Somebody's guidance."""
    def answer(nothing, told, w, t, below):
        if silent and w == 0:
            return nothing.clone()
        return formula(nothing, told, w) if where(t, below) else elsewhere(nothing, told).clone()

    return answer


def guide_channels(out, w, channels):
    """out (2B, 2C, H, W): first with captions, then without; C channels of noise, then C that say how sure it is
    -> the same shape: the noise is guided, and the same in both halves of the batch"""
    eps, rest = out[:, :3], out[:, 3:]
    told, nothing = eps.chunk(2)
    louder = nothing + w * (told - nothing)
    eps = torch.cat([louder, louder])
    return torch.cat([eps, rest], 1)


def halves(channels=lambda C: C, halves=lambda mixed, told, nothing: (mixed, mixed), turn=False):
    """Somebody's repair, made of the package's `guided`."""
    def answer(out, w, C):
        eps, rest = out[:, :channels(C)], out[:, channels(C):]
        told, nothing = eps.chunk(2)[::-1] if turn else eps.chunk(2)
        mixed = guided(lambda xt, t, cond: cond, nothing, w)(told, torch.ones(len(told)), told)
        return torch.cat([torch.cat(halves(mixed, told, nothing)), rest], 1)

    return answer


def reading_case(seed, n):
    """What was asked (n, 4), and what a reader with some mistakes has read."""
    sizes = torch.tensor(SIZES)
    asked = (randn(seed, n, 4).abs() * 10).long() % sizes
    slips = randn(seed + 1, n, 4) > torch.tensor([0.5, 1.5, 0.9, 0.1])
    return torch.where(slips, (asked + 1) % sizes, asked), asked


def scored(joint=lambda right: right.all(1).float().mean(), axis=0, last=lambda shares: shares):
    """Somebody's scores."""
    def answer(read, asked):
        right = read == asked
        return last(torch.stack([*right.float().mean(axis)[:4], joint(right)]))

    return answer


EXERCISES = [
    Exercise(
        "6.1", "The bill of a picture", "number", stars=1, minutes=10, tolerance=0.5,
        reference=lambda: latents_denoised(17, 700),
        prompt="One picture, drawn in 17 second-order steps at even levels, which are 1000, 941, 882, 824, 765, 706, "
               "647 and so on, down to 0. Guidance works only below level 700. Each step looks at where it stands, "
               "and (but for the last) once more ahead, at where it is going. How many latents does the UNet denoise "
               "in all?",
        hints=("A look at a level of 700 or more costs one latent, below it costs two: nothing and the caption.",
               "Where it stands: six times at 700 or more, eleven times below. Looking ahead: five times, and eleven.",
               "(6 + 2 · 11) + (5 + 2 · 11)."),
        reason="With guidance everywhere it would be 66. So guidance below a level is not only more varied; it is also "
               "cheaper.",
        mistakes={"That is with guidance at all levels; at 700 or more one latent is enough.": 66,
                  "That is without guidance; below level 700 each look costs two latents.": 33,
                  "You left out the looks ahead; a second-order step takes two looks, but for the last.": 28,
                  "The last step goes to level 0 and does not look ahead.": 57}),
    Exercise(
        "6.2", "Exaggerate below a level", "code", stars=2, minutes=15, reference=guide, cases=guide_cases,
        prompt="The UNet has answered twice at level t: to the empty sentence, and to the caption. Write guidance that "
               "exaggerates only *below* a level; from that level on upwards the caption is heard plainly. And w = 0 "
               "ignores the caption everywhere.",
        signature="my_guided(nothing, told, w, t, below)",
        shapes="nothing, told (B, C, H, W), w, t and below numbers -> (B, C, H, W)",
        hints=("Three cases: w is 0; t is at least `below`; and the formula.", "Plainly is `told`.",
               "`nothing + w * (told - nothing)` in the third case."),
        mistakes={
            "The sign: go from nothing *towards* the caption.": louder(lambda n, c, w: n - w * (c - n)),
            "You started from the caption's answer; with w = 1 it must be just that. Start from nothing.":
                louder(lambda n, c, w: c + w * (c - n)),
            "Nothing and caption are exchanged: this goes to anything but the caption.":
                louder(lambda n, c, w: c + w * (n - c)),
            "What the caption *adds* is exaggerated, told − nothing, not its whole answer.":
                louder(lambda n, c, w: n + w * c),
            "The other way round: exaggerate below the level, listen plainly above.":
                louder(where=lambda t, below: t > below),
            "At the level itself it is plain: `t < below`.": louder(where=lambda t, below: t <= below),
            "Above the level nobody listens to the caption in yours; it must be heard plainly there, w = 1.":
                louder(elsewhere=lambda nothing, told: nothing),
            "With w = 0 the caption must be ignored everywhere, above the level, too.": louder(silent=False),
            "You exaggerate at all levels.": louder(where=lambda t, below: True)}),
    Exercise(
        "6.3", "Find the bug: three of four", "bug", stars=1, minutes=10, broken=guide_channels, reference=halves(),
        cases=lambda: [(randn(11, 6, 8, 3, 5), 3.5, 4), (randn(12, 4, 10, 7, 2), 2.0, 5)],
        prompt="This guides three channels of the latent, whatever their number. The line came from a model of pixels, "
               "which have three, and stands in facebookresearch/DiT (\"unintended\", says its author in pull request "
               "12; issue 41 lists who copied it). Mend it for any number of channels.",
        reason="Its author measured that 1 + x on three channels does about what 1 + ¾ x does on all four.",
        hints=("Which channels of `out` are noise?", "The first C; the others must stay as they are.",
               "`out[:, :channels], out[:, channels:]`."),
        mistakes={
            "Now the channels that say how sure it is are guided, too; only the noise must be.":
                halves(lambda C: 2 * C),
            "Four is right for Stable Diffusion; how many channels there are is told by `channels`.":
                halves(lambda C: 4),
            "Both halves of the batch must get the guided noise, so that they walk alike.":
                halves(halves=lambda mixed, told, nothing: (mixed, nothing)),
            "The first half of the batch is with captions, the second without; they are exchanged now.":
                halves(turn=True)}),
    Exercise(
        "6.4", "Four words, and all of them", "code", stars=1, minutes=10,
        reference=lambda read, asked: torch.tensor([*accuracy(read, asked).values()]),
        cases=lambda: [reading_case(21, 31), reading_case(23, 7)],
        prompt="Readers have read the attributes of N pictures. Give five numbers: the share of right digits, colors, "
               "strokes and leans, and the share of pictures in which all four are right.",
        signature="my_scores(read, asked)", shapes="read, asked (N, 4) integers -> (5,)",
        hints=("`right = read == asked` is (N, 4).", "A mean over the pictures (axis 0) gives the four shares.",
               "`right.all(1).float().mean()` is the fifth."),
        mistakes={
            "The product of the four would be right if mistakes were independent; count the pictures instead.":
                scored(lambda right: right.float().mean(0).prod()),
            "The last number is not the mean of the four: a picture counts if *all* its words are right.":
                scored(lambda right: right.float().mean()),
            "One right word is not enough: all four.": scored(lambda right: right.any(1).float().mean()),
            "The share of the weakest word is only an upper bound: several words can fail, each in another picture.":
                scored(lambda right: right.float().mean(0).min()),
            "The four means go over the pictures, axis 0.": scored(axis=1),
            "Shares lie between 0 and 1; those are percent.": scored(last=lambda shares: 100 * shares)}),
]
