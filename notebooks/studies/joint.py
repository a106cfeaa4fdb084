"""Two frozen machines that listen to each other, on three machines: how often they agree without a caption, what no
caption says, what breaks it, and the unified machine, one denoiser for both, as the rival."""

import sys
import time

import torch
from common import DEVICE, SEEDS, beside, by_parts, machine, parameters
from sound import voice_of

from minidiff.data import RATE, SpokenDigits, load_captioned_digits, to_waves
from minidiff.diffusion import angle_step, denoising_loss, last, sample, sample_levels
from minidiff.evaluation import frechet_with_floor, lateness, read, read_pitch, read_sounds
from minidiff.models import JointConfig, UNet, UNetConfig
from minidiff.pipelines import joint
from minidiff.tools import budget, generator_for, noise_for, show_sound, study
from minidiff.tools.files import checksum
from minidiff.training import run, train
from minidiff.training.loop import Recipe

COUNT, SHOWN = budget((600, 6), (600, 6), (40, 2))
STEPS = budget(joint.STEPS, joint.STEPS, 2)
UNIFIED = UNetConfig(8, attention=(False,), cond_width=None)     # pictures and sounds as one latent of eight channels
WAYS = {"the stages alone listen": {"captions": False}, "own": {"own": True}, "one token": {"one_token": True},
        "no time axis": {"timeless": True}}


def tie(one, other):
    """The correlation of two columns of numbers (N,), (N,); 0 where one of them never changes."""
    return torch.corrcoef(torch.stack([one.float(), other.float()]))[0, 1].nan_to_num().item()


