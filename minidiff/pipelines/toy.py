"""Diffusion on a plane, learned: a small network that removes noise from points."""

import torch

from minidiff.diffusion.levels import sample_levels
from minidiff.diffusion.losses import denoising_loss
from minidiff.models.mlp import PointConfig, PointDenoiser
from minidiff.tools.checks import check_shape
from minidiff.tools.files import checksum
from minidiff.tools.runtime import budget
from minidiff.training.loop import Recipe


def recipe(points, seed=0, config=PointConfig(), steps=None, batch=1024, lr=1e-2):
    """Train a PointDenoiser on points (N, 2)."""
    check_shape("points", points, "N", 2)

    def loss_of(model, generator):
        device = generator.device
        rows = torch.randint(len(points), (batch,), generator=generator, device=device)
        t = sample_levels(batch, model.schedule, generator)
        eps = torch.randn(batch, 2, generator=generator, device=device)
        return denoising_loss(model, points[rows], t, eps, model.schedule).mean()

    return Recipe("toy", lambda: PointDenoiser(config), config, loss_of,
                  budget(full=4_000, small=2_000, fast=50, given=steps), batch, lr, seed, ema=0.99,
                  objective={"data": checksum(points)[:16], "weight": "v"}, device=points.device)
