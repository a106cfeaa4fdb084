"""Films: a motion module learns from clips, beside the frozen machine, how a digit goes on from frame to frame."""

import copy
from dataclasses import dataclass, replace
from functools import partial

import torch

from minidiff.data.captions import caption_index, every_caption, sentence
from minidiff.data.clips import FRAMES, Clips, frames_of, hops, motion_counts, sample_clips, split_motion
from minidiff.diffusion.flow import angle_step
from minidiff.diffusion.guidance import guided
from minidiff.diffusion.levels import sample_levels
from minidiff.diffusion.losses import denoising_loss
from minidiff.diffusion.samplers import last, sample
from minidiff.models.adapter import Adapter
from minidiff.models.lora import loras, merged, with_lora
from minidiff.models.motion import MotionConfig, MotionModule, Moving
from minidiff.models.text_encoder import spoken
from minidiff.pipelines.text2image import base_of, load_beside, tersely
from minidiff.tools.checks import check, check_shape
from minidiff.tools.files import checksum
from minidiff.tools.runtime import autocast, budget, generator_for, noise_for, seeded
from minidiff.training.loop import Recipe

GUIDANCE, STEPS = 1.75, 8                                        # of caption and motion; of Heun's method in the angle
LEVELS = (0.25, 1.25)                                            # where training crowds, see `sample_levels`
DROPPED = (0.03, 0.03, 0.04)                                     # shares without both, the caption, the motion


@dataclass(frozen=True, eq=False)
class Filmed:
    """Clips as latents (N, F, 4, 4, 4), the attributes of their digits (N, 4), words of motion (N, 7)."""

    latents: torch.Tensor
    said: torch.Tensor
    counts: torch.Tensor


@torch.no_grad()
def filmed(clips, parts, look=lambda frames: frames):
    """Clips as the machine's latents.  look(frames): what is done to the pictures before, such as a watermark."""
    latents = []
    for part in clips.frames.split(250):
        with autocast(parts.device):
            latents.append(parts.autoencoder.encode(look(part.flatten(0, 1))).float().unflatten(0, part.shape[:2]))
    return Filmed(torch.cat(latents), clips.said, motion_counts(clips.motion.tolist()).to(parts.device))


def lessons(captioned, parts, seed=0, n=None, look=lambda frames: frames):
    """What the recipe learns from, as much as the budget allows."""
    n = budget(full=20_000, small=4_000, fast=40, given=n)
    return filmed(sample_clips(captioned, n, generator_for(seed, 14, device=parts.device)), parts, look)


@torch.no_grad()
def bouncing(captioned, parts, n=30, seed=0):
    """Clips of a motion for which there is no word: digits that hop."""
    generator = generator_for(seed, 15, device=parts.device)
    said = captioned.allowed[torch.randint(len(captioned.allowed), (n,), generator=generator, device=parts.device)]
    ink = captioned.ink[captioned.rows_for(said[:, 0], generator), said[:, 2], said[:, 3]]
    clips = Clips(frames_of(ink, said[:, 1], hops(n).to(parts.device)), said, torch.zeros(n, dtype=torch.long))
    return replace(filmed(clips, parts), counts=torch.zeros(n, 7, device=parts.device))


def new_module(parts, config):
    """An untrained motion module for a machine."""
    return MotionModule(parts.unet, config)


def loss_on(parts, data, batch):
    """The loss of a motion module on random clips of `Filmed`; some captions and some motions are not said."""
    states, null = parts.clip.text_states([sentence(row) for row in every_caption()]), parts.clip.text_states([""])
    schedule, device, (neither, no_caption, _) = parts.unet.schedule, parts.device, DROPPED

    def loss_of(module, generator):
        rows = torch.randint(len(data.latents), (batch,), generator=generator, device=device)
        chance = torch.rand(batch, generator=generator, device=device).view(-1, 1)
        text = states[caption_index(tersely(data.said[rows], generator))]
        text = torch.where(chance[..., None] < neither + no_caption, null, text)
        still_said = (chance >= neither) & ((chance < neither + no_caption) | (chance >= sum(DROPPED)))
        cond = spoken(text, data.counts[rows] * still_said)
        t = sample_levels(batch, schedule, generator, *LEVELS)
        eps = torch.randn(data.latents[rows].shape, generator=generator, device=device)
        return denoising_loss(Moving(parts.unet, module), data.latents[rows], t, eps, schedule, cond).mean()

    return loss_of


def recipe(parts, data, seed=0, config=MotionConfig(), steps=None, batch=24, lr=1.4e-2, make=new_module):
    """Train a motion module on `Filmed`, beside a frozen machine."""
    return Recipe("motion", lambda: make(parts, config), config, loss_on(parts, data, batch),
                  budget(full=1_300, small=1_300, fast=4, given=steps), batch, lr, seed, ema=0.98, decay="linear",
                  device=parts.device, objective={"base": base_of(parts), "dropped": list(DROPPED),
                                                  "data": checksum(data.latents, data.counts)[:16]})


