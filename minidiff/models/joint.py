"""Two frozen denoisers that listen to each other: what is drawn and what is said come to agree.
[Tang et al. 2023, CoDi: any-to-any generation via composable diffusion, section 3.4]"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from minidiff.diffusion.schedule import to_eps
from minidiff.models.adapter import followed, stages_of
from minidiff.models.attention import Attention
from minidiff.models.blocks import Block, time_embedding, zero_init


@dataclass(frozen=True)
class JointConfig:
    width: int = 64                                              # of the tokens
    heads: int = 4
    one_token: bool = False                                      # their mean alone
    timeless: bool = False                                       # V is shown the mean over the time of the sound
    captions: bool = True                                        # whether the captions listen, or the stages alone
    own: bool = False                                            # each listens to itself: a mistake, to be tried


def frozen_features(unet, zt, t, null):
    """What a frozen UNet makes of a noisy latent of which nothing is said: its features at the bottom of the U and
    before its last layer, one vector per place.  zt (B, C, H, W), t (B,), null (1, L, D) -> (B, P, 2 C')"""
    text = null.expand(len(zt), -1, -1)
    time = unet.time_state(t, text)
    x, skips = unet.encode(zt, time, text)
    bottom = unet.middle(x, time, text)
    return torch.cat([bottom, unet.climb(bottom, skips, time, text)], 1).flatten(2).transpose(1, 2)


class Environment(nn.Module):
    """The environment encoder V: what one machine lets the other know of its noisy latent.  [CoDi section 3.4]

    The features of its frozen denoiser (B, 16, 2 C), at levels t (B,), become tokens (B, 16, D), one per place.  With
    `one_token` there is a single one of length one, the mean of tokens that are not told their column, (B, 1, D).
    """

    def __init__(self, unet, config):
        super().__init__()
        self.one_token, width, features = config.one_token, config.width, 2 * unet.config.widths[-1]
        self.norm1, self.first, self.time = nn.LayerNorm(features), nn.Linear(features, width), nn.Linear(width, width)
        self.row, self.column = nn.Parameter(torch.randn(4, width) / 2), nn.Parameter(torch.randn(4, width) / 2)
        self.block, self.norm2 = Block(width, config.heads), nn.LayerNorm(width)

    def forward(self, features, t):
        places = self.row[:, None] + (0 if self.one_token else self.column) * torch.ones(1, 4, 1, device=t.device)
        level = self.time(time_embedding(t, self.time.in_features))[:, None]           # (B, 1, D)
        x = self.block(self.first(self.norm1(features)) + places.flatten(0, 1) + level)
        return F.normalize(x.mean(1, keepdim=True), dim=-1) if self.one_token else self.norm2(x)


class Listening(nn.Module):
    """Cross-attention to the tokens of the other machine, and an MLP; both begin at zero.

    x: a picture's features (B, C, H, W) or a caption's states (B, L, C), tokens (B, N, D) -> as x
    """

    def __init__(self, channels, config):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = Attention(channels, config.heads, config.width)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(),
                                 zero_init(nn.Linear(4 * channels, channels)))
        zero_init(self.attention.out)

    def forward(self, x, tokens):
        y = x.flatten(2).transpose(1, 2) if x.ndim == 4 else x   # (B, P, C)
        y = y + self.attention(self.norm1(y), tokens)
        y = y + self.mlp(self.norm2(y))
        return y.transpose(1, 2).reshape(x.shape) if x.ndim == 4 else y


class Joint(nn.Module):
    """What two machines lack to draw together: an environment encoder for each, and layers with which each listens to
    the other, one for its caption and one behind each stage."""

    def __init__(self, picture, sound, config):
        super().__init__()
        self.config, unets = config, (picture, sound)
        self.tell = nn.ModuleList(Environment(unet, config) for unet in unets)
        self.fill = nn.ModuleList(Listening(unet.config.cond_width, config) for unet in unets)
        self.stages = nn.ModuleList(nn.ModuleList(Listening(stage.res.conv2.out_channels, config)
                                                  for stage in stages_of(unet)) for unet in unets)


class Together(nn.Module):
    """A denoiser of pairs, made of two frozen ones and a `Joint`.

    xt (B, 8, 4, 4): the latents of a picture and of a sound, one after the other, both at levels t (B,);
    cond (B, L + M, D): the states of the picture's caption, and of the sound's -> eps (B, 8, 4, 4).
    nulls: their states (1, L, D) and (1, M, D) where nothing is said.
    """

    def __init__(self, picture, sound, joint, nulls):
        super().__init__()
        self.frozen, self.joint, self.nulls, self.schedule = [picture, sound], joint, nulls, picture.schedule
        self.unets = nn.ModuleList(map(followed, self.frozen, joint.stages))

    def tokens(self, halves, t):
        """What each machine tells of its own latent, two of (B, N, D)."""
        if self.joint.config.timeless:
            halves = halves[0], halves[1].mean(3, keepdim=True).expand_as(halves[1])
        with torch.no_grad():
            features = [frozen_features(unet, half, t, null)
                        for unet, half, null in zip(self.frozen, halves, self.nulls, strict=True)]
        return [tell(own, t) for tell, own in zip(self.joint.tell, features, strict=True)]

    def forward(self, xt, t, cond):
        halves, texts, config = xt.chunk(2, 1), cond.split([null.shape[1] for null in self.nulls], 1), self.joint.config
        told = self.tokens(halves, t)[::1 if config.own else -1]                       # each is told of the other
        eps = []
        for unet, half, text, tokens, fill in zip(self.unets, halves, texts, told, self.joint.fill, strict=True):
            text = fill(text, tokens) if config.captions else text
            time = unet.time_state(t, text)
            x, skips = unet.encode(half, time, (text, tokens))
            x = unet.middle(x, time, (text, tokens))
            v = unet.decode(x, skips, time, (text, tokens))
            eps.append(to_eps(v, half, t, unet.schedule, unet.config.predicts))
        return torch.cat(eps, 1)
