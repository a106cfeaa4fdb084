"""Control: a sketch says where, a caption says how.  A ControlNet learns beside the frozen machine."""

from dataclasses import dataclass

import torch

from minidiff.data.captions import caption_index, every_caption, sentence
from minidiff.data.skeletons import thin
from minidiff.diffusion.guidance import guided_away
from minidiff.diffusion.levels import sample_levels
from minidiff.diffusion.losses import denoising_loss, drop_condition
from minidiff.diffusion.samplers import heun_step, last, sample
from minidiff.models.controlnet import Controlled, ControlNet
from minidiff.pipelines.text2image import STEPS, base_of, load_beside, tersely
from minidiff.tools.checks import check, check_shape
from minidiff.tools.files import checksum
from minidiff.tools.runtime import autocast, budget, generator_for, noise_for
from minidiff.training.loop import Recipe

GUIDANCE = 2.0                                                   # away from the machine without a sketch


@dataclass(frozen=True)
class ControlConfig:
    widths: tuple = (16, 32)                                     # channels of the hint encoder at 16 x 16 and 8 x 8


@dataclass(frozen=True, eq=False)
class Sketched:
    """Latents (N, 4, 4, 4), the sketches that belong to them, bytes (N, 32, 32), 0 or 1, attributes (N, 4)."""

    latents: torch.Tensor
    sketches: torch.Tensor
    said: torch.Tensor
    ink: torch.Tensor                                            # of the digit itself, bytes (N, 32, 32)


@torch.no_grad()
def sketched(captioned, parts, n, seed=0):
    """n digits as latents, with their skeletons.  A skeleton is that of the plain stroke, whatever the caption says: it
    says where the digit is, not how thick it is."""
    generator = generator_for(seed, 11, device=parts.device)
    said = captioned.allowed[torch.randint(len(captioned.allowed), (n,), generator=generator, device=parts.device)]
    rows = captioned.rows_for(said[:, 0], generator)
    latents, sketches = [], []
    for part in torch.arange(n).split(1_000):
        with autocast(parts.device):
            latents.append(parts.autoencoder.encode(captioned.render(rows[part], said[part])).float())
        sketches.append(thin(captioned.ink[rows[part], 1, said[part, 3]] > 127).byte())
    return Sketched(torch.cat(latents), torch.cat(sketches), said, captioned.ink[rows, said[:, 2], said[:, 3]])


def lessons(captioned, parts, seed=0):
    """What the recipe learns from, as much as the budget allows."""
    return sketched(captioned, parts, budget(full=100_000, small=8_000, fast=200), seed)


def new_control(parts, config):
    """An untrained ControlNet beside a machine."""
    return ControlNet(parts.unet, config.widths)


def recipe(parts, data, seed=0, config=ControlConfig(), steps=None, batch=128, lr=1.6e-2, drop=0.1, make=new_control,
           follow=Controlled):
    """Train a ControlNet on `Sketched`.  drop: the share of captions that are emptied, so that the network also learns
    to draw from the sketch alone; the paper empties half of them [section 3.3].  make(parts, config) builds it;
    follow(unet, (control, hint, strength)) is the denoiser that learns."""
    states, null = parts.clip.text_states([sentence(row) for row in every_caption()]), parts.clip.text_states([""])

    def loss_of(control, generator):
        rows = torch.randint(len(data.latents), (batch,), generator=generator, device=parts.device)
        x0, hint = data.latents[rows], data.sketches[rows, None].float()
        cond = drop_condition(states[caption_index(tersely(data.said[rows], generator))], null, drop, generator)
        t = sample_levels(batch, parts.unet.schedule, generator)
        eps = torch.randn(x0.shape, generator=generator, device=parts.device)
        return denoising_loss(follow(parts.unet, (control, hint, 1.0)), x0, t, eps, parts.unet.schedule, cond).mean()

    return Recipe("control", lambda: make(parts, config), config, loss_of,
                  budget(full=700, small=700, fast=10, given=steps), batch, lr, seed, ema=0.98, decay="linear",
                  device=parts.device, objective={"base": base_of(parts), "drop": drop,
                                                  "data": checksum(data.latents, data.sketches)[:16]})


@torch.no_grad()
def draw(captions, sketches, seeds, parts, control, guidance=GUIDANCE, strength=1.0, steps=STEPS):
    """Captions, sketches (B, 32, 32) and seeds -> pictures (B, 3, 32, 32) in [-1, 1].

    The frozen machine is asked without caption and sketch, the steered one with both, so that guidance exaggerates
    both: the sketch is followed more exactly than it was in training.
    """
    check_shape("sketches", sketches, "B", 32, 32)
    check(len(captions) == len(sketches) == len(seeds), f"a sketch and a seed per caption: got {len(captions)} "
          f"captions, {len(sketches)} sketches and {len(seeds)} seeds")
    text, null = parts.clip.text_states(captions), parts.clip.text_states([""])
    steered = Controlled(parts.unet, (control, sketches[:, None].float().to(parts.device), strength))
    denoise = guided_away(steered, parts.unet, null, guidance)
    noise = noise_for(seeds, (parts.unet.config.channels, 4, 4)).to(parts.device)
    latents = last(sample(denoise, noise, parts.unet.schedule, steps, heun_step, text))
    return parts.autoencoder.decode(latents).clamp(-1, 1)


def load(path, parts):
    """The trained ControlNet of a machine."""
    return load_beside(path, parts, ControlConfig, new_control, "`python -m minidiff control --hint FILE CAPTION` "
                                                                "trains it")
