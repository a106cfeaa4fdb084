"""A bridge between sounds and the space of captions and pictures, on three machines: what finds what, what can be drawn
from what, and what happens where two conditions contradict each other."""

import sys

import torch
from common import DEVICE, FOLDER, SEEDS, beside, machine
from sound import voice_of

from minidiff.data import DIGITS, SpokenDigits, all_combinations, load_captioned_digits, load_spoken_digits
from minidiff.evaluation import read, recall_at
from minidiff.models import contrastive_loss
from minidiff.pipelines import bridge, joint
from minidiff.pipelines.sound import STAGES
from minidiff.tools import budget, generator_for, study
from minidiff.training import run
from minidiff.training.checkpoint import read_about

PICTURES, SOUNDS, COUNT = budget((1_000, 900, 200), (1_000, 900, 200), (100, 200, 20))
WEIGHTS = [i / 8 for i in range(9)]


def directly(known_sounds, known, parts, seed):
    """The rival: the tower of sounds, trained against the frozen picture tower, on pairs of a picture and a sound."""
    recipe = bridge.recipe(known_sounds, known, parts, seed)

    def loss_of(tower, generator):
        spectrograms, said = known_sounds.sample(recipe.batch, generator)
        pictures, attributes = known.sample(recipe.batch, generator)
        attributes[:, 0] = said[:, 0]
        pictures = known.render(known.rows_for(said[:, 0], generator), attributes)
        logits = parts.clip.logits(parts.clip.embed_pictures(pictures), tower(spectrograms))
        return contrastive_loss(logits, attributes[:, :1] == said[:, 0])

    recipe.loss_of = loss_of
    return recipe


def same_digit(one, other):
    """(N,), (M,) -> which are the same (N, M)."""
    return one[:, None] == other[None]


def found(tower, parts, pictures, digits, sounds):
    """Shares of pictures that find a sound of their digit first, of sounds that find a picture, and of both among the
    ten captions."""
    ten = bridge.dictionary(parts, bridge.digits_alone()).embedded
    seen, heard = parts.clip.embed_pictures(pictures), tower(sounds.pictures)
    said, numbers = sounds.said[:, 0], torch.arange(10, device=DEVICE)
    return {"picture finds sound": recall_at(1, seen @ heard.T, same_digit(digits, said)),
            "sound finds picture": recall_at(1, heard @ seen.T, same_digit(said, digits)),
            "picture finds caption": recall_at(1, seen @ ten.T, same_digit(digits, numbers)),
            "sound finds caption": recall_at(1, heard @ ten.T, same_digit(said, numbers)),
            "cosine of a picture and a sound of one digit": (seen @ heard.T)[same_digit(digits, said)].mean().item()}


class Drawing:
    """A machine, its voice, and what lets them agree; and how many of its pictures and sounds are the digit meant."""

    def __init__(self, parts, voice, agreed, first):
        self.parts, self.voice, self.agreed, self.first = parts, voice, agreed, first
        self.null, self.steps = joint.nulls(parts), budget(bridge.STEPS, bridge.STEPS, 2)

    def seeds(self, told):
        return range(self.first, self.first + len(told[0]))

    def pictures(self, told):
        return bridge.draw_one(told[0], self.seeds(told), self.parts, self.null[0], steps=self.steps)

    def heard(self, told):
        drawn = bridge.draw_one(told[1], self.seeds(told), self.voice, self.null[1], steps=self.steps)
        return self.voice.reader(drawn).argmax(1)

    def both(self, told):
        pictures, sounds = joint.draw(torch.cat(told, 1), self.seeds(told), self.parts, self.voice, self.agreed,
                                      steps=self.steps)
        return read(self.parts.classifier, pictures)[:, 0], self.voice.reader(sounds).argmax(1)

    def row(self, told, digits):
        """Shares that are the digit meant: of pictures, of sounds, and of pairs."""
        seen, heard = read(self.parts.classifier, self.pictures(told))[:, 0], self.heard(told)
        both = torch.stack(self.both(told))
        return [(seen == digits).float().mean().item(), (heard == digits).float().mean().item(),
                (both == digits).all(0).float().mean().item()]


