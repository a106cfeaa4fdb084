"""Chapter 9, on `09_control.ipynb`: overlap, once around a pixel, zeros that learn, controls that add up, guidance."""

import math
from functools import cache

import torch
from torch.nn import functional as F

from minidiff.data.digits import load_digits
from minidiff.data.rendering import render_styles
from minidiff.data.skeletons import neighbors, thin
from minidiff.evaluation.metrics import iou
from minidiff.exercises.form import Exercise, randn
from minidiff.tools.checks import kind_of


def overlap(share=lambda both, one, other: both / (one + other - both), ink=lambda p: p.amax(1) > 0):
    """Somebody's overlap: share(shared pixels, those of the first, those of the second), with their ink."""
    def answer(pictures, others):
        one, other = (ink(some).flatten(1) for some in (pictures, others))
        return share((one & other).sum(1), one.sum(1), other.sum(1))

    return answer


def entered(walk=lambda ring: (~ring & ring.roll(-1, 0)).sum(0), order=range(8), around=neighbors):
    """Somebody's walk around each pixel, over the neighbors in their order; 0 is the one above."""
    return lambda mask: walk(around(mask)[list(order)])


def gradients(of_W=lambda g, x: g.T @ x, of_b=lambda g: g.sum(0), of_x=lambda g, W: g @ W):
    """Somebody's gradients of W, b and x, where y = W x + b and g is the gradient of y."""
    return lambda g, x, W, b: [of_W(g, x), of_b(g), of_x(g, W)]


def steered(strength=lambda s, strengths: s, heard=lambda pairs: pairs, steers=lambda i, last: True,
            keep=lambda controls: 1):
    """Somebody's sum: which controls are heard, how strongly, in which parts, and how often the frozen part counts."""
    def answer(parts, controls, strengths):
        pairs = heard(list(zip(controls, strengths, strict=True)))
        return [keep(controls) * part + sum(strength(s, strengths) * control[i] for control, s in pairs)
                if steers(i, len(parts) - 1) else part for i, part in enumerate(parts)]

    return answer


def steering_cases():
    def maps(seed, *sizes):
        return [randn(seed + i, 2, *size) for i, size in enumerate(sizes)]

    two, three = ((3, 5, 5), (5, 2, 2), (5, 2, 2)), ((3, 7), (3, 7), (5, 3), (7, 2), (7, 2))
    return [(maps(941, *two), [maps(944, *two), maps(947, *two)], [1.0, 0.4]),
            (maps(955, *three), [maps(seed, *three) for seed in (960, 965, 970)], [0.7, -0.3, 1.5])]


def guiding(mix=lambda told, alone, w: alone + w * (told - alone),
            hints=lambda hint, both: (hint, hint if both else None)):
    """Somebody's guidance: what they do with both guesses, and which hints (with caption, without) they give."""
    def answer(denoise, xt, t, cond, null, hint, w, both):
        guesses = [denoise(xt, t, *question) for question in zip((cond, null), hints(hint, both), strict=True)]
        return mix(*guesses, w)

    return answer


def guiding_cases():
    def denoise(xt, t, cond, hint):
        return (xt + cond).sin() * (1 + t[:, None] / 1000) + (0 if hint is None else (1.5 + hint) * cond.cos())

    return [(denoise, randn(975 + n, n, 3), torch.arange(n) * 97, randn(976 + n, n, 3), randn(974, 3).repeat(n, 1),
             randn(977 + n, n, 3), w, both) for n, w, both in ((5, 3.0, True), (7, 2.5, False))]


def fresh_control(A, B):
    """The initial weights of a control that adds B silu(A x).  A (h, in), B (out, h): random numbers -> a list of two
    weights, with the shapes of A and B"""
    return [0 * A, 0 * B]


