"""A transformer instead of the UNet, on the same latents and captions, for the same seconds as `text_seeds.py` took,
three seeds: what is drawn right, held-out combinations too, diversity, and seconds.
"""

from pathlib import Path

from digits_unet import steps_within
from text_seeds import runs_of

from minidiff import study
from minidiff.dit import DiT, DiTConfig
from minidiff.runtime import budget

if __name__ == "__main__":
    kept = study.load("text_seeds", Path(__file__).parent)["results"]
    seconds = budget(1, 1, 0.01) * min(run["seconds"] for run in kept)
    runs_of(lambda make: steps_within(seconds, make), __file__, net=DiT, config=DiTConfig(), lr=4e-3)
