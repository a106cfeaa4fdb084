"""The motion module as `python -m minidiff film` trains it, on three machines: what chapter 10 must reach, and the
films of its title."""

import sys
import time

import torch
from common import DEVICE, FOLDER, SEEDS, beside, machine, parameters, save_rows

from minidiff.data import FRAMES, MOTION_NAMES, load_captioned_digits, sample_clips, sentence
from minidiff.diffusion import heun_step
from minidiff.evaluation import judge_films, psnr, read_motion
from minidiff.models import Moving, spoken
from minidiff.pipelines import text2image, video
from minidiff.tools import budget, generator_for, study
from minidiff.tools.files import checksum
from minidiff.training.checkpoint import read_about

COUNT, FEW = budget((280, 140), (280, 140), (7, 7))
STEPS = budget(video.STEPS, video.STEPS, 2)
TITLE = ("a thick red seven turning left", "a green five turning right", "a thin cyan two growing",
         "a blue eight shrinking", "a yellow three moving left", "a magenta four moving right")


class Asked:
    """Clips of unseen digits, of trained pairs of digit and motion or of held-out ones, and films to be judged."""

    def __init__(self, parts, unseen, seed, held_out=False, count=COUNT):
        self.clips = sample_clips(unseen, count, generator_for(seed, 51 + held_out), held_out)
        self.parts, self.first = parts, 1_000_000 * seed + 500_000 * held_out
        self.captions = [f"{sentence(said)} {MOTION_NAMES[motion]}"
                         for said, motion in zip(self.clips.said, self.clips.motion.tolist(), strict=True)]

    def judged(self, films):
        """What `judge_films` finds, and for each motion the share that is right and the identity."""
        clips = self.clips
        found = judge_films(films, clips.said, clips.motion, self.parts.classifier)
        seen, each = read_motion(films), []
        for motion in range(len(MOTION_NAMES)):
            those = clips.motion == motion
            each.append([(seen.motion == motion)[those].float().mean().item(), seen.same[those].mean().item()])
        return found | {"each motion": each}

    def drawn(self, module, parts=None, steps=STEPS, **drawing):
        """The films that a motion module draws."""
        seeds = range(self.first, self.first + len(self.captions))
        return torch.cat([video.draw(self.captions[i:i + 140], seeds[i:i + 140], parts or self.parts, module,
                                     steps=steps, **drawing) for i in range(0, len(self.captions), 140)])

    def without_module(self, shared):
        """Eight pictures of each caption, each from its own noise, or all from one."""
        captions = [sentence(said) for said in self.clips.said]
        seeds = [self.first + (i if shared else FRAMES * i + frame)
                 for i in range(len(captions)) for frame in range(FRAMES)]
        every = [caption for caption in captions for _ in range(FRAMES)]
        steps = budget(text2image.STEPS, text2image.STEPS, 2)
        drawn = [text2image.draw(every[i:i + 800], seeds[i:i + 800], self.parts, steps=steps)
                 for i in range(0, len(every), 800)]
        return torch.cat(drawn).unflatten(0, (-1, FRAMES))

    @torch.no_grad()
    def round_trip(self):
        """The clips as the autoencoder gives them back."""
        frames = self.clips.frames
        back = [self.parts.autoencoder.decode(self.parts.autoencoder.encode(part.flatten(0, 1))).clamp(-1, 1)
                for part in frames.split(100)]
        return torch.cat(back).view_as(frames)


@torch.no_grad()
def change_before(parts):
    """The largest change of a prediction by a motion module that has not learned yet."""
    module, generator, worst = video.new_module(parts, video.MotionConfig()), generator_for(1), 0.0
    text, counts = parts.clip.text_states(["a red seven", "a thin two"]), torch.eye(7)[:2]
    xt = torch.randn(2, FRAMES, 4, 4, 4, generator=generator)
    for level in (1, 300, 700, 1000):
        t = torch.full((2,), level)
        alone = torch.stack([parts.unet(xt[:, frame], t, text) for frame in range(FRAMES)], 1)
        change = Moving(parts.unet, module)(xt, t, spoken(text, counts)) - alone
        worst = max(worst, change.abs().max().item())
    return worst


def seconds_of_a_film(parts, module):
    """The shortest of five times to draw one film."""
    times = []
    for seed in range(budget(5, 5, 1)):
        start = time.perf_counter()
        video.draw(TITLE[:1], [seed], parts, module, steps=STEPS)
        times.append(time.perf_counter() - start)
    return min(times)


def main(path=None):
    known, unseen = load_captioned_digits(DEVICE)
    results = []
    for seed in SEEDS:
        parts = machine(seed)
        before, start = checksum(parts.unet.state_dict()), time.perf_counter()
        data = video.lessons(known, parts, seed)
        lessons = time.perf_counter() - start
        module = beside(video.recipe(parts, data, seed), seed)
        folder = FOLDER / "seeds" / str(seed) if seed else FOLDER
        asked, held_out = Asked(parts, unseen, seed), Asked(parts, unseen, seed, held_out=True)
        few, back = Asked(parts, unseen, seed, count=FEW), asked.round_trip()
        films = asked.drawn(module)
        results.append({
            "seed": seed, "numbers": parameters(module), "lessons, seconds": lessons,
            "seconds": read_about(folder / "motion.safetensors")["seconds"],
            "seconds a film": seconds_of_a_film(parts, module), "change before": change_before(parts),
            "base untouched": checksum(parts.unet.state_dict()) == before,
            "clips": asked.judged(asked.clips.frames), "autoencoder": asked.judged(back),
            "autoencoder, dB": psnr(back.flatten(0, 1), asked.clips.frames.flatten(0, 1)).mean().item(),
            "own noise": asked.judged(asked.without_module(shared=False)),
            "one noise": asked.judged(asked.without_module(shared=True)),
            "films": asked.judged(films), "held out": held_out.judged(held_out.drawn(module)),
            "guidance": [[w, few.judged(few.drawn(module, guidance=w))] for w in (1.0, 1.5, 2.5)],
            "Heun's method in k, 14 steps": few.judged(few.drawn(module, step=heun_step, steps=budget(14, 14, 2)))})
        print({key: results[-1][key] for key in ("seconds", "seconds a film", "films", "held out")}, flush=True)
        if seed == 0:
            title = video.draw(TITLE, range(6), parts, module, steps=STEPS)
            save_rows(list(title), [caption.removeprefix("a ") for caption in TITLE],
                      study.Path(__file__).with_suffix(".png"))
    study.keep(__file__, {"films": COUNT}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
