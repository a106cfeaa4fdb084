"""Who reads digits better, a transformer on patches or a convolutional net?  Three seeds, about equal numbers of
parameters and about equal seconds, the same 4,500 digits, the same jitter, tested on the 500 validation digits.

The picture is where the first transformer looks: each digit, and the looks of the collecting token in each block, the
mean of its heads.
"""

import sys
import time
from pathlib import Path

import torch
from common import SEEDS, parameters

from minidiff.data import LabeledDigits, load_digits
from minidiff.evaluation import wilson
from minidiff.models import Classifier, ClassifierConfig, ViT, ViTConfig
from minidiff.pipelines import classifier
from minidiff.tools import budget, show_attention, study
from minidiff.training import run

STEPS = {"ViT, patches of 7 x 7": budget(3_000, 1_000, 3), "CNN": budget(2_700, 900, 3)}


def main(path=None):
    digits, results, vits = load_digits(), {}, []
    inside = (..., slice(2, -2), slice(2, -2))                   # without the rim of empty pixels: 28 x 28
    for name, network, config, cut in (("ViT, patches of 7 x 7", ViT, ViTConfig(), inside),
                                       ("CNN", Classifier, ClassifierConfig(), ...)):
        known, runs = LabeledDigits(digits.train[cut], digits.train_labels), []
        for seed in SEEDS:
            start = time.perf_counter()
            model = run(classifier.recipe(known, seed, config, STEPS[name], batch=128, network=network))
            seconds = time.perf_counter() - start
            with torch.no_grad():
                right = (model(digits.val[cut]).argmax(1) == digits.val_labels).float().mean().item()
            vits += [model] if network is ViT else []
            runs.append({"seed": seed, "accuracy": right, "interval": list(wilson(right, len(digits.val))),
                         "seconds": seconds})
            print(name, runs[-1], flush=True)
        results[name] = {"parameters": parameters(model), "runs": runs}
    study.keep(__file__, {"steps": STEPS, "batch": 128}, results, path)
    if budget(True, True, False):
        seen = digits.val[inside][[100, 150, 250, 400]]          # a two, a three, a five, an eight
        maps = vits[0].attention_maps(seen).mean(2).transpose(0, 1)                    # (B, depth, P)
        titles = [f"block {i + 1}" for i in range(maps.shape[1])]
        figure = show_attention.over_pictures(seen, maps.unflatten(-1, (4, 4)), titles)
        figure.savefig(Path(__file__).with_suffix(".png"), dpi=100)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