def table(drawing, parts, tower, unseen, sounds):
    """One row for each thing, or two things, to draw from."""
    digits = sounds.said[:COUNT, 0]
    _, attributes = unseen.sample(COUNT, generator_for(8, device=DEVICE))
    attributes[:, 0] = digits
    pictures = unseen.render(unseen.rows_for(digits, generator_for(9, device=DEVICE)), attributes)
    ten, full = bridge.dictionary(parts, bridge.digits_alone()), bridge.dictionary(parts, all_combinations())
    text = bridge.told_by_captions(parts, [f"a {DIGITS[digit]}" for digit in digits])
    seen, heard = parts.clip.embed_pictures(pictures), tower(sounds.pictures[:COUNT])
    picture = (bridge.told_by_embeddings(parts, seen, full)[0], bridge.told_by_embeddings(parts, seen, ten)[1])
    sound_ = bridge.told_by_embeddings(parts, heard, ten)
    rows = {"text": text, "picture": picture, "sound": sound_, "text and picture": bridge.mixed([text, picture],
                                                                                             [0.5, 0.5]),
            "text and sound": bridge.mixed([text, sound_], [0.5, 0.5]),
            "picture and sound": bridge.mixed([picture, sound_], [0.5, 0.5])}
    kept = {name: drawing.row(told, digits) for name, told in rows.items()}
    red = bridge.mixed([bridge.told_by_captions(parts, ["a red digit"] * COUNT), sound_], [0.5, 0.5])
    drawn = read(parts.classifier, drawing.pictures(red))
    copies = read(parts.classifier, drawing.pictures(picture))
    return {"table": kept, "a red digit, and a sound": [(drawn[:, 1] == 0).float().mean().item(),
                                                       (drawn[:, 0] == digits).float().mean().item()],
            "picture to picture, all four": (copies == attributes).all(1).float().mean().item()}


def conflict(drawing, parts, tower, sounds):
    """The text says a digit that is three more than the one that is heard: for each weight of the text the shares of
    pictures that follow the text and that follow the sound, and the same of sounds."""
    heard = sounds.said[:COUNT, 0]
    said, found = (heard + 3) % 10, []
    text = bridge.told_by_captions(parts, [f"a {DIGITS[digit]}" for digit in said])
    sound_ = bridge.told_by_embeddings(parts, tower(sounds.pictures[:COUNT]), bridge.dictionary(parts,
                                                                                              bridge.digits_alone()))
    for weight in WEIGHTS:
        told = bridge.mixed([text, sound_], [weight, 1 - weight])
        answers = read(parts.classifier, drawing.pictures(told))[:, 0], drawing.heard(told)
        found.append([(answer == digit).float().mean().item() for answer in answers for digit in (said, heard)])
    return found


@torch.no_grad()
def measured(seed, parts, voice, agreed, towers, unseen):
    """What one machine can do."""
    sounds = SpokenDigits(SOUNDS, 1_000 + seed, device=DEVICE)
    pictures, attributes = unseen.sample(PICTURES, generator_for(seed, 61, device=DEVICE))
    drawing = Drawing(parts, voice, agreed, 1_000_000 * seed)
    return {"seed": seed, **{name: found(tower, parts, pictures, attributes[:, 0], sounds)
                             for name, tower in towers.items()},
            **table(drawing, parts, towers["captions"], unseen, sounds),
            "conflict": conflict(drawing, parts, towers["captions"], sounds)}


def seconds_of_training(seed):
    """What all new parts of this chapter took."""
    folder = FOLDER / "seeds" / str(seed) if seed else FOLDER
    return {name: read_about(folder / f"{name}.safetensors")["seconds"] for name in (*STAGES, "bridge", "joint")}


def main(path=None):
    known, unseen = load_captioned_digits(DEVICE)
    results = []
    for seed in SEEDS:
        parts = machine(seed)
        voice, _ = voice_of(parts, seed)
        known_sounds, _ = load_spoken_digits(DEVICE, seed)
        towers = {"captions": beside(bridge.recipe(known_sounds, known, parts, seed), seed),
                  "digits alone": run(bridge.recipe(known_sounds, known, parts, seed, terse=1.0)).eval(),
                  "directly": run(directly(known_sounds, known, parts, seed)).eval()}
        agreed = beside(joint.recipe(parts, voice, joint.lessons(known, parts, voice, seed), seed), seed)
        results.append(measured(seed, parts, voice, agreed, towers, unseen) | {"seconds": seconds_of_training(seed)})
        print(results[-1], flush=True)
    study.keep(__file__, {"pictures": PICTURES, "sounds": SOUNDS, "drawn": COUNT, "weights": WEIGHTS}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
