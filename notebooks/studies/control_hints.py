"""A sketch against a caption, how guidance hears a sketch, sketches of any strength, and two sketches at once."""

import sys

import torch
from common import DEVICE, SEEDS, beside, machine
from control_ways import STEPS, Judged
from torch import nn

from minidiff.data import load_captioned_digits, sentence
from minidiff.diffusion import guided_away, heun_step, last, sample
from minidiff.evaluation import iou, read
from minidiff.models import Controlled
from minidiff.pipelines import control
from minidiff.tools import budget, noise_for, study

COUNT = budget(100, 100, 4)
GUIDANCES = budget((1, 2, 3.25), (1, 2, 3.25), (2,))
STRENGTHS = budget((0, 0.25, 0.5, 0.75, 1, 1.5, 2), (0, 0.25, 0.5, 0.75, 1, 1.5, 2), (1,))


class Ladder(nn.Module):
    """A ControlNet whose deeper layers speak louder: 0.825^(n - 1 - i), as the authors' code has it."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, xt, t, cond, hint):
        parts = self.net(xt, t, cond, hint)
        return [0.825 ** (len(parts) - 1 - i) * part for i, part in enumerate(parts)]


@torch.no_grad()
def drawn(parts, captions, denoiser, without, seeds, guidance=control.GUIDANCE):
    """Pictures by a steered denoiser, guided away from another one at every level."""
    text, null = parts.clip.text_states(captions), parts.clip.text_states([""])
    noise, denoise = noise_for(seeds, (4, 4, 4)).to(parts.device), guided_away(denoiser, without, null, guidance)
    latents = last(sample(denoise, noise, parts.unet.schedule, STEPS, heun_step, text))
    return parts.autoencoder.decode(latents).clamp(-1, 1)


def guidance_modes(parts, net, judged, seeds):
    """IoU and shares right for each way to guide, with captions and with none."""
    hints, found = judged.data.sketches[:COUNT, None].float(), []
    steered, ladder = Controlled(parts.unet, (net, hints, 1.0)), Controlled(parts.unet, (Ladder(net), hints, 1.0))
    modes = {"both": (steered, steered), "the captioned one": (steered, parts.unet),
             "the captioned one, weighted": (ladder, parts.unet)}
    for name, denoisers in modes.items():
        for guidance in GUIDANCES:
            for captions in (judged.captions[:COUNT], [""] * COUNT):
                pictures = drawn(parts, captions, *denoisers, seeds, guidance)
                found.append({"mode": name, "guidance": guidance, "caption": captions[0] != "", **judged.of(pictures)})
    return found


def against(parts, net, judged, seeds):
    """The sketch of one digit and the caption of another: which of the two is drawn, at each strength."""
    said, found = judged.data.said[:COUNT].clone(), []
    said[:, 0] = (said[:, 0] + 1 + torch.arange(COUNT) % 9) % 10
    hints, captions = judged.data.sketches[:COUNT], [sentence(row) for row in said]
    for strength in STRENGTHS:
        pictures = control.draw(captions, hints, seeds, parts, net, strength=strength, steps=STEPS)
        seen = read(parts.classifier, pictures)
        agree = control.draw(judged.captions[:COUNT], hints, seeds, parts, net, strength=strength, steps=STEPS)
        found.append({"strength": strength, "as sketched": (seen[:, 0] == judged.data.said[:COUNT, 0]).float().mean(),
                      "as said": (seen[:, 0] == said[:, 0]).float().mean(),
                      "iou": iou(pictures, judged.truth[:COUNT]).mean(), "iou agreeing": judged.of(agree)["iou"]})
    return [{name: float(value) for name, value in row.items()} for row in found]


def two_halves(parts, net, judged, seeds):
    """The upper and the lower half of a sketch as two hints that add up, and each of them alone."""
    whole = judged.data.sketches[:COUNT, None].float()
    high = (torch.arange(32) < 16).view(1, 1, 32, 1)
    upper, lower = whole * high, whole * ~high
    ways = {"whole": [(net, whole, 1.0)], "upper half": [(net, upper, 1.0)], "both halves": [(net, upper, 1.0),
            (net, lower, 1.0)], "both halves, half each": [(net, upper, 0.5), (net, lower, 0.5)],
            "whole, twice": [(net, whole, 1.0), (net, whole, 1.0)]}
    return {name: judged.of(drawn(parts, judged.captions[:COUNT], Controlled(parts.unet, *controls), parts.unet, seeds))
            for name, controls in ways.items()}


def main(path=None):
    known, unseen = load_captioned_digits(DEVICE)
    results = {"guidance": [], "against": [], "two": []}
    for seed in SEEDS:
        parts = machine(seed)
        net = beside(control.recipe(parts, control.lessons(known, parts, seed), seed), seed)
        judged, seeds = Judged(parts, unseen, seed), range(1_000_000 * seed, 1_000_000 * seed + COUNT)
        for key, function in (("guidance", guidance_modes), ("against", against), ("two", two_halves)):
            results[key].append({"seed": seed, "found": function(parts, net, judged, seeds)})
            print(key, results[key][-1], flush=True)
    study.keep(__file__, {"drawings": COUNT}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
