"""Control: a sketch says where, a caption says how.  A ControlNet learns beside the frozen machine."""

from dataclasses import dataclass

import torch

from minidiff.data.captions import caption_index, every_caption, sentence
from minidiff.data.skeletons import thin
from minidiff.diffusion.guidance import guided
from minidiff.diffusion.levels import sample_levels
from minidiff.diffusion.losses import denoising_loss, drop_condition
from minidiff.diffusion.samplers import heun_step, last, sample
from minidiff.models.controlnet import ControlNet, controlled
from minidiff.pipelines.text2image import BELOW, GUIDANCE, STEPS, base_of, tersely
from minidiff.tools.checks import check, check_shape
from minidiff.tools.runtime import autocast, budget, generator_for, noise_for, seeded
from minidiff.training.loop import Recipe


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
    tells where the digit is, and not how thick."""
    generator = generator_for(seed, 11, device=parts.device)
    said = captioned.allowed[torch.randint(len(captioned.allowed), (n,), generator=generator, device=parts.device)]
    rows = captioned.rows_for(said[:, 0], generator)
    latents, sketches = [], []
    for part in torch.arange(n).split(1_000):
        with autocast(parts.device):
            latents.append(parts.autoencoder.encode(captioned.render(rows[part], said[part])).float())
        sketches.append(thin(captioned.ink[rows[part], 1, said[part, 3]] > 127).byte())
    return Sketched(torch.cat(latents), torch.cat(sketches), said, captioned.ink[rows, said[:, 2], said[:, 3]])


def recipe(parts, data, seed=0, config=ControlConfig(), steps=None, batch=128, lr=8e-3, drop=0.5, net=ControlNet,
           start=lambda control: control):
    """Train a ControlNet on `Sketched`.  drop: how often the caption is emptied, so that the sketch is heard.
    [ControlNet section 3.4]  net(unet, widths) makes it, start(control) may change its first weights."""
    states, null = parts.clip.text_states([sentence(row) for row in every_caption()]), parts.clip.text_states([""])

    def make():
        with seeded(seed):
            return start(net(parts.unet, config.widths))

    def loss_of(control, generator):
        rows = torch.randint(len(data.latents), (batch,), generator=generator, device=parts.device)
        x0, hint = data.latents[rows], data.sketches[rows, None].float()
        cond = drop_condition(states[caption_index(tersely(data.said[rows], generator))], null, drop, generator)
        t = sample_levels(batch, parts.unet.schedule, generator)
        eps = torch.randn(x0.shape, generator=generator, device=parts.device)
        denoise = controlled(parts.unet, (control, hint, 1.0))
        return denoising_loss(denoise, x0, t, eps, parts.unet.schedule, cond).mean()

    return Recipe("control", make, config, loss_of, budget(full=800, small=800, fast=10, given=steps), batch, lr, seed,
                  ema=0.98, decay="linear", device=parts.device, objective={"base": base_of(parts), "drop": drop})


@torch.no_grad()
def draw(captions, sketches, seeds, parts, control, guidance=GUIDANCE, steps=STEPS, strength=1.0):
    """Captions, sketches (B, 32, 32) and seeds -> pictures (B, 3, 32, 32) in [-1, 1]."""
    check_shape("sketches", sketches, len(captions), 32, 32)
    check(len(captions) == len(seeds), f"one seed per caption: got {len(captions)} captions and {len(seeds)} seeds")
    text, null = parts.clip.text_states(captions), parts.clip.text_states([""])
    denoise = controlled(parts.unet, (control, sketches[:, None].float().to(parts.device), strength))
    noise = noise_for(seeds, (parts.unet.config.channels, 4, 4)).to(parts.device)
    latents = last(sample(guided(denoise, null, guidance, BELOW), noise, parts.unet.schedule, steps, heun_step, text))
    return parts.autoencoder.decode(latents).clamp(-1, 1)
