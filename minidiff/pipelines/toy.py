"""Diffusion on a plane, learned: a small network that removes noise from points."""

import torch

from minidiff.diffusion.levels import sample_levels
from minidiff.diffusion.losses import denoising_loss
from minidiff.models.mlp import PointConfig, PointDenoiser
from minidiff.tools.checks import check_examples
from minidiff.tools.files import checksum
from minidiff.tools.runtime import budget
from minidiff.training.loop import Recipe


def recipe(points, seed=0, config=PointConfig(), steps=None, batch=1024, lr=1e-2, ema=0.99):
    """Train a PointDenoiser on points (N, n); the loss is the squared error of what it predicts."""
    check_examples("points", points, "N", config.axes)

    def loss_of(model, generator):
        device = generator.device
        rows = torch.randint(len(points), (batch,), generator=generator, device=device)
        t = sample_levels(batch, model.schedule, generator)
        eps = torch.randn(batch, config.axes, generator=generator, device=device)
        return denoising_loss(model, points[rows], t, eps, model.schedule, weight=config.predicts).mean()

    return Recipe("toy", lambda: PointDenoiser(config), config, loss_of,
                  budget(full=4_000, small=2_000, fast=50, given=steps), batch, lr, seed, ema=ema,
                  objective={"data": checksum(points)[:16], "weight": config.predicts}, device=points.device)
