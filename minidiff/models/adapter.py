"""What is kept of networks that are mostly frozen: the part that learns, and nothing of the base."""

from torch import nn


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
