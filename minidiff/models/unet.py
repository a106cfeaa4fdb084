"""The UNet: down to see the whole, up to see the detail, and skip connections across so that nothing is lost.
[Ronneberger et al. 2015; as a denoiser: DDPM app. B; with captions: Rombach et al. 2022, section 3.3]"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from minidiff.diffusion.schedule import SCHEDULES, to_eps
from minidiff.models.blocks import CONVOLUTIONS, Block, Down, ResBlock, Up, norm, time_embedding, zero_init
from minidiff.tools.checks import check


@dataclass(frozen=True)
class UNetConfig:
    channels: int = 4                                            # of the picture or latent
    widths: tuple = (64,)                                        # channels at each size, halving from one to the next
    patch: int = 1                                               # side of the squares of pixels that become one place
    blocks: int = 1                                              # residual blocks at each size, on each side
    attention: tuple = (True,)                                   # at which sizes places look at each other and at cond
    middle: bool = True                                          # and whether they do so at the bottom of the U
    heads: int = 4
    cond_width: int | None = 64                                  # width of the caption states, None for no captions
    pooled: bool = False                                         # whether their mean also enters beside the time
    levels: int = 1000                                           # S
    predicts: str = "v"
    schedule: str = "cosine"                                     # or "straight": flow matching
    in_channels: int | None = None                               # where more comes in than goes out: an editor
    dims: ClassVar[int] = 2                                      # of a picture


@dataclass(frozen=True)
class TrajectoryConfig(UNetConfig):
    """The settings of a UNet of trajectories (B, C, T): points in time instead of pixels in a square."""

    channels: int = 3                                            # x, y, and whether the pen is down
    widths: tuple = (48, 64)
    attention: tuple = (False, False)
    pooled: bool = True
    dims: ClassVar[int] = 1


LATENTS = UNetConfig(attention=(False,), pooled=True)            # 16 places: to look once is enough
LATENTS_LARGE = UNetConfig(widths=(128,), blocks=2, attention=(False,), pooled=True)
DIGIT_PICTURES = UNetConfig(1, (24, 64), patch=2, attention=(False, False), middle=False, cond_width=10, pooled=True)
DIGIT_PICTURES_LARGE = UNetConfig(1, (64, 128), patch=2, attention=(False, True), cond_width=10, pooled=True)


class Stage(nn.Module):
    """A residual block, and where asked for a transformer block on the flattened map."""

    def __init__(self, c_in, c_out, time_width, attention, config):
        super().__init__()
        self.res = ResBlock(c_in, c_out, time_width, config.dims)
        self.look = Block(c_out, config.heads, config.cond_width) if attention else None

    def forward(self, x, time, cond):
        x = self.res(x, time)
        if self.look is None:
            return x
        flat = self.look(x.flatten(2).transpose(1, 2), cond)     # (B, P, D)
        return flat.transpose(1, 2).reshape(x.shape)


class UNet(nn.Module):
    """A denoiser: xt (B, C, H, W), t (B,), cond (B, L, D) or None -> eps (B, C, H, W).

    The network itself predicts config.predicts ("v" is stable at both ends); what leaves `forward` is always eps.
    """

    def __init__(self, config=UNetConfig(), schedule=None):
        super().__init__()
        check(not config.cond_width or config.pooled or config.middle or any(config.attention),
              "this UNet would not hear its condition: no size has attention, and `pooled` is off")
        self.config = config
        self.schedule = schedule or SCHEDULES[config.schedule](config.levels)
        widths, time_width = config.widths, 4 * config.widths[0]
        squares = config.patch**2                                # a square of pixels, all of them channels
        self.time = nn.Sequential(nn.Linear(widths[0], time_width), nn.SiLU(),
                                  nn.Linear(time_width, time_width), nn.SiLU())
        self.pooled = nn.Linear(config.cond_width, time_width) if config.pooled else None
        conv = CONVOLUTIONS[config.dims]
        self.first = conv((config.in_channels or config.channels) * squares, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, width = [widths[0]], widths[0]                    # channels of each skip connection
        for i, (wide, attention) in enumerate(zip(widths, config.attention, strict=True)):
            for _ in range(config.blocks):
                self.down.append(Stage(width, wide, time_width, attention, config))
                skips.append(wide)
                width = wide
            if i + 1 < len(widths):
                self.down.append(Down(wide, wide, config.dims))
                skips.append(wide)
        self.middle = Stage(width, width, time_width, config.middle, config)
        for i, (wide, attention) in reversed(list(enumerate(zip(widths, config.attention, strict=True)))):
            for _ in range(config.blocks + 1):
                self.up.append(Stage(width + skips.pop(), wide, time_width, attention, config))
                width = wide
            if i:
                width = widths[i - 1]
                self.up.append(Up(wide, width, config.dims))
        self.last = nn.Sequential(norm(width), nn.SiLU(),
                                  zero_init(conv(width, config.channels * squares, 3, padding=1)))

    def time_state(self, t, cond):
        """What every residual block is told: the level, and where asked for the mean of the condition -> (B, D)."""
        time = self.time(time_embedding(t, self.config.widths[0]))
        return time if self.pooled is None else time + self.pooled(cond.mean(1))

    def encode(self, xt, time, cond, plus=0):
        """Down the U: xt (B, C, H, W) -> x at the bottom, and the skips, a list of what each layer gave.  plus: added
        to what the first layer gives, such as the hint of a ControlNet."""
        x = self.first(F.pixel_unshuffle(xt, self.config.patch)) + plus
        skips = [x]
        for layer in self.down:
            x = layer(x, time, cond) if isinstance(layer, Stage) else layer(x)
            skips.append(x)
        return x, skips

    def climb(self, x, skips, time, cond):
        """Up the U: x from the bottom, each stage beside the skip that fits, the last one first -> features."""
        skips = list(skips)
        for layer in self.up:
            x = layer(torch.cat([x, skips.pop()], 1), time, cond) if isinstance(layer, Stage) else layer(x)
        return x

    def decode(self, x, skips, time, cond):
        """Up the U, and out of it: x from the bottom and the skips -> (B, C, H, W)."""
        return F.pixel_shuffle(self.last(self.climb(x, skips, time, cond)).float(), self.config.patch)

    def network(self, xt, t, cond):
        """What the network predicts: xt (B, C, H, W) -> (B, C, H, W)."""
        time = self.time_state(t, cond)
        x, skips = self.encode(xt, time, cond)
        x = self.middle(x, time, cond)
        return self.decode(x, skips, time, cond)

    def forward(self, xt, t, cond=None):
        check((cond is None) == (not self.config.cond_width), f"this UNet takes conditions of width "
              f"{self.config.cond_width}, got {None if cond is None else tuple(cond.shape)}")
        return to_eps(self.network(xt, t, cond), xt[:, :self.config.channels], t, self.schedule, self.config.predicts)