def started(answer, A, B):
    """What a control with these first weights adds, and what becomes of it in two steps of gradient descent."""
    weights, seen = answer(A, B), []
    if weights is None:
        return None
    x, wanted = randn(951, 11, A.shape[1]), randn(952, 11, len(B))
    A, B = weights
    A, B = (weight.detach().float().clone().requires_grad_() for weight in (A, B))
    for _ in range(2):
        added = F.silu(x @ A.T) @ B.T
        slopes = torch.autograd.grad((added - wanted).square().mean(), (A, B))
        seen.append((added.detach(), "yes" if any(slope.any() for slope in slopes) else "no"))
        A, B = ((part - 0.5 * slope).detach().requires_grad_() for part, slope in zip((A, B), slopes, strict=True))
    apart = torch.cat([A, B.T], 1).detach().round(decimals=4).unique(dim=0)            # of the h hidden numbers
    return {"what is added at first": seen[0][0], "whether a gradient arrives": seen[0][1],
            "how many hidden numbers differ after two steps": len(apart)}


@cache
def some_skeletons():
    """The ink of some digits in plain stroke, (N, 32, 32), and their skeletons; clone them before they are given."""
    ink = render_styles(load_digits().val[::11])[:, 1, 1] > 127
    return ink, thin(ink)


def inked_again(answer):
    """Are the digits found again?"""
    ink, skeletons = some_skeletons()
    masks = answer(skeletons.clone())
    if masks is None:
        return None, ""
    if not torch.is_tensor(masks) or masks.dtype != torch.bool or masks.shape != ink.shape:
        return False, f"expected masks of True and False, {tuple(ink.shape)}, got {kind_of(masks)}"
    mine, bare = (((some & ink).sum((1, 2)) / (some | ink).sum((1, 2))).mean().item() for some in (masks, skeletons))
    return mine >= 0.7, f"your mean IoU with the digits is {mine:.3f} (goal: 0.7; the skeletons alone have {bare:.3f})"


