"""What adapters share: what is kept of networks that are mostly frozen, and layers behind the stages of a UNet."""

import copy

from torch import nn

from minidiff.models.unet import Stage


class Adapter(nn.ModuleDict):
    """Networks by name, of which most is frozen.  What may learn when it is made is the adapter: its state, and so its
    file, is that alone.

    >>> first, second = nn.Linear(2, 3).requires_grad_(False), nn.Linear(3, 5)
    >>> list(Adapter({"first": first, "second": second}).state_dict())
    ['second.weight', 'second.bias']
    """

    def __init__(self, networks):
        super().__init__(networks)
        self.own = [name for name, p in self.named_parameters() if p.requires_grad]

    def state_dict(self, *args, **kwargs):
        """The tensors that are learned, by name."""
        whole = super().state_dict(*args, **kwargs)
        return {name: whole[name] for name in self.own}

    def load_state_dict(self, state):
        """Put them back."""
        super().load_state_dict(state, strict=False)


class Followed(Stage):
    """A stage of a UNet, and behind it a layer.  cond: the states of the caption, and then what the layer is told."""

    def __init__(self, stage, layer):
        nn.Module.__init__(self)
        self.stage, self.layer = stage, layer

    def forward(self, x, time, cond):
        text, *told = cond
        return self.layer(self.stage(x, time, text), *told)


def stages_of(unet):
    """The stages of a UNet, in the order in which they are passed."""
    return [layer for layer in (*unet.down, unet.middle, *unet.up) if isinstance(layer, Stage)]


def followed(unet, layers):
    """A UNet of the same weights, with one of the layers behind each of its stages; nothing is copied."""
    rest = iter(layers)

    def behind(stage):
        return Followed(stage, next(rest)) if isinstance(stage, Stage) else stage

    joined = copy.copy(unet)                                     # other modules hold the same weights
    joined._modules = unet._modules | {"down": nn.ModuleList(map(behind, unet.down)), "middle": behind(unet.middle),
                                       "up": nn.ModuleList(map(behind, unet.up))}
    return joined