@dataclass(frozen=True)
class LoraConfig:
    rank: int = 8


def module_with_lora(module, config, seed):
    """A frozen motion module with a LoRA beside each of its layers, as an `Adapter`."""
    with seeded(seed):
        return Adapter({"module": with_lora(module, config.rank)})


def motion_lora(parts, module, data, seed=0, config=LoraConfig(), steps=None, batch=24, lr=1e-2):
    """Train a MotionLoRA: a motion module learns one more motion from a few clips, by thin matrices beside it.
    [AnimateDiff section 4.3]  Its model's "module" is a motion module like any other."""
    loss_of = loss_on(parts, data, batch)
    return Recipe("motion_lora", partial(module_with_lora, module, config, seed), config,
                  lambda adapter, generator: loss_of(adapter["module"], generator),
                  budget(full=300, small=300, fast=4, given=steps), batch, lr, seed, ema=0.98, decay="linear",
                  device=parts.device, objective={"base": base_of(parts), "module": checksum(module.state_dict())[:16],
                                                  "data": checksum(data.latents, data.counts)[:16]})


def at_strength(adapter, strength):
    """The motion module of a MotionLoRA, of which so much is heard: 0 is the module alone, 1 is as it was trained."""
    module = copy.deepcopy(adapter["module"])
    for lora in loras(module).values():
        lora.strength = strength
    return module


def unet_with_lora(unet, config, seed):
    """A frozen UNet with a LoRA beside each of its layers, as an `Adapter`."""
    with seeded(seed):
        return Adapter({"unet": with_lora(unet, config.rank)})


def domain_adapter(parts, data, seed=0, config=LoraConfig(), steps=None, batch=128, lr=1e-2, frames=slice(3, 5)):
    """Train a domain adapter: a LoRA of the UNet learns how the frames of the clips look, one by one, so that the
    motion module need not.  [AnimateDiff section 4.1, eq. 4]

    frames: which ones of each clip; the two in the middle show nearly the poses that the machine knows.  From all of
    them it would also learn the poses, and take them along when it is taken out.
    """
    states = parts.clip.text_states([sentence(row) for row in every_caption()])
    chosen = data.latents[:, frames]
    latents, said = chosen.flatten(0, 1), data.said.repeat_interleave(chosen.shape[1], 0)

    def loss_of(adapter, generator):
        rows = torch.randint(len(latents), (batch,), generator=generator, device=parts.device)
        t = sample_levels(batch, parts.unet.schedule, generator, *LEVELS)
        eps = torch.randn(latents[rows].shape, generator=generator, device=parts.device)
        cond = states[caption_index(tersely(said[rows], generator))]
        return denoising_loss(adapter["unet"], latents[rows], t, eps, parts.unet.schedule, cond).mean()

    return Recipe("domain_adapter", partial(unet_with_lora, parts.unet, config, seed), config, loss_of,
                  budget(full=400, small=400, fast=4, given=steps), batch, lr, seed, ema=0.98, decay="linear",
                  device=parts.device, objective={"base": base_of(parts), "data": checksum(latents)[:16]})


def adapted(parts, adapter, strength=1.0):
    """A machine whose UNet has a domain adapter merged into it."""
    return replace(parts, unet=merged(parts.unet, adapter["unet"], strength).requires_grad_(False))


@torch.no_grad()
def draw(captions, seeds, parts, module, guidance=GUIDANCE, steps=STEPS, step=angle_step, frames=FRAMES,
         around=lambda film: film, when=None, schedule=None):
    """Captions such as "a red seven turning left" and seeds -> films (B, F, 3, 32, 32) in [-1, 1].

    around(denoiser): what is put around the denoiser of clips, such as `in_windows`; when (F,): the times of the
    frames; schedule: to sample with another one than the machine's.
    """
    check(len(captions) == len(seeds), f"one seed per caption: got {len(captions)} captions and {len(seeds)} seeds")
    pictures, motions = zip(*map(split_motion, captions), strict=True)
    if when is not None:
        check_shape("when", when, frames)
    cond = spoken(parts.clip.text_states(list(pictures)), motion_counts(motions).to(parts.device))
    null = spoken(parts.clip.text_states([""]), motion_counts([None]).to(parts.device))
    denoise = guided(around(Moving(parts.unet, module, when)), null, guidance)
    noise = noise_for(seeds, (frames, parts.unet.config.channels, 4, 4)).to(parts.device)
    latents = last(sample(denoise, noise, schedule or parts.unet.schedule, steps, step, cond))
    return parts.autoencoder.decode(latents.flatten(0, 1)).clamp(-1, 1).unflatten(0, (-1, frames))


def load(path, parts):
    """The trained motion module of a machine."""
    return load_beside(path, parts, MotionConfig, new_module, "`python -m minidiff film CAPTION` trains it")
