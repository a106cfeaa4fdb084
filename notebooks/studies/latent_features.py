"""Is it better to compare what a network sees?  Squared error alone, and squared error plus the distance between the
classifier's features of the picture and of the rebuilt one, with two weights; each trained for the same seconds, three
seeds.  Read by a second classifier, which has not taught.  The picture: unseen digits, and all ways of rebuilding them.
"""

import sys
import time
from pathlib import Path

import torch
from common import DEVICE, SEEDS, left_of, rebuilt_by, save_rows, steps_within, trained_classifier
from torch.nn import functional as F

from minidiff.data import load_captioned_digits
from minidiff.models import kl_to_normal
from minidiff.pipelines import autoencoder, classifier
from minidiff.tools import budget, generator_for, study
from minidiff.training import run

WEIGHTS = {"squared error": 0.0, "features, 0.001": 0.001, "features, 0.02": 0.02}
SECONDS, N = budget(30, 30, 0.1), budget(2_000, 2_000, 40)


def teaching(known, teacher, weight, seed, steps):
    """The autoencoder's recipe with a second term: how far the teacher's features of the rebuilt picture are off."""
    recipe = autoencoder.recipe(known, seed, steps=steps)

    def loss_of(model, generator):
        pictures, _ = known.sample(recipe.batch, generator)
        mean, logvar = model.encoder(pictures)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        rebuilt = model.decoder(mean + noise * (logvar / 2).exp())
        kl = model.config.kl_weight * kl_to_normal(mean, logvar).mean()
        seen = F.mse_loss(teacher.features(rebuilt), teacher.features(pictures).detach()) if weight else 0.0
        return F.mse_loss(rebuilt, pictures) + kl + weight * seen

    recipe.loss_of = loss_of
    return recipe


def main(path=None):
    (known, unseen), teacher = load_captioned_digits(DEVICE), trained_classifier().requires_grad_(False)
    second = run(classifier.recipe(known, seed=1, steps=budget(600, 600, 5)))
    pictures, attributes = unseen.sample(N, generator_for(7, device=DEVICE))
    results, rows = {name: [] for name in WEIGHTS}, [pictures[:10]]
    for seed in SEEDS:
        for name, weight in WEIGHTS.items():
            steps = steps_within(SECONDS, lambda: teaching(known, teacher, weight, seed, 100))
            start = time.perf_counter()
            rebuilt = rebuilt_by(run(teaching(known, teacher, weight, seed, steps)), pictures)
            results[name].append({"seed": seed, "steps": steps, "seconds": time.perf_counter() - start,
                                  **left_of(pictures, rebuilt, attributes, second)})
            rows += [rebuilt[:10]] if seed == 0 else []
            print(name, results[name][-1], flush=True)
    study.keep(__file__, {"seconds": SECONDS, "weights": list(WEIGHTS.values()), "pictures": N},
               {"originals": left_of(pictures, pictures + 1e-6, attributes, second), "ways": results}, path)
    save_rows(rows, ("unseen", *WEIGHTS), Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
