"""What can be put beside a motion module: a MotionLoRA for a motion without a word, and the new words of chapter 8, on
three machines.

Kept: how films of digits that should hop go up and down, and how the words orange and outlined move.
"""

import sys
import time

import torch
from common import DEVICE, SEEDS, beside, machine, save_rows
from motion import STEPS, Asked

from minidiff.data import (
    HOPS,
    LIKE,
    MOTION_NAMES,
    Wish,
    combinations,
    load_captioned_digits,
    moved,
    poses,
    said_with,
    sentence,
)
from minidiff.evaluation import came_true, read_motion
from minidiff.pipelines import personalize, video
from minidiff.tools import budget, generator_for, study
from minidiff.training import run

COUNT = budget(70, 70, 7)
FEW = budget(None, None, 3)                                      # steps of what else is trained


def hopped(films):
    """How well the height of films (B, F, 3, 32, 32) follows the hops: mean correlation, the share above 0.9, the mean
    height of the hops in pixels, and the identity."""
    found = read_motion(films)
    up = torch.tensor(HOPS, dtype=torch.float32).repeat(2)
    up = up[1:] - up[0]                                          # against the first frame (7,)
    height, wanted = found.pose[..., 3] - found.pose[..., 3].mean(1, keepdim=True), up - up.mean()
    alike = (height * wanted).sum(1) / (height.norm(dim=1) * wanted.norm()).clamp_min(1e-6)
    gain = (height * wanted).sum(1) / wanted.square().sum()
    return {"correlation": alike.mean().item(), "right": (alike > 0.9).float().mean().item(),
            "height": HOPS[2] * gain.mean().item(), "identity": found.same.mean().item()}


def bounced(parts, known, asked, module, seed):
    """A MotionLoRA for hops from 30 clips, at several strengths, and from fewer clips."""
    captions, seeds, kept = [sentence(said) for said in asked.clips.said], range(asked.first, asked.first + COUNT), {}
    for clips in (30, 5):
        start = time.perf_counter()
        lora = run(video.motion_lora(parts, module, video.bouncing(known, parts, clips, seed), seed, steps=FEW))
        took = time.perf_counter() - start
        kept[f"{clips} clips"] = []
        for strength in (0.0, 0.5, 1.0):
            strong = video.at_strength(lora, strength)
            films = video.draw(captions, seeds, parts, strong, steps=STEPS)
            kept[f"{clips} clips"].append({"strength": strength, **hopped(films)})
        if clips == 30:
            numbers, seconds = sum(t.numel() for t in lora.state_dict().values()), took
            first, turning = films, video.draw([f"{caption} turning left" for caption in captions], seeds, parts,
                                               strong, steps=STEPS)
            found = read_motion(turning)
            kept["and turning left"] = hopped(turning) | {"angle": found.pose[:, -1, 0].mean().item()}
    return {"seed": seed, "seconds": seconds, "numbers": numbers, **kept}, first


def moved_words(parts, known, module, seed):
    """Orange and outlined digits, which the module has never seen, asked to move in each way."""
    kept, films = {}, []
    for word in ("orange", "outlined"):
        config = personalize.BOOK[LIKE[word]]
        shown, said = Wish(word, known).sample(32, generator_for(seed, 9, device=DEVICE))
        old = personalize.own_drawings(parts, known, seed=seed) if config.decoder_rank else None
        adapter = run(personalize.recipe(parts, shown, said_with(word, said), config, old, seed,
                                         budget(personalize.STEPS[LIKE[word]], personalize.STEPS[LIKE[word]], 3)))
        new, every = personalize.applied(parts, adapter), combinations(word)
        asked = every[torch.randperm(len(every), generator=generator_for(seed, 8))][:COUNT]
        motion = torch.arange(COUNT) % len(MOTION_NAMES)
        captions = [f"{caption} {MOTION_NAMES[m]}" for caption, m in zip(said_with(word, asked), motion, strict=True)]
        drawn = video.draw(captions, range(1_000_000 * seed, 1_000_000 * seed + COUNT), new, module, steps=STEPS)
        found, frames = read_motion(drawn), drawn.flatten(0, 1) + 1
        pose = poses(motion).flatten(0, 1).repeat_interleave(3, 0)
        back = moved(frames.flatten(0, 1), pose, back=True).view_as(frames).clamp(0, 2) - 1
        true = came_true("orange", parts.classifier, back, asked.repeat_interleave(8, 0))
        kept[word] = {"right": (found.motion == motion).float().mean().item(), "identity": found.same.mean().item(),
                      "color": true[:, 1].float().mean().item()}
        films += list(drawn[1:4])
    return {"seed": seed, **kept}, films


def main(path=None):
    known, unseen = load_captioned_digits(DEVICE)
    results, films = {"hops": [], "words": []}, []
    for seed in SEEDS:
        parts = machine(seed)
        module = beside(video.recipe(parts, video.lessons(known, parts, seed), seed), seed)
        asked = Asked(parts, unseen, seed, count=COUNT)
        hops, hopping = bounced(parts, known, asked, module, seed)
        words, new = moved_words(parts, known, module, seed)
        results["hops"].append(hops)
        results["words"].append(words)
        print(hops, words, flush=True)
        films = films or [*hopping[:2], *new]
    save_rows(films, ["hopping", "", *["orange"] * 3, *["outlined"] * 3], study.Path(__file__).with_suffix(".png"))
    study.keep(__file__, {"films": COUNT}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
