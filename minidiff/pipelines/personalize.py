"""New words: a frozen machine learns one from pictures, by a vector, by thin matrices, or by all of its weights."""

import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch.nn import functional as F

from minidiff.data.captions import WORDS, sentence, tokenize
from minidiff.data.wishes import said_with
from minidiff.diffusion.levels import sample_levels
from minidiff.diffusion.losses import denoising_loss
from minidiff.diffusion.samplers import last
from minidiff.evaluation.readers import read
from minidiff.models.adapter import Adapter
from minidiff.models.lora import merged, with_lora
from minidiff.models.new_words import with_word
from minidiff.pipelines.text2image import base_of, denoising, load_beside, tersely
from minidiff.tools.checks import check, check_number, check_pictures
from minidiff.tools.files import checksum
from minidiff.tools.runtime import autocast, budget, generator_for, seeded
from minidiff.training.loop import Recipe

WHERE = {                                                        # which layers of the UNet get a LoRA, by name
    "nowhere": lambda name: False,
    "attention": lambda name: ".attention." in name or ".cross." in name,
    "everywhere": lambda name: True,
}
LR = {"nowhere": 3e-2, "full": 3e-3}                             # learning rates; 1e-2 for every LoRA
GUIDANCE = 2.5                                                   # of new words; more turns orange into yellow
FIRST_SEED = 2**41                                               # own drawings have seeds of their own


@dataclass(frozen=True)
class WordConfig:
    word: str = "orange"
    like: str = "color"                                          # whose place it takes in a caption, see `WORDS`
    where: str = "attention"                                     # of `WHERE`; "full" to train the whole UNet
    rank: int = 4
    alpha: float | None = None                                   # the rank, if not given
    decoder_rank: int = 0                                        # of LoRAs in the decoder; 0: it stays as it is
    learn_word: bool = True                                      # whether the word's vector learns


BOOK = {"color": WordConfig(where="nowhere"),                    # what `teach` learns: a vector is enough for a color
        "stroke": WordConfig("outlined", "stroke", "everywhere", rank=16, decoder_rank=16)}
STEPS = {"color": 450, "stroke": 600}


def with_new_word(parts, config, seed=0):
    """The networks that learn a word: clip, unet, and where it is asked for decoder, as an `Adapter`."""
    with seeded(seed):
        clip = with_word(parts.clip, config.word, near=WORDS[config.like])
        clip.text.token.new.requires_grad_(config.learn_word)
        networks = {"clip": clip}
        if config.where == "full":
            networks["unet"] = copy.deepcopy(parts.unet).requires_grad_(True)
        elif config.where == "nowhere":
            networks["unet"] = parts.unet
        else:
            networks["unet"] = with_lora(parts.unet, config.rank, WHERE[config.where], config.alpha)
        if config.decoder_rank:
            networks["decoder"] = with_lora(parts.autoencoder.decoder, config.decoder_rank)
        return Adapter(networks)


@torch.no_grad()
def own_drawings(parts, captioned, n=None, seed=0):
    """What the machine draws before it learns anything new, to be remembered by: latents (n, 4, 4, 4) and the captions
    of trained combinations, one in ten of them empty.  [prior preservation: Ruiz et al. 2023 (DreamBooth), section 3.3]
    """
    generator, n = generator_for(seed, 5, device=parts.device), budget(full=500, small=500, fast=20, given=n)
    rows = torch.randint(len(captioned.allowed), (n,), generator=generator, device=parts.device)
    captions = [sentence(row) for row in tersely(captioned.allowed[rows], generator).tolist()]
    captions = [caption if i % 10 else "" for i, caption in enumerate(captions)]
    latents = []
    for part in torch.arange(n).split(250):
        seeds = [FIRST_SEED + seed * 1_000_000 + i for i in part.tolist()]
        with autocast(parts.device):
            latents.append(last(denoising([captions[i] for i in part], seeds, parts)).float())
    return torch.cat(latents), captions


