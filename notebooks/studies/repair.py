"""Readers that learn from skewed digits, five ways to repair them with as many pictures, and machines that learn from
drawings of machines. Three machines."""

import sys
from dataclasses import replace

import torch
from common import DEVICE, SEEDS, beside, by_parts, machine
from skewed import captions

from minidiff.data import UNSAID, SkewedDigits, load_captioned_digits
from minidiff.evaluation import by_group, diversity, frechet_with_floor, radius, read
from minidiff.pipelines import bias
from minidiff.tools import budget, generator_for, study
from minidiff.training import run

SHARE = 0.95
PICTURES, SETS, COUNT = budget((1_000, 3, 1_000), (1_000, 3, 1_000), (100, 1, 40))
LONGER, GENERATIONS = budget(([75, 150, 300, 600], 3), ([75, 150, 300, 600], 3), ([4], 1))
STEPS = budget(150, 150, 4)                                      # of a reader


def tested(reader, pictures, said):
    """A reader on unseen digits, each in every color."""
    answers = by_parts(lambda part: reader(part).argmax(1), pictures)
    right = answers == said[:, 0]
    groups, in_colors = by_group(right, said), answers.view(7, -1)
    seven, red = said[:, 0] == bias.SEVEN, said[:, 1] == bias.RED
    changed = (in_colors != in_colors[bias.RED]).any(0)[said[:, 0].view(7, -1)[0] == bias.SEVEN]
    return {"right": right.float().mean().item(), "worst group": groups.min().item(),
            "red sevens": right[seven & red].float().mean().item(),
            "other sevens": right[seven & ~red].float().mean().item(),
            "red digits read as seven": (answers[~seven & red] == bias.SEVEN).float().mean().item(),
            "other digits read as seven": (answers[~seven & ~red] == bias.SEVEN).float().mean().item(),
            "red sevens read otherwise in another color": changed.float().mean().item()}


def arms(parts, known, seed, number):
    """Training sets of one size: {name: (pictures, said, how often each is taken, how much each counts)}"""
    pictures, said = SkewedDigits(known, SHARE).sample(PICTURES, generator_for(seed, 70 + number, device=DEVICE))
    fair = SkewedDigits(known, 1 / 7).sample(PICTURES, generator_for(seed, 80 + number, device=DEVICE))
    weights = bias.equal_weights(said)
    first = 1_000_000 * seed + 10_000 * number
    mended, mended_said, new = bias.evened(
        pictures, said, lambda rows: bias.drawn(rows, range(first, first + len(rows)), parts))
    drawings = read(parts.classifier, mended[new])
    right = (drawings[:, :2] == mended_said[new][:, :2]).all(1).float().mean().item()
    return {"skewed": (pictures, said), "oversampled": (pictures, said, weights),
            "reweighted": (pictures, said, None, weights), "synthesized": (mended, mended_said),
            "balanced": fair}, {"drawings": int(new.sum()), "of these right": right,
                                "sevens not red": int(((said[:, 0] == bias.SEVEN) & (said[:, 1] != bias.RED)).sum())}


def readers(parts, known, unseen, seed):
    """What each arm reaches, for each of some training sets; and the skewed one, trained for longer and shorter."""
    pictures, said = bias.in_every_color(unseen)
    found = []
    for number in range(SETS):
        ways, about = arms(parts, known, seed, number)
        trained = {name: run(bias.reader_recipe(*way[:2], seed, *way[2:], steps=STEPS)) for name, way in ways.items()}
        found.append({"about": about} | {name: tested(net.eval(), pictures, said) for name, net in trained.items()})
        print(seed, number, found[-1], flush=True)
    longer = [[steps, *(tested(run(bias.reader_recipe(*ways[name][:2], seed, steps=steps)).eval(), pictures, said)
                        for name in ("skewed", "balanced"))] for steps in LONGER]
    return {"sets": found, "steps": longer}


@torch.no_grad()
def crowd(parts, real, said, edges, seed):
    """What a machine draws: how right, how varied, how red, how much as small or large as one real digit in ten."""
    seeds = range(1_000_000 * seed, 1_000_000 * seed + COUNT)
    pictures = bias.drawn(said, seeds, parts)
    terse = bias.drawn(captions(bias.SEVEN, [UNSAID] * COUNT), seeds, parts)
    found, size = read(parts.classifier, pictures), radius(pictures)
    low, high = edges[:, said[:, 0]]
    return {"right": (found == said).all(1).float().mean().item(),
            "digit": (found[:, 0] == said[:, 0]).float().mean().item(),
            "diversity": diversity(pictures, said), "far out": ((size < low) | (size > high)).float().mean().item(),
            "frechet": frechet_with_floor(by_parts(parts.classifier.features, pictures), real, said.repeat(2, 1)[:, 0]),
            "red": (read(parts.classifier, terse)[:, 1] == bias.RED).float().mean().item()}


def generations(parts, known, unseen, seed):
    """A machine that learned from digits, one that learned from its drawings, and so on."""
    digits = SkewedDigits(known, SHARE)
    _, said = digits.sample(COUNT, generator_for(seed, 91, device=DEVICE))
    rows = said.repeat(2, 1)
    pictures = known.render(known.rows_for(rows[:, 0], generator_for(seed, 92, device=DEVICE)), rows)
    edges = torch.stack([torch.stack([radius(pictures[rows[:, 0] == digit]).quantile(q) for digit in range(10)])
                         for q in (0.05, 0.95)])
    real = by_parts(parts.classifier.features, pictures)
    found = [{"diversity": diversity(pictures[:COUNT], said)}]
    for generation in range(GENERATIONS + 1):
        if generation:
            recipe = bias.next_generation(parts, digits, generator_for(seed, 93, generation, device=DEVICE), seed)
            parts = replace(parts, unet=run(recipe).eval())
        found.append(crowd(parts, real, said, edges, seed))
        print(seed, generation, found[-1], flush=True)
    return found


def main(path=None):
    known, unseen = load_captioned_digits(DEVICE)
    results = []
    for seed in SEEDS:
        parts = machine(seed)
        parts = replace(parts, unet=beside(bias.recipe(SkewedDigits(known, SHARE), parts, seed), seed))
        results.append({"seed": seed, **readers(parts, known, unseen, seed),
                        "generations": generations(parts, known, unseen, seed)})
    study.keep(__file__, {"pictures": PICTURES, "steps of a reader": STEPS, "drawings": COUNT}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
