"""An editor: a picture that one already has is changed by a sentence.  [Brooks et al. 2023, InstructPix2Pix]"""

from dataclasses import dataclass, replace

import torch

from minidiff.data.captions import SIZES, UNSAID, caption_index, every_caption, is_held_out, sentence
from minidiff.data.edits import edited, understand
from minidiff.diffusion.guidance import doubly_guided
from minidiff.diffusion.levels import sample_levels
from minidiff.diffusion.losses import denoising_loss
from minidiff.diffusion.samplers import heun_step, last, sample
from minidiff.models.unet import UNet
from minidiff.pipelines.text2image import STEPS, base_of
from minidiff.tools.runtime import autocast, budget, generator_for, noise_for
from minidiff.training.loop import Recipe

BY_SOURCE, BY_TEXT = 1.5, 2.0                                    # s_I and s_T
DROPPED = (0.05, 0.05, 0.05)                                     # shares without the picture, the sentence, both


@dataclass(frozen=True, eq=False)
class Pairs:
    """Exact pairs: latents before and after (N, 4, 4, 4), attributes before and changes (N, 4)."""

    before: torch.Tensor
    after: torch.Tensor
    said: torch.Tensor
    changes: torch.Tensor


def random_changes(n, generator, share=0.25):
    """n changes (n, 4) of color, stroke and lean, one of them each, and in a share of the rows two."""
    device = generator.device
    values = torch.stack([torch.randint(size, (n,), generator=generator, device=device) for size in SIZES], 1)
    order = torch.rand(n, 3, generator=generator, device=device).argsort(1)            # of color, stroke, lean
    many = 1 + (torch.rand(n, generator=generator, device=device) < share).long()
    changed = torch.cat([torch.zeros(n, 1, dtype=torch.bool, device=device), order < many[:, None]], 1)
    return values.masked_fill(~changed, UNSAID)


@torch.no_grad()
def exact_pairs(captioned, parts, n, seed=0):
    """The same scan rendered twice, before and after a change; neither is a held-out combination."""
    generator, kept = generator_for(seed, 12, device=parts.device), []
    while sum(map(len, kept)) < n:
        said = captioned.allowed[torch.randint(len(captioned.allowed), (n,), generator=generator, device=parts.device)]
        changes = random_changes(n, generator)
        kept.append(torch.cat([said, changes], 1)[~is_held_out(edited(said, changes))])
    said, changes = torch.cat(kept)[:n].chunk(2, 1)
    rows, latents = captioned.rows_for(said[:, 0], generator), []
    for attributes in (said, edited(said, changes)):
        with autocast(parts.device):
            latents.append(torch.cat([parts.autoencoder.encode(captioned.render(rows[part], attributes[part])).float()
                                      for part in torch.arange(n).split(1_000)]))
    return Pairs(*latents, said, changes)


def editor_unet(unet):
    """A UNet that takes twice as many channels, the given picture beside the noisy one; it begins as the frozen one,
    and the weights of the new channels begin at zero.  [InstructPix2Pix section 3.2]"""
    channels = unet.config.channels
    made = UNet(replace(unet.config, in_channels=2 * channels), unet.schedule)
    weights = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    first = weights["first.weight"]
    weights["first.weight"] = torch.cat([first, torch.zeros_like(first)], 1)
    made.load_state_dict(weights)
    return made


def beside(unet):
    """A denoiser of (xt, t, cond, source): the given picture stands beside the noisy one."""
    return lambda xt, t, cond, source: unet(torch.cat([xt, source], 1), t, cond)


def blank(parts):
    """The picture that shows nothing: black, as a latent (1, 4, 4, 4)."""
    return parts.autoencoder.encode(-torch.ones(1, 3, 32, 32, device=parts.device))


def recipe(parts, pairs, seed=0, steps=None, batch=128, lr=8e-3, nothing=None):
    """Train the editor on exact pairs.  nothing (1, 4, 4, 4): what stands for no picture; black, if not given."""
    states, null = parts.clip.text_states([sentence(row) for row in every_caption()]), parts.clip.text_states([""])
    black = blank(parts) if nothing is None else nothing
    no_picture, no_words, neither = DROPPED

    def loss_of(unet, generator):
        rows = torch.randint(len(pairs.before), (batch,), generator=generator, device=parts.device)
        chance = torch.rand(batch, generator=generator, device=parts.device)
        unseen, untold = chance < no_picture + neither, (chance > no_picture) & (chance < sum(DROPPED))
        source = torch.where(unseen.view(-1, 1, 1, 1), black, pairs.before[rows])
        cond = torch.where(untold.view(-1, 1, 1), null, states[caption_index(pairs.changes[rows])])
        t = sample_levels(batch, parts.unet.schedule, generator)
        eps = torch.randn(source.shape, generator=generator, device=parts.device)
        see = beside(unet)
        return denoising_loss(lambda xt, t, cond: see(xt, t, cond, source), pairs.after[rows], t, eps,
                              parts.unet.schedule, cond).mean()

    return Recipe("editor", lambda: editor_unet(parts.unet), replace(parts.unet.config, in_channels=8), loss_of,
                  budget(full=800, small=800, fast=10, given=steps), batch, lr, seed, ema=0.98, decay="linear",
                  device=parts.device, objective={"base": base_of(parts), "dropped": list(DROPPED)})


@torch.no_grad()
def edit(pictures, instructions, seeds, parts, unet, by_source=BY_SOURCE, by_text=BY_TEXT, steps=STEPS, nothing=None):
    """Pictures (B, 3, 32, 32) and instructions such as "make it red" -> the changed pictures."""
    changes = torch.stack([understand(said) for said in instructions])
    text, null = parts.clip.text_states([sentence(row) for row in changes]), parts.clip.text_states([""])
    source = parts.autoencoder.encode(pictures)
    black = blank(parts) if nothing is None else nothing
    denoise = doubly_guided(beside(unet), null, black, by_source, by_text)
    noise = noise_for(seeds, tuple(source.shape[1:])).to(parts.device)
    walk = sample(lambda xt, t, cond: denoise(xt, t, (cond, source)), noise, unet.schedule, steps, heun_step, text)
    return parts.autoencoder.decode(last(walk)).clamp(-1, 1)
