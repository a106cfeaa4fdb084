"""A moving average of the weights, which draws better than the weights themselves."""

import torch

from minidiff.tools.checks import check_number


class EMA:
    """A moving average of the weights: shadow += (1 - decay) (weights - shadow).  [DDPM app. B]

    In the first steps the decay is (1 + n) / (10 + n), so that the average forgets the initial weights.
    """

    def __init__(self, model, decay):
        check_number("decay", decay, 0, 1)
        self.decay = decay
        self.updates = 0
        self.shadow = {name: p.detach().clone() for name, p in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model):
        """Move the average a little towards the weights, after each step of the training."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        weights = model.state_dict()
        torch._foreach_lerp_(list(self.shadow.values()), [weights[name] for name in self.shadow], 1 - decay)
