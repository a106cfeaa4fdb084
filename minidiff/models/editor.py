"""The editor: a denoiser that sees the picture to be changed beside the noisy one.
[Brooks, Holynski & Efros 2023, InstructPix2Pix]"""

from dataclasses import replace

import torch
from torch import nn

from minidiff.models.unet import UNet


class Editor(nn.Module):
    """A UNet with twice as many input channels: the noisy latent xt, and `source`, the latent of the given picture.
    It begins as a trained UNet, and the weights of the new channels begin at zero.  [section 3.2]

    nothing (1, C, H, W): the latent that stands for no picture; `learned`: whether it is trained, too.
    """

    def __init__(self, unet, nothing, learned=False):
        super().__init__()
        channels, weights = unet.config.channels, dict(unet.state_dict())
        self.unet = UNet(replace(unet.config, in_channels=2 * channels), unet.schedule)
        first = weights["first.weight"]                          # (D, C, 3, 3)
        weights["first.weight"] = torch.cat([first, torch.zeros_like(first)], 1)       # (D, 2 C, 3, 3)
        self.unet.load_state_dict(weights)
        self.nothing = nn.Parameter(nothing.detach().clone(), requires_grad=learned)

    def forward(self, xt, t, cond, source):
        return self.unet(torch.cat([xt, source], 1), t, cond)
