"""An editor: a picture that one already has is changed by a sentence.  [Brooks et al. 2023, InstructPix2Pix]"""

import math
from dataclasses import dataclass, fields

import torch

from minidiff.data.captions import SIZES, UNSAID, caption_index, every_caption, is_held_out, parse, sentence
from minidiff.data.edits import edited, understand
from minidiff.diffusion.guidance import doubly_guided, guided
from minidiff.diffusion.levels import sample_levels
from minidiff.diffusion.losses import denoising_loss
from minidiff.diffusion.samplers import ddim_step, heun_step, last, sample
from minidiff.models.editor import Editor
from minidiff.models.shared_attention import sharing
from minidiff.pipelines.text2image import BELOW, GUIDANCE, STEPS, base_of, load_beside
from minidiff.tools.checks import check, check_pictures
from minidiff.tools.files import checksum
from minidiff.tools.runtime import autocast, budget, generator_for, noise_for
from minidiff.training.loop import Recipe

BY_SOURCE, BY_TEXT = 2.0, 2.5                                    # s_I and s_T
DROPPED = (0.05, 0.05, 0.05)                                     # shares without the picture, the sentence, both
FIRST_SEED = 2**42                                               # generated pairs have seeds of their own


@dataclass(frozen=True)
class EditorConfig:
    nothing: str = "black"                                       # what stands for no picture: or "zero", or "learned"


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of pictures: latents before and after (N, 4, 4, 4), attributes before and changes (N, 4)."""

    before: torch.Tensor
    after: torch.Tensor
    said: torch.Tensor
    changes: torch.Tensor

    def __add__(self, other):
        """All pairs of both."""
        return Pairs(*(torch.cat([getattr(pairs, f.name) for pairs in (self, other)]) for f in fields(self)))


def random_changes(n, generator, share=0.25):
    """n changes (n, 4): each changes one of color, stroke and lean, and a `share` of them changes two."""
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


@torch.no_grad()
def generated_pairs(parts, captioned, n, seed=0, above=math.inf):
    """For "make it a three" nobody has an exact pair, so the machine draws both pictures itself: one noise, and two
    captions that differ by the digit.  [InstructPix2Pix section 3.1.2]  A pair is thrown away if our CLIP takes either
    drawing for another digit.  above: the level above which the two share their attention.  -> at most n pairs
    """
    generator = generator_for(seed, 13, device=parts.device)
    said = captioned.allowed[torch.randint(len(captioned.allowed), (n,), generator=generator, device=parts.device)]
    changes = torch.full_like(said, UNSAID)
    changes[:, 0] = (said[:, 0] + torch.randint(1, 10, (n,), generator=generator, device=parts.device)) % 10
    fine = ~is_held_out(edited(said, changes))
    said, changes = said[fine], changes[fine]
    captions = [[sentence(row) for row in rows] for rows in (said, edited(said, changes))]
    denoise = guided(sharing(parts.unet, above), parts.clip.text_states([""]), GUIDANCE, BELOW)
    kept = []
    for part in torch.arange(len(said)).split(250):
        both = [captions[side][i] for i in part for side in (0, 1)]                    # the two of a pair side by side
        noise = noise_for([FIRST_SEED + seed * 1_000_000 + i for i in part.tolist()], (4, 4, 4)).repeat_interleave(2, 0)
        with autocast(parts.device):
            latents = last(sample(denoise, noise.to(parts.device), parts.unet.schedule, budget(8, 8, 2), ddim_step,
                                  parts.clip.text_states(both))).float()
        right = looks_as_said(parts, latents, both).view(-1, 2).all(1)
        kept.append(Pairs(latents[::2][right], latents[1::2][right], said[part][right], changes[part][right]))
    return sum(kept[1:], kept[0])


def lessons(captioned, parts, seed=0):
    """What the recipe learns from: exact pairs, and generated ones for the digits."""
    many, drawn = budget(full=(100_000, 20_000), small=(20_000, 4_000), fast=(200, 20))
    return exact_pairs(captioned, parts, many, seed) + generated_pairs(parts, captioned, drawn, seed)


def looks_as_said(parts, latents, captions):
    """For each drawing, whether CLIP finds that the digit of its caption fits best of all ten."""
    seen = parts.clip.embed_pictures(parts.autoencoder.decode(latents).clamp(-1, 1))                   # (B, D)
    said = torch.tensor([parse(caption) for caption in captions])                      # (B, 4)
    others = said.repeat_interleave(10, 0)
    others[:, 0] = torch.arange(10, device=others.device).repeat(len(said))
    texts = parts.clip.embed_captions([sentence(row) for row in others]).view(len(said), 10, -1)
    return torch.einsum("bd,bkd->bk", seen, texts).argmax(1).cpu() == said[:, 0]


def blank(parts):
    """The picture that shows nothing: black, as a latent (1, 4, 4, 4)."""
    return parts.autoencoder.encode(-torch.ones(1, 3, 32, 32, device=parts.device))


def new_editor(parts, config):
    """An editor that begins as the machine's UNet."""
    black = blank(parts)
    return Editor(parts.unet, black if config.nothing == "black" else torch.zeros_like(black),
                  config.nothing == "learned")


