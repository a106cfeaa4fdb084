"""Pictures of one's own: a small UNet learns to draw more of them, in pixels, and hears the words of their captions."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from minidiff.data.folders import SHEET, CaptionedPictures, states_of, word_ids
from minidiff.diffusion.guidance import clipped, guided
from minidiff.diffusion.levels import karras_levels
from minidiff.diffusion.samplers import heun_step, last, sample
from minidiff.evaluation.metrics import nearest
from minidiff.models.unet import UNet, UNetConfig
from minidiff.pipelines import denoiser
from minidiff.pipelines.text2image import GUIDANCE, STEPS
from minidiff.tools import show
from minidiff.tools.checks import check, kind_of
from minidiff.tools.files import atomic_write
from minidiff.tools.runtime import budget, noise_for
from minidiff.training.checkpoint import load_model

SAID = 0.9                                                       # share of the words that are told in training
FEW = 1_000                                                      # pictures: of fewer it learns many by heart


def recipe(own, seed=0, device="cpu", steps=None, batch=None):
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


@dataclass
class OwnMachine:
    """The trained UNet, the words that it knows, and how many of them the longest of its captions had."""

    unet: torch.nn.Module
    words: tuple
    length: int


def load(path, device="cpu"):
    """The machine in a checkpoint."""
    unet, kept = load_model(path, UNet, UNetConfig)
    learned = kept["settings"]["objective"]
    return OwnMachine(unet.to(device), tuple(learned["words"]), learned["length"])


@torch.no_grad()
def draw(captions, seeds, machine, guidance=GUIDANCE, steps=STEPS):
    """Captions made of known words, and a seed for each -> pictures (B, 3, 32, 32) in [-1, 1]."""
    check(len(captions) == len(seeds), f"one seed per caption: got {len(captions)} captions and {len(seeds)} seeds")
    unet, cond, count = machine.unet, None, len(machine.words)
    device, denoise = next(unet.parameters()).device, unet
    ids = word_ids(captions, machine.words, machine.length, strict=True)               # (B, L)
    if count:
        cond = states_of(ids, count).to(device)
        denoise = guided(unet, torch.zeros_like(cond[:1]), guidance)
    noise = noise_for(seeds, (3, 32, 32)).to(device)
    walk = sample(clipped(denoise, unet.schedule), noise, unet.schedule, steps, heun_step, cond, spacing=karras_levels)
    return last(walk).clamp(-1, 1)


def about(own):
    """What there is to learn from, in words."""
    few = f"; of fewer than {FEW:,} much will be learned by heart" if len(own.pictures) < FEW else ""
    known = f"{len(own.words)} words in their captions: {', '.join(own.words[:12])}" if own.words else "no captions"
    return f"{len(own.pictures):,} pictures, cut to 32 x 32{few}; {known}{', ...' if len(own.words) > 12 else ''}"


def write_sheet(own, unet, folder, seed=0):
    """Draw eight pictures of each of the commonest captions into FOLDER/own_pictures.png -> what there is to see."""
    captions, each = [said for said, _ in Counter(own.captions).most_common(6)] or [""], budget(full=8, small=8, fast=2)
    machine = OwnMachine(unet, own.words, own.ids.shape[1])
    drawn = draw([said for said in captions for _ in range(each)], [seed + i for i in range(each)] * len(captions),
                 machine)
    path = Path(folder) / SHEET
    with atomic_write(path) as draft:
        show.sheet(drawn, captions).savefig(draft, format="png")
    example = f' "{captions[0]}"' if captions[0] else ""
    return (f"Trained. Drawn: {path}; {copies(drawn, own.pictures)} of its {len(drawn)} pictures are copies of yours.\n"
            f"The machine is a small UNet of pixels{', which hears words and not their order' if own.words else ''}.\n"
            f"More of them: python -m minidiff draw --pictures{example} --folder {folder}")


def copies(drawn, pictures):
    """How many of the drawn pictures are copies: three times nearer to one of `pictures` than to the next."""
    others = pictures.unique(dim=0).to(drawn.device)
    if len(others) < 2:
        return 0
    distance, _ = nearest(drawn, others)
    return int((distance[:, 0] < distance[:, 1] / 3).sum())
