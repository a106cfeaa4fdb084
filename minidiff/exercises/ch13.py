"""Chapter 13, on `13_bias.ipynb`: what guidance aims at, the worst group, weights, flips, generations, a paradox."""

from fractions import Fraction

import torch

from minidiff.diffusion import guidance_target
from minidiff.evaluation import wilson
from minidiff.exercises.form import Exercise, randn, there_and_back
from minidiff.pipelines import bias
from minidiff.tools.checks import kind_of


def alone(answer, *case):
    """Try a function that gives one number; a tensor of one will do, whatever its shape."""
    number = answer(*case)
    return number.reshape(()) if torch.is_tensor(number) and number.numel() == 1 else number


def aimed(own=lambda w: w, base=lambda w: 1 - w, log=torch.log, said=lambda score: score.softmax(-1)):
    """Somebody's target: the exponents of both shares, their logarithm, and what they make of the sum."""
    return lambda cond, uncond, w: said(own(w) * log(cond) + base(w) * log(uncond))


def grouped(said):
    """Somebody's worst group: what they make of how many are right in each group, and of how many there are."""
    return lambda right, group, count: said(group[right].bincount(minlength=count), group.bincount(minlength=count))


def group_case(seed, many, good):
    """A case of 13.4: how many pictures each group has, and how many of them are right."""
    order = torch.randperm(sum(many), generator=torch.Generator().manual_seed(seed))
    right = torch.cat([torch.arange(n) < k for n, k in zip(many, good)])
    return right[order], torch.arange(len(many)).repeat_interleave(torch.tensor(many))[order], len(many)


def equal_weights(digits, colors):
    """digits (N,) from 0 to 9, colors (N,) from 0 to 6 -> weights (N,)"""
    group = digits + colors
    count = group.bincount()
    return 1 / count[group]


def weighted(group=lambda digits, colors: digits * 7 + colors, part=lambda digits: digits.bincount()[digits] / 7,
             said=lambda weights: weights):
    """Somebody's weights: the number of a group, what its pictures share, and what they return."""
    return lambda digits, colors: said(part(digits) / group(digits, colors).bincount()[group(digits, colors)])


def skewing(there=torch.mul, back=torch.div, over=lambda s, w: s / s.sum(-1, keepdim=True), again=None):
    """Somebody's skewed shares and the way back, and how the shares are made to sum to 1 on each way."""
    return (lambda shares, weights: over(there(shares, weights), weights),
            lambda skewed, weights: (again or over)(back(skewed, weights), weights))


def flipped(said):
    """Somebody's flips: what they make of a table (C - 1, N) of which answers are not the one in red."""
    return lambda answers: said((answers[1:] != answers[0]).double())


def paradox(answer):
    """Is the first reader better in both groups, and worse over all pictures?"""
    mine, names, counts, ahead = answer(), ("right_one", "pictures_one", "right_other", "pictures_other"), [], []
    if mine is None:
        return None, ""
    if not isinstance(mine, (list, tuple)) or len(mine) != 4:
        return False, f"expected the four parts {', '.join(names)}, got {kind_of(mine)}"
    for name, part in zip(names, mine):
        pair = part.tolist() if torch.is_tensor(part) else part
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            return False, f"{name} must be two whole numbers, for red and for not red; it is {kind_of(part)}"
        for number in pair:
            if not isinstance(number, (int, float)) or number % 1 != 0:
                return False, f"{name} must be whole numbers, and {number!r:.40} is none"
        counts += map(int, pair)
    for i in (0, 1, 4, 5):
        if not 0 <= counts[i] <= counts[i + 2] >= 10:
            return False, (f"in one group a reader is right about {counts[i]} of {counts[i + 2]} pictures, but each "
                           "group needs at least 10 pictures, and nobody is right about more than all or fewer than 0")
    says = "the first and the other reader are right about"
    for place, rows in (("in red", (0,)), ("not in red", (1,)), ("over all", (0, 1))):
        one, two = (Fraction(sum(counts[i + k] for i in rows), sum(counts[i + k + 2] for i in rows)) for k in (0, 4))
        ahead.append(one - two)
        says += f" {float(one):.1%} and {float(two):.1%} {place},"
    points = ", ".join(f"{100 * float(by):.2f}" for by in ahead)
    return min(ahead[:2]) >= Fraction(1, 20) and ahead[2] <= Fraction(-1, 20), (
        f"{says} so the first is ahead by {points} points (the goal: at least 5, at least 5, and at most −5)")


