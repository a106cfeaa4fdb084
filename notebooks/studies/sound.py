"""The machine that speaks, as `python -m minidiff say` trains it, beside three machines that draw: what chapter 11 must
reach, and the sounds of its title."""

import sys
import time

import torch
from common import DEVICE, FOLDER, SEEDS, beside, by_parts, machine, parameters

from minidiff.data import (
    HERTZ,
    RATE,
    SECONDS,
    SpokenDigits,
    all_sounds,
    is_held_out_sound,
    sound_sentence,
    speak,
    to_spectrograms,
    to_waves,
)
from minidiff.diffusion import heun_step
from minidiff.evaluation import frechet_with_floor, psnr, read_sounds
from minidiff.pipelines import sound
from minidiff.tools import budget, generator_for, show_sound, study
from minidiff.training.checkpoint import read_about

TIMES = budget(10, 10, 1)                                        # how often each of the 90 sounds is asked for
UNSEEN = budget(900, 900, 45)
TITLE = [[7, 2, 2], [7, 0, 0], [2, 1, 1], [6, 1, 0], [8, 0, 2]]


def voice_of(parts, seed):
    """The voice of the machine of a seed, kept for all studies that need it, and the seconds that it took."""
    for recipe in sound.recipes(parts, seed):
        beside(recipe, seed)
    folder = FOLDER / "seeds" / str(seed) if seed else FOLDER
    seconds = [read_about(folder / f"{name}.safetensors")["seconds"] for name in sound.STAGES]
    return sound.load(folder, parts), dict(zip(sound.STAGES, seconds, strict=True))


def right(voice, spectrograms, waves, said):
    """Shares of digit, pitch and speed that are heard as they were said, and of all three."""
    same = by_parts(lambda part: part, read_sounds(voice.reader, spectrograms, waves)) == said.to(DEVICE)
    return [*same.float().mean(0).tolist(), same.all(1).float().mean().item()]


def shortest(times, function):
    """The shortest of so many runs, in seconds."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return min(found)


def asked(voice, parts, seed, said, **drawing):
    """Sounds drawn as said (N, 3) -> spectrograms and waves."""
    seeds = range(1_000_000 * seed, 1_000_000 * seed + len(said))
    drawn = torch.cat([sound.draw_said(said[i:i + 300].to(DEVICE), seeds[i:i + 300], parts, voice, **drawing)
                       for i in range(0, len(said), 300)])
    return drawn, to_waves(drawn)


def main(path=None):
    results, few = [], budget(sound.STEPS, sound.STEPS, 2)
    for seed in SEEDS:
        parts = machine(seed)
        voice, seconds = voice_of(parts, seed)
        real = SpokenDigits(UNSEEN, 1_000 + seed)
        back = by_parts(lambda part: voice.autoencoder.decode(voice.autoencoder.encode(part)).clamp(-1, 1),
                        real.pictures)
        heard, from_back = to_waves(real.pictures), to_waves(back)
        said = all_sounds().repeat(TIMES, 1)
        new = is_held_out_sound(said)
        drawn, waves = asked(voice, parts, seed, said, steps=few)
        features = by_parts(voice.reader.features, real.pictures)
        ways = {}
        for name, more in (("guidance 1", {"guidance": 1.0}), ("guidance 3", {"guidance": 3.0}),
                           ("Heun's method in k, 14 steps", {"steps": budget(14, 14, 2), "step": heun_step})):
            way, way_waves = asked(voice, parts, seed, said, **{"steps": few} | more)
            ways[name] = [right(voice, way, way_waves, said),
                          frechet_with_floor(by_parts(voice.reader.features, way), features, real.said[:, 0])]
        one = torch.tensor([[7, 2, 2]])
        results.append({
            "seed": seed, "seconds": seconds, "numbers": parameters(voice.unet), "unseen": right(voice, real.pictures,
                                                                                               real.waves, real.said),
            "there and back": right(voice, to_spectrograms(heard), heard, real.said),
            "there and back, dB": psnr(to_spectrograms(heard), real.pictures).mean().item(),
            "autoencoder": right(voice, back, from_back, real.said),
            "autoencoder, dB": psnr(back, real.pictures).mean().item(),
            "drawn": right(voice, drawn, waves, said), "held out": right(voice, drawn[new], waves[new], said[new]),
            "frechet": frechet_with_floor(by_parts(voice.reader.features, drawn), features, real.said[:, 0]),
            "frechet, autoencoder": frechet_with_floor(by_parts(voice.reader.features, back), features,
                                                       real.said[:, 0]),
            "ways": ways,
            "synthesis, seconds a sound": shortest(3, lambda: speak(said[:90], generator_for(1))) / 90,
            "seconds a sound": shortest(3, lambda: asked(voice, parts, 0, said[:90], steps=few)) / 90,
            "seconds for one": shortest(3, lambda: asked(voice, parts, 0, one, steps=few))})
        print({key: results[-1][key] for key in ("seconds", "unseen", "drawn", "held out", "frechet")}, flush=True)
        if seed == 0 and budget(True, True, False):
            title = torch.tensor(TITLE)
            shown, shown_waves = asked(voice, parts, 3, title)
            show_sound.sounds(shown_waves, shown, [sound_sentence(row) for row in title], RATE).savefig(
                study.Path(__file__).with_suffix(".png"), dpi=100)
    study.keep(__file__, {"sounds": len(said), "hertz": HERTZ, "seconds": SECONDS}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
