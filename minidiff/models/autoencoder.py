"""The latent autoencoder: 3 x 32 x 32 pixels to 4 x 4 x 4 numbers and back, 48 times smaller.  Other pictures of one
size, such as spectrograms, have other channels."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from minidiff.models.blocks import ResBlock, Up, conv_tower, norm
from minidiff.tools.checks import check, check_pictures


@dataclass(frozen=True)
class AutoencoderConfig:
    widths: tuple = (32, 64, 128)                                # channels at 16 x 16, 8 x 8 and 4 x 4
    blocks: tuple = (1, 1, 1)                                    # residual blocks at each size
    latent_channels: int = 4
    kl_weight: float = 1e-4
    channels: int = 3                                            # of the pictures; 1 for spectrograms


class Encoder(nn.Module):
    """Pictures (B, C, 32, 32) -> mean and log-variance of their latents, each (B, 4, 4, 4)."""

    def __init__(self, config):
        super().__init__()
        self.net = nn.Sequential(*conv_tower(config.channels, config.widths, config.blocks),
                                 nn.Conv2d(config.widths[-1], 2 * config.latent_channels, 1))
        nn.init.constant_(self.net[-1].bias[config.latent_channels:], -6)             # begin with little noise

    def forward(self, pictures):
        return self.net(pictures).float().chunk(2, 1)


class Decoder(nn.Module):
    """Latents (B, 4, 4, 4) -> pictures (B, C, 32, 32).

    The last step is tanh: the ink of digits is black or full nearly everywhere, and tanh is flat there.
    """

    def __init__(self, config):
        super().__init__()
        width = config.widths[-1]
        layers = [nn.Conv2d(config.latent_channels, width, 3, padding=1)]
        narrower = (*config.widths[-2::-1], config.channels)
        for wide, narrow, blocks in zip(config.widths[::-1], narrower, config.blocks[::-1]):
            layers += [*(ResBlock(wide, wide) for _ in range(blocks)), norm(wide), nn.SiLU(), Up(wide, narrow)]
        self.net = nn.Sequential(*layers)

    def forward(self, latents):
        return self.net(latents).float().tanh()


def kl_to_normal(mean, logvar):
    """How far the Gaussian N(mean, exp(logvar)) is from N(0, 1), in nats, element by element:
    (mean^2 + variance - 1 - log variance) / 2.                              [Kingma & Welling 2014, app. B]

    >>> kl_to_normal(torch.tensor(2.0), torch.tensor(0.0))
    tensor(2.)
    """
    return (mean.square() + logvar.exp() - 1 - logvar) / 2


class Autoencoder(nn.Module):
    """Encoder, decoder, and the measured mean and standard deviation of the latents, channel by channel.

    `encode` gives latents of mean 0 and standard deviation 1, which is what diffusion expects; Stable
    Diffusion's 0.18215 is the same number, measured once and copied since.
    """

    def __init__(self, config=AutoencoderConfig()):
        super().__init__()
        self.config, channels = config, config.latent_channels
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.register_buffer("latent_mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(1, channels, 1, 1))

    def encode(self, pictures):
        """Pictures (B, C, 32, 32) -> their mean latents (B, 4, 4, 4), standardized; no randomness."""
        if not self.training:                                    # there no step waits for a look at the values
            check_pictures(pictures, self.config.channels)
            check(not pictures.shape[2] % 8 and not pictures.shape[3] % 8,
                  f"the sides of pictures must be multiples of 8 to come back as large, got {tuple(pictures.shape)}")
        return (self.encoder(pictures)[0] - self.latent_mean) / self.latent_std

    def decode(self, latents):
        """Standardized latents (B, 4, 4, 4) -> pictures (B, C, 32, 32)."""
        check(self.training or bool(latents.isfinite().all()), "there is NaN or infinity in the latents: too strong a "
              "guidance, or a training that went astray?")
        return self.decoder(latents * self.latent_std + self.latent_mean)

    def loss(self, pictures, generator):
        """Mean squared error of the reconstruction from a noisy latent, plus a little KL."""
        mean, logvar = self.encoder(pictures)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        rebuilt = self.decoder(mean + noise * (logvar / 2).exp())
        return F.mse_loss(rebuilt, pictures) + self.config.kl_weight * kl_to_normal(mean, logvar).mean()

    @torch.no_grad()
    def measure_latents(self, pictures):
        """Set the latents' mean and standard deviation from training pictures."""
        latents = torch.cat([self.encoder(part)[0] for part in pictures.split(500)])
        self.latent_mean.copy_(latents.mean((0, 2, 3), keepdim=True))
        self.latent_std.copy_(latents.std((0, 2, 3), keepdim=True))