class Judge:
    """What is real, as features, and what is to be said of pictures and sounds that were drawn together."""

    def __init__(self, parts, voice, unseen, seed):
        self.parts, self.voice, self.first = parts, voice, 1_000_000 * seed
        self.real, self.said = unseen.sample(2 * COUNT, generator_for(seed, 62, device=DEVICE))
        sounds = SpokenDigits(2 * COUNT, 1_000 + seed, device=DEVICE)
        self.pictures = by_parts(parts.classifier.features, self.real)
        self.sounds = by_parts(voice.reader.features, sounds.pictures)

    def __call__(self, pictures, spectrograms):
        """Shares and correlations, and both Frechet distances with their floors."""
        waves = to_waves(spectrograms)
        seen, heard = read(self.parts.classifier, pictures), read_sounds(self.voice.reader, spectrograms, waves)
        sure = by_parts(self.parts.classifier, pictures).softmax(1).amax(1) > 0.9
        same, late = (seen[:, 0] == heard[:, 0]).float(), lateness(waves)
        counts = seen[:, 0].bincount(minlength=10)
        return {"agree": same.mean().item(), "sure": sure.float().mean().item(),
                "agree where sure": same[sure].mean().item() if sure.any() else 0.0,
                "chance": (counts * heard[:, 0].bincount(minlength=10)).sum().item() / len(seen) ** 2,
                "stroke and pitch": tie(seen[:, 2], -read_pitch(waves).log()),
                "stroke as pitch says": (seen[:, 2] == 2 - heard[:, 1]).float().mean().item(),
                "lean and lateness": tie(seen[:, 3], late),
                "frechet, pictures": frechet_with_floor(by_parts(self.parts.classifier.features, pictures),
                                                        self.pictures),
                "frechet, sounds": frechet_with_floor(by_parts(self.voice.reader.features, spectrograms), self.sounds)}

    def drawn(self, agreed, **more):
        """What is said of pairs that are drawn without a caption."""
        parts = []
        for rows in torch.arange(self.first, self.first + COUNT).split(300):
            parts.append(joint.draw(joint.unsaid(self.parts, len(rows)), rows.tolist(), self.parts, self.voice, agreed,
                                    **{"steps": STEPS} | more))
        return self(*map(torch.cat, zip(*parts, strict=True)))

    @torch.no_grad()
    def ceiling(self, pairs):
        """What is said of real pairs, after both autoencoders: pictures and sounds that belong together."""
        rows = torch.arange(len(pairs.pictures), device=DEVICE)[::max(1, len(pairs.pictures) // COUNT)][:COUNT]
        mates = pairs.partners(rows, generator_for(3, device=DEVICE))
        return self(by_parts(lambda z: self.parts.autoencoder.decode(z).clamp(-1, 1), pairs.pictures[rows]),
                    by_parts(lambda z: self.voice.autoencoder.decode(z).clamp(-1, 1), pairs.sounds[mates]))


def unified(pairs, steps, seed, levels=joint.LEVELS, batch=48):
    """The expensive rival: a new denoiser of both at once, trained from nothing, on the same pairs."""
    def loss_of(unet, generator):
        rows = torch.randint(len(pairs.pictures), (batch,), generator=generator, device=DEVICE)
        x0 = torch.cat([pairs.pictures[rows], pairs.sounds[pairs.partners(rows, generator)]], 1)
        t = sample_levels(batch, unet.schedule, generator, *levels)
        eps = torch.randn(x0.shape, generator=generator, device=DEVICE)
        return denoising_loss(unet, x0, t, eps, unet.schedule).mean()

    return Recipe("unified", lambda: UNet(UNIFIED), UNIFIED, loss_of, steps, batch, 8e-3, seed, decay="linear",
                  ema=0.995, device=DEVICE, objective={"data": checksum(pairs.seen)[:16]})


@torch.no_grad()
def drawn_unified(judge, unet):
    """What is said of the pairs that the unified machine draws."""
    noise = noise_for(range(judge.first, judge.first + COUNT), (8, 4, 4)).to(DEVICE)
    z = torch.cat([last(sample(unet, part, unet.schedule, STEPS, angle_step)) for part in noise.split(300)])
    return judge(by_parts(lambda part: judge.parts.autoencoder.decode(part).clamp(-1, 1), z[:, :4]),
                 by_parts(lambda part: judge.voice.autoencoder.decode(part).clamp(-1, 1), z[:, 4:]))


def steps_as_long_as(recipe, make):
    """How many steps of a training make(steps) take as long as another recipe, judged by some steps of both, taken in
    turn."""
    both = train(recipe), train(make(100))
    seconds = [0.0, 0.0]
    for _ in range(budget(20, 20, 2)):
        for i, training in enumerate(both):
            start = time.perf_counter()
            next(training)
            seconds[i] += time.perf_counter() - start
    return max(2, round(recipe.steps * seconds[0] / seconds[1]))


@torch.no_grad()
def given_sound(judge, agreed, pairs, when, late):
    """Sounds are given, and come early or late; pictures are drawn beside them.  -> share with the digit that is heard,
    and the mean lean of the pictures, from 0 for left to 2 for right

    The given latent is put back after each step, noised to its level, as in inpainting, and each step is taken four
    times.  when: how late the sounds are.
    """
    rows = (when > 0.7 if late else when < 0.3).nonzero()[:COUNT // 3, 0]
    given, digits = pairs.sounds[rows], pairs.heard[rows, 0]
    pictures = joint.draw_beside(given, range(judge.first, judge.first + len(rows)), judge.parts, judge.voice, agreed,
                                 steps=STEPS, again=budget(4, 4, 1))
    seen = read(judge.parts.classifier, pictures)
    return [(seen[:, 0] == digits).float().mean().item(), seen[:, 3].float().mean().item()]


def main(path=None):
    known, unseen = load_captioned_digits(DEVICE)
    results = []
    for seed in SEEDS:
        parts = machine(seed)
        voice, _ = voice_of(parts, seed)
        pairs = joint.lessons(known, parts, voice, seed)
        before = checksum(parts.unet.state_dict(), voice.unet.state_dict())
        agreed = beside(joint.recipe(parts, voice, pairs, seed), seed)
        judge = Judge(parts, voice, unseen, seed)
        ways = {"as it is": agreed}
        for name, config in WAYS.items():
            ways[name] = run(joint.recipe(parts, voice, pairs, seed, JointConfig(**config))).eval()
        same = joint.recipe(parts, voice, pairs, seed)
        when = lateness(to_waves(by_parts(lambda z: voice.autoencoder.decode(z).clamp(-1, 1), pairs.sounds)))
        plans = {"unified, equal steps": same.steps,
                 "unified, equal seconds": steps_as_long_as(same, lambda steps: unified(pairs, steps, seed))}
        results.append({
            "seed": seed, "numbers": parameters(agreed),
            "base untouched": checksum(parts.unet.state_dict(), voice.unet.state_dict()) == before,
            "apart": judge.drawn(None), "ceiling": judge.ceiling(pairs),
            **{name: judge.drawn(way) for name, way in ways.items()},
            "guidance": [[w, below, judge.drawn(agreed, guidance=w, below=below)]
                         for w, below in ((1.0, 850), (2.0, 850), (4.0, 2_000), (4.0, 500))],
            "given": {name: [given_sound(judge, way, pairs, when, late) for late in (False, True)]
                      for name, way in ways.items()},
            **{name: [steps, drawn_unified(judge, run(unified(pairs, steps, seed)).eval())]
               for name, steps in plans.items()}})
        print(results[-1], flush=True)
        if seed == 0 and budget(True, True, False):
            pictures, spectrograms = joint.draw(joint.unsaid(parts, SHOWN), range(SHOWN), parts, voice, agreed)
            show_sound.both(pictures, to_waves(spectrograms), spectrograms, RATE).savefig(
                study.Path(__file__).with_suffix(".png"), dpi=100)
    study.keep(__file__, {"pairs drawn": COUNT}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
