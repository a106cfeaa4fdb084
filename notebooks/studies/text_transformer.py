"""A diffusion transformer instead of the UNet, on the same latents and captions, for the same seconds as
`text_seeds.py` took, and for three times as many, three seeds each: what is drawn right, held-out combinations too,
diversity, and seconds.
"""

import sys
from pathlib import Path

from common import runs_of, steps_within

from minidiff.models import DiT, DiTConfig
from minidiff.tools import budget, study


def main(path=None):
    kept = study.load("text_seeds", Path(__file__).parent)["results"]
    seconds = budget(1, 1, 0.01) * min(run["seconds"] for run in kept)
    plans = [lambda make: steps_within(seconds, make), lambda make: steps_within(3 * seconds, make)]
    drawing = {"guidance": 3.0, "steps": budget(15, 15, 3)}
    runs_of(plans, __file__, path, drawing, net=DiT, config=DiTConfig(), lr=4e-3)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
