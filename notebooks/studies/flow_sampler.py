"""How many calls does a picture need?  Samplers of the trained machine, with what they reach: DDIM, Heun's method in
the noise (the machine's), and in the angle.  Guidance and temperature of the angle were tried on two seeds, `tried`;
three others are reported.
"""

import sys

from common import DEVICE, SEEDS, machine, scored

from minidiff.data import load_captioned_digits
from minidiff.diffusion import angle_step, ddim_step, heun_step
from minidiff.pipelines.text2image import BELOW, GUIDANCE
from minidiff.tools import budget, study

STEPS = {"DDIM": ddim_step, "Heun": heun_step, "angle": angle_step}
ANGLE = dict(guidance=GUIDANCE, below=BELOW, temperature=1.0)
TRIED = [ANGLE | change for change in (
    {}, {"guidance": 1.0}, {"guidance": 2.0}, {"guidance": 2.5}, {"below": 500}, {"below": 400},
    {"temperature": 1.1}, {"temperature": 1.2}, {"temperature": 1.3}, {"guidance": 2.5, "temperature": 1.2})]
REPORTED = [("DDIM", steps, ANGLE) for steps in (1, 3, 7, 13, 27)]
REPORTED += [(sampler, steps, ANGLE) for sampler in ("Heun", "angle") for steps in (2, 4, 7, 14, 40)]
REPORTED += [("angle", 7, ANGLE | change) for change in ({"temperature": 1.2}, {"guidance": 2.5, "temperature": 1.2})]


def row(sampler, steps, drawing):
    """What a row of the table is called."""
    return {"sampler": sampler, "steps": steps, "calls": steps if sampler == "DDIM" else 2 * steps - 1} | drawing


def main(path=None):
    known, unseen = load_captioned_digits(DEVICE)
    tried, reported = budget(TRIED, TRIED, TRIED[-1:]), budget(REPORTED, REPORTED, REPORTED[-1:])
    results = {"tried": [], "reported": []}
    for name, seeds, rows in (("tried", budget([10, 11], [10, 11], [0]), [("angle", 7, way) for way in tried]),
                              ("reported", SEEDS, reported)):
        for seed in seeds:
            parts = machine(seed)
            for sampler, steps, drawing in rows:
                found = scored(parts, known, unseen, seed, steps=budget(steps, steps, 2), step=STEPS[sampler],
                               **drawing)
                results[name].append(row(sampler, steps, drawing) | found)
                print(results[name][-1], flush=True)
    study.keep(__file__, {"captions": budget(1_000, 1_000, 24)}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
