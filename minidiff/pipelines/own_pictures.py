"""Pictures of one's own: a small UNet learns to draw more of them, in pixels, and hears the words of their captions."""

import torch

from minidiff.data.folders import CaptionedPictures, states_of, word_ids
from minidiff.diffusion.guidance import clipped, guided
from minidiff.diffusion.levels import karras_levels
from minidiff.diffusion.samplers import heun_step, last, sample
from minidiff.evaluation.metrics import nearest
from minidiff.models.unet import UNet, UNetConfig
from minidiff.pipelines import denoiser
from minidiff.tools.checks import check, kind_of
from minidiff.tools.runtime import autocast, budget, noise_for
from minidiff.training.checkpoint import load_model

GUIDANCE, STEPS, SAID = 2.0, 20, 0.9                             # SAID: how many of the words are told in training


def recipe(own, seed=0, steps=None, batch=None, device="cpu"):
    """Train a UNet on `CaptionedPictures`: 32 x 32 pixels, each word of a caption a state of its own.

    It knows which words are said, and not in which order.  Of fewer than a thousand pictures it learns many by heart.
    """
    check(isinstance(own, CaptionedPictures), f"expected what `data.load_folder` gives, got {kind_of(own)}")
    count = len(own.words)
    config = UNetConfig(3, budget(full=(64, 128), small=(32, 64), fast=(16, 32)), patch=2, attention=(False, False),
                        middle=True, cond_width=count or None, pooled=bool(count))
    pictures, ids = own.pictures.to(device), own.ids.to(device)

    def conds(rows, generator):
        """Which words are said of the pictures in these rows: one in ten is left out, so that fewer are enough."""
        chance = torch.rand(ids[rows].shape, generator=generator, device=ids.device)
        return states_of(ids[rows].masked_fill(chance > SAID, 0), count)

    null = torch.zeros(1, ids.shape[1], count, device=device)
    made = denoiser.recipe(pictures, conds if count else None, null if count else None, seed, config,
                           budget(full=6_000, small=1_000, fast=30, given=steps),
                           budget(full=128, small=64, fast=16, given=batch), lr=6e-3, levels=(0.75, 1.0),
                           objective={"data": own.checksum, "words": list(own.words), "length": ids.shape[1]})
    made.name = "own_pictures"
    return made


def load(path):
    """The trained UNet in a checkpoint, and the words that it knows."""
    model, about = load_model(path, UNet, UNetConfig)
    return model, tuple(about["settings"]["objective"]["words"])


@torch.no_grad()
def draw(captions, seeds, model, words, guidance=GUIDANCE, steps=STEPS):
    """Captions made of known words, and a seed for each -> pictures (B, 3, 32, 32) in [-1, 1]."""
    check(len(captions) == len(seeds), f"one seed per caption: got {len(captions)} captions and {len(seeds)} seeds")
    device, cond, denoise = next(model.parameters()).device, None, model
    if words:
        cond = states_of(word_ids(captions, words, strict=True), len(words)).to(device)
        denoise = guided(model, torch.zeros_like(cond[:1]), guidance)
    noise = noise_for(seeds, (3, 32, 32)).to(device)
    walk = sample(clipped(denoise, model.schedule), noise, model.schedule, steps, heun_step, cond,
                  spacing=karras_levels)
    with autocast(device):
        return last(walk).float().clamp(-1, 1)


def copies(drawn, pictures):
    """How many of the drawn pictures are copies: three times nearer to one of `pictures` than to the next."""
    distance, _ = nearest(drawn, pictures.unique(dim=0).to(drawn.device))
    return int((distance[:, 0] < distance[:, 1] / 3).sum())
