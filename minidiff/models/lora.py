"""LoRA, low-rank adaptation: a frozen weight learns by two thin ones beside it.  [Hu et al. 2022]"""

import copy

import torch
from torch import nn

from minidiff.tools.checks import check, check_whole


class Lora(nn.Module):
    """A frozen Linear or Conv2d, and what is learned beside it:  y = W x + strength alpha / rank B A x.  [LoRA eq. 3]

    A is drawn from a normal distribution and B begins at zero, so before the first step nothing is changed, and the
    first gradient reaches B alone.  strength: how much of what was learned is heard; 0 is the base, 1 is as trained.

    >>> torch.manual_seed(0) and None
    >>> lora = Lora(nn.Linear(3, 4), rank=1)
    >>> [tuple(p.shape) for p in lora.learned()], lora.change().abs().max().item()
    ([(1, 3), (4, 1)], 0.0)
    """

    def __init__(self, base, rank, alpha=None):
        super().__init__()
        check(isinstance(base, (nn.Linear, nn.Conv2d)),
              f"LoRA goes beside a Linear or a Conv2d, not {type(base).__name__}")
        check_whole("the rank of a LoRA", rank, 1, min(base.weight.shape[:2]))
        weight = base.requires_grad_(False).weight               # (out, in), of a Conv2d (out, in, k, k)
        self.base, self.strength, self.scale = base, 1.0, (alpha or rank) / rank
        self.A = nn.Parameter(torch.randn(rank, *weight.shape[1:], device=weight.device) / weight[0].numel() ** 0.5)
        self.B = nn.Parameter(torch.zeros(weight.shape[0], rank, device=weight.device))
        self.before = None                                       # the weight, while it is merged

    def learned(self):
        """A and B."""
        return self.A, self.B

    def change(self):
        """What is added to the weight, strength alpha / rank B A, in its shape."""
        return self.strength * self.scale * (self.B @ self.A.flatten(1)).view_as(self.base.weight)

    def forward(self, x):
        if self.before is not None:
            return self.base(x)
        weight = self.base.weight + self.change()
        if isinstance(self.base, nn.Linear):
            return nn.functional.linear(x, weight, self.base.bias)
        return self.base._conv_forward(x, weight, self.base.bias)

    @torch.no_grad()
    def merge(self):
        """Add the change to the weight itself: the same answers, at the price of the plain layer."""
        check(self.before is None, "this LoRA is merged already: merged twice, its change would count twice")
        self.before = self.base.weight.clone()
        self.base.weight += self.change()

    @torch.no_grad()
    def unmerge(self):
        """Put the weight back, bit for bit."""
        self.base.weight.copy_(self.before)
        self.before = None


def with_lora(model, rank, where=lambda name: True, alpha=None):
    """A copy of a model, frozen, with a LoRA beside each Linear and Conv2d whose name `where` accepts.

    A layer that is too narrow for the rank gets the largest that it can have.
    """
    model = copy.deepcopy(model).requires_grad_(False)
    places = [(name, layer) for name, layer in model.named_modules()
              if isinstance(layer, (nn.Linear, nn.Conv2d)) and where(name)]
    check(places, "there is no Linear and no Conv2d of such a name in this model")
    for name, layer in places:
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, Lora(layer, min(rank, *layer.weight.shape[:2]), alpha))
    return model


def loras(model):
    """The LoRAs in a model, by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, Lora)}


def merged(base, adapted, strength=1.0):
    """A copy of a plain network, its weights changed as the LoRAs of its adapted copy say, times a strength.  Changes
    of several adapters add up: merged(merged(unet, one), other, 0.5)."""
    base = copy.deepcopy(base)
    with torch.no_grad():
        for name, lora in loras(adapted).items():
            base.get_submodule(name).weight += strength * lora.change()
    return base
