"""Chapter 9, on `09b_instructions.ipynb`: what changes and what stays, two guidances, what is dropped, an inversion."""

import torch
from torch.nn import functional as F

from minidiff.data.captions import SIZES, UNSAID
from minidiff.data.clouds import Mixture
from minidiff.data.edits import edited
from minidiff.diffusion.exact import exact_denoiser
from minidiff.diffusion.guidance import doubly_guided
from minidiff.diffusion.samplers import ddim_step, level_of
from minidiff.diffusion.schedule import Schedule
from minidiff.exercises.form import Exercise, randn, there_and_back
from minidiff.tools.runtime import generator_for


def listens(xt, t, cond, source):
    """A denoiser whose answer depends on everything it is given."""
    told = cond.mean(1)[:, :, None, None]
    return (xt + 2 * source + told * (1 + source)).tanh() * (1 + t.view(-1, 1, 1, 1) / 1000)


def guiding(mix=lambda none, seen, told, i, s: none + i * (seen - none) + s * (told - seen), unseen=True, unheard=True):
    """Somebody's guidance; unseen, unheard: whether the first answer is without picture, and without sentence."""
    def answer(denoise, xt, t, cond, source, null, blank, i, s):
        nothing, black = null.expand_as(cond) if unheard else cond, blank.expand_as(source) if unseen else source
        return mix(*(denoise(xt, t, *both) for both in ((nothing, black), (nothing, source), (cond, source))), i, s)

    return answer


def dropped(picture=(0, 0.10), words=(0.05, 0.15)):
    """Somebody's masks: between which chances a row loses its picture, and its sentence."""
    return lambda chance: [(low <= chance) & (chance < high) for low, high in (picture, words)]


def walking(kept=lambda S, s: S / s, added=lambda N, n, k: N - k * n):
    """Somebody's way up and back: what is kept of x, by the signal at t and s, and how much of eps is added."""
    def shares(s, t, schedule):
        k = kept(schedule.signal[t], schedule.signal[s])
        return k, added(schedule.noise[t], schedule.noise[s], k)

    return (lambda x, eps, *at: shares(*at)[0] * x + shares(*at)[1] * eps,
            lambda x, eps, *at: (x - shares(*at)[1] * eps) / shares(*at)[0])


def beside_the_noise(xt, source, mean, std):
    """xt (B, C, H, W), the noisy latent; source (B, C, H, W), the given picture as the encoder returns it; mean, std
    (C, 1, 1) of the encoder's latents -> what the UNet is given (B, 2C, H, W)"""
    return torch.cat([xt, source], 1)


def training_pair(before, after, unseen, blank):
    """before, after (B, C, H, W), latents of a picture before and after its edit; unseen (B,), True where the given
    picture is dropped; blank (1, C, H, W), the latent that stands for no picture -> a tuple: what the editor is given,
    and what it learns to draw"""
    dropped = unseen.view(-1, 1, 1, 1)
    source = torch.where(dropped, blank, before)
    target = torch.where(dropped, blank, after)
    return source, target


def where(unseen, there, elsewhere):
    """One latent where the picture is dropped, another one elsewhere."""
    return torch.where(unseen.view(-1, 1, 1, 1), there, elsewhere)


TRIANGLE, STOPS = Mixture(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.5]]), 0.5), (0, 200, 400, 600, 800)


def fixed_point(denoise, x, levels, schedule):
    """A way to reach the goal of 9.17: each step up is repeated with the eps of the place where it arrived."""
    for s, t in zip(levels, levels[1:]):
        start = x
        for _ in range(30):
            x = walking()[0](start, denoise(x, level_of(t, x)), s, t, schedule)
    return x


def led_back(answer):
    """Does DDIM lead from the answer back to the points?"""
    schedule, x0 = Schedule.cosine(1000), TRIANGLE.sample(101, generator_for(981))
    denoise = exact_denoiser(TRIANGLE, schedule)
    x = answer(denoise, x0.clone(), STOPS, schedule)
    if x is None:
        return None, ""
    if x.shape != x0.shape:
        return False, f"your points have the shape {tuple(x.shape)}, expected {tuple(x0.shape)}"
    for t, s in zip(STOPS[::-1], STOPS[-2::-1]):
        x = ddim_step(denoise, x, t, s, schedule)
    error = (x - x0).square().mean().sqrt().item()
    return error < 0.001, f"the way down ends {error:.2g} from x0, as a root mean square (the goal: less than 0.001)"


