"""How good is the whole machine, and is it good each time?  The UNet and a transformer, on the same latents and captions,
three seeds each, the same seconds: what is drawn right, held-out combinations too, diversity, and seconds.
The picture: what each draws for the same captions and noise.
"""

import time
from pathlib import Path

import torch
from digits_unet import DEVICE, FOLDER, steps_within, trained_judge
from latent_seeds import save_rows

from minidiff import autoencoder, clip, report, study
from minidiff.captions import sentence
from minidiff.dit import DiT, DiTConfig
from minidiff.runtime import budget
from minidiff.text2image import Parts, draw, latents_of, unet_recipe, wardrobes
from minidiff.train import train

SEEDS, N = budget([0, 1, 2], [0, 1, 2], [0]), budget(5_000, 1_000, 60)
NETS = {"UNet": {}, "transformer": {"net": DiT, "config": DiTConfig(), "lr": 4e-3}}
SHOWN = [(7, 0, 2, 0), (2, 4, 0, 2), (5, 1, 1, 1), (0, 2, 2, 1), (8, 3, 0, 0), (3, 6, 1, 2), (9, 5, 2, 0), (4, 4, 1, 1)]


def ready():
    """Known and unseen digits, and the parts that the chapters before have trained; trained here where they are not."""
    known, unseen = wardrobes(FOLDER, DEVICE)
    models = {}
    for name, module in (("clip", clip), ("autoencoder", autoencoder)):
        training = module.recipe(known)
        for _ in train(training, f"{FOLDER}/{name}.safetensors"):
            pass
        models[name] = training.model.eval()
    return known, unseen, Parts(**models, unet=None, judge=trained_judge())


def seconds_to_draw(count, parts):
    """The shortest of five times to draw so many captions."""
    captions, times = [sentence(SHOWN[i % 8]) for i in range(count)], []
    for _ in range(5):
        start = time.perf_counter()
        draw(captions, range(count), parts)
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    known, unseen, parts = ready()
    results, rows = {name: [] for name in NETS}, []
    for seed in SEEDS:
        start = time.perf_counter()
        encoded = latents_of(known, parts.autoencoder, budget(500_000, 80_000, 1_000), seed)
        encoding = time.perf_counter() - start
        for name, settings in NETS.items():
            def make(steps=None):
                return unet_recipe(known, parts.clip, parts.autoencoder, seed, encoded, steps=steps, **settings)
            training = make(None if name == "UNet" else steps_within(seconds, make))   # the same seconds for both
            start = time.perf_counter()
            for _ in train(training):
                pass
            seconds, parts.unet = time.perf_counter() - start, training.model
            found = report.score(parts, known, unseen, N, seed)
            results[name].append({
                "seed": seed, "seconds": encoding + seconds, "steps": training.steps,
                "parameters": sum(p.numel() for p in parts.unet.parameters()),
                **{key: found[key] for key in ("accuracy", "held_out", "floor", "shuffled", "frechet", "frechet_floor",
                                               "diversity", "seconds_a_picture")},
                "seconds for 1": seconds_to_draw(1, parts), "seconds for 64": seconds_to_draw(64, parts)})
            if seed == 0:
                rows.append(draw([sentence(row) for row in SHOWN], range(8), parts))
            print(name, results[name][-1], flush=True)
    study.keep(__file__, {"captions": N, "batch": training.batch, "held out": found["n"]["held_out"]}, results)
    save_rows(rows, list(NETS), Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
