"""Pictures as sentences: cut a picture into patches, and let the patches look at each other."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from minidiff.inputs import check_as_many, check_config, check_pictures, check_rows, check_shape, check_whole
from minidiff.metrics import jitter
from minidiff.runtime import budget, seed_all
from minidiff.train import Recipe
from minidiff.transformer import Block


def to_patches(pictures, size):
    """Cut pictures (B, C, H, W) into squares, row by row -> (B, P, C * size * size), P = H W / size^2.
    [Dosovitskiy et al. 2021, section 3.1]

    >>> to_patches(torch.arange(16.0).view(1, 1, 4, 4), 2)[0, 1]
    tensor([2., 3., 6., 7.])
    """
    check_whole("size", size)
    if pictures.ndim != 4 or pictures.shape[-1] % size or pictures.shape[-2] % size:
        raise ValueError(f"pictures (B, C, H, W) whose sides are multiples of {size} can be cut into patches; "
                         f"got {tuple(pictures.shape)}")
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
        check_config(config, zero=["depth"])
        if config.size % config.patch:
            raise ValueError(f"patches of {config.patch} do not fill a picture of {config.size} x {config.size}")
        self.config = config
        places = (config.size // config.patch) ** 2
        self.patch = nn.Linear(config.channels * config.patch**2, config.width)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, config.width))
        self.position = nn.Parameter(0.02 * torch.randn(1 + places, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.norm, self.out = nn.LayerNorm(config.width), nn.Linear(config.width, config.classes)

    def embed(self, pictures):
        """What enters the first block: the token and the patches, each with its place (B, 1 + P, D)."""
        check_shape("pictures", pictures, "B", self.config.channels, self.config.size, self.config.size)
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


def recipe(model, pictures, labels, seed=0, steps=None, batch=128, lr=3e-3):
    """Train any digit classifier, B pictures -> (B, 10) logits, on jittered digits: a ViT, or a CNN to compare."""
    check_pictures(pictures, digits=True)
    check_as_many(pictures=pictures, labels=labels)
    check_rows("labels", labels[:, None], [10], unsaid=False)
    seed_all(seed)

    def loss_of(model, generator):
        rows = torch.randint(len(pictures), (batch,), generator=generator)
        return F.cross_entropy(model(jitter(pictures[rows], generator)), labels[rows], label_smoothing=0.05)

    return Recipe("digits", model, model.config, loss_of, budget(full=3_000, small=1_000, fast=20, given=steps),
                  batch, lr, seed, weight_decay=0.05, ema=0.99)