EXERCISES = [
    Exercise(
        "13.1", "Red made louder", "number", stars=1, minutes=5, tolerance=5e-5,
        reference=lambda: guidance_target(*torch.tensor([[0.8, 0.2], [0.2, 0.8]]).double(), 2)[0].item(),
        prompt="In a set of pictures 80 % of the sevens are red, but only 20 % of all digits are red. Count just two "
               "kinds, red and not red. What share of red does guidance with w = 2 aim at if it is asked for a seven? "
               "As in the whole book, w = 1 leaves the shares as they are. Round it to four decimals.",
        reason="Among sevens red is four times as common as among all digits, and not red is four times as rare. Each "
               "step of w multiplies the odds by 16, so that 4 to 1 becomes 64 to 1.",
        hints=("Guidance does not only raise the share among sevens. It divides by the share among all digits.",
               "The target is p(c | seven)² · p(c)⁻¹ for each kind, divided by the sum of both.",
               "Red gets 0.8² / 0.2 = 3.2, and not red gets 0.2² / 0.8 = 0.05."),
        mistakes={
            "That is the share without guidance, w = 1.": 0.8,
            "You squared the shares among sevens, but left out p(c)^(1 − w), the shares among all digits.": 16 / 17,
            "You multiplied by p(c)^w. The exponent of p(c) is 1 − w, which is negative here.": 0.5,
            "You divided by p(c)^w. The exponent of p(c) is 1 − w, so divide by p(c) once.": 256 / 257,
            "You counted w as in the paper, where w = 0 leaves the shares as they are. Here w = 1 does.": 1024 / 1025,
            "You did not divide by the sum. A share is at most 1.": 3.2,
            "You extrapolated the shares, 0.2 + 2 · (0.8 − 0.2). Guidance does that with logarithms.": 1.4,
            "That is the share of not red.": 1 / 65,
            "That is how many times as common red is as not red. Divide by the sum of both instead.": 64,
            "That is in percent. A share is at most 1.": 98.46}),
    Exercise(
        "13.2", "What guidance aims at", "code", stars=2, minutes=10, reference=guidance_target,
        cases=lambda: [(randn(1321, 5).softmax(0), randn(1322, 5).softmax(0), 2.0), (
            randn(1323, 7).softmax(0), randn(1324, 7).softmax(0), 0.3), (
            torch.tensor([3.3e-28, 0.5, 0.3, 0.2]), torch.tensor([1e-30, 0.4, 0.35, 0.25]), 12.0)],
        prompt="`cond` has the shares of K colors among the sevens, and `uncond` those among all digits. Return the "
               "shares that guidance aims at: cond^w · uncond^(1 − w), divided by their sum. They must also be right "
               "for shares as small as 1e-30 and for w = 12, where some powers become 0 or infinite for a computer.",
        signature="my_target(cond, uncond, w)", shapes="cond, uncond (K,) and a number w -> shares (K,)",
        hints=("A power of a tiny share is too small for a computer, but its logarithm is a number like −800.",
               "The logarithm of the product is w · log(cond) + (1 − w) · log(uncond). Which function turns logarithms "
               "into shares?", "`(w * cond.log() + (1 - w) * uncond.log()).softmax(-1)`"),
        mistakes={
            "You did not divide by the sum, so these are no shares.": aimed(said=torch.exp),
            "You multiplied by uncond^w. The exponent of `uncond` is 1 − w.": aimed(base=lambda w: w),
            "You divided by uncond^w. The exponent of `uncond` is 1 − w, not −w.": aimed(base=lambda w: -w),
            "You left out `uncond`.": aimed(base=lambda w: 0),
            "You counted w as in the paper. Here w = 1 leaves `cond` as it is.": aimed(lambda w: 1 + w, lambda w: -w),
            "You exchanged `cond` and `uncond`.": lambda cond, uncond, w: aimed()(uncond, cond, w),
            "You left out w, so your target is `cond`.": lambda cond, uncond, w: cond,
            "You took the softmax of the shares themselves. Take it of their logarithms.": aimed(log=lambda p: p),
            "You extrapolated the shares. Extrapolate their logarithms.": aimed(log=lambda p: p, said=lambda x: x),
            "You return logarithms of shares.": aimed(said=lambda score: score.log_softmax(-1)),
            "You return the sum of the logarithms. Make shares of it.": aimed(said=lambda score: score),
            "You divided the logarithms by their sum. Use softmax.": aimed(said=lambda score: score / score.sum()),
            "A softmax undoes natural logarithms, not those with base 10.": aimed(log=torch.log10),
            "The tiny share is lost in what you added to it. Add nothing.": aimed(log=lambda p: (p + 1e-8).log()),
            "Your formula is right, but 0 times infinity became NaN. Add logarithms instead.":
                lambda cond, uncond, w: (lambda powers: powers / powers.sum())(cond**w * uncond ** (1 - w))}),
    Exercise(
        "13.3", "Four hundred of four hundred", "number", stars=1, minutes=10, tolerance=4e-5,
        reference=lambda: wilson(1.0, 400)[0],
        prompt="A machine is asked for a seven 400 times, and all 400 sevens are red. Where does the 95 % interval of "
               "the share of red begin? Take Wilson's interval of chapter 4 with z = 1.96, and four decimals. Guess "
               "before you compute it. You may call `minidiff.evaluation.wilson`.",
        reason="So nearly one seven in a hundred may have another color. Zero in 400 is not never.",
        hints=("Would a machine that draws one seven in 500 in blue have shown you a blue one?",
               "For a share of 1 the lower end of Wilson's interval is 1 / (1 + z² / n).", "400 / (400 + 1.96²)"),
        mistakes={
            "No other color in 400 drawings does not mean that there is none in all the others.": 1.0,
            "95 % is how certain the interval is, not where it begins.": 0.95,
            "You forgot to square z.": 400 / 401.96,
            "You took z = 2. It is 1.96.": 400 / 404, "That is for 200 drawings. Here there are 400.": 200 / 203.8416,
            "That is the middle of the interval. Subtract half of its width.": 401.9208 / 403.8416,
            "1 − z² / n is nearly right. It is 1 / (1 + z² / n).": 1 - 1.96**2 / 400,
            "That is the upper end of the share of other colors. Subtract it from 1.": 1 - 400 / 403.8416,
            "That would be one seven of another color in 400, but nobody has drawn one.": 399 / 400,
            "That is the rule of three, 1 − 3 / n, which has only a lower end and is a little narrower.": 0.9925,
            "You took 100 drawings, as in exercise 4.9. Here there are 400.": 100 / 103.8416,
            "That is in percent. A share is at most 1.": 99.05}),
    Exercise(
        "13.4", "The worst group", "code", stars=2, minutes=10, run=alone,
        reference=grouped(lambda good, many: (good / many)[many > 0].min()), cases=lambda: [
            group_case(1341, (23, 41, 11, 13, 19), (17, 31, 10, 9, 12)),
            group_case(1342, (0, 7, 29, 0, 13, 17, 0), (0, 3, 20, 0, 7, 13, 0)),
            group_case(1343, (5, 3, 17), (4, 0, 11))],
        prompt="A reader was right about some of N pictures, and each picture belongs to a group, for example to the "
               "green sevens. Find the share of pictures in each group about which the reader was right, and return "
               "the smallest of these shares. A group without pictures has no share, so leave it out.",
        signature="my_worst(right, group, count)",
        shapes="right (N,) True or False, group (N,) from 0 to count - 1, count: how many groups -> a share",
        hints=("A share is the number of right answers in a group, divided by the number of pictures in it.",
               "`many = group.bincount(minlength=count)` counts the pictures, and `good = "
               "group[right].bincount(minlength=count)` the right answers.", "`(good / many)[many > 0].min()`"),
        mistakes={
            "That is the share over all pictures.": grouped(lambda good, many: good.sum() / many.sum()),
            "A group without pictures counts as 0. Leave it out.": grouped(lambda g, m: (g / m.clamp_min(1)).min()),
            "A group without pictures gives 0 / 0, which is NaN. Leave it out.": grouped(lambda g, m: (g / m).min()),
            "You took the group with the most mistakes.": grouped(lambda g, m: (g / m)[(m - g).argmax()]),
            "You took the smallest group.": grouped(lambda g, m: (g / m)[m.where(m > 0, 10**6).argmin()]),
            "That is the mean over the groups.": grouped(lambda good, many: (good / many)[many > 0].mean()),
            "That is the best group.": grouped(lambda good, many: (good / many)[many > 0].max()),
            "That is the share of wrong answers.": grouped(lambda good, many: 1 - (good / many)[many > 0].min()),
            "That is the number of the worst group.": grouped(lambda g, m: (g / m).where(m > 0, 2).argmin()),
            "You divided by the number of all pictures.": grouped(lambda g, m: (g / m.sum())[m > 0].min()),
            "You left out a group in which no answer is right.": grouped(lambda g, m: (g / m)[g > 0].min())}),
    Exercise(
        "13.5", "Find the bugs: equal weights", "bug", stars=2, minutes=15, broken=equal_weights,
        cases=lambda: [torch.cartesian_prod(torch.tensor(digits), torch.arange(7)).repeat_interleave((3 * randn(
            seed, 21).exp()).long() + 1, 0).unbind(1) for seed, digits in ((1351, (7, 0, 1)), (1352, (2, 8, 9)))],
        reference=lambda digits, colors: bias.equal_weights(torch.stack([digits, colors], 1)),
        prompt="Each picture has a digit and one of seven colors, and the function gives it a weight. The weights of "
               "all pictures of a digit in one color should sum to a seventh of the number of pictures of this digit. "
               "Then every color of a digit counts the same, and each digit counts as much as before. The function "
               "runs without an error, but it has two bugs. Fix both.",
        hints=("Which pictures get the same group as a one in color 5?",
               "Each digit in each color needs a group of its own. And to what do the weights of a group sum now?",
               "Take `digits * 7 + colors`, and divide `digits.bincount()[digits] / 7` by `count[group]`."),
        mistakes={
            "The groups are right now, but in each of them your weights sum to 1.": weighted(part=lambda digits: 1),
            "The digits are right now, but a one in color 5 is still like a zero in color 6.": weighted(torch.add),
            "In digit + 7 · color, a seven in color 0 is like a zero in color 1.": weighted(lambda d, c: d + 7 * c),
            "In 6 · digit + color, color 6 falls into the next digit.": weighted(lambda d, c: d * 6 + c),
            "Your groups are digit times color, so all zeros fall together.": weighted(torch.mul),
            "Your weights are seven times too large.": weighted(part=lambda digits: digits.bincount()[digits]),
            "Divide by seven colors, not by ten digits.": weighted(part=lambda digits: digits.bincount()[digits] / 10),
            "Each digit counts the same now, not as before.": weighted(part=lambda d: len(d) / len(d.unique()) / 7),
            "All groups count the same now, as if there were 70.": weighted(part=lambda digits: len(digits) / 70),
            "You forgot the digit. A group is a digit in a color.": weighted(lambda d, c: c, lambda d: len(d) / 7),
            "Your weights are upside down. What is common should count less.": weighted(said=torch.reciprocal),
            "Your weights sum to 1 over all pictures.": weighted(said=lambda weights: weights / weights.sum())}),
    Exercise(
        "13.6", "Skewed and straight again", "pair", stars=2, minutes=10, run=there_and_back, reference=skewing(),
        cases=lambda: [(randn(1361, 3, 5).softmax(-1), 2 * randn(1362, 5).sigmoid() + 0.3),
                       (randn(1363, 7).softmax(-1), 5 * randn(1364, 7).sigmoid() + 0.1)],
        prompt="Colors have shares, and somebody collects pictures of one color more often than of another. Write "
               "`my_skew`, which makes shares that are proportional to the old shares times the weights and sum to 1 "
               "along the last axis. Write `my_unskew`, which finds the shares from which the skewed ones came.",
        signature="my_skew(shares, weights)\nmy_unskew(skewed, weights)",
        shapes="shares (..., K) that sum to 1, weights (K,) above 0 -> skewed shares (..., K)\n"
               "skewed shares (..., K) and the same weights -> shares (..., K)",
        hints=("The sum by which `my_skew` divides is lost. How can `my_unskew` do without it?",
               "Divide by the weights, and then make it sum to 1 again.", "With `new = shares * weights`, return "
               "`new / new.sum(-1, keepdim=True)`. On the way back begin with `skewed / weights`."),
        mistakes={
            "Your skewed shares do not sum to 1.": (skewing(over=lambda s, w: s)[0], skewing()[1]),
            "On the way back you did not divide by the sum.": skewing(again=lambda s, w: s),
            "You divided by the sum of everything. Each row must sum to 1.": skewing(over=lambda s, w: s / s.sum()),
            "You summed along the first axis. Sum along the last one.": skewing(over=lambda s, w: s / s.sum(0)),
            "You divided by the sum of the weights.": skewing(over=lambda s, w: s / w.sum()),
            "You took a softmax. Divide by the sum.": skewing(over=lambda s, w: s.softmax(-1)),
            "You added the weights. Multiply by them.": skewing(torch.add, torch.sub),
            "On the way back you multiplied by the weights once more. Divide by them.": skewing(back=torch.mul),
            "On the way back you subtracted the weights. Divide by them.": skewing(back=torch.sub),
            "A function goes the wrong way. `my_skew` comes first and multiplies.": skewing()[::-1],
            "Your two functions do nothing, so each undoes the other.": (lambda s, w: s, lambda s, w: s)}),
    Exercise(
        "13.7", "Color should not matter", "code", stars=1, minutes=10, run=alone,
        cases=lambda: [((0.65 * randn(N, C, N)).long() + torch.arange(N) % 5 + 3,) for C, N in ((7, 31), (3, 23))],
        reference=flipped(lambda other: other.amax(0).mean()),
        prompt="A reader sees the same N pictures in C colors and names a digit each time. `answers` has a row for "
               "each color, and row 0 is for red. For some pictures there is at least one other color in which the "
               "reader does not name the same digit as in red. Return the share of these pictures.",
        signature="my_flips(answers)", shapes="answers (C, N), integers -> a share",
        hints=("Compare the whole table with its first row.", "`answers != answers[0]` is a table of True and False. "
               "In which columns is there a True?", "`(answers != answers[0]).any(0).double().mean()`"),
        mistakes={
            "That is the share of answers in other colors that are not the one in red.": flipped(torch.mean),
            "That is the share of all answers, even those in red, that are not the one in red. Count pictures.":
                lambda answers: (answers != answers[0]).double().mean(),
            "You need only one color that differs, not all of them.": flipped(lambda other: other.amin(0).mean()),
            "You looked along the wrong axis. That is the share of colors in which at least one answer differs.":
                lambda answers: (answers != answers[0]).any(1).double().mean(),
            "That is the number of pictures. Divide it by N.": flipped(lambda other: other.amax(0).sum()),
            "That is the share with the same answer in all colors.": flipped(lambda other: 1 - other.amax(0).mean()),
            "You compared red with only the first of the other colors.": flipped(lambda other: other[0].mean()),
            "You took only the color that differs most often.": flipped(lambda other: other.mean(1).max()),
            "That is a list of which pictures count. Return their share.": flipped(lambda other: other.amax(0) > 0)}),
    Exercise(
        "13.8", "Twenty machines in a row", "number", stars=2, minutes=10, tolerance=5e-5, reference=lambda: 0.9**20,
        prompt="Ten numbers are drawn from a normal distribution with variance 1. A machine fits a normal distribution "
               "to them. It takes their mean, and as the variance the mean of the squared differences from that mean, "
               "which is a sum divided by 10. Ten new numbers are drawn from what it fitted, and the next machine fits "
               "these, and so on. What variance does the 20th machine fit, on average over many such rows of machines? "
               "Round it to four decimals.",
        reason="Each machine loses a tenth on average, because its mean lies in the middle of its own ten numbers. The "
               "tails go first: what is rare is often not drawn at all, and then the next machine cannot learn it.",
        hints=("What is the expectation of a variance that is divided by n instead of n − 1?",
               "It is (n − 1) / n times the true variance, and what a machine has fitted is true for the next one.",
               "Twenty machines multiply by 0.9 each."),
        mistakes={
            "That is after one machine.": 0.9,
            "That would be so if the sum were divided by n − 1 = 9. It is divided by 10.": 1.0,
            "You multiplied 0.9 by 20. Each machine multiplies by 0.9, so take a power.": 18.0,
            "You subtracted a tenth of the first variance 20 times. Each machine loses a tenth of what it gets.": -1.0,
            "That is what has been lost. What is left?": 1 - 0.9**20,
            "You exchanged the 10 numbers and the 20 machines.": 0.95**10,
            "You took a factor of 19/20. It is (n − 1) / n with n = 10 numbers.": 0.95**20,
            "That is 0.9¹⁰. Take the power of 20 machines, and no root, because a variance is asked for.": 0.9**10,
            "Those are 19 machines. The first one loses a tenth, too.": 0.9**19,
            "You took a factor of 10/11. It is 9/10.": (10 / 11) ** 20,
            "That is how many times smaller it is. What is the variance itself?": 0.9**-20}),
    Exercise(
        "13.9", "Better everywhere, and worse", "open", stars=3, minutes=20, goal=paradox,
        reference=lambda: ([13, 83], [13, 139], [103, 5], [113, 11]),
        prompt="A reader can be better in every group and worse over all. Find numbers for two readers, each of which "
               "has its own pictures, in red and not in red. The first reader must be at least 5 percentage points "
               "better in red and at least 5 points better not in red, but over all its pictures it must be at least 5 "
               "points worse. Every reader needs at least 10 pictures in each group. Return how many answers of the "
               "first reader are right, how many pictures it has, and the same for the other reader, all four of them "
               "as two whole numbers, for red and for not red.",
        signature="my_counts()", shapes="-> right_one, pictures_one, right_other, pictures_other, two numbers each",
        hints=("One of the groups may be easy for both readers, and the other hard for both. Who has how many of each?",
               "Give the first reader nearly only hard pictures, and the other one nearly only easy ones.",
               "Let the first be right about 10 of 10 in red and about 60 of 100 not in red. The other gets 100 and 10 "
               "pictures.")),
]
