"""What makes the machine learn quickly?  Its UNet as it is, and with one thing at a time taken back to what is usual,
for the same seconds, three seeds: what is drawn right, how varied it is, and how far the crowd is from the real one.
"""

from dataclasses import replace

from digits_unet import steps_within
from text_seeds import ready

from minidiff.models import LATENTS
from minidiff.pipelines import report, text2image
from minidiff.tools import budget, study
from minidiff.training import train

SEEDS, SECONDS, N = budget([0, 1, 2], [0, 1, 2], [0]), budget(25, 25, 0.2), budget(1_000, 1_000, 24)
BATCH = budget(256, 256, 64)
WAYS = {"as it is": {}, "looks in every stage": {"config": replace(LATENTS, attention=(True,))},
        "words through looks alone": {"config": replace(LATENTS, pooled=False)}, "twice the batch": {"batch": BATCH},
        "rate falls on a cosine": {"decay": "cosine"}, "all levels alike": {"levels": ()}}


def main():
    known, unseen, parts = ready()
    results = {name: [] for name in WAYS}
    for seed in SEEDS:
        encoded = text2image.latents_of(known, parts.autoencoder, budget(60_000, 60_000, 1_000), seed)
        for name, change in WAYS.items():
            def training(steps=100):
                settings = {"lr": 8e-3, "batch": BATCH // 2, **{k: text2image.QUICK["unet"][k] for k in ("decay", "levels")}}
                return text2image.unet_recipe(known, parts.clip, parts.autoencoder, seed, encoded,
                                   **settings | change | {"steps": steps})
            chosen = training(steps_within(SECONDS, training))
            for state in train(chosen):
                pass
            parts.unet = chosen.model
            found = report.score(parts, known, unseen, N, seed, 3.0, budget(15, 15, 3))
            results[name].append({
                "seed": seed, "steps": chosen.steps, "seconds": state.seconds, "diversity": found["diversity"],
                "distance": found["frechet"] / found["frechet_floor"],
                **{key: found[key] for key in ("accuracy", "held_out")}})
            print(name, results[name][-1], flush=True)
    study.keep(__file__, {"seconds": SECONDS, "captions": N}, results)


if __name__ == "__main__":
    main()
