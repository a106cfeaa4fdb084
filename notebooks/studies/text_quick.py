"""What makes the machine learn quickly?  Its UNet as it is, and with one thing at a time taken back to what is usual,
for the same seconds, three seeds: what is drawn right, how varied it is, and how far the crowd is from the real one.
"""

import sys
from dataclasses import replace

from common import SEEDS, ready, steps_within

from minidiff.models import LATENTS
from minidiff.pipelines import report, text2image
from minidiff.tools import budget, study
from minidiff.training import train

SECONDS, N = budget(25, 25, 0.2), budget(1_000, 1_000, 24)
BATCH = budget(256, 256, 64)
WAYS = {"as it is": {}, "looks in every stage": {"config": replace(LATENTS, attention=(True,))},
        "words through looks alone": {"config": replace(LATENTS, pooled=False)}, "twice the batch": {"batch": BATCH},
        "rate falls on a cosine": {"decay": "cosine"}, "all levels alike": {"levels": ()}}


def main(path=None):
    known, unseen, parts = ready()
    usual = {key: text2image.QUICK["unet"][key] for key in ("decay", "levels")}
    results = {name: [] for name in WAYS}
    for seed in SEEDS:
        encoded = text2image.latents_of(known, parts.autoencoder, budget(60_000, 60_000, 1_000), seed)
        for name, change in WAYS.items():
            def make(steps=100):
                settings = {"lr": 8e-3, "batch": BATCH // 2, **usual} | change | {"steps": steps}
                return text2image.unet_recipe(known, parts.clip, parts.autoencoder, seed, encoded, **settings)

            recipe = make(steps_within(SECONDS, make))
            *_, state = train(recipe)
            parts.unet = recipe.model
            found = report.score(parts, known, unseen, N, seed, guidance=3.0, steps=budget(15, 15, 3))
            results[name].append({
                "seed": seed, "steps": recipe.steps, "seconds": state.seconds, "diversity": found["diversity"],
                "distance": found["frechet"] / found["frechet_floor"],
                **{key: found[key] for key in ("accuracy", "held_out")}})
            print(name, results[name][-1], flush=True)
    study.keep(__file__, {"seconds": SECONDS, "captions": N}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
