"""Chapter 11, on `11b_sound_and_picture.ipynb`: a look-up, a ceiling, correlated pairs, a guess from both, partners."""

import math

import torch
from torch.nn import functional as F

from minidiff.exercises.form import Exercise, randn, there_and_back
from minidiff.models.bridge import look_up
from minidiff.tools.checks import kind_of


def arrows(seed, *shape):
    """Random vectors of length one."""
    return F.normalize(randn(seed, *shape), dim=-1)


def looked_up(weights):
    """Somebody's look-up: which weights they make of cosines (B, M), the sharpness and the width D."""
    return lambda queries, keys, states, sharpness: torch.einsum(
        "bm,mle->ble", weights(queries @ keys.T, sharpness, keys.shape[1]), states)


def tying(own=lambda rho: math.sqrt(1 - rho**2), old=lambda first, second, rho, own: (second - rho * first) / own):
    """Somebody's pairs and the way back: how much of the second column stays, and how it is found again."""
    return (lambda noise, rho: torch.stack([noise[:, 0], rho * noise[:, 0] + own(rho) * noise[:, 1]], 1),
            lambda pairs, rho: torch.stack([pairs[:, 0], old(*pairs.unbind(1), rho, own(rho))], 1))


def guessed(common=lambda rho, a, b: a * b * rho, told=lambda rho, a, b: (a, b * rho), minus=-1,
            size=lambda c: 1 - c**2, said=lambda guess, xt, a: guess):
    """Somebody's guess: the covariance of xt and yt, those of x0 with them, the inverse, and what they return."""
    def answer(xt, yt, rho, a, b):
        c, (by_x, by_y) = common(rho, a, b), told(rho, a, b)
        return said(((by_x + minus * c * by_y) * xt + (by_y + minus * c * by_x) * yt) / size(c), xt, a)

    return answer


def listen_to_each_other(picture, sound, tell_picture, tell_sound, listen_picture, listen_sound):
    """picture, sound (B, P, D); tell(x) -> tokens (B, P, D); listen(x, tokens) -> x, changed.  Gives both, changed"""
    picture = listen_picture(picture, tell_picture(picture))
    sound = listen_sound(sound, tell_sound(sound))
    return picture, sound


def heard(tells=(1, 0), told=(1, 0), first=None):
    """Somebody's machines, 0 for pictures and 1 for sounds: who tells each of them what, and which changes first."""
    def answer(picture, sound, *machines):
        old, new = [picture, sound], [picture, sound]
        for i in (1, 0) if first else (0, 1):
            tokens = machines[tells[i]]((old if first is None else new)[told[i]])
            new[i] = machines[2 + i](old[i], tokens)
        return new

    return answer


def listening_cases():
    def case(seed, B, P, D):
        one, two, three, four = randn(seed, 4, D, D) / 2

        def listen(taken):
            return lambda x, tokens: x + (x @ tokens.mT).softmax(-1) @ tokens @ taken

        return (randn(seed + 1, B, P, D), randn(seed + 2, B, P, D), lambda x: (x @ one).tanh(),
                lambda x: (x @ two).tanh(), listen(three), listen(four))

    return [case(1231, 2, 5, 3), case(1234, 3, 2, 7)]


def partnered(start=lambda kinds, count: (count.cumsum(0) - count)[kinds], pick=lambda share: share.floor(),
              among=lambda kinds, count: count[kinds]):
    """Somebody's partners: where a kind begins, how a share becomes whole, and among how many they choose."""
    return lambda kinds, count, chance: start(kinds, count) + pick(chance * among(kinds, count)).long()


def partner_cases():
    """Of one kind in each table there is no sound, and nobody asks for it."""
    return [(torch.tensor([4, 0, 2, 6, 3, 4, 5, 0, 2, 6, 3]), torch.tensor([5, 0, 7, 3, 11, 2, 13]),
             torch.rand(11, generator=torch.Generator().manual_seed(1241))),
            (torch.tensor([2, 1, 4, 1, 0]), torch.tensor([3, 17, 5, 0, 7]),
             torch.tensor([0.0, 0.97, 0.61, 0.37, 0.83]))]


def far_away(keys):
    """A way to reach the goal of 11.15: a small part along its own caption, and a large one away from all of them."""
    away = torch.linalg.svd(keys)[2][-1]                         # orthogonal to all captions
    return 0.2 * keys + math.sqrt(1 - 0.2**2) * away


