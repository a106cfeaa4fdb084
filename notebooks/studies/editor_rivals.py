"""Changing a picture without training anything for it: SDEdit, DDIM inversion with another caption, inpainting, and
chapter 9's own ControlNet, beside the editor that was trained.  How exact DDIM inversion is, by its steps and guidance.
And what two drawings from one noise have in common, with and without shared attention.

All rivals are told the caption of the given picture and of the wanted one; the editor is told only what to change.
"""

import sys
from functools import partial

import torch
from common import DEVICE, SEEDS, beside, machine
from editor_ways import STEPS, Asked, lessons
from torch.nn import functional as F

from minidiff.data import load_captioned_digits, sentence, thin
from minidiff.diffusion import (
    add_noise,
    angle_step,
    ddim_step,
    ddpm_step,
    guided,
    heun_step,
    inpainting,
    inverted,
    last,
    sample,
)
from minidiff.evaluation import iou, read
from minidiff.models import sharing
from minidiff.pipelines import control, instruct, text2image
from minidiff.tools import budget, generator_for, noise_for, study

COUNT = budget(120, 120, 4)
TURNS = budget((5, 10, 20, 40, 80, 160), (5, 10, 20, 40, 80, 160), (2, 3))             # steps of an inversion
LEVELS = budget((400, 500, 600, 700, 800), (400, 500, 600, 700, 800), (500,))
SWAPS = budget((1, 2, 3.25), (1, 2, 3.25), (2,))
ABOVE = budget((600, 300, 0), (600, 300, 0), (300,))


class Rivals:
    """Ways to change pictures, each a function of the asked edits."""

    def __init__(self, parts, asked, net, editor):
        self.parts, self.asked, self.net, self.editor = parts, asked, net, editor
        self.old, self.new = ([sentence(row) for row in rows] for rows in (asked.said, asked.wanted))
        self.latents = parts.autoencoder.encode(asked.given)
        self.noise = noise_for(asked.seeds, (4, 4, 4))

    def told(self, captions):
        """Conditions for a list of captions."""
        return self.parts.clip.text_states(captions)

    def denoiser(self, guidance):
        """The guided machine."""
        return guided(self.parts.unet, self.told([""]), guidance)

    def walk(self, start, captions, guidance=text2image.GUIDANCE, step=heun_step, steps=STEPS, level=None):
        """From noise, or from a level in between, to pictures."""
        latents = last(sample(self.denoiser(guidance), start, self.parts.unet.schedule, steps, step,
                              self.told(captions), self.asked.seeds, level))
        return self.parts.autoencoder.decode(latents).clamp(-1, 1)

    def redrawn(self):
        """Another drawing, by the new caption."""
        return self.walk(self.noise, self.new)

    def sdedit(self, level):
        """The picture under noise up to a level, and from there by the new caption.  [Meng et al. 2022]"""
        t = torch.full((len(self.latents),), level)
        return self.walk(add_noise(self.latents, t, self.noise, self.parts.unet.schedule), self.new, level=level)

    def swapped(self, guidance):
        """The noise from which the picture comes by its own caption, and from there by the new one."""
        start = inverted(self.denoiser(1), self.latents, self.parts.unet.schedule, budget(40, 40, 2),
                         cond=self.told(self.old))
        return self.walk(start, self.new, guidance, angle_step, budget(40, 40, 2))

    def inpainted(self):
        """The latent places without ink are kept, the others drawn by the new caption."""
        ink = F.max_pool2d(self.asked.given.amax(1, keepdim=True), 8) > 0              # 8 x 8 pixels for each place
        step = inpainting(ddpm_step, self.latents, ~ink, again=2)
        return self.walk(self.noise, self.new, step=step, steps=budget(50, 50, 2))

    def along_its_skeleton(self):
        """By the new caption, along the skeleton of the given picture."""
        sketches = thin(self.asked.given.amax(1) > 0).byte()
        return control.draw(self.new, sketches, self.asked.seeds, self.parts, self.net, steps=STEPS)

    def all(self):
        """Name -> a function that makes the pictures."""
        return {"another drawing": self.redrawn,
                **{f"SDEdit from level {level}": partial(self.sdedit, level) for level in LEVELS},
                **{f"inversion, guidance {w}": partial(self.swapped, w) for w in SWAPS},
                "inpainting": self.inpainted, "ControlNet": self.along_its_skeleton,
                "editor": lambda: self.asked.edited_by(self.editor)}


