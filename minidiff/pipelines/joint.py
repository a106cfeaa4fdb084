"""Sound and picture together: two frozen machines learn to agree.  [Tang et al. 2023, CoDi, section 3.4]"""

from dataclasses import dataclass

import torch

from minidiff.data.captions import caption_index, drop_words, every_caption, sentence
from minidiff.data.sounds import speak
from minidiff.data.spectrograms import to_spectrograms
from minidiff.data.spoken import every_sound, sound_index
from minidiff.diffusion.flow import angle_step
from minidiff.diffusion.guidance import guided_away, inpainting
from minidiff.diffusion.levels import sample_levels
from minidiff.diffusion.losses import denoising_loss
from minidiff.diffusion.samplers import last, sample
from minidiff.models.joint import Joint, JointConfig, Together
from minidiff.pipelines.sound import latents_of, null_state, sound_states
from minidiff.pipelines.text2image import base_of, load_beside
from minidiff.tools.checks import check
from minidiff.tools.files import checksum
from minidiff.tools.runtime import autocast, budget, generator_for, noise_for
from minidiff.training.loop import Recipe

GUIDANCE, BELOW, STEPS = 4.0, 850, 8                             # away from two machines apart, below this level
LEVELS = (0.9, 1.0)                                              # where training crowds: there all is decided
SILENT, TERSE = 0.8, 0.5                                         # shares of pairs without captions, of words left out


@dataclass(frozen=True, eq=False)
class Pairs:
    """Latents of pictures (N, 4, 4, 4) and of sounds (N, 4, 4, 4), what is true of them, (N, 4) and (N, 3), and which
    belong together: those of one `kind` (N,), (N,)."""

    pictures: torch.Tensor
    seen: torch.Tensor
    kinds: torch.Tensor
    sounds: torch.Tensor                                         # sorted by their kinds
    heard: torch.Tensor
    count: torch.Tensor                                          # of the sounds of each kind (90,)

    def partners(self, rows, generator):
        """A random sound that belongs to each of the pictures `rows` (B,) -> rows of sounds (B,)."""
        kind, start = self.kinds[rows], self.count.cumsum(0) - self.count
        chance = torch.rand(len(rows), generator=generator, device=rows.device)
        return start[kind] + (chance * self.count[kind]).long()


def tied(seen, generator):
    """Sounds that belong to pictures: seen (N, 4) -> what is said (N, 3), and how late (N,).

    The digit is the same.  Thick digits have low voices and thin ones high voices; digits that lean to the left come
    early, and those that lean to the right come late.  No caption says so.  How fast is left to chance.
    """
    digit, _, stroke, lean = seen.unbind(1)
    speed = torch.randint(3, (len(seen),), generator=generator)
    return torch.stack([digit, 2 - stroke, speed], 1), (lean + torch.rand(len(seen), generator=generator)) / 3


@torch.no_grad()
def lessons(captioned, parts, voice, seed=0, n=None):
    """Pairs of pictures and sounds, as much as the budget allows."""
    n = budget(full=40_000, small=6_000, fast=60, given=n)
    chance, generator = generator_for(seed, 16), generator_for(seed, 17, device=parts.device)
    seen = captioned.allowed.cpu()[torch.randint(len(captioned.allowed), (n,), generator=chance)]
    kinds = (seen[:, 0] * 3 + seen[:, 2]) * 3 + seen[:, 3]       # digit, stroke, lean: 0 to 89
    order = kinds.argsort(stable=True)
    seen, kinds = seen[order], kinds[order]
    heard, late = tied(seen, chance)
    pictures, sounds = [], []
    for part in torch.arange(n).split(500):
        look = seen[part].to(parts.device)
        with autocast(parts.device):
            drawn = captioned.render(captioned.rows_for(look[:, 0], generator), look)
            pictures.append(parts.autoencoder.encode(drawn).float())
        spoken = to_spectrograms(speak(heard[part], chance, late[part]))
        sounds.append(latents_of(spoken.to(parts.device), voice.autoencoder))
    return Pairs(torch.cat(pictures), seen.to(parts.device), kinds.to(parts.device), torch.cat(sounds),
                 heard.to(parts.device), kinds.bincount(minlength=90).to(parts.device))


def nulls(parts):
    """What both machines are told where nothing is said: (1, L, D), (1, M, D)."""
    return parts.clip.text_states([""]), null_state(parts.clip)


def unsaid(parts, n):
    """n conditions of `Together` that say nothing (n, L + M, D)."""
    return torch.cat(nulls(parts), 1).expand(n, -1, -1)


def together(parts, voice, joint):
    """The denoiser of pairs that a `Joint` makes of two machines."""
    return Together(parts.unet, voice.unet, joint, nulls(parts))


