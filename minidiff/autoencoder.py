"""The latent autoencoder: 3 x 32 x 32 pixels to 4 x 4 x 4 numbers and back, 48 times smaller."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from minidiff.blocks import Down, ResBlock, Up, norm
from minidiff.checkpoint import load_weights
from minidiff.inputs import (
    check_alike,
    check_config,
    check_finite,
    check_number,
    check_pictures,
    check_range,
    check_shape,
    check_whole,
)
from minidiff.runtime import budget, generator_for, seed_all
from minidiff.train import Recipe


@dataclass(frozen=True)
class AutoencoderConfig:
    widths: tuple = (32, 64, 128)                                # channels at 16 x 16, 8 x 8 and 4 x 4
    blocks: tuple = (1, 1, 1)                                    # residual blocks at each size
    latent_channels: int = 4
    kl_weight: float = 1e-4


class Encoder(nn.Module):
    """Pictures (B, 3, 32, 32) -> mean and log-variance of their latents, each (B, 4, 4, 4)."""

    def __init__(self, config):
        super().__init__()
        layers, width = [], 3
        for wide, blocks in zip(config.widths, config.blocks, strict=True):
            layers += [Down(width, wide), *(ResBlock(wide, wide) for _ in range(blocks))]
            width = wide
        self.net = nn.Sequential(*layers, norm(width), nn.SiLU(), nn.Conv2d(width, 2 * config.latent_channels, 1))
        nn.init.constant_(self.net[-1].bias[config.latent_channels:], -6)             # begin with little noise

    def forward(self, pictures):
        check_shape("pictures", pictures, "B", 3, "H", "W")
        if not self.training:                                    # there no step waits for a look at the values
            check_pictures(pictures)
        return self.net(pictures).float().chunk(2, 1)


class Decoder(nn.Module):
    """Latents (B, 4, 4, 4) -> pictures (B, 3, 32, 32).

    The last step is tanh: ink is black or full nearly everywhere, and tanh is flat there.
    """

    def __init__(self, config):
        super().__init__()
        width = config.widths[-1]
        layers = [nn.Conv2d(config.latent_channels, width, 3, padding=1)]
        for wide, narrow, blocks in zip(config.widths[::-1], (*config.widths[-2::-1], 3), config.blocks[::-1]):
            layers += [*(ResBlock(wide, wide) for _ in range(blocks)), norm(wide), nn.SiLU(), Up(wide, narrow)]
        self.net = nn.Sequential(*layers)

    def forward(self, latents):
        if not self.training:                                    # there no step waits for a look at the values
            check_finite("the latents", latents, "too strong a guidance, or a training that went astray")
        return self.net(latents).float().tanh()


def kl_to_normal(mean, logvar):
    """How far the Gaussian N(mean, exp(logvar)) is from N(0, 1), in nats, element by element:
    (mean^2 + variance - 1 - log variance) / 2.                              [Kingma & Welling 2014, app. B]

    >>> kl_to_normal(torch.tensor(2.0), torch.tensor(0.0))
    tensor(2.)
    """
    return (mean.square() + logvar.exp() - 1 - logvar) / 2


class Autoencoder(nn.Module):
    """Encoder, decoder, and the measured mean and spread of the latents, channel by channel.

    `encode` gives latents of mean 0 and standard deviation 1, which is what diffusion expects; Stable
    Diffusion's 0.18215 is the same number, measured once and copied since.
    """

    def __init__(self, config=AutoencoderConfig()):
        super().__init__()
        check_config(config, zero=["blocks"])
        check_number("kl_weight", config.kl_weight)
        if len(config.widths) != len(config.blocks):
            raise ValueError(f"one number of blocks for each width: got {config.widths} and {config.blocks}")
        self.config, channels = config, config.latent_channels
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.register_buffer("latent_mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(1, channels, 1, 1))
        self.to(memory_format=torch.channels_last)               # which a CPU reads faster

    def encode(self, pictures):
        """Pictures (B, 3, 32, 32) -> their mean latents (B, 4, 4, 4), standardized; no randomness."""
        times = 2 ** len(self.config.widths)
        if pictures.ndim != 4 or pictures.shape[1] != 3 or pictures.shape[2] % times or pictures.shape[3] % times:
            raise ValueError(f"the autoencoder takes pictures (B, 3, H, W) with H and W multiples of {times}, "
                             f"got {tuple(pictures.shape)}")
        return (self.encoder(pictures)[0] - self.latent_mean) / self.latent_std

    def decode(self, latents):
        """Standardized latents (B, 4, 4, 4) -> pictures (B, 3, 32, 32)."""
        check_shape("latents", latents, "B", self.latent_std.shape[1], "H", "W")
        return self.decoder(latents * self.latent_std + self.latent_mean)

    def loss(self, pictures, generator):
        """Mean squared error of the reconstruction from a noisy latent, plus a little KL."""
        mean, logvar = self.encoder(pictures)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        rebuilt = self.decoder(mean + noise * (logvar / 2).exp())
        return F.mse_loss(rebuilt, pictures) + self.config.kl_weight * kl_to_normal(mean, logvar).mean()

    @torch.no_grad()
    def measure_latents(self, pictures):
        """Set the latents' mean and spread from training pictures."""
        check_whole("the number of pictures", len(pictures))
        latents = torch.cat([self.encoder(part)[0] for part in pictures.split(500)])
        spread = latents.std((0, 2, 3), keepdim=True)
        if not bool((spread > 0).all()):
            raise ValueError(f"the latents of {len(pictures)} pictures have no spread: are they all alike?")
        self.latent_mean.copy_(latents.mean((0, 2, 3), keepdim=True))
        self.latent_std.copy_(spread)


def recipe(wardrobe, seed=0, config=AutoencoderConfig(), steps=None, batch=None, lr=4e-3):
    """Train the autoencoder on random dressed digits."""
    seed_all(seed)
    device, batch = wardrobe.labels.device, budget(full=128, small=64, fast=32, given=batch)
    model = Autoencoder(config).to(device)

    def loss_of(model, generator):
        pictures, _ = wardrobe.sample(batch, generator)
        return model.loss(pictures, generator)

    def finish(model):
        pictures, _ = wardrobe.sample(4_000, generator_for(seed, 1, device=device))
        model.measure_latents(pictures)

    return Recipe("autoencoder", model, config, loss_of, budget(full=3_000, small=1_440, fast=30, given=steps),
                  batch, lr, seed, decay="linear", finish=finish)


def load(path):
    """The trained autoencoder in a checkpoint."""
    def build(config):
        return Autoencoder(AutoencoderConfig(**config | {k: tuple(config[k]) for k in ("widths", "blocks")}))

    return load_weights(path, build)[0]


def psnr(pictures, others):
    """Peak signal-to-noise ratio in dB of each picture, values in [-1, 1] (2 from peak to peak):
    10 log10(4 / mean squared error).  pictures, others (B, ...) -> (B,); what papers report is the mean over pictures.

    >>> psnr(torch.zeros(2, 5), torch.full((2, 5), 0.2))
    tensor([20., 20.])
    """
    check_alike(pictures=pictures, others=others)
    if pictures.numel():
        check_range(pictures)
        check_range(others)
    return 10 * torch.log10(4 / (pictures - others).square().flatten(1).mean(1))
