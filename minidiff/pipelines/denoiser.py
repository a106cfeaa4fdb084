"""A denoiser of pictures or latents: a UNet, or another network that keeps its contract."""

import torch

from minidiff.diffusion.levels import sample_levels
from minidiff.diffusion.losses import denoising_loss, drop_condition
from minidiff.models.unet import UNet, UNetConfig
from minidiff.tools.checks import check, check_examples, check_number, check_shape, kind_of
from minidiff.tools.files import checksum
from minidiff.tools.runtime import budget, generator_for
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
    check_number("drop", drop, 0, 1)
    check_latents(latents, config)
    check_conditions(conds, null, latents, config, seed)

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


def check_latents(latents, config):
    """What is trained on, looked at once: in range, and of a size that comes back from the bottom of the U."""
    check_examples("pictures or latents", latents, "N", "C", "H", "W", say="pictures in [-1, 1] or latents of std 1")
    check(latents.min() <= -0.1 * latents.max(), "nothing in these pictures or latents is far below 0: pictures in "
          "[0, 1]? Multiply by 2 and subtract 1")
    channels = getattr(config, "in_channels", None) or getattr(config, "channels", "C")
    check_shape("pictures or latents", latents, "N", channels, "H", "W")
    unit = getattr(config, "patch", 1) * 2 ** (len(getattr(config, "widths", "1")) - 1)
    check(not latents.shape[2] % unit and not latents.shape[3] % unit, f"a UNet of these widths and this patch takes "
          f"sides that are multiples of {unit}, got {kind_of(latents)}")
    places = getattr(config, "size", None)
    check(places in (None, latents.shape[2]), f"this network takes sides of {places}, got {kind_of(latents)}")


def check_conditions(conds, null, latents, config, seed):
    """The first and the last condition, looked at once, beside the null condition."""
    width, n = config.cond_width, len(latents)
    check((conds is None) == (not width), "a UNet with cond_width needs `conds` and `null`, one without takes None")
    if conds is None:
        return
    check(callable(conds), "conds is a function of rows, such as `lambda rows, generator: states[rows]`, got "
          f"{kind_of(conds)}")
    try:
        cond = conds(torch.tensor([0, n - 1], device=latents.device), generator_for(seed, device=latents.device))
    except IndexError as error:
        raise ValueError(f"conds has none for the last of {n} pictures or latents: one for each ({error})") from error
    check_shape("what conds gives of two rows", cond, 2, "L", width)
    good = torch.is_tensor(null) and null.shape in (cond[:1].shape, cond[0].shape)
    check(good, f"null must be a tensor {tuple(cond[:1].shape)}, as the conditions are; got {kind_of(null)}")
    check(bool(cond.isfinite().all()), "there is NaN or infinity in the conditions")


def load(path):
    """The trained UNet in a checkpoint."""
    return load_model(path, UNet, UNetConfig)[0]