def found_from_afar(answer):
    """Do sounds and captions find each other, though no sound is near its caption?"""
    for seed in (1251, 1252, 1253):
        keys = arrows(seed, 10, 16)
        mine = answer(keys.clone())
        if mine is None:
            return None, ""
        if not torch.is_tensor(mine) or mine.shape != keys.shape or not mine.isfinite().all():
            return False, f"expected a tensor (10, 16) of finite numbers, got {kind_of(mine)}"
        if (mine.double().norm(dim=1) - 1).abs().max() > 1e-3:
            return False, "your sounds do not all have length one"
        cosines, own = mine.double() @ keys.double().T, torch.arange(len(keys))
        sounds, captions = ((cosines.argmax(axis) == own).double().mean().item() for axis in (1, 0))
        nearest = cosines.diagonal().max().item()
        reached = sounds == captions == 1 and nearest <= 0.3 + 1e-6
        if not reached:
            break
    return reached, (f"{sounds:.0%} of the sounds find their captions, and {captions:.0%} of the captions find their "
                     f"sounds (the goal: 100% of both); the highest cosine of a sound with its own caption is "
                     f"{nearest:.3f} (the goal: at most 0.3)")


EXERCISES = [
    Exercise(
        "11.9", "From an embedding to a condition", "code", stars=2, minutes=15, reference=look_up,
        cases=lambda: [(arrows(1201, 5, 3), arrows(1202, 7, 3), randn(1203, 7, 2, 11), 5.0),
                       (arrows(1204, 3, 5), arrows(1205, 2, 5), randn(1206, 2, 7, 3), 1.7)],
        prompt="An embedding says what to draw, but a machine has only learned to read the states of captions. So look "
               "the embedding up in a dictionary of captions. Take the cosine of the query with each key, multiply it "
               "by `sharpness`, and take the softmax over all captions. The condition is the mean of the states, "
               "weighted by this softmax. Write this look-up for a batch of queries.",
        signature="my_condition(queries, keys, states, sharpness)",
        shapes="queries (B, D) and keys (M, D), of length one, states (M, L, E), sharpness a number -> (B, L, E)",
        hints=("The cosine of two vectors of length one is their dot product. Find all B · M cosines at once.",
               "`weights = (sharpness * queries @ keys.T).softmax(1)` is (B, M), and each of its rows sums to 1.",
               "`weights @ states.flatten(1)` is (B, L · E). Give it its two axes back by `.unflatten(1, ...)`, or "
               "write all of it as `torch.einsum(\"bm,mle->ble\", weights, states)`."),
        mistakes={
            "Your softmax runs over the queries, not the captions.": looked_up(lambda cos, s, D: (s * cos).softmax(0)),
            "You did not use `sharpness`. Multiply the cosines by it.": looked_up(lambda cos, s, D: cos.softmax(1)),
            "You took only the nearest caption. Take the mean of all of them, weighted by the softmax.":
                looked_up(lambda cos, s, D: F.one_hot(cos.argmax(1), cos.shape[1]).float()),
            "You divided by √D, as attention does. Here `sharpness` takes the place of that factor.":
                looked_up(lambda cos, s, D: (s * cos / math.sqrt(D)).softmax(1)),
            "You divided by `sharpness`. Multiply by it.": looked_up(lambda cos, s, D: (cos / s).softmax(1)),
            "You multiplied by `sharpness` after the softmax, so the weights no longer sum to 1. Multiply before.":
                looked_up(lambda cos, s, D: s * cos.softmax(1)),
            "You took e to the power of the scores, but did not divide by the sum over the captions.":
                looked_up(lambda cos, s, D: (s * cos).exp()),
            "Your weights can be negative. Take the softmax of the scores.": looked_up(lambda cos, s, D: s * cos),
            "Your softmax is of distances. Take it of cosines.":
                looked_up(lambda cos, s, D: (-s * (2 - 2 * cos).sqrt()).softmax(1))}),
    Exercise(
        "11.10", "The ceiling of agreement", "number", stars=1, minutes=10, tolerance=5e-5,
        reference=lambda: 0.95 * 0.9 + 0.05 * 0.1 / 9,
        prompt="Two machines always mean the same digit, one in a picture and one in a sound. The reader of pictures "
               "is right about 95 % of the pictures, and the reader of sounds is right about 90 % of the sounds. A "
               "reader that is wrong names one of the nine other digits at random, whatever the other reader says. In "
               "what share of the pairs do both readers name the same digit? Round it to four decimals.",
        reason="Both are right in 85.5 % of the pairs, and both make the same mistake in another 0.06 %. So even "
               "machines that always agree are measured at only 85.6 %. No machine can be expected to get more.",
        hints=("There are two ways for the readers to name the same digit.",
               "Either both are right, or both are wrong and name the same wrong digit.",
               "If both are wrong, the second reader names the digit of the first with probability 1/9: "
               "0.95 · 0.9 + 0.05 · 0.1 / 9"),
        mistakes={
            "Two readers that are both wrong can still name the same digit. Add that.": 0.95 * 0.9,
            "Two readers that are both wrong do not always name the same digit. There are nine wrong ones.":
                0.95 * 0.9 + 0.05 * 0.1,
            "A wrong reader chooses among nine digits, not ten. If you did count nine, round instead of cutting off.":
                0.95 * 0.9 + 0.05 * 0.1 / 10,
            "Two wrong readers can meet at any of the nine digits, so the probability is 9 · 1/9 · 1/9.":
                0.95 * 0.9 + 0.05 * 0.1 / 81,
            "You subtracted both shares of mistakes, as if both readers were never wrong about the same pair.": 0.85,
            "That is how often the reader of sounds is right. The other reader makes mistakes, too.": 0.9,
            "That is how often the reader of pictures is right. The other reader makes mistakes, too.": 0.95,
            "You took the mean of both shares, but both readers must be right about the same pair.": 0.925,
            "That is the share of pairs in which they name different digits.": 1 - 0.95 * 0.9 - 0.05 * 0.1 / 9,
            "That is in percent. A share is at most 1.": 85.56}),
    Exercise(
        "11.11", "Tied and untied", "pair", stars=2, minutes=10, run=there_and_back, reference=tying(),
        cases=lambda: [(randn(1211, 7, 2), 0.8), (randn(1212, 11, 2), -0.3)],
        prompt="In a small world a picture and a sound are one number each. Both have variance 1, and their "
               "correlation is ρ. Write `my_tie`, which makes such pairs out of independent noise. It leaves the first "
               "column as it is, and the new second column is ρ times the first plus √(1 − ρ²) times the second. "
               "Write `my_untie`, which turns the pairs back into the noise.",
        signature="my_tie(noise, rho)\nmy_untie(pairs, rho)",
        shapes="independent noise (N, 2), rho a number between -1 and 1 -> pairs (N, 2)\n"
               "pairs (N, 2) and the same rho -> the noise (N, 2)",
        hints=("`noise.unbind(1)` gives both columns, and `torch.stack([first, second], 1)` puts them together.",
               "To go back, undo the steps in the opposite order. The first column has not changed, so you know it.",
               "`rho * first + (1 - rho ** 2) ** 0.5 * second`, and back `(second - rho * first) / (1 - rho ** 2) ** "
               "0.5`"),
        mistakes={
            "You took 1 − ρ of the second column, so its variance is no longer 1. Take √(1 − ρ²).":
                tying(lambda rho: 1 - rho),
            "The root is missing. Variances sum to 1, and a column is multiplied by the root of its share.":
                tying(lambda rho: 1 - rho**2),
            "You took √(1 − ρ). The ρ under the root must be squared.": tying(lambda rho: math.sqrt(1 - rho)),
            "You added all of the second column, so its variance becomes 1 + ρ². Take √(1 − ρ²) of it.":
                tying(lambda rho: 1),
            "You replaced the first column and kept the second. It is the other way around.":
                tuple(lambda points, rho, f=f: f(points.flip(1), rho).flip(1) for f in tying()),
            "On the way back you did not divide by √(1 − ρ²).":
                tying(old=lambda first, second, rho, own: second - rho * first),
            "On the way back you divided before you subtracted. Subtract ρ times the first column before.":
                tying(old=lambda first, second, rho, own: second / own - rho * first),
            "On the way back you multiplied by √(1 − ρ²) once more. Divide by it.":
                tying(old=lambda first, second, rho, own: (second - rho * first) * own),
            "On the way back you tied once more, with −ρ. Subtract ρ times the first column, then divide.":
                tying(old=lambda first, second, rho, own: own * second - rho * first),
            "Your two functions do nothing, so each undoes the other.":
                (lambda noise, rho: noise, lambda pairs, rho: pairs)}),
    Exercise(
        "11.12", "A guess from both", "code", stars=3, minutes=25, reference=guessed(),
        cases=lambda: [(randn(1221, 7), randn(1222, 7), 0.8, 0.6, 0.9),
                       (randn(1225, 3), randn(1226, 3), 0.95, 0.28, 0.7),
                       (randn(1223, 11), randn(1224, 11), -0.5, 0.9, 0.3)],
        prompt="A picture x0 and a sound y0 are one normal number each, with mean 0, variance 1 and the correlation "
               "`rho`. Now they are noised to different levels: xt = a · x0 + √(1 − a²) · ε and yt = b · y0 + "
               "√(1 − b²) · ε′, where ε and ε′ are independent. Derive the denoiser that hears both, and write it. It "
               "returns the best guess of x0, which is the mean of x0 given xt and yt.",
        signature="my_guess(xt, yt, rho, a, b)", shapes="xt, yt (N,), rho, a and b numbers -> (N,)",
        hints=("For normal numbers the best guess is a weighted sum, u · xt + v · yt. Its error must have covariance 0 "
               "with both xt and yt.",
               "xt and yt have variance 1. The covariance of x0 with xt is a, of x0 with yt it is b · rho, and of xt "
               "with yt it is c = a · b · rho. So solve u + c · v = a and c · u + v = b · rho.",
               "`c = a * b * rho`, then `((a - c * b * rho) * xt + (b * rho - c * a) * yt) / (1 - c ** 2)`"),
        mistakes={
            "Your denoiser hears only xt. The sound knows something about the picture, too.":
                lambda xt, yt, rho, a, b: a * xt,
            "You added two separate guesses. What xt and yt both know counts twice then.":
                lambda xt, yt, rho, a, b: a * xt + b * rho * yt,
            "You kept a · xt and added the best multiple of yt. With yt known, xt should count less than before.":
                lambda xt, yt, rho, a, b: a * xt + b * rho * (1 - a**2) * yt,
            "You took `a` for both, but yt has another level than xt.":
                lambda xt, yt, rho, a, b: guessed()(xt, yt, rho, a, a),
            "The covariance of xt and yt is a · b · rho. You left out a and b.": guessed(lambda rho, a, b: rho),
            "The covariance of xt and yt is a · b · rho. You left out rho.": guessed(lambda rho, a, b: a * b),
            "The covariance of xt and yt is a · b · rho, because yt is multiplied by b. You took a² · rho.":
                guessed(lambda rho, a, b: a**2 * rho),
            "The covariance of x0 and yt is b · rho. You left out rho.": guessed(told=lambda rho, a, b: (a, b)),
            "That is the guess of y0. Exchange xt and yt.": guessed(told=lambda rho, a, b: (a * rho, b)),
            "You did not divide by 1 − c², the determinant of the covariances.": guessed(size=lambda c: 1),
            "You divided by 1 − c. The determinant is 1 − c².": guessed(size=lambda c: 1 - c),
            "A sign is wrong. The inverse of [[1, c], [c, 1]] has −c beside its diagonal.": guessed(minus=1),
            "That is the guess of the noise in xt. Return the guess of x0.":
                guessed(said=lambda guess, xt, a: (xt - a * guess) / math.sqrt(1 - a**2))}),
    Exercise(
        "11.13", "Find the bugs: who hears whom?", "bug", stars=2, minutes=15, broken=listen_to_each_other,
        reference=heard(), cases=listening_cases,
        prompt="Two machines should listen to each other. `tell_picture` turns a picture into tokens, and "
               "`listen_picture` uses tokens to change a picture. `tell_sound` and `listen_sound` do the same with a "
               "sound. This function runs without an error, but the picture and the sound never agree. Fix it so that "
               "each hears what the other was before either of them changed. There are two bugs, and the second one "
               "shows only after you have fixed the first.",
        hints=("Whose tokens does `listen_picture` get?",
               "After the first line `picture` is no longer what it was. What does the second line hear then?",
               "Make both tokens before anything changes: `of_picture, of_sound = tell_picture(picture), "
               "tell_sound(sound)`"),
        mistakes={
            "Each hears the other now, but the sound hears the picture after it has changed. Take the old picture.":
                heard(first=0),
            "Each hears the other now, but the picture hears the sound after it has changed. Take the old sound.":
                heard(first=1),
            "The picture hears the sound now, but the sound still listens to itself.": heard((1, 1), (1, 1)),
            "The sound hears the old picture now, but the picture still listens to itself.": heard((0, 0), (0, 0)),
            "The picture still listens to itself, and the sound hears what has become of the picture by that.":
                heard((0, 0), (0, 0), first=0),
            "You exchanged what is told, but not who tells it. `tell_sound` is for the sound.": heard(tells=(0, 1)),
            "You exchanged who tells it, but not what is told. `tell_sound` is for the sound, and the picture needs "
            "the tokens of the sound.": heard(told=(0, 1)),
            "Each hears the other without `tell`. Make tokens first.": lambda p, s, t, u, f, g: [f(p, s), g(s, p)],
            "You return the sound first. The picture comes first.": lambda *case: heard()(*case)[::-1]}),
    Exercise(
        "11.14", "A random partner", "code", stars=2, minutes=15, reference=partnered(), cases=partner_cases,
        prompt="A training needs a random sound for each picture, of the picture's own kind. The sounds are rows of a "
               "table that is sorted by kind, and `count` says how many there are of kind 0, kind 1 and so on. Return "
               "a row for each picture: the row where its kind begins, plus `chance` times the number of sounds of "
               "this kind, rounded down.",
        signature="my_partners(kinds, count, chance)",
        shapes="kinds (B,) and count (K,) integers, chance (B,) at least 0 and below 1 -> rows (B,), integers",
        hints=("A kind begins where all kinds before it end. How many sounds do they have together?",
               "`count.cumsum(0)` counts a kind itself as well, so subtract `count`.",
               "`(count.cumsum(0) - count)[kinds] + (chance * count[kinds]).long()`"),
        mistakes={
            "You began where the kind ends, because `cumsum` counts the kind itself as well. Subtract `count`.":
                partnered(lambda kinds, count: count.cumsum(0)[kinds]),
            "You rounded to the nearest number, so sometimes you get a sound of the next kind. Round down.":
                partnered(pick=torch.round),
            "You chose among all sounds, of whatever kind.":
                partnered(lambda kinds, count: 0, among=lambda kinds, count: count.sum()),
            "You did not add the row where the kind begins.": partnered(lambda kinds, count: 0),
            "You never choose the last sound of a kind. Multiply by `count`, not by `count - 1`.":
                partnered(among=lambda kinds, count: count[kinds] - 1),
            "Your rows begin with 1. They begin with 0.": partnered(pick=lambda share: share.floor() + 1),
            "You multiplied a kind by its own count, as if every kind had that many sounds. Add up those before it.":
                partnered(lambda kinds, count: kinds * count[kinds]),
            "You added up the counts in the order of your batch. Add them up in the order of the table.":
                partnered(lambda kinds, count: count[kinds].cumsum(0) - count[kinds]),
            "You always take the first sound of a kind. Multiply before you round down.":
                partnered(among=lambda kinds, count: 0)}),
    Exercise(
        "11.15", "Found, but far away", "open", stars=3, minutes=25, reference=far_away, goal=found_from_afar,
        prompt="Sounds and captions can find each other although all sounds are far away from all captions, because a "
               "search needs the order of the cosines and not their size. You get the embeddings of ten captions. "
               "Make an embedding of a sound for each of them, so that every sound finds its own caption first and "
               "every caption its own sound. But no sound may have a cosine above 0.3 with its own caption.",
        signature="my_sounds(keys)", shapes="captions (10, 16), of length one -> sounds (10, 16), of length one",
        hints=("What happens to the order of ten cosines if all of them are multiplied by the same small number?",
               "Ten captions leave room in 16 dimensions. What can you add to a sound without changing its dot product "
               "with any caption?",
               "`away = torch.linalg.svd(keys)[2][-1]` is orthogonal to all captions. Try `0.2 * keys + 0.96 ** 0.5 * "
               "away`.")),
]
