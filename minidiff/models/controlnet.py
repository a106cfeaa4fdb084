"""ControlNet: a copy of the UNet's way down learns to follow a hint, and speaks to the frozen UNet through zeros.
[Zhang, Rao & Agrawala 2023]"""

import copy

from torch import nn

from minidiff.diffusion.schedule import to_eps
from minidiff.models.blocks import Down, zero_init
from minidiff.models.unet import Stage


def zero_conv(channels):
    """A convolution of 1 x 1 whose weights and bias begin at zero: Z in the paper."""
    return zero_init(nn.Conv2d(channels, channels, 1))


class ControlNet(nn.Module):
    """What is added to the skips and to the bottom of a frozen UNet:  y_c = F(x) + Z(F_copy(x + Z(hint))).  [eq. 2]

    hint (B, 1, 32, 32), such as a skeleton: 1 where there is a line, 0 elsewhere.  Before the first step all zero
    convolutions are zero, so that nothing is changed.  [eq. 3]
    """

    def __init__(self, unet, widths=(16, 32)):
        super().__init__()
        whole = copy.deepcopy(unet).requires_grad_(True)
        self.copy, first = whole, unet.first.out_channels
        del whole.up, whole.last                                 # only the way down and the middle are copied
        layers = [nn.Sequential(Down(a, b), nn.SiLU()) for a, b in zip((1, *widths), (*widths, first))]
        self.hint = nn.Sequential(*layers, zero_conv(first))     # 32 x 32 -> 4 x 4
        channels = [first] + [layer.res.conv2.out_channels if isinstance(layer, Stage) else layer.conv.out_channels
                              for layer in unet.down]
        self.zeros = nn.ModuleList(zero_conv(c) for c in [*channels, channels[-1]])

    def forward(self, xt, t, cond, hint):
        """-> what is added to each skip, and as the last one to the bottom."""
        time = self.copy.time_state(t, cond)
        x, skips = self.copy.encode(xt, time, cond, plus=self.hint(hint))
        return [zero(part) for zero, part in zip(self.zeros, [*skips, self.copy.middle(x, time, cond)], strict=True)]


def controlled(unet, *controls):
    """A denoiser that follows hints.  controls: (control, hint, strength), as many as one likes; they add up.

    hint (B, 1, 32, 32); where the denoiser is asked about more pictures at once, as guidance does, it is repeated.
    """
    def denoise(xt, t, cond=None):
        time = unet.time_state(t, cond)
        x, skips = unet.encode(xt, time, cond)
        parts = [*skips, unet.middle(x, time, cond)]
        for control, hint, strength in controls:
            hint = hint.repeat(len(xt) // len(hint), 1, 1, 1)
            parts = [part + strength * more for part, more in zip(parts, control(xt, t, cond, hint), strict=True)]
        v = unet.decode(parts[-1], parts[:-1], time, cond)
        return to_eps(v, xt, t, unet.schedule, unet.config.predicts)

    return denoise
