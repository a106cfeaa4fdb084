"""ControlNet: a copy of the UNet's way down learns to follow a hint, and speaks to the frozen UNet through convolutions
that begin at zero.  [Zhang, Rao & Agrawala 2023]"""

import copy

from torch import nn

from minidiff.diffusion.schedule import to_eps
from minidiff.models.blocks import conv_tower, zero_init
from minidiff.models.unet import Stage


def zero_conv(channels):
    """A 1 x 1 convolution whose weights and bias begin at zero: Z in the paper."""
    return zero_init(nn.Conv2d(channels, channels, 1))


class ControlNet(nn.Module):
    """What is added to the skips and to the bottom of a frozen UNet:  y_c = F(x) + Z(F_copy(x + Z(hint))).  [eq. 2]

    hint (B, 1, 32, 32), such as a skeleton: 1 where there is a line, 0 elsewhere.  Before the first step all zero
    convolutions are zero, so nothing is changed.  [eq. 3]  widths: channels of the hint encoder at 16 x 16 and
    8 x 8; each has a residual block.
    """

    def __init__(self, unet, widths=(16, 32)):
        super().__init__()
        whole = copy.deepcopy(unet).requires_grad_(True)
        self.copy, first = whole, unet.first.out_channels
        del whole.up, whole.last                                 # only the way down and the middle are copied
        blocks = [1] * len(widths) + [0]                         # residual blocks: none at 4 x 4
        self.hint = nn.Sequential(*conv_tower(1, (*widths, first), blocks), zero_conv(first))
        channels = [first] + [layer.res.conv2.out_channels if isinstance(layer, Stage) else layer.conv.out_channels
                              for layer in unet.down]
        self.zeros = nn.ModuleList(zero_conv(c) for c in [*channels, channels[-1]])

    def forward(self, xt, t, cond, hint):
        """-> a list: what is added to each skip connection, and as its last item what is added to the middle."""
        time = self.copy.time_state(t, cond)
        x, skips = self.copy.encode(xt, time, cond, plus=self.hint(hint))
        return [zero(part) for zero, part in zip(self.zeros, [*skips, self.copy.middle(x, time, cond)], strict=True)]


class Controlled(nn.Module):
    """A UNet that follows hints, a denoiser like any other.  controls: any number of triples (control, hint, strength);
    what they say is added up.

    hint (B, 1, 32, 32): guidance asks about each picture twice in one batch, and then the hint is repeated to fit.
    """

    def __init__(self, unet, *controls):
        super().__init__()
        self.unet, self.controls = unet, controls
        self.config, self.schedule = unet.config, unet.schedule

    def forward(self, xt, t, cond=None):
        time = self.unet.time_state(t, cond)
        x, skips = self.unet.encode(xt, time, cond)
        parts = [*skips, self.unet.middle(x, time, cond)]
        for control, hint, strength in self.controls:
            hint = hint.repeat(len(xt) // len(hint), 1, 1, 1)
            parts = [part + strength * more for part, more in zip(parts, control(xt, t, cond, hint), strict=True)]
        v = self.unet.decode(parts[-1], parts[:-1], time, cond)
        return to_eps(v, xt, t, self.schedule, self.config.predicts)
