"""A small digit classifier, whose features also serve as the space in which crowds of pictures are compared."""

from dataclasses import dataclass

from torch import nn
from torch.nn import functional as F

from minidiff.models.blocks import conv_tower
from minidiff.tools.checks import check_pictures


@dataclass(frozen=True)
class ClassifierConfig:
    widths: tuple = (32, 64, 64)
    feature_width: int = 64
    classes: int = 10


class Classifier(nn.Module):
    """A small digit classifier, (B, C, 32, 32) -> logits (B, 10), whose last hidden layer (B, 64) also serves as
    the feature space of the Frechet distance.  Gray pictures count as white ones."""

    def __init__(self, config=ClassifierConfig()):
        super().__init__()
        self.config = config
        self.net = nn.Sequential(*conv_tower(3, config.widths, [1] * len(config.widths)), nn.Flatten(),
                                 nn.Linear(16 * config.widths[-1], config.feature_width))
        self.out = nn.Linear(config.feature_width, config.classes)

    def features(self, pictures):
        """Pictures (B, C, 32, 32) in [-1, 1] -> (B, 64)."""
        if not self.training:                                    # there no step waits for a look at the values
            check_pictures(pictures, "1 or 3", 32, 32)
        return self.net(pictures.expand(-1, 3, -1, -1)).float()

    def forward(self, pictures):
        return self.out(F.silu(self.features(pictures))).float()