def round_trips(parts, asked):
    """There and back again: how far the latents are from where they began, and how noisy the noise was."""
    latents, captions = parts.autoencoder.encode(asked.given[:64]), [sentence(row) for row in asked.said[:64]]
    cond, null, found = parts.clip.text_states(captions), parts.clip.text_states([""]), []
    for name, step in (("DDIM", ddim_step), ("angle", angle_step)):
        for guidance in (1, text2image.GUIDANCE):
            denoise = guided(parts.unet, null, guidance)
            for steps in TURNS:
                noise = inverted(denoise, latents, parts.unet.schedule, steps, step, cond)
                back = last(sample(denoise, noise, parts.unet.schedule, steps, step, cond))
                found.append({"step": name, "guidance": guidance, "steps": steps, "std": noise.std().item(),
                              "error": (back - latents).square().mean().sqrt().item()})
    return found


def tint_of(pictures):
    """The brightest red, green and blue of each picture (B, 3)."""
    return pictures.amax((2, 3))


@torch.no_grad()
def in_common(parts, known, seed):
    """Two captions that differ by the digit: IoU of the two drawings, how far apart their tints are, and whether the
    second one is right; from two noises, from one, and with shared attention above a level."""
    said = known.allowed[torch.randint(len(known.allowed), (COUNT,), generator=generator_for(seed, 31))]
    other = said.clone()
    other[:, 0] = (said[:, 0] + 1 + torch.arange(COUNT) % 9) % 10
    captions = [sentence(row) for pair in zip(said, other) for row in pair]
    one = noise_for(range(COUNT), (4, 4, 4)).repeat_interleave(2, 0)
    two = noise_for(range(2 * COUNT), (4, 4, 4))
    cond, null, found = parts.clip.text_states(captions), parts.clip.text_states([""]), []
    ways = {"two noises": (two, parts.unet), "one noise": (one, parts.unet),
            **{f"shared above {level}": (one, sharing(parts.unet, level)) for level in ABOVE}}
    for name, (noise, denoiser) in ways.items():
        latents = last(sample(guided(denoiser, null, text2image.GUIDANCE, text2image.BELOW), noise,
                              parts.unet.schedule, STEPS, heun_step, cond))
        pictures = parts.autoencoder.decode(latents).clamp(-1, 1)
        first, second = pictures[::2], pictures[1::2]
        found.append({"way": name, "iou": iou(first, second).mean().item(),
                      "tint": (tint_of(first) - tint_of(second)).abs().mean().item(),
                      "right": (read(parts.classifier, second) == other).all(1).float().mean().item()})
    return found


def main(path=None):
    known, unseen = load_captioned_digits(DEVICE)
    results = {"rivals": [], "round trips": [], "in common": []}
    for seed in SEEDS:
        parts = machine(seed)
        net = beside(control.recipe(parts, control.lessons(known, parts, seed), seed), seed)
        editor = beside(instruct.recipe(parts, lessons(parts, known, seed)[0]["both"], seed), seed)
        asked = Asked(parts, unseen, "changes", seed, COUNT)
        judged = [{"way": name, **asked.judged(way())} for name, way in Rivals(parts, asked, net, editor).all().items()]
        results["rivals"].append({"seed": seed, "ways": judged})
        results["round trips"].append({"seed": seed, "found": round_trips(parts, asked)})
        results["in common"].append({"seed": seed, "found": in_common(parts, known, seed)})
        print(*judged, results["in common"][-1], sep="\n", flush=True)
    study.keep(__file__, {"edits": COUNT}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
