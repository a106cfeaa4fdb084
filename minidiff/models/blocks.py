"""The parts that several networks share: an embedding of time, half and double size, a residual block and a
transformer block."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from minidiff.models.attention import Attention


def time_embedding(t, width, max_period=10_000):
    """Levels t (B,) as a bundle of clock hands, fast and slow: cos and sin of t / max_period^(i / (width/2)).
    [Vaswani et al. 2017, section 3.5] -> (B, width), an even number: a cosine and a sine per frequency

    >>> time_embedding(torch.tensor([0]), 4)
    tensor([[1., 1., 0., 0.]])
    """
    place = torch.arange(width // 2, dtype=torch.float32, device=t.device) / (width // 2)
    frequency = torch.exp(-math.log(max_period) * place)
    angle = t[:, None].float() * frequency
    return torch.cat([angle.cos(), angle.sin()], -1)


def zero_init(layer):
    """Start a layer at zero, so that the residual branch it ends is silent at first."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d}                     # along a trajectory, in a picture


def norm(channels):
    """GroupNorm with 16 channels in each group, where they divide evenly."""
    return nn.GroupNorm(max(1, channels // 16) if channels % 16 == 0 else 1, channels)


class ResBlock(nn.Module):
    """x + two convolutions, told the time by a scale and a shift of the second norm.
    [DDPM app. B; scale and shift: ADM section 3.1]

    x (B, C, H, W), time (B, D) or None -> (B, C', H, W).  The last convolution starts at zero.  dims: 2 for pictures,
    1 for trajectories (B, C, T).
    """

    def __init__(self, c_in, c_out, time_width=None, dims=2):
        super().__init__()
        conv = CONVOLUTIONS[dims]
        self.norm1 = norm(c_in)
        self.conv1 = conv(c_in, c_out, 3, padding=1)
        self.norm2 = norm(c_out)
        self.conv2 = zero_init(conv(c_out, c_out, 3, padding=1))
        self.time = zero_init(nn.Linear(time_width, 2 * c_out)) if time_width else None
        self.skip = conv(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x, time=None):
        y = self.norm2(self.conv1(F.silu(self.norm1(x))))
        if self.time is not None:
            scale, shift = self.time(time).view(len(y), -1, *[1] * (y.ndim - 2)).chunk(2, 1)
            y = y * (1 + scale) + shift
        return self.skip(x) + self.conv2(F.silu(y))


class Down(nn.Module):
    """Half the size, by a convolution that takes every second pixel, or every second point of a trajectory."""

    def __init__(self, c_in, c_out, dims=2):
        super().__init__()
        self.conv = CONVOLUTIONS[dims](c_in, c_out, 3, stride=2, padding=1)

    def forward(self, x):
        return self.conv(x)


class Up(nn.Module):
    """Double the size: each place is computed as four channels, then spread out.  [Shi et al. 2016, pixel shuffle]

    The four start equal, which is nearest-neighbor upsampling and shows no checkerboard.  Of a trajectory they are two.
    """

    def __init__(self, c_in, c_out, dims=2):
        super().__init__()
        self.conv, parts = CONVOLUTIONS[dims](c_in, 2**dims * c_out, 3, padding=1), 2**dims
        with torch.no_grad():
            self.conv.weight.copy_(self.conv.weight[::parts].repeat_interleave(parts, 0))
            self.conv.bias.copy_(self.conv.bias[::parts].repeat_interleave(parts, 0))

    def forward(self, x):
        x = self.conv(x)
        return F.pixel_shuffle(x, 2) if x.ndim == 4 else x.unflatten(1, (-1, 2)).transpose(2, 3).flatten(2)


def conv_tower(channels, widths, blocks):
    """The layers of a tower that looks at a picture: half the size, then residual blocks, for each of the widths."""
    layers = []
    for wide, count in zip(widths, blocks, strict=True):
        layers += [Down(channels, wide), *(ResBlock(wide, wide) for _ in range(count))]
        channels = wide
    return [*layers, norm(channels), nn.SiLU()]


class Block(nn.Module):
    """A transformer block: x = x + attention(norm(x)), the same with a context if there is one, then an MLP.
    [pre-norm: Xiong et al. 2020]

    x (B, P, D), context (B, L, D') -> (B, P, D).  Each branch starts at zero, so a new block changes nothing.
    """

    def __init__(self, width, heads, context_width=None):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = self.cross = None
        if context_width:
            self.norm2 = nn.LayerNorm(width)
            self.cross = Attention(width, heads, context_width)
            zero_init(self.cross.out)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), zero_init(nn.Linear(4 * width, width)))
        zero_init(self.attention.out)

    def forward(self, x, context=None, mask=None):
        x = x + self.attention(self.norm1(x), mask=mask)
        if self.cross is not None:
            x = x + self.cross(self.norm2(x), context)
        return x + self.mlp(self.norm3(x))
