"""Pixels or latents?  UNets of one family, told by the same captions, on 3 x 32 x 32 pixels and on latents, the same
seconds: what is right, how varied it is, and what a step costs.  Three seeds.  The picture: what each draws.
"""

import sys
import time
from pathlib import Path

import torch
from common import DEVICE, LOUD, SEEDS, SHOWN, parameters, ready, save_rows, steps_within

from minidiff.data import caption_index, every_caption, sentence
from minidiff.diffusion import clipped, guided, heun_step, last, sample
from minidiff.evaluation import accuracy, diversity, frechet_with_floor, read
from minidiff.models import UNetConfig
from minidiff.pipelines import denoiser, text2image
from minidiff.tools import autocast, budget, generator_for, noise_for, study
from minidiff.training import run

SECONDS, N = budget([25, 75], [25, 75], [0.1, 0.3]), budget(500, 500, 40)
SMALL = UNetConfig()
PIXELS = UNetConfig(3, (24, 64), patch=2, attention=(False, True))
KINDS = {"latents": (SMALL, 256), "pixels": (PIXELS, 64)}


@torch.no_grad()
def drawn_by(model, states, null, parts, latents):
    """Pictures for caption states (N, L, D), with the same guidance and steps."""
    shape, pictures = (4, 4, 4) if latents else (3, 32, 32), []
    for rows in torch.arange(len(states)).split(100):
        denoise = guided(model, null, LOUD["guidance"], text2image.BELOW)
        denoise = denoise if latents else clipped(denoise, model.schedule)
        noise = noise_for(rows.tolist(), shape).to(DEVICE)
        with autocast(DEVICE):
            x = last(sample(denoise, noise, model.schedule, LOUD["steps"], heun_step, states[rows]))
        pictures.append(parts.autoencoder.decode(x.float()) if latents else x.float())
    return torch.cat(pictures).clamp(-1, 1)


def main(path=None):
    known, _, parts = ready()
    with torch.no_grad():
        states = parts.clip.text_states([sentence(said) for said in every_caption()])
        null = parts.clip.text_states([""])
    latents, attributes = text2image.latents_of(known, parts.autoencoder, budget(40_000, 40_000, 1_000))
    generator = generator_for(4, device=DEVICE)
    pictures, said = known.sample(budget(20_000, 20_000, 1_000), generator)
    data = {"latents": (latents, attributes), "pixels": (pictures, said)}
    asked = known.allowed[torch.randint(len(known.allowed), (N,), generator=generator, device=DEVICE)]
    asked[:8] = torch.tensor(SHOWN, device=DEVICE)
    real = known.render(known.rows_for(asked[:, 0], generator), asked)
    crowd, _ = known.sample(2 * N, generator)
    with torch.no_grad():
        features = parts.classifier.features(crowd)
    results, rows = {name: [] for name in KINDS}, []
    for seed in SEEDS:
        for name, (config, batch) in KINDS.items():
            x0, words = data[name]

            def conds(rows, generator):
                return states[caption_index(text2image.tersely(words[rows], generator))]

            def make(steps=1_000):
                return denoiser.recipe(x0, conds, null, seed, config, steps, batch)

            for seconds in SECONDS:
                recipe = make(steps_within(seconds, make))
                start = time.perf_counter()
                model = run(recipe)
                trained, start = time.perf_counter() - start, time.perf_counter()
                drawn = drawn_by(model, states[caption_index(asked)], null, parts, name == "latents")
                with torch.no_grad():
                    distance, floor = frechet_with_floor(parts.classifier.features(drawn), features)
                results[name].append({
                    "seed": seed, "seconds": trained, "steps": recipe.steps, "a step": trained / recipe.steps / batch,
                    "drawing one": (time.perf_counter() - start) / N, "frechet": distance, "floor": floor,
                    **accuracy(read(parts.classifier, drawn), asked),
                    "diversity": diversity(drawn, asked) / diversity(real, asked), "parameters": parameters(model)})
                rows += [drawn[:8]] if seed == 0 else []
                print(name, results[name][-1], flush=True)
    batches = {name: batch for name, (_, batch) in KINDS.items()}
    study.keep(__file__, {"captions": N, "seconds": SECONDS, "batches": batches}, results, path)
    names = [f"{name}, {seconds:g} s" for name in KINDS for seconds in SECONDS]
    save_rows(rows, names, Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
