"""A sentence becomes a picture: the miniature Stable Diffusion, strung together from its parts."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from minidiff import autoencoder, clip, metrics, unet
from minidiff.captions import caption_index, drop_words, every_caption, sentence
from minidiff.checkpoint import CheckpointError, blaming, fits, load_checkpoint, save_checkpoint
from minidiff.data import SHA256, load_digits
from minidiff.dressing import Wardrobe, shapes
from minidiff.inputs import check_as_many, check_whole
from minidiff.runtime import autocast, budget, generator_for, noise_for, pick_device
from minidiff.samplers import guided, heun_step, sample

STAGES = ("judge", "clip", "autoencoder", "unet")
GUIDANCE, BELOW, STEPS = 3.25, 700, 14                           # the defaults of every command
TERSE = 0.1                                                      # share of words left out while the UNet learns
QUICK = {  # what each part needs for a good picture, no more; alone, in its chapter, each learns for longer
    "judge": dict(steps=500, lr=6e-3),
    "clip": dict(steps=260, batch=128, lr=8e-3),
    "autoencoder": dict(steps=500),
    "unet": dict(steps=1_000, batch=128, decay="linear", levels=(0.25, 1.25)),
}


@dataclass
class Parts:
    """The trained parts, ready to draw: words to states, noise to latents, latents to pictures, and the judge."""

    clip: torch.nn.Module
    autoencoder: torch.nn.Module
    unet: torch.nn.Module
    judge: torch.nn.Module

    @property
    def device(self):
        return next(self.unet.parameters()).device


def load(folder="runs", device=None):
    """The parts that `python -m minidiff train` left in a folder."""
    modules = {"judge": metrics, "clip": clip, "autoencoder": autoencoder, "unet": unet}
    device = device or pick_device()
    parts = Parts(**{name: modules[name].load(Path(folder) / f"{name}.safetensors").to(device) for name in STAGES})
    with blaming(Path(folder) / "unet.safetensors"):             # parts of different machines do not fit together
        if draw([""], [0], parts, steps=1).shape != (1, 3, 32, 32):
            raise ValueError("with the other parts it draws no 32 x 32 pictures")
    return parts


def denoising(captions, seeds, parts, guidance=GUIDANCE, steps=STEPS, step=heun_step, below=BELOW):
    """The latents (B, 4, 4, 4) on the way from noise to picture: yields (level, latents), steps + 1 times.
    The caption is exaggerated `below` a level only, see `guided`."""
    text, null = parts.clip.text_states(captions), parts.clip.text_states([""])    # (B, L, D), (1, L, D)
    if len(captions) != len(seeds):
        raise ValueError(f"one seed a caption: got {len(captions)} captions and {len(seeds)} seeds")
    denoise = guided(parts.unet, null, guidance, below)
    zT = noise_for(seeds, (parts.unet.config.channels, 4, 4)).to(parts.device)     # (B, 4, 4, 4)
    yield from sample(denoise, zT, parts.unet.schedule, steps, step, cond=text, seeds=seeds)


@torch.no_grad()
def draw(captions, seeds, parts, guidance=GUIDANCE, steps=STEPS, step=heun_step, below=BELOW):
    """Sentences and seeds -> pictures (B, 3, 32, 32) in [-1, 1]; the same seed, the same picture."""
    for _, z in denoising(captions, seeds, parts, guidance, steps, step, below):
        pass                                                     # text-guided diffusion, on latents
    return parts.autoencoder.decode(z).clamp(-1, 1)


def wardrobes(folder="runs", device="cpu"):
    """Training and validation digits in all nine shapes; dressed once, then kept in the folder."""
    digits = load_digits(full=budget(full=True, small=False, fast=False))
    some = budget(full=1, small=1, fast=10)                      # the fast budget takes every tenth digit
    train, labels = digits.train[::some], digits.train_labels[::some]
    val, val_labels = digits.val[::some], digits.val_labels[::some]
    about = {"dressed": hashlib.sha256(train.numpy().tobytes() + SHA256.encode()).hexdigest(), "version": 2}
    path = Path(folder) / "dressed.safetensors"
    try:
        tensors, found = load_checkpoint(path)
        if {key: found.get(key) for key in about} != about:
            raise CheckpointError("other digits")
        with blaming(path):
            fits(tensors, {name: torch.empty(len(some), 3, 3, 32, 32, dtype=torch.uint8, device="meta")
                           for name, some in (("train", train), ("val", val))})
    except (FileNotFoundError, CheckpointError):                 # made again: it holds nothing that could be lost
        started = time.perf_counter()
        tensors = {"train": shapes(train), "val": shapes(val)}
        save_checkpoint(path, tensors, about | {"seconds": time.perf_counter() - started})
    return Wardrobe(tensors["train"], labels, device), Wardrobe(tensors["val"], val_labels, device)


@torch.no_grad()
def latents_of(wardrobe, model, n, seed=0):
    """n dressed training digits as latents (n, 4, 4, 4) with their attributes (n, 4), encoded once."""
    generator, latents, said = generator_for(seed, 2, device=wardrobe.labels.device), [], []
    for _ in range(0, check_whole("n", n), 1_000):
        pictures, attributes = wardrobe.sample(1_000, generator)
        with autocast(pictures.device):
            latents.append(model.encode(pictures))
        said.append(attributes)
    return torch.cat(latents)[:n], torch.cat(said)[:n]


def tersely(attributes, generator):
    """What is said of pictures while the UNet learns: their attributes (B, 4), one word in ten left out."""
    return drop_words(attributes, TERSE, generator)


def quick(stage):
    """The settings of a stage of the machine, where they are not its recipe's own: in the small budget."""
    return budget(full={}, small=QUICK[stage], fast={})


@torch.no_grad()
def unet_recipe(wardrobe, tower, model, seed=0, encoded=None, say=tersely, **settings):
    """Train the UNet on latents, looking at the frozen states of captions.

    tower: who reads the captions, with `text_states` (CLIP); model: the autoencoder; encoded: what `latents_of` gave,
    encoded here if not given; say(attributes, generator): which words of them are said; settings: of `unet.recipe`.
    """
    started = time.perf_counter()
    many = budget(full=500_000, small=60_000, fast=1_000)
    latents, attributes = encoded or latents_of(wardrobe, model, many, seed)
    check_as_many(latents=latents, attributes=attributes)
    states = tower.text_states([sentence(said) for said in every_caption()])              # (1408, L, D)

    def conds(rows, generator):
        return states[caption_index(say(attributes[rows], generator))]

    config = budget(full=unet.LATENTS_LARGE, small=unet.LATENTS, fast=unet.LATENTS)
    recipe = unet.recipe(latents, conds, tower.text_states([""]), seed, **{"config": config} | quick("unet") | settings)
    recipe.seconds_before = time.perf_counter() - started
    return recipe


def recipes(folder="runs", seed=0, device=None):
    """All stages in order, each built when its turn comes: yields recipes; train each before asking for the next."""
    device = device or pick_device()
    wardrobe, _ = wardrobes(folder, device)
    yield metrics.recipe(wardrobe, seed, **quick("judge"))
    yield (clip_recipe := clip.recipe(wardrobe, seed, **quick("clip")))
    yield (autoencoder_recipe := autoencoder.recipe(wardrobe, seed, **quick("autoencoder")))
    yield unet_recipe(wardrobe, clip_recipe.model.eval(), autoencoder_recipe.model.eval(), seed)
