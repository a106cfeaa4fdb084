"""A denoiser of pictures or latents: a UNet, or another network that keeps its contract."""

import torch

from minidiff.diffusion.levels import sample_levels
from minidiff.diffusion.losses import denoising_loss, drop_condition
from minidiff.models.unet import UNet, UNetConfig
from minidiff.tools.checks import check, check_number, kind_of
from minidiff.tools.files import checksum
from minidiff.tools.runtime import budget
from minidiff.training.checkpoint import load_model
from minidiff.training.loop import Recipe


def recipe(latents, conds, null, seed=0, config=None, steps=None, batch=None, lr=8e-3, decay="cosine", drop=0.1,
           levels=(), weight="v", net=UNet, objective=None):
    """Train a UNet, or another `net` that keeps its contract, on clean pictures or latents (N, C, H, W).

    conds(rows, generator) -> the conditions (B, L, D) of those rows, null (1, L, D) the one that says nothing,
    which replaces a share `drop` of them; both None for a UNet without conditions.  `levels`: logit_mean and logit_std
    of the levels trained on, see `sample_levels`; empty for all alike.  `weight`: see `denoising_loss`.
    objective: what else decides what is learned, for the settings; the checksum of the data, if not given.
    """
    config = config or budget(full=UNetConfig(widths=(128,), blocks=2), small=UNetConfig(), fast=UNetConfig())
    batch = budget(full=512, small=256, fast=64, given=batch)
    good = torch.is_tensor(latents) and latents.ndim == 4 and latents.is_floating_point() and len(latents)
    check(good and latents.abs().max() < 100, f"pictures in [-1, 1] or latents of std 1, (N, C, H, W), got "
          f"{kind_of(latents)}{f' up to {latents.abs().max():g}: bytes in 0..255?' if good else ''}")
    check((conds is None) == (not config.cond_width), "a UNet with cond_width needs `conds` and `null`")
    check_number("drop", drop, 0, 1)

    def loss_of(model, generator):
        device = generator.device
        rows = torch.randint(len(latents), (batch,), generator=generator, device=device)
        x0 = latents[rows]
        t = sample_levels(batch, model.schedule, generator, *levels)
        eps = torch.randn(x0.shape, generator=generator, device=device)
        cond = conds and drop_condition(conds(rows, generator), null, drop, generator)
        return denoising_loss(model, x0, t, eps, model.schedule, cond, weight).mean()

    return Recipe("unet", lambda: net(config), config, loss_of, budget(full=2_500, small=900, fast=30, given=steps),
                  batch, lr, seed, decay=decay, ema=0.995, device=latents.device,
                  objective={"weight": weight, "levels": list(levels), "drop": drop, "network": net.__name__}
                  | (objective or {"data": checksum(latents)[:16]}))


def load(path):
    """The trained UNet in a checkpoint."""
    return load_model(path, UNet, UNetConfig)[0]
