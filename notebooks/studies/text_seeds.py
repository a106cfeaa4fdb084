"""How good is the whole machine, and is it good each time?  Three seeds: what is drawn right, held-out combinations
too, diversity, the Frechet distance with its floor, and seconds.  The picture: what the three draw for the same
captions.
"""

import itertools
import time
from pathlib import Path

from digits_unet import DEVICE, FOLDER
from latent_seeds import save_rows

from minidiff.data import load_captioned_digits, sentence
from minidiff.pipelines import report, text2image
from minidiff.tools import budget, study
from minidiff.training import train

SEEDS, N = budget([0, 1, 2], [0, 1, 2], [0]), budget(5_000, 1_000, 24)
PLAIN = dict(batch=budget(512, 256, 64), decay="cosine", levels=())       # how the UNets of some comparisons learn,
LOUD = dict(guidance=3.5, steps=budget(17, 17, 3))               # without the haste of `text2image.QUICK`, and draw
SHOWN = [(7, 0, 2, 0), (2, 4, 0, 2), (5, 1, 1, 1), (0, 2, 2, 1), (8, 3, 0, 0), (3, 6, 1, 2), (9, 5, 2, 0), (4, 4, 1, 1)]


def ready():
    """Known and unseen digits, and all parts of the machine but the UNet; trained here where they are not there yet."""
    models = {}
    for training in itertools.islice(text2image.recipes(FOLDER, device=DEVICE), 3):
        for _ in train(training, f"{FOLDER}/{training.name}.safetensors"):
            pass
        models[training.name] = training.model.eval()
    return *load_captioned_digits(FOLDER, DEVICE), text2image.Pipeline(**models, unet=None)


def seconds_to_draw(count, parts):
    """The shortest of five times to draw so many captions."""
    captions, times = [sentence(SHOWN[i % 8]) for i in range(count)], []
    for _ in range(budget(5, 5, 1)):
        start = time.perf_counter()
        text2image.draw(captions, range(count), parts)
        times.append(time.perf_counter() - start)
    return min(times)


def runs_of(plans, file, drawing=None, **settings):
    """Train a denoiser with each plan and seed, score the machine with each, keep the numbers and a picture of what each
    draws.

    plans: functions plan(make) -> how many steps (None: the machine's), for a function `make` that makes the training.
    The seconds of encoding the latents are counted in.  drawing: guidance and steps, if not the machine's.
    """
    known, unseen, parts = ready()
    runs, rows = [], []
    for plan, seed in itertools.product(plans, SEEDS):
        start = time.perf_counter()
        encoded = text2image.latents_of(known, parts.autoencoder, budget(500_000, 60_000, 1_000), seed)
        encoding = time.perf_counter() - start

        def make(steps=None):
            planned = {"steps": steps} if steps else {}
            return text2image.unet_recipe(known, parts.clip, parts.autoencoder, seed, encoded, **planned, **settings)

        training = make(plan(make))
        start = time.perf_counter()
        for _ in train(training):
            pass
        seconds, parts.unet = encoding + time.perf_counter() - start, training.model
        found = report.score(parts, known, unseen, N, seed, **drawing or {"steps": budget(text2image.STEPS, text2image.STEPS, 3)})
        runs.append({
            "seed": seed, "seconds": seconds, "steps": training.steps,
            "parameters": sum(p.numel() for p in parts.unet.parameters()),
            **{key: found[key] for key in ("accuracy", "held_out", "floor", "shuffled", "frechet", "frechet_floor",
                                           "diversity", "seconds_a_picture")},
            "seconds for 1": seconds_to_draw(1, parts), "seconds for 64": seconds_to_draw(64, parts)})
        rows.append(text2image.draw([sentence(row) for row in SHOWN], range(len(SHOWN)), parts))
        print(runs[-1], flush=True)
    study.keep(file, {"captions": N, "batch": training.batch, "held out": found["n"]["held_out"]}, runs)
    save_rows(rows[-len(SEEDS):], [f"seed {seed}" for seed in SEEDS], Path(file).with_suffix(".png"))


if __name__ == "__main__":
    runs_of([lambda make: None], __file__)
