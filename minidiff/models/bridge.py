"""A bridge: sounds come into the space that captions and pictures share already, and any of them can be a condition.
[Tang et al. 2023, CoDi, section 3.2]"""

from dataclasses import dataclass

from torch import nn
from torch.nn import functional as F

from minidiff.models.blocks import conv_tower
from minidiff.tools.checks import check_pictures


@dataclass(frozen=True)
class BridgeConfig:
    widths: tuple = (32, 64, 96)                                 # at 16 x 16, 8 x 8 and 4 x 4
    embed_width: int = 64                                        # of the space that it leads to


class SoundTower(nn.Module):
    """Spectrograms (B, 1, 32, 32) -> embeddings (B, D) of length one: the picture tower of CLIP, for sounds."""

    def __init__(self, config=BridgeConfig()):
        super().__init__()
        self.config = config
        self.net = nn.Sequential(*conv_tower(1, config.widths, [1] * len(config.widths)), nn.AvgPool2d(2), nn.Flatten(),
                                 nn.Linear(4 * config.widths[-1], config.embed_width))

    def forward(self, spectrograms):
        if not self.training:                                    # there no step waits for a look at the values
            check_pictures(spectrograms, 1, 32, 32, name="spectrograms")
        return F.normalize(self.net(spectrograms).float(), dim=-1)


def look_up(queries, keys, states, sharpness):
    """Embeddings as conditions: attention over a dictionary of captions, whose keys are their embeddings and whose
    values are their states.  The condition is the mean of the states of captions that lie near.

    queries (B, D), keys (M, D), of length one; states (M, L, E) -> (B, L, E)
    """
    weights = (sharpness * queries @ keys.T).softmax(-1)         # (B, M)
    return (weights @ states.flatten(1)).unflatten(1, states.shape[1:])
