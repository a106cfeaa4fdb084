"""Pictures as sentences: cut a picture into patches, and let the patches look at each other."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from minidiff.models.blocks import Block
from minidiff.tools.checks import check


def to_patches(pictures, size):
    """Cut pictures (B, C, H, W) into squares, row by row -> (B, P, C * size * size), P = H W / size^2.
    [Dosovitskiy et al. 2021, section 3.1]

    >>> to_patches(torch.arange(16.0).view(1, 1, 4, 4), 2)[0, 1]
    tensor([2., 3., 6., 7.])
    """
    check(not pictures.shape[-1] % size and not pictures.shape[-2] % size,  # unfold would cut off the rest in silence
          f"the sides of pictures must be multiples of {size} to be cut into patches, got {tuple(pictures.shape)}")
    return F.unfold(pictures, size, stride=size).transpose(1, 2)


@dataclass(frozen=True)
class ViTConfig:
    size: int = 28                                               # of the picture, without its empty rim
    patch: int = 7
    channels: int = 1
    width: int = 80
    heads: int = 4
    depth: int = 4
    classes: int = 10


class ViT(nn.Module):
    """A vision transformer: pictures (B, C, H, W) -> logits (B, classes).  [Dosovitskiy et al. 2021, eq. 1 to 4]

    The patches are the words.  A learned token stands before them and collects the answer.
    """

    def __init__(self, config=ViTConfig()):
        super().__init__()
        self.config = config
        places = (config.size // config.patch) ** 2
        self.patch = nn.Linear(config.channels * config.patch**2, config.width)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, config.width))
        self.position = nn.Parameter(0.02 * torch.randn(1 + places, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, config.classes)

    def embed(self, pictures):
        """What enters the first block: the token and the patches, each with its place (B, 1 + P, D)."""
        patches = self.patch(to_patches(pictures, self.config.patch))
        return torch.cat([self.token.expand(len(pictures), -1, -1), patches], 1) + self.position

    def forward(self, pictures):
        x = self.embed(pictures)
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x[:, 0])).float()

    @torch.no_grad()
    def attention_maps(self, pictures):
        """Where the collecting token looks in each block: (depth, B, h, P), without its look at itself."""
        x, maps = self.embed(pictures), []
        for block in self.blocks:
            maps.append(block.attention.weights(block.norm1(x))[:, :, 0, 1:])
            x = block(x)
        return torch.stack(maps)
