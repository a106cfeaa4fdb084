"""A bridge: sounds come into the space of captions and pictures, and anything in it can tell a machine what to draw.
[Tang et al. 2023, CoDi, section 3.2]"""

from dataclasses import dataclass

import torch

from minidiff.data.captions import UNSAID, caption_index, drop_words, every_caption, parse, sentence
from minidiff.data.spoken import split_voice
from minidiff.diffusion.flow import angle_step
from minidiff.diffusion.guidance import guided
from minidiff.diffusion.samplers import last, sample
from minidiff.models.bridge import BridgeConfig, SoundTower, look_up
from minidiff.models.clip import contrastive_loss
from minidiff.pipelines.sound import sound_states
from minidiff.pipelines.text2image import base_of, load_beside
from minidiff.tools.checks import check
from minidiff.tools.runtime import budget, noise_for
from minidiff.training.loop import Recipe

GUIDANCE, STEPS = 3.25, 8                                        # of one machine; of Heun's method in the angle
SHARPNESS = 40.0                                                 # of a look-up among captions


def recipe(spoken_digits, captioned, parts, seed=0, config=BridgeConfig(), steps=None, batch=128, lr=4e-3,
           terse=0.5):
    """Train a tower of sounds against the frozen text tower: a sound of a seven belongs to every caption of a seven.
    [CoDi section 3.2, bridging alignment]

    terse: the share of words left out of these captions, but for the digit; with 1 they are "a seven" and no more.
    """
    with torch.no_grad():
        embedded = parts.clip.embed_captions([sentence(row) for row in every_caption()])

    def loss_of(tower, generator):
        spectrograms, said = spoken_digits.sample(batch, generator)
        captions = captioned.allowed[torch.randint(len(captioned.allowed), (batch,), generator=generator,
                                                   device=parts.device)]
        captions = drop_words(captions, terse, generator)
        captions[:, 0] = said[:, 0]                              # what one hears
        logits = parts.clip.logits(tower(spectrograms), embedded[caption_index(captions)])
        return contrastive_loss(logits, said[:, :1] == said[:, 0])

    return Recipe("bridge", lambda: SoundTower(config), config, loss_of,
                  budget(full=500, small=150, fast=4, given=steps), batch, lr, seed, weight_decay=0.05,
                  device=parts.device, objective={"base": base_of(parts), "terse": terse,
                                                  "data": spoken_digits.checksum})


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Captions with their embeddings (M, D), which are looked for, and what both machines are told by them, states
    (M, L, D) and (M, L', D), which are found."""

    embedded: torch.Tensor
    seen: torch.Tensor
    heard: torch.Tensor


@torch.no_grad()
def dictionary(parts, said):
    """The dictionary of captions said (M, 4)."""
    captions, said = [sentence(row) for row in said], said.to(parts.device)
    heard = torch.cat([said[:, :1], torch.full((len(said), 2), UNSAID, device=parts.device)], 1)       # the digit alone
    return Dictionary(parts.clip.embed_captions(captions), parts.clip.text_states(captions),
                      sound_states(heard, parts.clip))


def digits_alone():
    """What the ten captions "a zero" ... "a nine" say (10, 4)."""
    return torch.cat([torch.arange(10)[:, None], torch.full((10, 3), UNSAID)], 1)


@torch.no_grad()
def told_by_captions(parts, captions):
    """What both machines are told by captions such as "a high red seven": (B, L, D), (B, L', D)."""
    pictures, pitches, speeds = zip(*map(split_voice, captions), strict=True)
    digits = [parse(caption)[0] for caption in pictures]
    heard = torch.tensor(list(zip(digits, pitches, speeds)), device=parts.device)
    return parts.clip.text_states(list(pictures)), sound_states(heard, parts.clip)


@torch.no_grad()
def told_by_embeddings(parts, embeddings, dictionary, sharpness=SHARPNESS):
    """What both machines are told by pictures or sounds, given as embeddings (B, D): (B, L, D), (B, L', D)."""
    return tuple(look_up(embeddings, dictionary.embedded, states, sharpness)
                 for states in (dictionary.seen, dictionary.heard))


def mixed(told, weights):
    """Several conditions as one: C = sum of weight_m C_m, where the weights sum to 1.  [CoDi section 3.2]
    told: pairs such as the functions above give -> a pair"""
    check(abs(sum(weights) - 1) < 1e-6, f"the weights of conditions sum to 1, got {weights}")
    return tuple(sum(w * states for w, states in zip(weights, kind, strict=True)) for kind in zip(*told, strict=True))


@torch.no_grad()
def draw_one(cond, seeds, machine, null, guidance=GUIDANCE, steps=STEPS, step=angle_step):
    """What a machine, of pictures or of sounds, draws of conditions (B, L, D), in [-1, 1]."""
    check(len(cond) == len(seeds), f"a seed per condition: got {len(cond)} conditions and {len(seeds)} seeds")
    noise = noise_for(seeds, (machine.unet.config.channels, 4, 4)).to(machine.device)
    walk = sample(guided(machine.unet, null, guidance), noise, machine.unet.schedule, steps, step, cond)
    return machine.autoencoder.decode(last(walk)).clamp(-1, 1)


def new_tower(parts, config):
    """An untrained tower of sounds."""
    return SoundTower(config)


def load(path, parts):
    """The trained tower of sounds of a machine."""
    return load_beside(path, parts, BridgeConfig, new_tower, "chapter 11 trains it")
