"""A sentence becomes a picture: the miniature Stable Diffusion, strung together from its parts."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from minidiff.data.captioned_digits import load_captioned_digits
from minidiff.data.captions import caption_index, drop_words, every_caption, sentence
from minidiff.diffusion.guidance import guided
from minidiff.diffusion.samplers import heun_step, last, sample
from minidiff.models.unet import LATENTS, LATENTS_LARGE
from minidiff.pipelines import autoencoder, classifier, clip, denoiser
from minidiff.tools.checks import check, check_dataset, check_number, check_whole
from minidiff.tools.files import checksum
from minidiff.tools.runtime import autocast, budget, generator_for, noise_for, pick_device, trained_folder
from minidiff.training.checkpoint import CheckpointError, check_fits, fitting, load_checkpoint, rebuild

STAGES = ("classifier", "clip", "autoencoder", "unet")
GUIDANCE, BELOW, STEPS = 3.25, 700, 14                           # the defaults of every command
TERSE = 0.1                                                      # share of words left out while the UNet learns
QUICK = {  # what each part needs for a good picture, no more; alone, in its chapter, each learns for longer
    "classifier": dict(steps=500, lr=6e-3),
    "clip": dict(steps=260, batch=128, lr=8e-3),
    "autoencoder": dict(steps=500),
    "unet": dict(steps=1_000, batch=128, decay="linear", levels=(0.25, 1.25)),
}


@dataclass
class Pipeline:
    """The trained parts: words to states, noise to latents, latents to pictures, and a classifier that reads these."""

    clip: torch.nn.Module
    autoencoder: torch.nn.Module
    unet: torch.nn.Module
    classifier: torch.nn.Module

    @property
    def device(self):
        return next(self.unet.parameters()).device


def load(folder=None, device=None):
    """The parts that `python -m minidiff train` left in a folder: `runs`, see `trained_folder`, if not given."""
    modules = {"classifier": classifier, "clip": clip, "autoencoder": autoencoder, "unet": denoiser}
    device = pick_device(device)
    files = {name: Path(folder or trained_folder()) / f"{name}.safetensors" for name in STAGES}
    parts = Pipeline(**{name: modules[name].load(path).to(device) for name, path in files.items()})
    unet, latents, words = parts.unet.config, parts.autoencoder.config, parts.clip.config.text
    if (unet.channels, unet.cond_width, unet.patch) != (latents.latent_channels, words.width, 1):
        raise CheckpointError(
            f"{files['unet']} belongs to another machine: it takes latents of {unet.channels} channels and words of "
            f"width {unet.cond_width}, but the parts beside it make {latents.latent_channels} and {words.width}. Train "
            "in a folder of its own")
    return parts


def base_of(parts):
    """The checksum of a machine, to which a student or an adapter belongs."""
    return checksum(parts.clip.state_dict(), parts.autoencoder.state_dict(), parts.unet.state_dict())[:16]


def load_beside(path, parts, config_type, make, command):
    """What was trained beside a machine, and belongs to it alone: make(parts, config), filled from a file."""
    check(Path(path).exists(), f"{path} is missing: {command}")
    tensors, about = load_checkpoint(path)
    with fitting(path):
        kept = about["settings"]
        check(about["step"] == kept["steps"], f"it stopped at step {about['step']} of {kept['steps']}: {command}")
        if kept["objective"].get("base") != base_of(parts):
            raise CheckpointError(f"{path} was trained beside another machine than this one. Move it away; {command}")
        module = make(parts, rebuild(config_type, kept["config"])).to(parts.device)
        state = {name.removeprefix("model."): t for name, t in tensors.items()}
        check_fits(state, module.state_dict())
        module.load_state_dict(state)
    return module.eval().requires_grad_(False)


def denoising(captions, seeds, parts, guidance=GUIDANCE, steps=STEPS, step=heun_step, below=BELOW, temperature=1.0):
    """The latents (B, 4, 4, 4) on the way from noise to picture: yields (level, latents), steps + 1 times.

    The caption is exaggerated `below` a level only, see `guided`.  temperature: the std of the first noise; above 1 the
    pictures are more varied.  [of flows: Kingma & Dhariwal 2018]
    """
    text, null = parts.clip.text_states(captions), parts.clip.text_states([""])    # (B, L, D), (1, L, D)
    check_number("guidance", guidance, -math.inf)
    check_number("temperature", temperature)
    check(len(captions) == len(seeds), f"one seed per caption: got {len(captions)} captions and {len(seeds)} seeds")
    denoise = guided(parts.unet, null, guidance, below)
    zT = temperature * noise_for(seeds, (parts.unet.config.channels, 4, 4)).to(parts.device)       # (B, 4, 4, 4)
    yield from sample(denoise, zT, parts.unet.schedule, steps, step, cond=text, seeds=seeds)


@torch.no_grad()
def draw(captions, seeds, parts, guidance=GUIDANCE, steps=STEPS, step=heun_step, below=BELOW, temperature=1.0):
    """Sentences and seeds -> pictures (B, 3, 32, 32) in [-1, 1]; the same seed, the same picture."""
    latents = last(denoising(captions, seeds, parts, guidance, steps, step, below, temperature))
    return parts.autoencoder.decode(latents).clamp(-1, 1)


@torch.no_grad()
def latents_of(captioned, model, n, seed=0, bf16=None):
    """n captioned training digits as latents (n, 4, 4, 4) with their attributes (n, 4), encoded once."""
    check_dataset(captioned, 3)
    check_whole("n", n)
    generator = generator_for(seed, 2, device=captioned.labels.device)
    latents, said = [], []
    for _ in range(0, n, 1_000):
        pictures, attributes = captioned.sample(1_000, generator)
        with autocast(pictures.device, bf16):
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
def unet_recipe(captioned, tower, model, seed=0, encoded=None, say=tersely, bf16=None, **settings):
    """Train the UNet on latents, looking at the frozen states of captions.

    tower: who reads the captions, with `text_states` (CLIP); model: the autoencoder; encoded: what `latents_of` gave,
    encoded here if not given, in the number format `bf16`; say(attributes, generator): which words of them are said;
    settings: of `denoiser.recipe`.
    """
    started = time.perf_counter()
    many = budget(full=500_000, small=60_000, fast=1_000)
    latents, attributes = encoded or latents_of(captioned, model, many, seed, bf16)
    states = tower.text_states([sentence(said) for said in every_caption()])              # (1408, L, D)
    check(len(latents) == len(attributes), f"{len(latents)} latents, {len(attributes)} attributes: one for each")

    def conds(rows, generator):
        return states[caption_index(say(attributes[rows], generator))]

    settings = {"config": budget(full=LATENTS_LARGE, small=LATENTS, fast=LATENTS),
                "objective": {"data": checksum(latents, attributes, states)[:16], "said": say.__name__}
                } | quick("unet") | settings
    recipe = denoiser.recipe(latents, conds, tower.text_states([""]), seed, **settings)
    recipe.seconds_before = time.perf_counter() - started
    return recipe


def recipes(seed=0, device=None):
    """All stages in order, each built when its turn comes: yields recipes; train each before asking for the next."""
    started = time.perf_counter()
    captioned, _ = load_captioned_digits(pick_device(device))
    first = classifier.recipe(captioned, seed, **quick("classifier"))
    first.seconds_before = time.perf_counter() - started
    others = [module.recipe(captioned, seed, **quick(name)) for name, module in (("clip", clip),
                                                                               ("autoencoder", autoencoder))]
    yield from (first, *others)
    untrained = [recipe.name for recipe in others if not recipe.done]
    check(not untrained, f"the UNet learns from what {' and '.join(untrained)} make of the digits: train them first")
    words, latents = others
    data = checksum(captioned.checksum, words.model.state_dict(), latents.model.state_dict())[:16]
    yield unet_recipe(captioned, words.model, latents.model, seed, bf16=latents.bf16,
                      objective={"data": data, "terse": TERSE})