EXERCISES = [
    Exercise(
        "9.10", "After the change", "code", stars=1, minutes=5, reference=edited,
        cases=lambda: [((9 * randn(901 + n, n, 4).abs()).long() % torch.tensor(SIZES),
                        ((9 * randn(902 + n, n, 4).abs()).long() % torch.tensor(SIZES)).masked_fill(
                            randn(903 + n, n, 4) > 0, UNSAID)) for n in (13, 5)],
        prompt="Each row of `attributes` describes a picture by four numbers: digit, color, stroke, lean. A row of "
               "`changes` holds the new values, and −1 where an attribute stays as it is. Return the attributes after "
               "the changes.",
        signature="my_edit(attributes, changes)",
        shapes="attributes (N, 4), integers from 0; changes (N, 4), integers from -1 -> (N, 4)",
        hints=("`changes == -1` is True where the old attribute stays.", "`torch.where` chooses between two tensors.",
               "`torch.where(changes == -1, attributes, changes)`"),
        mistakes={
            "You read 0 as \"stays\" too, but 0 is a value: the digit zero, the color red. Only −1 means \"stays\".":
                lambda old, new: torch.where(new > 0, new, old),
            "You tested the change itself as True or False. But −1 counts as True, and 0, which is a value, does not.":
                lambda old, new: torch.where(new.bool(), new, old),
            "You replaced everything, so there is −1 among your attributes.": lambda old, new: new,
            "Nothing has changed.": lambda old, new: old,
            "You took the larger of the two numbers, so a change to a smaller number is lost.": torch.maximum,
            "You added the change to the old attribute. A change is the new value.":
                lambda old, new: torch.where(new == UNSAID, old, old + new)}),
    Exercise(
        "9.11", "What is dropped in training", "code", stars=2, minutes=10, reference=dropped(),
        cases=lambda: [(torch.rand(211, generator=generator_for(931)),),
                       (0.2 * torch.rand(53, generator=generator_for(932)),)],
        prompt="While the editor learns, each row of a batch has a random number between 0 and 1, its chance. Below "
               "0.05 only the picture is dropped, from 0.05 to 0.10 both the picture and the sentence, from 0.10 to "
               "0.15 only the sentence, and above that nothing. Return a tuple of two masks, True in the rows without "
               "the picture, and True in the rows without the sentence.",
        signature="my_drops(chance)", shapes="chance (B,) -> a tuple: no_picture (B,), no_sentence (B,), both bool",
        hints=("Which interval between 0 and 1 belongs to each mask?", "The picture is missing from 0 to 0.10, "
               "the sentence from 0.05 to 0.15.", "`chance < 0.10, (chance >= 0.05) & (chance < 0.15)`"),
        mistakes={
            "No row loses both, but from 0.05 to 0.10 both masks must be True.": dropped((0, 0.05), (0.10, 0.15)),
            "Picture and sentence are always dropped together.": dropped((0, 0.15), (0, 0.15)),
            "No row loses only one of the two.": dropped((0.05, 0.10), (0.05, 0.10)),
            "Each of your three cases takes 15 % of the rows. Each must take 5 %, which makes 15 % in all.":
                dropped((0, 0.30), (0.15, 0.45)),
            "The two masks are swapped: the picture's mask comes first.": dropped((0.05, 0.15), (0, 0.10)),
            "Your masks are True where something is kept; they must be True where it is dropped.":
                lambda chance: [~mask for mask in dropped()(chance)],
            "The sentence is dropped in 95 % of the rows: its mask must end at 0.15.": dropped(words=(0.05, 1))}),
    Exercise(
        "9.12", "Two guidances by hand", "number", stars=1, minutes=10,
        reference=lambda: 1 + 1.5 * (3 - 1) + 2 * (4 - 3),
        prompt="A denoiser predicts a single number: e(0, 0) = 1 with neither picture nor sentence, e(picture, 0) = "
               "3 with the picture alone, and e(picture, sentence) = 4 with both. What does equation 3 of "
               "InstructPix2Pix give for s_I = 1.5, the scale of the picture, and s_T = 2, the scale of the sentence?",
        reason="The picture moves the prediction by 2, which counts 1.5 times, and the sentence moves it by 1 more, "
               "which counts twice: 1 + 3 + 2.",
        hints=("The equation starts at e(0, 0) and adds two differences.",
               "s_I multiplies e(picture, 0) − e(0, 0), and s_T multiplies e(picture, sentence) − e(picture, 0).",
               "1 + 1.5 · (3 − 1) + 2 · (4 − 3)"),
        mistakes={"You swapped s_I and s_T.": 6.5,
                  "The difference that s_T multiplies begins at e(picture, 0), not at e(0, 0).": 10,
                  "The start is missing: the differences are added to e(0, 0).": 5,
                  "That is the prediction with both conditions, without guidance.": 4,
                  "You used one guidance of 2 for both. The picture has its own.": 7}),
    Exercise(
        "9.13", "Two guidances", "code", stars=2, minutes=15,
        reference=lambda denoise, xt, t, cond, source, null, blank, i, s: doubly_guided(
            denoise, null, blank, i, s)(xt, t, (cond, source)),
        cases=lambda: [
            (listens, randn(911 + n, n, 3, size, size), torch.arange(n) * 97 + 5, randn(912 + n, n, 7, 3),
             randn(913 + n, n, 3, size, size), randn(914 + n, 1, 7, 3), randn(915 + n, 1, 3, size, size), i, s)
            for n, size, i, s in ((5, 3, 1.5, 7.5), (3, 5, 2.0, 3.0))],
        prompt="Write equation 3 of InstructPix2Pix, e(0, 0) + s_I (e(picture, 0) − e(0, 0)) + s_T (e(picture, "
               "sentence) − e(picture, 0)). e is `denoise(xt, t, cond, source)`, where `cond` is the sentence, "
               "`source` is the picture, `null` stands for no sentence, and `blank` stands for no picture. `null` "
               "and `blank` have one row each, so expand them.",
        signature="my_two_guidances(denoise, xt, t, cond, source, null, blank, s_image, s_text)",
        shapes="xt, source (B, C, H, W), t (B,), cond (B, L, D), null (1, L, D), blank (1, C, H, W) -> (B, C, H, W)",
        hints=("You need three predictions.", "`null.expand_as(cond)` and `blank.expand_as(source)`. The first "
               "prediction gets both, the second one gets the picture and no sentence.",
               "`alone + s_image * (seen - alone) + s_text * (told - seen)`"),
        mistakes={
            "You swapped `s_image` and `s_text`.":
                guiding(lambda none, seen, told, i, s: none + s * (seen - none) + i * (told - seen)),
            "The difference that `s_text` multiplies begins at the prediction with the picture alone.":
                guiding(lambda none, seen, told, i, s: none + i * (seen - none) + s * (told - none)),
            "The start is missing: the differences are added to e(0, 0).":
                guiding(lambda none, seen, told, i, s: i * (seen - none) + s * (told - seen)),
            "That is the prediction with both conditions, without guidance.":
                guiding(lambda none, seen, told, i, s: told),
            "You used `s_text` for both. The picture has its own guidance.":
                guiding(lambda none, seen, told, i, s: none + s * (told - none)),
            "Your first prediction still sees the picture; it must get `blank`.": guiding(unseen=False),
            "All your predictions are told the sentence; the first two must get `null`.": guiding(unheard=False),
            "Your order is reversed. The picture comes first, and then the sentence is added to it.":
                lambda denoise, xt, t, cond, source, null, blank, i, s: guiding()(
                    lambda xt, t, a, b: denoise(xt, t, b, a), xt, t, source, cond, blank, null, s, i)}),
    Exercise(
        "9.14", "Find the bug: unequal latents", "bug", stars=1, minutes=10, broken=beside_the_noise,
        reference=lambda xt, source, mean, std: torch.cat([xt, (source - mean) / std], 1),
        cases=lambda: [(randn(951 + n, n, c, 3, 3), 2 + 3 * randn(952 + n, n, c, 3, 3), 2 + randn(953 + n, c, 1, 1),
                        3 + randn(954 + n, c, 1, 1).abs()) for n, c in ((5, 3), (2, 7))],
        prompt="An editor was trained on latents with mean 0 and standard deviation 1 in each channel, the given "
               "picture's as well. When the editor is used, the noisy latent `xt` has this scale, but the given "
               "picture's latent comes straight from the encoder. Fix it. Issue 36 of instruct-pix2pix asks about a "
               "missing factor in this place. There it is no bug, because the training left the factor out, too.",
        hints=("What are `mean` and `std` for?", "Only `source` is still to be normalized.", "`(source - mean) / std`"),
        mistakes={
            "You did not subtract the mean.": lambda xt, source, mean, std: torch.cat([xt, source / std], 1),
            "You did not divide by `std`.": lambda xt, source, mean, std: torch.cat([xt, source - mean], 1),
            "That is the opposite direction, from normalized latents to those of the decoder.":
                lambda xt, source, mean, std: torch.cat([xt, source * std + mean], 1),
            "The noisy latent was normalized before; leave it as it is.":
                lambda xt, source, mean, std: torch.cat([(xt - mean) / std, (source - mean) / std], 1),
            "The channels are in the wrong order: the noisy latent comes first.":
                lambda xt, source, mean, std: torch.cat([(source - mean) / std, xt], 1)}),
    Exercise(
        "9.15", "Find the bug: what to draw", "bug", stars=2, minutes=10, broken=training_pair,
        reference=lambda before, after, unseen, blank: [where(unseen, blank, before), after],
        cases=lambda: [(randn(961 + n, n, 3, 2, 2), randn(962 + n, n, 3, 2, 2), randn(963 + n, n) > 0.3,
                        randn(964 + n, 1, 3, 2, 2)) for n in (11, 7)],
        prompt="Issue 147 of instruct-pix2pix asks what the editor should learn to draw where a condition is "
               "dropped. This function drops the given picture in some rows. An editor trained with it draws nothing "
               "but the blank picture when no picture is given. Fix it.",
        hints=("What does the target look like where the picture is dropped?", "Without a picture, the editor should "
               "still learn what edited pictures look like.", "The target is `after` in every row."),
        mistakes={
            "Where the picture is dropped, your target is the picture before the edit. The target must always be the "
            "edited picture.":
                lambda before, after, unseen, blank: [where(unseen, blank, before), where(unseen, before, after)],
            "The given picture is never dropped now.": lambda before, after, unseen, blank: [before, after],
            "The given picture is dropped in the wrong rows, those where it should be seen.":
                lambda before, after, unseen, blank: [where(unseen, before, blank), after],
            "You used zeros where the picture is dropped, but `blank` stands for \"no picture\".":
                lambda before, after, unseen, blank: [where(unseen, 0 * blank, before), after],
            "No row sees its picture.": lambda before, after, unseen, blank: [blank.expand_as(before), after]}),
    Exercise(
        "9.16", "DDIM there and back", "pair", stars=2, minutes=15, reference=walking(), run=there_and_back,
        cases=lambda: [(randn(941 + t, n, 3, size, size), randn(942 + t, n, 3, size, size), s, t, Schedule.cosine(101))
                       for n, size, s, t in ((5, 3, 13, 47), (2, 5, 61, 89), (3, 2, 0, 53))],
        prompt="A step of DDIM can also be taken toward noise. Write `up`, which takes x from level s to the noisier "
               "level t with a given eps: find x0, then mix x0 and the same eps in the proportions of level t. Write "
               "`down`, which takes the result from t back to s with the same eps.",
        signature="up(x, eps, s, t, schedule)\ndown(x, eps, s, t, schedule)",
        shapes="x (B, C, H, W) at level s, eps (B, C, H, W); schedule.signal, schedule.noise (S + 1,) -> x at level t\n"
               "x (B, C, H, W) at level t, and the same eps, s, t, schedule -> x at level s (B, C, H, W)",
        hints=("At level s, x = signal_s · x0 + noise_s · eps.", "x0 = (x − noise_s · eps) / signal_s",
               "Up: signal_t · x0 + noise_t · eps. Down is the same with s, t swapped."),
        mistakes={
            "Your noise still has the amount of the level that you came from.":
                walking(added=lambda N, n, k: n - k * n),
            "You scaled x as a whole. Then its noise shrinks too, but going up it must grow.":
                walking(added=lambda N, n, k: 0),
            "The two signals are swapped: x must be multiplied by signal_t / signal_s on the way up.":
                walking(lambda S, s: s / S),
            "You added eps as if it were fresh noise, whose variance adds up. Here it is the noise that x already "
            "contains.":
                walking(added=lambda N, n, k: (N**2 - (k * n) ** 2).sqrt()),
            "The noise changes, but the picture keeps its signal.": walking(lambda S, s: 1),
            "You treated x as if it were a clean picture. At level s it already has noise.":
                walking(lambda S, s: S, lambda N, n, k: N),
            "Your functions return what they are given. Such a round trip always "
            "closes, but `up` has to arrive at level t.": (lambda x, *_: x, lambda x, *_: x),
            "`down` goes up once more: swap s and t in it.": (walking()[0], walking()[0])}),
    Exercise(
        "9.17", "An exact inversion", "open", stars=3, minutes=40, reference=fixed_point, goal=led_back,
        prompt="Find the x at the last of the rising `levels` from which DDIM leads back to `x0`. DDIM walks down "
               "through the same levels, and at each step it asks `denoise` at the level that it leaves, the noisier "
               "one. The goal is to end within 0.001 of `x0`, as a root mean squared error. The plain inversion "
               "walks up and asks `denoise` where it stands, at the cleaner level, and it misses by 0.27. You may "
               "call `denoise` as often as you like.",
        signature="my_inversion(denoise, x0, levels, schedule)",
        shapes="denoise(xt, t (B,)) -> eps; x0 (B, 2), levels (0, 200, 400, 600, 800) -> x (B, 2) at the last level",
        hints=("A step up by `up` of 9.16 is undone exactly if its eps is the one that the step down will find.",
               "That eps is `denoise` at the end of the step up, which you do not know yet. Begin with a guess of it, "
               "step up, and ask again there.",
               "With t as a level for each row, repeat `there = up(x, denoise(there, t), s, t, schedule)` 10 to 50 "
               "times for each step, from `there = x` on. It settles.")),
    Exercise(
        "9.18", "The direction of a change", "code", stars=2, minutes=15,
        reference=lambda before, after, said, new: F.cosine_similarity(after - before, new - said),
        cases=lambda: [tuple(F.normalize(randn(971 + n + i, n, wide)) for i in range(4))
                       for n, wide in ((7, 11), (13, 5))],
        prompt="InstructPix2Pix filters its generated pairs by how well the change of the pictures fits the change "
               "of the captions (section 3.1.2). It measures the directional similarity of Gal et al. (2021) in "
               "CLIP: the cosine between the difference of the two picture embeddings, after − before, and the "
               "difference of the two caption embeddings. Return it for each pair.",
        signature="my_direction(before, after, said_before, said_after)",
        shapes="CLIP embeddings (N, D), with rows of length 1: two of pictures, two of captions -> (N,)",
        hints=("Two differences, and the cosine between them.", "The rows have length 1, but their differences do not.",
               "`F.cosine_similarity(after - before, said_after - said_before, dim=1)`"),
        mistakes={
            "The differences do not have length 1: divide by both lengths.":
                lambda before, after, said, new: ((after - before) * (new - said)).sum(1),
            "You compared the second picture with its caption. The question is about the change.":
                lambda before, after, said, new: F.cosine_similarity(after, new),
            "One of your differences points backward: take after − before in both.":
                lambda before, after, said, new: F.cosine_similarity(before - after, new - said),
            "You divided by the length of the whole batch. Each row has its own length.":
                lambda before, after, said, new: ((after - before) * (new - said)).sum(1)
                / ((after - before).norm() * (new - said).norm()),
            "You subtracted two similarities. It is the similarity of two differences.":
                lambda before, after, said, new: F.cosine_similarity(after, new) - F.cosine_similarity(before, said),
            "The captions' difference is missing: you took the second caption alone.":
                lambda before, after, said, new: F.cosine_similarity(after - before, new)}),
]
