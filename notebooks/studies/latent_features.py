"""Is it better to compare what a network sees?  Squared error alone, and squared error plus the distance between the
judge's features of the picture and of the rebuilt one, with two weights; each trained for the same seconds,
three seeds.  Read by a second judge, who has not taught.  The picture: unseen digits, and all ways of rebuilding them.
"""

import time
from pathlib import Path

import torch
from digits_unet import DEVICE, FOLDER, steps_within, trained_judge
from latent_seeds import rebuilt_by, report, save_rows
from torch.nn import functional as F

from minidiff.data import load_captioned_digits
from minidiff.models import kl_to_normal
from minidiff.pipelines import autoencoder, classifier
from minidiff.tools import budget, generator_for, study
from minidiff.training import train

WEIGHTS = {"squared error": 0.0, "features, 0.001": 0.001, "features, 0.02": 0.02}
SEEDS, SECONDS, N = budget([0, 1, 2], [0, 1, 2], [0]), budget(30, 30, 0.1), budget(2_000, 2_000, 40)


def teaching(known, teacher, weight, seed, steps):
    """The autoencoder's recipe with a second term: how far the teacher's features of the rebuilt picture are off."""
    training = autoencoder.recipe(known, seed, steps=steps)

    def loss_of(model, generator):
        pictures, _ = known.sample(training.batch, generator)
        mean, logvar = model.encoder(pictures)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        rebuilt = model.decoder(mean + noise * (logvar / 2).exp())
        kl = model.config.kl_weight * kl_to_normal(mean, logvar).mean()
        seen = F.mse_loss(teacher.features(rebuilt), teacher.features(pictures).detach()) if weight else 0.0
        return F.mse_loss(rebuilt, pictures) + kl + weight * seen

    training.loss_of = loss_of
    return training


def main():
    (known, unseen), teacher = load_captioned_digits(FOLDER, DEVICE), trained_judge().requires_grad_(False)
    second = classifier.recipe(known, seed=1, steps=budget(600, 600, 5))
    for _ in train(second):
        pass
    pictures, attributes = unseen.sample(N, generator_for(7, device=DEVICE))
    results, rows = {name: [] for name in WEIGHTS}, [pictures[:10]]
    for seed in SEEDS:
        for name, weight in WEIGHTS.items():
            steps = steps_within(SECONDS, lambda: teaching(known, teacher, weight, seed, 100))
            training = teaching(known, teacher, weight, seed, steps)
            start = time.perf_counter()
            for _ in train(training):
                pass
            rebuilt = rebuilt_by(training.model, pictures)
            results[name].append({"seed": seed, "steps": steps, "seconds": time.perf_counter() - start,
                                  **report(second.model, rebuilt, pictures, attributes)})
            rows += [rebuilt[:10]] if seed == 0 else []
            print(name, results[name][-1], flush=True)
    study.keep(__file__, {"seconds": SECONDS, "weights": list(WEIGHTS.values()), "pictures": N},
               {"originals": report(second.model, pictures + 1e-6, pictures, attributes), "ways": results})
    save_rows(rows, ("unseen", *WEIGHTS), Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
