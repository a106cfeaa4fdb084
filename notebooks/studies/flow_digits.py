"""Circle or chord, on digits: the latent UNet trained by v on the circle and by the velocity on the straight path, with
levels drawn evenly and crowded in the middle; the same steps, which take the same seconds, three seeds.  All are drawn
with 20 plain steps, guided where the noise is less than twice the signal.
"""

import sys
from dataclasses import replace

from common import DEVICE, SEEDS, machine, scored

from minidiff.data import load_captioned_digits
from minidiff.diffusion import ddim_step
from minidiff.models import LATENTS
from minidiff.pipelines import text2image
from minidiff.tools import budget, study
from minidiff.training import run

CHORD = dict(config=replace(LATENTS, schedule="straight", predicts="velocity"), weight="velocity")
WAYS = {"circle and v, levels alike": dict(levels=()), "circle and v, crowded (0.25, 1.25)": {},
        "chord and velocity, levels alike": CHORD | dict(levels=()),
        "chord and velocity, crowded (0, 1)": CHORD | dict(levels=(0.0, 1.0))}
DRAWING = dict(guidance=2.5, steps=budget(20, 20, 2), step=ddim_step)


def main(path=None):
    known, unseen = load_captioned_digits(DEVICE)
    results = {name: [] for name in WAYS}
    for seed in SEEDS:
        parts = machine(seed)
        encoded = text2image.latents_of(known, parts.autoencoder, budget(60_000, 60_000, 1_000), seed)
        for name, settings in WAYS.items():
            recipe = text2image.unet_recipe(known, parts.clip, parts.autoencoder, seed, encoded,
                                            steps=budget(1_000, 600, 5), **settings)
            parts.unet = run(recipe)
            below = int((parts.unet.schedule.noise / parts.unet.schedule.signal < 2).sum())
            results[name].append(scored(parts, known, unseen, seed, below=below, **DRAWING) | {"steps": recipe.steps})
            print(name, results[name][-1], flush=True)
    study.keep(__file__, {"captions": budget(1_000, 1_000, 24), "guidance": DRAWING["guidance"]}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