EXERCISES = [
    Exercise(
        "9.1", "One pixel off", "number", stars=1, minutes=5, tolerance=0.005, reference=lambda: 4 / 14,
        prompt="A square of ink is 3 pixels wide and 3 pixels high. The same square is drawn again, moved by one pixel "
               "to the right and one pixel down. What is the IoU of the two?",
        reason="Four pixels are shared, and 9 + 9 − 4 = 14 are covered. So even a small shift costs a lot.",
        hints=("How many pixels do both squares cover?", "How many does at least one of them cover?",
               "They share 2 · 2 pixels, and 9 + 9 counts these twice."),
        mistakes={"You divided by the area of one square, or computed the Dice score, which is the same here. "
                  "IoU divides by the union.": 4 / 9,
                  "9 + 9 counts the shared pixels twice; the union counts them once.": 4 / 18,
                  "That is union over intersection; it is the other way around.": 14 / 4,
                  "You moved it in one direction only; it moves to the right and down.": 6 / 12,
                  "That is the shared pixels alone.": 4, "That is the union alone.": 14,
                  "You moved it by two pixels.": 1 / 17, "That is in percent; an IoU is at most 1.": 400 / 14}),
    Exercise(
        "9.2", "Intersection over union", "code", stars=1, minutes=15, reference=iou,
        cases=lambda: [((a - 1).tanh(), (0.8 * a + 0.6 * b - 1).tanh()) for a, b in (
            (randn(901, 5, 3, 7, 11), randn(902, 5, 3, 7, 11)), (randn(903, 2, 3, 13, 5), randn(904, 2, 3, 13, 5)))],
        prompt="Write the IoU of two batches of pictures, pair by pair: the number of pixels where both have ink, "
               "divided by the number where at least one has. A pixel is ink where its brightest channel, scaled from "
               "[-1, 1] to [0, 1], is above 0.5. Every picture has some ink.",
        signature="my_iou(pictures, others)",
        shapes="pictures, others (B, C, H, W) in [-1, 1] -> (B,), a number per pair",
        hints=("`pictures.amax(1)` is the brightest channel, (B, H, W), still in [-1, 1].",
               "With two masks of True and False, `one & other` is the intersection and `one | other` the union.",
               "`(one & other).flatten(1).sum(1) / (one | other).flatten(1).sum(1)`"),
        mistakes={
            "You took the mean of the channels, but in a colored line one channel is bright and others may be dark.":
                overlap(ink=lambda p: p.mean(1) > 0),
            "That is one IoU for the whole batch.": overlap(lambda n, a, b: n.sum() / (a + b - n).sum()),
            "You divided by the sum of both; it counts shared pixels twice.": overlap(lambda n, a, b: n / (a + b)),
            "That is Dice: twice the shared pixels, over the sum of both.": overlap(lambda n, a, b: 2 * n / (a + b)),
            "The pictures are not scaled: 0.5 in [0, 1] is 0 in [-1, 1].": overlap(ink=lambda p: p.amax(1) > 0.5),
            "You divided by the ink of the first picture only.": overlap(lambda n, a, b: n / a),
            "You compared channel by channel, but a pixel as a whole either has ink or "
            "has none.": overlap(ink=lambda p: p > 0),
            "You counted the pixels where both agree, but the empty ground, which agrees easily, must not count.":
                lambda pictures, others: ((pictures.amax(1) > 0) == (others.amax(1) > 0)).float().mean((1, 2))}),
    Exercise(
        "9.3", "Once around a pixel", "code", stars=2, minutes=25, reference=entered(),
        cases=lambda: [(randn(921, 3, 7, 11) > 0.2,), (randn(922, 2, 5, 3) > -0.5,)],
        prompt="Thinning walks once around a pixel, over its eight neighbors and back to the first, and counts how "
               "often it enters the mask: the steps from a neighbor outside the mask to the next one inside it. "
               "Count them for every pixel, whether it is in the mask or not. Outside the picture there is no mask.",
        signature="my_crossings(mask)", shapes="mask (N, H, W), True and False -> (N, H, W), integers",
        hints=("Put an empty frame around it, `F.pad(mask, (1, 1, 1, 1))`; each neighbor is then a shifted slice of "
               "it.",
               "Stack them in the order of the walk (above, above right, right, ...) into a `ring` (8, N, H, W).",
               "`(~ring & ring.roll(-1, 0)).sum(0)`: the roll puts the next neighbor in the place of each one."),
        mistakes={
            "The ring is not closed: the step from the last neighbor to the first is missing.":
                entered(lambda ring: (~ring[:-1] & ring[1:]).sum(0)),
            "You counted the neighbors in the mask; count the steps that enter it.": entered(lambda ring: ring.sum(0)),
            "You counted both entering and leaving, so everything is doubled.":
                entered(lambda ring: (ring ^ ring.roll(-1, 0)).sum(0)),
            "You walked over the four sides only; corners are neighbors, too.": entered(order=(0, 2, 4, 6)),
            "You read the neighbors row by row, but a walk around the pixel takes them in a circle.":
                entered(order=(7, 0, 1, 6, 2, 5, 4, 3)),
            "Your left edge touches the right one, because `roll` wraps around. Outside the picture there is no mask.":
                entered(around=lambda mask: neighbors(mask.repeat(1, 3, 3)).chunk(3, 2)[1].chunk(3, 3)[1]),
            "You assumed ink outside the picture, but it is empty there.":
                entered(around=lambda mask: neighbors(F.pad(mask, (1, 1, 1, 1), value=True))[..., 1:-1, 1:-1]),
            "You left out the pixels that are not in the mask themselves.": lambda mask: entered()(mask) * mask}),
    Exercise(
        "9.4", "Back from the skeleton", "open", stars=2, minutes=20, goal=inked_again,
        reference=lambda skeletons: F.max_pool2d(skeletons[:, None].float(), 3, 1, 1)[:, 0] > 0,
        prompt="Digits in the plain stroke have been thinned to skeletons. Recover their ink without a network: "
               "return masks whose mean IoU with the ink of the digits is at least 0.7.",
        signature="my_digits(skeletons)", shapes="skeletons (N, 32, 32), True and False -> masks (N, 32, 32), the same",
        hints=("A plain stroke is nearly three pixels wide, and a skeleton is one pixel wide.",
               "So a pixel has ink if it or one of its neighbors is in the skeleton.",
               "`F.max_pool2d(skeletons[:, None].float(), 3, stride=1, padding=1)[:, 0] > 0`")),
    Exercise(
        "9.5", "The first step from zero", "number", stars=1, minutes=10, tolerance=1e-9,
        reference=lambda: 0.001 * 3e-6 / math.sqrt(3e-6**2),
        prompt="A weight of a zero convolution is 0, and its first gradient is 0.000003. The learning rate of AdamW is "
               "0.001. How large is the weight after one step, without its sign? Leave out Adam's ε.",
        reason="In its first step Adam divides the gradient by the gradient's own size, so a tiny gradient moves a "
               "weight as far as a large one. After one step of AdamW, zero convolutions are no longer zero.",
        hints=("AdamW takes a mean of the gradients and divides it by the root of a mean of their squares.",
               "Both means are corrected for having started at zero, so after one step they are g and g².",
               "0.001 · g / √(g²)"),
        mistakes={"That is plain gradient descent; Adam also divides by the gradient's size.": 0.001 * 3e-6,
                  "The weight is zero, but its gradient is not, and so it moves.": 0,
                  "That is the gradient itself.": 3e-6, "The learning rate is missing.": 1,
                  "The question asks for the size, without the sign.": -0.001,
                  "You left out Adam's two corrections for means that start at zero.": 0.001 * 0.1 / math.sqrt(0.001),
                  "You left out Adam's correction of the mean gradient, which starts at zero.": 0.001 * 0.1,
                  "That is with ε = 1e-8, which the question leaves out.": 0.001 * 3e-6 / (3e-6 + 1e-8)}),
    Exercise(
        "9.6", "What a zero lets through", "code", stars=2, minutes=20, reference=gradients(),
        cases=lambda: [(randn(931, 7, 5), randn(932, 7, 3), randn(933, 5, 3), randn(934, 5)),
                       (randn(935, 11, 2), randn(936, 11, 5), torch.zeros(2, 5), torch.zeros(2))],
        prompt="At each place a 1×1 convolution computes y = W x + b, and g is the gradient of the loss with respect "
               "to y; x and g have one row per place. Return the gradients of W, of b and of x. Then look at your "
               "formulas: which of the three vanish while W and b are zero?",
        reason="While W is zero, only the gradient of x vanishes. So W and b move in the first step, and the layers "
               "before the zero convolution learn from the second step on.",
        signature="my_backward(g, x, W, b)",
        shapes="g (N, out), x (N, in), W (out, in), b (out,) -> a list: the gradients of W, b and x, in their shapes",
        hints=("W and b are the same at all places, so their gradients are sums over the rows; x has its own rows.",
               "For one row, the gradient of W is the outer product of g and x, and that of b is g.",
               "`[g.T @ x, g.sum(0), g @ W]`"),
        mistakes={
            "You gave the gradient of x first; the order is W, b, x.": lambda g, x, W, b: [g @ W, g.T @ x, g.sum(0)],
            "The gradient of W is transposed; it has the shape of W.": gradients(of_W=lambda g, x: x.T @ g),
            "You took the mean over the places, but their gradients add up.":
                gradients(lambda g, x: g.T @ x / len(x), lambda g: g.mean(0)),
            "b is the same at all places, so its gradient is the sum over them.": gradients(of_b=lambda g: g),
            "For b you summed over the channels; sum over the places.": gradients(of_b=lambda g: g.sum(1)),
            "The gradient of x needs g, too.": gradients(of_x=lambda g, W: torch.ones_like(g) @ W),
            "The signs are wrong: a step goes against the gradient, but the gradient itself has no minus.":
                gradients(lambda g, x: -g.T @ x, lambda g: -g.sum(0), lambda g, W: -g @ W)}),
    Exercise(
        "9.7", "Several controls at once", "code", stars=1, minutes=15, reference=steered(), cases=steering_cases,
        prompt="The frozen UNet has several parts: its skips and, as the last one, the bottom. Each control says "
               "what should be added to each part, and each has its own strength. Return the parts with everything "
               "added.",
        signature="my_steering(parts, controls, strengths)",
        shapes="parts: a list of tensors; controls: a list of such lists; strengths: a list of numbers -> like parts",
        hints=("`zip(controls, strengths)` gives each control together with its strength.",
               "Every new part is the frozen part plus a sum over the controls.",
               "`[part + sum(s * c[i] for c, s in zip(controls, strengths)) for i, part in enumerate(parts)]`"),
        mistakes={
            "The strengths are missing.": steered(lambda s, strengths: 1),
            "Only the last control is heard.": steered(heard=lambda pairs: pairs[-1:]),
            "You took the mean of the controls, but they add up.": steered(lambda s, strengths: s / len(strengths)),
            "You made the strengths sum to 1; use them as they are.": steered(lambda s, strengths: s / sum(strengths)),
            "You changed only the bottom; the skips are missing.": steered(steers=lambda i, last: i == last),
            "You changed only the skips; the bottom is missing.": steered(steers=lambda i, last: i != last),
            "The frozen parts are missing: the controls are added to them.": steered(keep=lambda controls: 0),
            "You added the frozen parts once for each control.": steered(keep=len)}),
    Exercise(
        "9.8", "Guidance with a sketch", "code", stars=2, minutes=20, reference=guiding(), cases=guiding_cases,
        prompt="Guidance asks twice, with the caption and without: uncond + w · (cond − uncond). Now there is also a "
               "hint. If `both` is true, both questions get it. Otherwise only the one with the caption does, and the "
               "other is asked without control: its hint is None.",
        reason="If both get the hint, guidance exaggerates the caption alone. If only one does, it exaggerates the "
               "hint as well.",
        signature="my_guided(denoise, xt, t, cond, null, hint, w, both)",
        shapes="denoise(xt, t, cond, hint) -> eps; xt, hint, cond, null (B, D), null says nothing; t (B,) -> (B, D)",
        hints=("One question has `cond`, the other `null`.", "`hint if both else None` is what one of them gets.",
               "`uncond = denoise(xt, t, null, hint if both else None)`; the other is `denoise(xt, t, cond, hint)`."),
        mistakes={
            "Your question without the caption always gets the hint, but it should only if `both` is true.":
                guiding(hints=lambda hint, both: (hint, hint)),
            "Your question without the caption never gets the hint, but it should if `both` is true.":
                guiding(hints=lambda hint, both: (hint, None)),
            "You have `both` the wrong way around.": guiding(hints=lambda hint, both: (hint, None if both else hint)),
            "If `both` is false, the hint belongs to the question with the caption; you gave it to the other one.":
                guiding(hints=lambda hint, both: (hint if both else None, hint)),
            "If `both` is false, neither of your questions gets the hint; the one with the caption always should.":
                guiding(hints=lambda hint, both: (hint, hint) if both else (None, None)),
            "An empty hint is not the same as none, because a control responds to it, too. Give None.":
                guiding(hints=lambda hint, both: (hint, hint if both else torch.zeros_like(hint))),
            "You count w from 0, as the guidance paper does. Here w = 1 means the plain "
            "prediction.": guiding(lambda told, alone, w: told + w * (told - alone)),
            "The two guesses are swapped, so the pictures move away from the caption.":
                guiding(lambda told, alone, w: told + w * (alone - told)),
            "The first term, uncond, is missing.": guiding(lambda told, alone, w: w * (told - alone))}),
    Exercise(
        "9.9", "Find the bug: two zeros in a row", "bug", stars=2, minutes=20, broken=fresh_control, run=started,
        reference=lambda A, B: [A, 0 * B], tolerance=1e-7,
        cases=lambda: [(randn(991, 5, 7), randn(992, 3, 5)), (randn(993, 7, 2), randn(994, 11, 7))],
        prompt="A small control adds B silu(A x) to what a frozen network says. Before training it must add exactly "
               "nothing, so somebody lets both weights begin at zero. But then it never learns; issue 510 of "
               "ControlNet asks about such a case. Fix it: nothing may be added at first, yet a gradient must "
               "arrive, and the h hidden numbers must not all learn the same thing.",
        reason="One zero is enough. The gradient of each layer has the other layer as a factor, so two zeros in a "
               "row stay zero. In ControlNet, a copy of the UNet stands before the zeros, and it is far from zero.",
        hints=("The gradient of B contains silu(A x), and that of A contains B. What are they now?",
               "To add nothing, it is enough that one of the two layers is zero.", "`return [A, 0 * B]`"),
        mistakes={
            "Now both layers are random, and something is added before anything is learned.": lambda A, B: [A, B],
            "A small last layer adds little, but not nothing: it has to be exactly zero.": lambda A, B: [A, 0.01 * B],
            "Two small layers add very little, but not nothing.": lambda A, B: [0.01 * A, 0.01 * B],
            "The weights of a layer are all equal, so all hidden numbers get the same gradient and stay alike.":
                lambda A, B: [torch.ones_like(A), 0 * B]}),
]
