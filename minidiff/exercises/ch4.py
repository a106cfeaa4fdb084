"""Chapter 4, on `04_ddpm_unet.ipynb`: how far a layer sees, the hands of time, the block, folding."""

from types import SimpleNamespace

import torch
from torch.nn import functional as F

from minidiff.blocks import ResBlock, time_embedding
from minidiff.exercises import Exercise, randn, there_and_back


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


def res_block(x, time, norm1, conv1, norm2, conv2, tell, skip):
    """`ResBlock.forward` with given parts."""
    parts = SimpleNamespace(norm1=norm1, conv1=conv1, norm2=norm2, conv2=conv2, time=tell, skip=skip)
    return ResBlock.forward(parts, x, time)


def block_cases():
    """From 3 channels to 5, and from 7 to 7: two norms that can be told apart, three convolutions, a table for time."""
    def case(seed, c_in, c_out):
        one, two, side = randn(seed, c_out, c_in, 3, 3) / 4, randn(seed + 1, c_out, c_out, 3, 3) / 4, randn(
            seed + 2, c_out, c_in, 1, 1)
        table = randn(seed + 3, 11, 2 * c_out) / 4
        return (randn(seed + 4, 2, c_in, 7, 5), randn(seed + 5, 2, 11), lambda x: F.group_norm(x, 1),
                lambda x: F.conv2d(x, one, padding=1), lambda x: 2 * F.group_norm(x, 1) + 0.3,
                lambda x: F.conv2d(x, two, padding=1), lambda time: time @ table, lambda x: F.conv2d(x, side))

    return [case(1, 3, 5), case(11, 7, 7)]


def told(modulate=lambda y, scale, shift: y * (1 + scale) + shift, bend=F.silu, end=lambda x, y, skip: skip(x) + y,
         first=lambda x, norm, conv: conv(F.silu(norm(x))), late=False):
    """Somebody's residual block; late: norm2 comes after the time."""
    def answer(x, time, norm1, conv1, norm2, conv2, tell, skip):
        scale, shift = tell(time)[:, :, None, None].chunk(2, 1)
        y = first(x, norm1, conv1)
        y = norm2(modulate(y, scale, shift)) if late else modulate(norm2(y), scale, shift)
        return end(x, conv2(bend(y)), skip)

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
               "10000^(−i / (width / 2)) a level, so hand 0 is the fastest. First come the cosines of all hands, then "
               "their sines.",
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
            "i runs to width / 2 only: divided by the whole width, the slow half of the hands is missing.":
                hands(lambda i, half: 10_000 ** (-i / (2 * half))),
            "The hands get faster and faster; with a minus sign in the power they get slower.":
                hands(lambda i, half: 10_000 ** (i / half)),
            "The speeds fall by equal steps; each must be the one before times the same factor.":
                hands(lambda i, half: 1 - i / half),
            "A level between 0 and 1 hardly moves any hand: take t as it is, a number up to 1,000.":
                hands(turn=lambda t: t / 1000)}),
    Exercise(
        "4.3", "The block, from its parts", "code", stars=2, minutes=20, reference=res_block, cases=block_cases,
        prompt="Put the residual block together. All parts are functions; `tell(time)` gives scale and shift for each "
               "channel, one after the other. Norm, SiLU, convolution; norm, scale and shift, SiLU, convolution; and "
               "what it adds to is `skip(x)`. A scale of 0 must change nothing.",
        signature="my_block(x, time, norm1, conv1, norm2, conv2, tell, skip)",
        shapes="x (B, C, H, W), time (B, D), tell(time) (B, 2 C') -> (B, C', H, W)",
        hints=("`tell(time)[:, :, None, None].chunk(2, 1)` is scale and shift, each (B, C', 1, 1).",
               "`y = norm2(conv1(F.silu(norm1(x))))`, then `y * (1 + scale) + shift`.",
               "`return skip(x) + conv2(F.silu(y))`."),
        mistakes={
            "The 1 is missing: the scale starts at 0, and then the block would be deaf. It is y · (1 + scale) + shift.":
                told(lambda y, scale, shift: y * scale + shift),
            "Scale and shift are exchanged: the first half of `tell(time)` is the scale.":
                told(lambda y, scale, shift: y * (1 + shift) + scale),
            "The residual is missing: a block says only what to change, so add it to `skip(x)`.":
                told(end=lambda x, y, skip: y),
            "The norm comes after the time, and takes a part of it away again: first norm2, then scale and shift.":
                told(late=True),
            "The second SiLU is missing: without it the time could only scale and shift what comes out.":
                told(bend=lambda y: y),
            "The sum ends with SiLU, as blocks of 2015 did; here nothing comes after the sum.":
                told(end=lambda x, y, skip: F.silu(skip(x) + y)),
            "`skip` got the normed x; it is x itself that is carried on.":
                lambda x, time, norm1, *parts: told(end=lambda x, y, skip: skip(norm1(x)) + y)(x, time, norm1, *parts),
            "The order of the first half is norm, SiLU, convolution.":
                told(first=lambda x, norm, conv: F.silu(norm(conv(x))))}),
    Exercise(
        "4.4", "Fold and unfold", "pair", stars=2, minutes=20, reference=RIGHT_FOLD, run=there_and_back,
        cases=lambda: [(randn(21, 2, 3, 10, 14),), (randn(22, 5, 1, 22, 6),)],
        prompt="Work in pairs, without `F.pixel_shuffle`: one folds squares of 2 × 2 pixels into four channels, as the "
               "UNet does before its first layer, the other unfolds them. Channel c becomes the channels 4c to 4c + 3: "
               "the upper left pixels of all squares, the upper right, the lower left, the lower right ones.",
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
            "Both functions return what they are given: that closes every round trip.": (lambda x: x, lambda y: y)}),
]
