"""Chapter 4, on `04_ddpm_unet.ipynb`: how far a layer sees, the hands of time, the skips of the U, folding."""

from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional as F

from minidiff.exercises.form import Exercise, randn, there_and_back
from minidiff.models.blocks import time_embedding
from minidiff.models.unet import Stage, UNet


def seen_by(strides):
    """How many pixels of a row change an output, after convolutions of width 3 with these strides."""
    x = torch.ones(1, 1, 211, requires_grad=True)
    y = x
    for stride in strides:
        y = F.conv1d(y, torch.ones(1, 1, 3), stride=stride)
    return int((torch.autograd.grad(y[0, 0, y.shape[-1] // 2], x)[0] != 0).sum())


def hands(speed=lambda i, half: 10_000 ** (-i / half), turn=lambda t: t,
          join=lambda a: torch.cat([a.cos(), a.sin()], 1)):
    """Somebody's embedding of time; each argument is a place where people differ."""
    def answer(t, width):
        half = width // 2
        return join(turn(t)[:, None] * speed(torch.arange(half).double(), half))

    return answer


class Given(Stage):
    """A stage that does what a function does."""

    def __init__(self, function):
        nn.Module.__init__(self)
        self.function = function

    def forward(self, x, time, cond):
        return self.function(x)


def wire(x, downs, middle, ups):
    """`UNet.encode`, the middle, and `UNet.climb` of given layers, without time and condition."""
    parts = SimpleNamespace(config=SimpleNamespace(patch=1), first=lambda x: x, down=downs,
                            up=[Given(up) for up in ups])
    low, skips = UNet.encode(parts, x, None, None)
    return UNet.climb(parts, middle(low), skips, None, None)


def wire_cases():
    """Layers that can be told apart, and that keep the size, so that every mistake runs to its end."""
    def layer(seed, C, inputs):
        table = randn(seed, C, inputs * C) / 2
        return lambda x: torch.einsum("dc,bchw->bdhw", table, x).roll(seed, -1).tanh()

    return [(randn(seed, 2, C, 3, 7), [layer(seed + i, C, 1) for i in range(1, n)], layer(seed + n, C, 1),
             [layer(seed + n + i, C, 2) for i in range(1, n + 1)]) for seed, C, n in ((10, 5, 4), (20, 3, 3))]


def wired(order=lambda skips: skips[::-1], join=lambda x, skip: (x, skip), kept=lambda first, maps, low: [first, *maps],
          start=lambda first, x: x, below=lambda middle, x: middle(x)):
    """Somebody's U: which maps are kept and in which order they are used, where layers start, what comes from below."""
    def answer(x, downs, middle, ups):
        first, maps = x, []
        for down in downs:
            maps.append(x := down(start(first, x)))
        x = below(middle, x)
        for up, skip in zip(ups, order(kept(first, maps, x))):
            x = up(torch.cat(join(x, skip), 1))
        return x

    return answer


def folded(order):
    """Somebody's pair: in which order the six axes (B, C, H, row, W, column) are laid down, and the way back."""
    def there(x):
        B, C, H, W = x.shape
        return x.view(B, C, H // 2, 2, W // 2, 2).permute(order).reshape(B, 4 * C, H // 2, W // 2)

    def back(y):
        B, C, H, W = y.shape
        sizes = (B, C // 4, H, 2, W, 2)
        laid = y.reshape([sizes[axis] for axis in order]).permute([order.index(axis) for axis in range(6)])
        return laid.reshape(B, C // 4, 2 * H, 2 * W)

    return there, back


def in_quarters(x):
    B, C, H, W = x.shape
    return x.view(B, C, 2, H // 2, 2, W // 2).transpose(3, 4).reshape(B, 4 * C, H // 2, W // 2)


def from_quarters(y):
    B, C, H, W = y.shape
    return y.view(B, C // 4, 2, 2, H, W).transpose(3, 4).reshape(B, C // 4, 2 * H, 2 * W)


RIGHT_FOLD = (lambda x: F.pixel_unshuffle(x, 2), lambda y: F.pixel_shuffle(y, 2))


EXERCISES = [
    Exercise(
        "4.1", "Halve at once", "number", stars=1, minutes=5, reference=lambda: seen_by([2, 2, 1, 1, 1]), tolerance=0.5,
        prompt="The stacks of the text halve after every second layer. Now halve at once: two convolutions of stride "
               "2, then three of stride 1, all of them 3 pixels wide. How many pixels of a row does one output see?",
        hints=("A layer adds two pixels *of its own map* to the view.",
               "After the first layer a pixel of the map is two pixels of the picture, after the second one four.",
               "1 + 2 · (1 + 2 + 4 + 4 + 4)."),
        reason="Five layers now see nearly as much as eight that halve late. This is why the UNet folds 2 × 2 pixels "
               "into one place before anything else.",
        mistakes={"Each layer adds two pixels of its own map, and these are larger and larger: 1, 2, 4, 4, 4.": 11,
                  "A layer that halves still looks at the map before it: the doubling counts from the next layer on.":
                      37,
                  "You forgot the pixel in the middle.": 30,
                  "That is how far it sees to one side; there are two, and the middle.": 15}),
    Exercise(
        "4.2", "Clock hands", "code", stars=1, minutes=15, reference=time_embedding, tolerance=5e-4,
        prompt="Write the embedding of time. There are width / 2 clock hands. Hand i = 0, 1, 2 … turns by "
               "10000^(−i / (width / 2)) radians a level, so hand 0 is the fastest. First come the cosines of all "
               "hands, then their sines.",
        signature="my_time(t, width)", shapes="t (B,) integer levels, width an even number -> (B, width)",
        cases=lambda: [(torch.tensor([0, 1, 7, 101, 499]), 14), (torch.tensor([3, 211]), 22), (torch.tensor([5]), 2)],
        hints=("`torch.arange(width // 2)` is i. All speeds at once: `10_000 ** (-i / (width // 2))`.",
               "`t[:, None] * speed` is the table of all angles, (B, width / 2).",
               "`torch.cat([angle.cos(), angle.sin()], 1)`."),
        mistakes={
            "The sines come first; here the cosines do.": hands(join=lambda a: torch.cat([a.sin(), a.cos()], 1)),
            "Cosine and sine take turns; here all cosines come first, then all sines.":
                hands(join=lambda a: torch.stack([a.cos(), a.sin()], 2).flatten(1)),
            "You divide i by one less, as some code does, so that the last hand has just 1/10000; divide by width / 2.":
                hands(lambda i, half: 10_000 ** (-i / max(1, half - 1))),
            "i runs to width / 2 only: divided by the whole width, the slow half of the hands is missing. "
            "(Or is there a 100 in the place of 10,000?)":
                hands(lambda i, half: 10_000 ** (-i / (2 * half))),
            "The hands get faster and faster; with a minus sign in the power they get slower.":
                hands(lambda i, half: 10_000 ** (i / half)),
            "The speeds fall by equal steps; each must be the one before times the same factor.":
                hands(lambda i, half: 1 - i / half),
            "A level between 0 and 1 hardly moves any hand: take t as it is, a number up to 1,000.":
                hands(turn=lambda t: t / 1000)}),
    Exercise(
        "4.3", "Wire the U", "code", stars=2, minutes=20, reference=wire, cases=wire_cases,
        prompt="Put the U together from its layers: down, through the middle, up again. Each layer on the way up gets "
               "two maps, one behind the other as channels: first what comes from below, then a skip connection, "
               "a wire from the way down. x itself is the first skip, and every layer on the way down leaves one; each "
               "is used once. Which one fits to the first layer on the way up?",
        signature="my_u(x, downs, middle, ups)",
        shapes="x (B, C, H, W), lists of n - 1 and n functions, the middle a function -> (B, C, H, W)",
        hints=("Keep a list: `skips = [x]`, and after each layer on the way down `skips.append(x)`.",
               "On the way up the maps must come in the opposite order, or the sizes would not fit: `skips.pop()`.",
               "`for up in ups: x = up(torch.cat([x, skips.pop()], 1))`."),
        mistakes={
            "The skips come from the wrong end: the last map on the way down has the size of the first on the way up.":
                wired(lambda skips: skips),
            "The two maps are exchanged: first what comes from below, then the skip.":
                wired(join=lambda x, skip: (skip, x)),
            "Every layer got the last skip; each skip is used once, so take it out of the list.":
                wired(lambda skips: skips[-1:] * len(skips)),
            "The middle needs no skip, it is just below; x itself must have one.":
                wired(kept=lambda first, maps, low: [*maps, low]),
            "What comes from below is lost: both maps are the skip.": wired(join=lambda x, skip: (skip, skip)),
            "The skips are cut: both maps come from below.": wired(join=lambda x, skip: (x, x)),
            "Each layer on the way down must start from the one before, not from x.":
                wired(start=lambda first, x: first),
            "The middle is left out.": wired(below=lambda middle, x: x)}),
    Exercise(
        "4.4", "Fold and unfold", "pair", stars=2, minutes=20, reference=RIGHT_FOLD, run=there_and_back,
        cases=lambda: [(randn(21, 2, 3, 10, 14),), (randn(22, 5, 1, 22, 6),)],
        prompt="Work in pairs, please without `F.pixel_shuffle`: one folds squares of 2 × 2 pixels into four channels, "
               "as the UNet does before its first layer, the other unfolds them. Channel c becomes the channels 4c to "
               "4c + 3: the upper left pixels of all squares, the upper right, the lower left, the lower right ones.",
        signature="my_fold(x)\nmy_unfold(y)",
        shapes="x (B, C, 2H, 2W) -> (B, 4C, H, W)\ny (B, 4C, H, W) -> (B, C, 2H, 2W)",
        hints=("Every second pixel is `x[..., ::2, ::2]`; with 1 in front of the colons the other ones.",
               "Or with axes: `x.view(B, C, H, 2, W, 2)` has the row and the column in a square as axes 3 and 5.",
               "`.permute(0, 1, 3, 5, 2, 4).reshape(B, 4 * C, H, W)`; and back: `y.view(B, C, 2, 2, H, W)`, "
               "`.permute(0, 1, 4, 2, 5, 3)`, `.reshape(B, C, 2 * H, 2 * W)`."),
        mistakes={
            "A `view` alone has the right shape, but cuts the picture into stripes: axes must be exchanged before.":
                (lambda x: x.reshape(len(x), -1, x.shape[2] // 2, x.shape[3] // 2),
                 lambda y: y.reshape(len(y), -1, 2 * y.shape[2], 2 * y.shape[3])),
            "You cut the picture into four quarters; a square is 2 × 2 *neighbors*.": (in_quarters, from_quarters),
            "The order of the channels: first the four pixels of channel 0, then those of channel 1.":
                folded((0, 3, 5, 1, 2, 4)),
            "The pixels of a square come column by column; they must come row by row.": folded((0, 1, 5, 3, 2, 4)),
            "`my_fold` is right; `my_unfold` must exchange the axes back before it joins them.":
                (RIGHT_FOLD[0], lambda y: y.reshape(len(y), -1, 2 * y.shape[2], 2 * y.shape[3])),
            "What comes out is what went in: that closes every round trip.": (lambda x: x, lambda y: y)}),
]
