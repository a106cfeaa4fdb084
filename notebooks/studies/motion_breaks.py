"""A motion module with one ingredient less, in the steps of `motion_ways.py`, whose first way is the whole one; and the
trained module, drawn with another noise schedule or asked for more frames than it has learned.

Kept: what `judge_films` finds, and for each motion the share right and the identity; for more frames the overlap with
the first frame and how far the motion has come, frame by frame.
"""

import sys
from statistics import fmean

import torch
from common import DEVICE, SEEDS, beside, machine
from motion import Asked
from motion_ways import COUNT, TRAINED

from minidiff.data import FRAMES, MOTION_NAMES, load_captioned_digits, poses, times
from minidiff.diffusion import Schedule, in_windows
from minidiff.evaluation import read_motion
from minidiff.models import MotionModule
from minidiff.pipelines import video
from minidiff.tools import budget, study
from minidiff.training import train

FEW = 20                                                         # clips
MANY = 16                                                        # frames


class Timeless(MotionModule):
    """Told where each place is, and not when."""

    def positions(self, when, side, counts):
        return super().positions(0 * when, side, counts)


def at_random(parts, config):
    """A module whose output projections begin as any other layer."""
    module = MotionModule(parts.unet, config)
    for layer in module.layers:
        layer.attention.out.reset_parameters()
        layer.mlp[2].reset_parameters()
    return module


WAYS = {                                                         # settings, and how many clips if not all
    "no positions in time": (dict(make=lambda parts, config: Timeless(parts.unet, config)), None),
    "random instead of zero": (dict(make=at_random), None),
    "20 clips": ({}, FEW),
}


def broken(parts, data, seed, settings, clips):
    """A module trained in one of the ways, and its mean loss in the first and the last tenth of the steps."""
    part = video.Filmed(data.latents[:clips], data.said[:clips], data.counts[:clips]) if clips else data
    recipe = video.recipe(parts, part, seed, steps=TRAINED, **settings)
    losses, tenth = [state.loss for state in train(recipe)], -(-TRAINED // 10)
    return recipe.model.requires_grad_(False), {"losses": [fmean(losses[:tenth]), fmean(losses[-tenth:])]}


def steps_done(found, motion):
    """How many frames' worth of the motion asked for each frame is past the first (B, F - 1)."""
    step = poses(motion, torch.tensor([1.0]))[..., :3]           # (B, 1, 3), one component of each is not zero
    return (found.pose[..., :3] * step).sum(2) / step.square().sum(2).clamp_min(1e-9)


def direction(films, motion):
    """The share of the films that should move which go forward rather than backward: the sign of the slope of a line
    through all frames, which a film played backward has the other way around."""
    done = steps_done(read_motion(films), motion)[motion > 0]    # the first frame has done 0 steps
    return ((done * times()[1:]).sum(1) > 0).float().mean().item()


def progress(films, motion, when):
    """Films (B, F, 3, 32, 32) -> means over those that should move: the steps done, and how well each frame covers the
    first; the latter also of those that should not."""
    found, moves = read_motion(films), motion > 0
    done = steps_done(found, motion)
    return {"progress": done[moves].mean(0).tolist(), "identity": found.same[moves].mean(0).tolist(),
            "identity, still": found.same[~moves].mean(0).tolist(), "times": when.tolist()}


def longer(asked, module):
    """Films of more frames than the module has learned, in four ways."""
    motion, half = asked.clips.motion, times()[0] + torch.arange(15) / 2               # -3.5, -3, ... 3.5
    ways = {"eight": {}, "sixteen at once": dict(frames=MANY),
            "windows": dict(frames=MANY, around=lambda film: in_windows(film, 8, 4)),
            "half-steps": dict(frames=len(half), when=half)}
    return {name: progress(asked.drawn(module, **settings), motion, settings.get("when", times(
        settings.get("frames", FRAMES)))) for name, settings in ways.items()}


def main(path=None):
    known, unseen = load_captioned_digits(DEVICE)
    results = {"ways": {name: [] for name in WAYS}, "direction": [], "schedule": [], "longer": []}
    for seed in SEEDS:
        parts = machine(seed)
        data, asked = video.lessons(known, parts, seed), Asked(parts, unseen, seed, count=COUNT)
        module = beside(video.recipe(parts, data, seed), seed)
        results["schedule"].append({"seed": seed, **asked.judged(asked.drawn(
            module, schedule=Schedule.linear(parts.unet.schedule.levels)))})
        few = Asked(parts, unseen, seed, count=budget(140, 140, 7))
        results["longer"].append({"seed": seed, "ways": longer(few, module)})
        print(results["schedule"][-1], results["longer"][-1], flush=True)
        for name, way in WAYS.items():
            module, took = broken(parts, data, seed, *way)
            films = asked.drawn(module)
            results["ways"][name].append({"seed": seed, **took, **asked.judged(films)})
            if name == "no positions in time":
                results["direction"].append({"seed": seed, "forward": direction(films, asked.clips.motion)})
            print(name, results["ways"][name][-1], flush=True)
    study.keep(__file__, {"steps": TRAINED, "films": COUNT, "motions": len(MOTION_NAMES)}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
