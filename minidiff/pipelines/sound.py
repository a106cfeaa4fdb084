"""A voice: the classifier, the autoencoder and the UNet of the pictures, trained on spectrograms."""

from dataclasses import dataclass
from pathlib import Path

import torch

from minidiff.data.captions import DIGITS, drop_words
from minidiff.data.spectrograms import to_waves
from minidiff.data.spoken import every_sound, load_spoken_digits, parse_sound, sound_index, voice_counts
from minidiff.diffusion.flow import angle_step
from minidiff.diffusion.guidance import guided
from minidiff.diffusion.samplers import last, sample
from minidiff.models.autoencoder import AutoencoderConfig
from minidiff.models.text_encoder import spoken
from minidiff.models.unet import LATENTS, LATENTS_LARGE
from minidiff.pipelines import autoencoder, classifier, denoiser
from minidiff.pipelines.text2image import TERSE, base_of
from minidiff.tools.checks import check
from minidiff.tools.files import checksum
from minidiff.tools.runtime import autocast, budget, noise_for
from minidiff.training.checkpoint import CheckpointError, read_about
from minidiff.training.loop import is_finished

STAGES = ("sound_reader", "sound_autoencoder", "sound_unet")
GUIDANCE, STEPS = 1.75, 8                                        # of Heun's method in the angle
VOICE = 4.0                                                      # how large the words of a voice are written
SPECTROGRAMS = AutoencoderConfig(channels=1)


@dataclass
class Voice:
    """The trained parts of the machine that speaks: latents to spectrograms, noise to latents, and a classifier that
    reads digits in spectrograms."""

    reader: torch.nn.Module
    autoencoder: torch.nn.Module
    unet: torch.nn.Module

    @property
    def device(self):
        return next(self.unet.parameters()).device


def sound_states(said, tower):
    """What the UNet of sounds looks at: the states of "a seven", read by the frozen text tower, and a last row that
    begins with the six words of the voice, for which the tower has no tokens.  said (B, 3) -> (B, L + 1, D)"""
    captions = ["a digit", *(f"a {digit}" for digit in DIGITS)]
    states = tower.text_states(captions)[said[:, 0] + 1]
    return spoken(states, VOICE * voice_counts(said))


def null_state(tower):
    """The condition that says nothing of a sound (1, L + 1, D)."""
    return spoken(tower.text_states([""]), torch.zeros(1, 6, device=tower.log_scale.device))


@torch.no_grad()
def latents_of(pictures, model):
    """Spectrograms (N, 1, 32, 32) as latents (N, 4, 4, 4)."""
    with autocast(pictures.device):
        return torch.cat([model.encode(part).float() for part in pictures.split(1_000)])


def reader_recipe(known, seed=0):
    """Train the classifier of chapter 4 on spectrograms."""
    recipe = classifier.recipe(known, seed, steps=budget(full=1_000, small=150, fast=10))
    recipe.name = STAGES[0]
    return recipe


def autoencoder_recipe(known, seed=0, steps=None):
    """Train the autoencoder of chapter 5 on spectrograms."""
    steps = budget(full=3_000, small=350, fast=10, given=steps)
    recipe = autoencoder.recipe(known, seed, SPECTROGRAMS, steps)
    recipe.name = STAGES[1]
    return recipe


def unet_recipe(known, parts, model, seed=0, steps=None):
    """Train the UNet of chapter 6 on the latents of spectrograms, one word in ten left out.  parts: the machine whose
    text tower reads the captions; model: the autoencoder of the spectrograms."""
    with torch.no_grad():
        every = sound_states(every_sound().to(parts.device), parts.clip)
        latents, null = latents_of(known.pictures, model), null_state(parts.clip)

    def conds(rows, generator):
        return every[sound_index(drop_words(known.said[rows], TERSE, generator))]

    data = checksum(known.checksum, model.state_dict())[:16]
    config = budget(full=LATENTS_LARGE, small=LATENTS, fast=LATENTS)
    recipe = denoiser.recipe(latents, conds, null, seed, config, budget(full=2_500, small=700, fast=10, given=steps),
                             budget(full=512, small=128, fast=32), decay="linear", levels=(0.25, 1.25),
                             objective={"base": base_of(parts), "data": data})
    recipe.name = STAGES[2]
    return recipe


def recipes(parts, seed=0):
    """The three trainings in order, each built when its turn comes: train each before asking for the next."""
    known, _ = load_spoken_digits(parts.device, seed)
    model = autoencoder_recipe(known, seed)
    yield from (reader_recipe(known, seed), model)
    check(model.done, "the UNet learns from what the autoencoder makes of the sounds: train that first")
    yield unet_recipe(known, parts, model.model, seed)


@torch.no_grad()
def draw(captions, seeds, parts, voice, guidance=GUIDANCE, steps=STEPS, step=angle_step):
    """Captions such as "a high fast seven" and seeds -> spectrograms (B, 1, 32, 32) in [-1, 1].

    parts: the machine of chapter 6, whose text tower reads the captions.
    """
    check(len(captions) == len(seeds), f"one seed per caption: got {len(captions)} captions and {len(seeds)} seeds")
    said = torch.tensor([parse_sound(caption) for caption in captions], device=voice.device)
    return draw_said(said, seeds, parts, voice, guidance, steps, step)


@torch.no_grad()
def draw_said(said, seeds, parts, voice, guidance=GUIDANCE, steps=STEPS, step=angle_step):
    """The same for what is said as numbers (B, 3)."""
    denoise = guided(voice.unet, null_state(parts.clip), guidance)
    noise = noise_for(seeds, (voice.unet.config.channels, 4, 4)).to(voice.device)
    latents = last(sample(denoise, noise, voice.unet.schedule, steps, step, sound_states(said, parts.clip)))
    return voice.autoencoder.decode(latents).clamp(-1, 1)


def say(captions, seeds, parts, voice, **drawing):
    """Captions and seeds -> waves (B, 4096) in [-1, 1], 8,000 samples a second."""
    return to_waves(draw(captions, seeds, parts, voice, **drawing))


def load(folder, parts):
    """The voice of a machine."""
    files = [Path(folder) / f"{name}.safetensors" for name in STAGES]
    missing = [path.name for path in files if not is_finished(path)]
    check(not missing, f"{folder} holds no voice, {' and '.join(missing)} missing: `python -m minidiff say CAPTION` "
          "trains it")
    if read_about(files[2])["settings"]["objective"].get("base") != base_of(parts):
        raise CheckpointError(f"{files[2]} was trained beside another machine than this one. Move it away; `python -m "
                              "minidiff say CAPTION` trains it")
    reader, model, unet = (kind.load(path) for kind, path in zip((classifier, autoencoder, denoiser), files,
                                                                strict=True))
    return Voice(reader.to(parts.device), model.to(parts.device), unet.to(parts.device))
