"""Should the UNet's cross-attention be masked where a caption is over?  Both ways from the same parts, three seeds:
what is drawn right, held-out combinations too, Frechet distance with its floor, and diversity.
"""

import sys

import torch

from minidiff.data import load_captioned_digits
from minidiff.models import blocks
from minidiff.pipelines import report, text2image
from minidiff.tools import budget, study
from minidiff.training import run

SEEDS = budget([10, 11, 12], [10, 11, 12], [10])


class MaskedBlock(blocks.Block):
    """The block of the UNet, which sees no padding: where the caption is over its states are zero."""

    def forward(self, x, context=None, mask=None):
        x = x + self.attention(self.norm1(x), mask=mask)
        if self.cross is not None:
            x = x + self.cross(self.norm2(x), context, (context != 0).any(-1)[:, None, None])
        return x + self.mlp(self.norm3(x))


def masked(unet):
    """Let every block of a UNet see no padding."""
    for module in unet.modules():
        if type(module) is blocks.Block:
            module.__class__ = MaskedBlock
    return unet


def main(path=None):
    results, n = [], budget(1_000, 1_000, 60)
    train_digits, val_digits = load_captioned_digits()
    for seed in SEEDS:
        made = {}
        for recipe in text2image.recipes(seed, torch.device("cpu")):
            made[recipe.name] = recipe
            if recipe.name != "unet":
                run(recipe)
        build = recipe.make_model
        for kind in ("plain", "masked"):
            recipe.__dict__.pop("model", None)
            recipe.make_model = build if kind == "plain" else lambda build=build: masked(build())
            run(recipe)
            parts = text2image.Pipeline(**{name: stage.model.eval() for name, stage in made.items()})
            with torch.no_grad():
                score = report.score(parts, train_digits, val_digits, n, seed)
            results.append({"seed": seed, "kind": kind, "joint": score["accuracy"]["joint"],
                            "held_out": score["held_out"]["joint"], "diversity": score["diversity"],
                            "frechet": score["frechet"], "frechet_floor": score["frechet_floor"]})
            print(results[-1], flush=True)
    study.keep(__file__, {"seeds": SEEDS, "n": n}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
