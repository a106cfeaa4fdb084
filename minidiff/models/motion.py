"""A motion module: layers that look along time, behind each stage of a frozen UNet.  [Guo et al. 2024, AnimateDiff]"""

from dataclasses import dataclass

import torch
from torch import nn

from minidiff.data.clips import MOTION_WORDS, times
from minidiff.diffusion.schedule import to_eps
from minidiff.models.adapter import followed, stages_of
from minidiff.models.attention import Attention
from minidiff.models.blocks import time_embedding, zero_init


@dataclass(frozen=True)
class MotionConfig:
    width: int = 64                                              # of the stages and of the positions
    heads: int = 4
    everywhere: bool = True                                      # all places and times, or along time at each place
    told: bool = True                                            # positions that know the motion, or a plain sum


def along_time(x, frames, everywhere=True):
    """Pictures of clips, one after the other, as sequences of time: (B F, C, H, W) -> (B, F H W, C); not everywhere:
    each place by itself, (B H W, F, C).  [AnimateDiff section 4.2]

    >>> two_clips = torch.arange(12.0).view(6, 1, 1, 2)          # of three frames of two places
    >>> along_time(two_clips, 3, everywhere=False)[:2, :, 0].tolist()
    [[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]
    """
    x = x.unflatten(0, (-1, frames)).flatten(3)                  # (B, F, C, P)
    return x.permute(0, 1, 3, 2).flatten(1, 2) if everywhere else x.permute(0, 3, 1, 2).flatten(0, 1)


def as_pictures(x, shape, frames, everywhere=True):
    """The way back: sequences of time -> pictures of a `shape` (B F, C, H, W)."""
    places = shape[2] * shape[3]
    if everywhere:
        return x.unflatten(1, (frames, places)).permute(0, 1, 3, 2).reshape(shape)
    return x.unflatten(0, (-1, places)).permute(0, 2, 3, 1).reshape(shape)


class TimeLayer(nn.Module):
    """Self-attention over the frames of each clip, and an MLP; both are told the positions, and both begin at zero.

    x (B F, C, H, W), positions (B, F H W, D) -> (B F, C, H, W)
    """

    def __init__(self, channels, config):
        super().__init__()
        self.everywhere = config.everywhere
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = Attention(channels, config.heads)
        self.told = nn.Linear(config.width, channels)            # told where, and perhaps the motion
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(),
                                 zero_init(nn.Linear(4 * channels, channels)))
        zero_init(self.attention.out)

    def forward(self, x, positions, frames):
        y, told = along_time(x, frames, self.everywhere), self.told(positions)         # (B, F P, C)
        if not self.everywhere:
            told = told.unflatten(1, (frames, -1)).transpose(1, 2).flatten(0, 1)       # (B P, F, C), as y
        y = y + self.attention(self.norm1(y) + told)
        y = y + self.mlp(self.norm2(y) + told)
        return as_pictures(y, x.shape, frames, self.everywhere)


class MotionModule(nn.Module):
    """What a UNet of pictures lacks to draw films: a vector for each word of motion, positions in time and place that
    are told the motion, and a `TimeLayer` for each of its stages.

    The positions are an MLP of (time, row, column, motion): it can learn which place of one frame a motion carries to
    which place of another.  Not told, they are a plain sum of position and motion.
    """

    def __init__(self, unet, config):
        super().__init__()
        self.config, width = config, config.width
        self.words = nn.Linear(len(MOTION_WORDS), width, bias=False)                   # the sum of what is said
        sizes = 16 + 8 + 8                                       # clock hands of time, row and column
        self.where = nn.Linear(sizes, width) if not config.told else nn.Sequential(
            nn.Linear(sizes + width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        self.layers = nn.ModuleList(TimeLayer(stage.res.conv2.out_channels, config) for stage in stages_of(unet))

    def positions(self, when, side, counts):
        """Times (F,), the side of the latent and words of motion (B, 7) -> (B, F side^2, D)."""
        time, place = time_embedding(when, 16, 64), time_embedding(torch.arange(side, device=when.device), 8, 16)
        row, column = place.repeat_interleave(side, 0), place.repeat(side, 1)          # (P, 8)
        motion = self.words(counts)[:, None]                     # (B, 1, D)
        spots = torch.cat([time.repeat_interleave(side**2, 0), torch.cat([row, column], 1).repeat(len(when), 1)], 1)
        spots = spots.expand(len(counts), -1, -1)                # (B, F P, 32)
        if not self.config.told:
            return self.where(spots) + motion
        return self.where(torch.cat([spots, motion.expand(-1, spots.shape[1], -1)], 2))


class Moving(nn.Module):
    """A UNet with a motion module: a denoiser of clips.

    xt (B, F, C, H, W), t (B,), cond (B, L + 1, D): the states of the caption, and a last row that begins with the
    counts of the words of motion, see `spoken` -> eps (B, F, C, H, W).  when (F,): the times of the frames.
    """

    def __init__(self, unet, module, when=None):
        super().__init__()
        self.unet = followed(unet, module.layers)                # the same weights; other modules hold them
        self.module, self.when = module, when
        self.config, self.schedule = unet.config, unet.schedule

    def forward(self, xt, t, cond):
        frames = xt.shape[1]
        when = (times(frames) if self.when is None else self.when).to(xt.device)
        positions = self.module.positions(when, xt.shape[-1], cond[:, -1, :len(MOTION_WORDS)])
        x, each = xt.flatten(0, 1), t.repeat_interleave(frames)  # (B F, C, H, W), (B F,)
        text = cond[:, :-1].repeat_interleave(frames, 0)
        time = self.unet.time_state(each, text)
        x, skips = self.unet.encode(x, time, (text, positions, frames))
        x = self.unet.middle(x, time, (text, positions, frames))
        v = self.unet.decode(x, skips, time, (text, positions, frames))
        return to_eps(v.view_as(xt), xt, t, self.schedule, self.config.predicts)
