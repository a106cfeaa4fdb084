"""A transformer instead of the UNet, on the same latents and captions, for the same seconds as `text_seeds.py` took, and
for three times as many, three seeds each: what is drawn right, held-out combinations too, diversity, and seconds.
"""

from pathlib import Path

from digits_unet import steps_within
from text_seeds import runs_of

from minidiff.models import DiT, DiTConfig
from minidiff.tools import budget, study

if __name__ == "__main__":
    kept = study.load("text_seeds", Path(__file__).parent)["results"]
    seconds = budget(1, 1, 0.01) * min(run["seconds"] for run in kept)
    plans = [lambda make: steps_within(seconds, make), lambda make: steps_within(3 * seconds, make)]
    runs_of(plans, __file__, dict(guidance=3.0, steps=budget(15, 15, 3)), net=DiT, config=DiTConfig(), lr=4e-3)