def recipe(parts, pairs, seed=0, config=EditorConfig(), steps=None, batch=128, lr=1.6e-2):
    """Train the editor on pairs.  Where the picture, the sentence or both are dropped, the target stays the same."""
    states, null = parts.clip.text_states([sentence(row) for row in every_caption()]), parts.clip.text_states([""])
    no_picture, no_words, neither = DROPPED

    def loss_of(editor, generator):
        rows = torch.randint(len(pairs.before), (batch,), generator=generator, device=parts.device)
        chance = torch.rand(batch, generator=generator, device=parts.device)
        unseen, untold = chance < no_picture + neither, (chance > no_picture) & (chance < sum(DROPPED))
        source = torch.where(unseen.view(-1, 1, 1, 1), editor.nothing, pairs.before[rows])
        cond = torch.where(untold.view(-1, 1, 1), null, states[caption_index(pairs.changes[rows])])
        t = sample_levels(batch, parts.unet.schedule, generator)
        eps = torch.randn(source.shape, generator=generator, device=parts.device)
        return denoising_loss(lambda xt, t, cond: editor(xt, t, cond, source), pairs.after[rows], t, eps,
                              parts.unet.schedule, cond).mean()

    return Recipe("editor", lambda: new_editor(parts, config), config, loss_of,
                  budget(full=900, small=900, fast=10, given=steps), batch, lr, seed, ema=0.98, decay="linear",
                  device=parts.device, objective={"base": base_of(parts), "dropped": list(DROPPED),
                                                  "pairs": checksum(pairs.before, pairs.after)[:16]})


@torch.no_grad()
def edit(pictures, instructions, seeds, parts, editor, by_source=BY_SOURCE, by_text=BY_TEXT, steps=STEPS):
    """Pictures (B, 3, 32, 32) and instructions such as "make it red" -> the changed pictures."""
    check_pictures(pictures, 3, 32, 32)
    check(len(pictures) == len(instructions) == len(seeds), f"an instruction and a seed per picture: got "
          f"{len(pictures)} pictures, {len(instructions)} instructions and {len(seeds)} seeds")
    said = [sentence(understand(one)) for one in instructions]   # "make it red" is heard as "a red digit"
    text, null = parts.clip.text_states(said), parts.clip.text_states([""])
    source = parts.autoencoder.encode(pictures.to(parts.device))
    denoise = doubly_guided(editor, null, editor.nothing, by_source, by_text)
    noise = noise_for(seeds, tuple(source.shape[1:])).to(parts.device)
    walk = sample(lambda xt, t, cond: denoise(xt, t, (cond, source)), noise, parts.unet.schedule, steps, heun_step,
                  text)
    return parts.autoencoder.decode(last(walk)).clamp(-1, 1)


def load(path, parts):
    """The trained editor of a machine."""
    return load_beside(path, parts, EditorConfig, new_editor, "`python -m minidiff edit FILE SENTENCE` trains it")
