"""What a module must see to move a digit: attention at each place or everywhere, and positions that are told the motion
or not, all in 750 steps.

Kept for each way and machine: what `judge_films` finds, and for each motion the share right and the identity.  The
settings were chosen on machine 10; three others are reported.
"""

import sys
import time

import torch
from common import DEVICE, SEEDS, machine, parameters
from motion import Asked

from minidiff.data import load_captioned_digits, poses, times
from minidiff.models import MotionConfig, MotionModule
from minidiff.models.blocks import time_embedding
from minidiff.pipelines import video
from minidiff.tools import budget, study
from minidiff.training import run

COUNT, TRAINED = budget(210, 210, 7), budget(750, 750, 3)


class OnTheDigit(MotionModule):
    """Told exactly which place of the digit lies at each place of each frame, by the geometry of the motion."""

    def __init__(self, unet, config):
        super().__init__(unet, config)
        first = self.where[0]
        self.where[0] = torch.nn.Linear(first.in_features + 16, first.out_features)

    def positions(self, when, side, counts):
        middle = 8 * (torch.arange(side) - (side - 1) / 2)       # of the places, in pixels
        x, y = middle.repeat(side), middle.repeat_interleave(side)
        moving = torch.stack([counts[:, 0], *(counts[:, 1] * counts[:, i] for i in (5, 6)), counts[:, 2], counts[:, 3],
                              *(counts[:, 4] * counts[:, i] for i in (5, 6))], 1)      # (B, 7), as in MOTION_NAMES
        pose = torch.einsum("bm,mfk->bfk", moving, poses(torch.arange(7), when).to(counts))
        turn, size, right, up = (part[..., None] for part in pose.unbind(2))           # (B, F, 1) each
        turn = turn * torch.pi / 180
        x, y = x - right, y + up
        places = [(turn.cos() * x - turn.sin() * y) / size.exp(), (turn.cos() * y + turn.sin() * x) / size.exp()]
        clocks = [time_embedding(place.flatten() / 8, 8, 16).view(len(counts), -1, 8) for place in places]
        time, motion = time_embedding(when, 16, 64).repeat_interleave(side**2, 0), self.words(counts)[:, None]
        place = time_embedding(torch.arange(side), 8, 16)
        spots = torch.cat([time, torch.cat([place.repeat_interleave(side, 0), place.repeat(side, 1)], 1).repeat(
            len(when), 1)], 1).expand(len(counts), -1, -1)
        return self.where(torch.cat([spots, motion.expand(-1, spots.shape[1], -1), *clocks], 2))


def built(cls=MotionModule, **config):
    """The recipe's settings for a way."""
    return {"config": MotionConfig(**config), "make": lambda parts, config: cls(parts.unet, config)}


WAYS = {
    "told, everywhere": built(),
    "told, each place": built(everywhere=False),
    "a sum, everywhere": built(told=False),
    "a sum, each place": built(told=False, everywhere=False),
    "exact geometry, everywhere": built(OnTheDigit),
}


def main(path=None):
    known, unseen = load_captioned_digits(DEVICE)
    results = {name: [] for name in WAYS}
    for seed in SEEDS:
        parts = machine(seed)
        data, asked = video.lessons(known, parts, seed), Asked(parts, unseen, seed, count=COUNT)
        for name, settings in WAYS.items():
            start = time.perf_counter()
            module = run(video.recipe(parts, data, seed, steps=TRAINED, **settings)).eval().requires_grad_(False)
            results[name].append({"seed": seed, "seconds": time.perf_counter() - start, "numbers": parameters(module),
                                  **asked.judged(asked.drawn(module))})
            print(name, results[name][-1], flush=True)
    study.keep(__file__, {"steps": TRAINED, "films": COUNT, "frames": len(times())}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