def recipe(parts, pictures, captions, config=WordConfig(), old=None, seed=0, steps=None, batch=64, lr=None, share=0.25):
    """Train a word on pictures (N, 3, 32, 32) and the captions that say it.

    old: latents and captions that are not to be forgotten, such as `own_drawings` gives, a share of each batch.  All
    that is added learns by AdamW, at every rank: A and B belong to no Linear, so Muon leaves them alone.
    """
    check_pictures(pictures, 3, 32, 32)
    check(len(pictures) == len(captions), f"one caption per picture: got {len(pictures)} and {len(captions)}")
    said = [caption for caption in captions if config.word not in caption.split()]
    check(not said, f"the caption {(said or [''])[0]!r} does not say the new word {config.word!r}")
    latents, device = parts.autoencoder.encode(pictures), parts.device
    ids = tokenize(captions, (*parts.clip.new_words, config.word)).to(device)
    old_latents, old_ids = (old[0], parts.clip.tokens(old[1])) if old else (None, None)
    mean, std = parts.autoencoder.latent_mean, parts.autoencoder.latent_std

    def loss_of(model, generator):
        many = batch - round(share * batch) if old else batch
        rows = torch.randint(len(latents), (many,), generator=generator, device=device)
        x0, tokens = latents[rows], ids[rows]
        if old:
            past = torch.randint(len(old_latents), (batch - many,), generator=generator, device=device)
            x0, tokens = torch.cat([x0, old_latents[past]]), torch.cat([tokens, old_ids[past]])
        t = sample_levels(batch, parts.unet.schedule, generator)
        eps = torch.randn(x0.shape, generator=generator, device=device)
        cond = model["clip"].text(tokens).float()
        loss = denoising_loss(model["unet"], x0, t, eps, parts.unet.schedule, cond).mean()
        if not config.decoder_rank:
            return loss
        wanted = torch.cat([pictures[rows], parts.autoencoder.decode(x0[many:])])
        return loss + F.mse_loss(model["decoder"](x0 * std + mean), wanted)

    settings = {"base": base_of(parts), "data": checksum(pictures, *captions)[:16],
                "old": checksum(old[0], *old[1])[:16] if old else None, "share": share}
    return Recipe(config.word, partial(with_new_word, parts, config, seed), config, loss_of,
                  budget(full=450, small=450, fast=4, given=steps), batch, lr or LR.get(config.where, 1e-2), seed,
                  decay="linear", ema=0.98, device=device, objective=settings)


def caption_of(parts, picture, word, like):
    """What a picture (1, 3, 32, 32) shows, as read from it, with a new word in the place that it takes."""
    return said_with(word, read(parts.classifier, picture.to(parts.device)), like)[0]


def teach(parts, pictures, captions, captioned, word, like, seed=0):
    """What the command line trains: a word from a person's own few pictures (N, 3, 32, 32)."""
    old = None if BOOK[like].where == "nowhere" else own_drawings(parts, captioned, seed=seed)
    return recipe(parts, pictures, captions, replace(BOOK[like], word=word), old, seed,
                  budget(full=STEPS[like], small=STEPS[like], fast=4))


def applied(parts, adapter):
    """The machine with an adapter beside its networks."""
    parts = replace(parts, clip=adapter["clip"], unet=adapter["unet"])
    if "decoder" in adapter:
        parts.autoencoder = copy.copy(parts.autoencoder)
        parts.autoencoder._modules = parts.autoencoder._modules | {"decoder": adapter["decoder"]}
    return parts


def load(path, parts):
    """The adapter in a file, if it belongs to this machine."""
    again = f"`python -m minidiff teach {Path(path).stem} --pictures FOLDER` makes it"
    return load_beside(path, parts, WordConfig, with_new_word, again)


def joined(parts, adapters):
    """A plain machine with several adapters merged into it: pairs of (adapter, strength).  Each brings its word, on
    the way to what was learned, and what its LoRAs change is added up, times their strengths.  A strength of 0 is the
    old machine, with a word more that says nothing new."""
    clip, unet, decoder = parts.clip, parts.unet, parts.autoencoder.decoder
    for adapter, strength in adapters:
        check_number("the strength of an adapter", strength, -10, 10)
        learned = adapter["clip"]
        clip = with_word(clip, learned.new_words[-1])
        clip.text.token.new.data.copy_(learned.text.token.at(strength))
        unet = merged(unet, adapter["unet"], strength)
        if "decoder" in adapter:
            decoder = merged(decoder, adapter["decoder"], strength)
    return applied(parts, {"clip": clip, "unet": unet, "decoder": decoder})