def apart(parts, voice):
    """Both machines side by side, each for itself, as a denoiser of pairs."""
    lengths = [null.shape[1] for null in nulls(parts)]

    def denoise(xt, t, cond):
        (picture, sound), (seen, heard) = xt.chunk(2, 1), cond.split(lengths, 1)
        return torch.cat([parts.unet(picture, t, seen), voice.unet(sound, t, heard)], 1)

    return denoise


def recipe(parts, voice, pairs, seed=0, config=JointConfig(), steps=None, batch=48, lr=8e-3):
    """Train what lets two frozen machines agree, on `Pairs`: eps of each from both noisy latents at the same level.
    [CoDi section 3.4]  Of most pairs nothing is said, so that they must agree without words."""
    with torch.no_grad():
        seen_states = parts.clip.text_states([sentence(row) for row in every_caption()])
        heard_states = sound_states(every_sound().to(parts.device), parts.clip)
        null = unsaid(parts, 1)

    def loss_of(joint, generator):
        rows = torch.randint(len(pairs.pictures), (batch,), generator=generator, device=parts.device)
        mates = pairs.partners(rows, generator)
        x0 = torch.cat([pairs.pictures[rows], pairs.sounds[mates]], 1)
        seen, heard = (drop_words(said, TERSE, generator) for said in (pairs.seen[rows], pairs.heard[mates]))
        cond = torch.cat([seen_states[caption_index(seen)], heard_states[sound_index(heard)]], 1)
        silent = torch.rand(batch, 1, 1, generator=generator, device=parts.device) < SILENT
        t = sample_levels(batch, parts.unet.schedule, generator, *LEVELS)
        eps = torch.randn(x0.shape, generator=generator, device=parts.device)
        return denoising_loss(together(parts, voice, joint), x0, t, eps, parts.unet.schedule,
                              torch.where(silent, null, cond)).mean()

    return Recipe("joint", lambda: Joint(parts.unet, voice.unet, config), config, loss_of,
                  budget(full=1_000, small=700, fast=4, given=steps), batch, lr, seed, ema=0.98, decay="linear",
                  device=parts.device, objective={"base": base_of(parts), "silent": SILENT,
                                                  "data": checksum(pairs.seen, pairs.heard)[:16],
                                                  "voice": checksum(voice.autoencoder.state_dict(),
                                                                    voice.unet.state_dict())[:16]})


@torch.no_grad()
def draw(cond, seeds, parts, voice, joint, guidance=GUIDANCE, below=BELOW, steps=STEPS,
         step=angle_step):
    """Conditions (B, L + M, D), see `Together`, and seeds -> pictures (B, 3, 32, 32) and spectrograms (B, 1, 32, 32)
    that agree.  joint: None for two machines apart.

    Guidance leads away from the machines apart of which nothing is said: it exaggerates the captions and the agreement.
    """
    check(len(cond) == len(seeds), f"a seed per condition: got {len(cond)} conditions and {len(seeds)} seeds")
    denoise = apart(parts, voice)
    if joint is not None:
        denoise = guided_away(together(parts, voice, joint), denoise, unsaid(parts, 1), guidance, below)
    noise = noise_for(seeds, (2 * parts.unet.config.channels, 4, 4)).to(parts.device)
    picture, sound = last(sample(denoise, noise, parts.unet.schedule, steps, step, cond)).chunk(2, 1)
    return parts.autoencoder.decode(picture).clamp(-1, 1), voice.autoencoder.decode(sound).clamp(-1, 1)


@torch.no_grad()
def draw_beside(sounds, seeds, parts, voice, joint, guidance=GUIDANCE, below=BELOW, steps=STEPS, again=1):
    """Pictures (B, 3, 32, 32) that agree with given sounds, latents (B, 4, 4, 4): after each step the sound is put
    back, noised to its level, as in inpainting, and each step is taken `again` times."""
    check(len(sounds) == len(seeds), f"a seed per sound: got {len(sounds)} sounds and {len(seeds)} seeds")
    both = guided_away(together(parts, voice, joint), apart(parts, voice), unsaid(parts, 1), guidance, below)
    known = torch.cat([torch.zeros_like(sounds), sounds], 1)
    mask = torch.zeros_like(known, dtype=torch.bool)
    mask[:, sounds.shape[1]:] = True
    noise = noise_for(seeds, tuple(known.shape[1:])).to(parts.device)
    walk = sample(both, noise, parts.unet.schedule, steps, inpainting(angle_step, known, mask, again),
                  unsaid(parts, len(sounds)), seeds)
    return parts.autoencoder.decode(last(walk)[:, :sounds.shape[1]]).clamp(-1, 1)


def load(path, parts, voice):
    """The trained `Joint` of a machine and its voice."""
    return load_beside(path, parts, JointConfig, lambda parts, config: Joint(parts.unet, voice.unet, config),
                       "`python -m minidiff both CAPTION` trains it")
