"""The editor: what its two guidances do, and what becomes of it when something about its training is changed.

Kept for each way and machine, on exact pairs of unseen digits: was the change made, was the rest kept, and PSNR to the
exact answer; and on "make it a three", which has no exact answer.
Learning rates and scales were chosen on machines 10 and 11; three others are reported.
"""

import sys
import time
from dataclasses import replace

import torch
from common import DEVICE, SEEDS, machine, parameters

from minidiff.data import UNSAID, edited, instruction, is_held_out, load_captioned_digits
from minidiff.evaluation import psnr, read
from minidiff.pipelines import instruct, text2image
from minidiff.pipelines.instruct import EditorConfig
from minidiff.tools import budget, generator_for, study
from minidiff.training import run

COUNT, FEWER = budget(150, 150, 4), budget(80, 80, 4)
STEPS, TRAINED = budget(text2image.STEPS, text2image.STEPS, 2), budget(None, None, 3)
BY_SOURCE = budget((0, 1, 2, 4), (0, 1, 2, 4), (1,))
BY_TEXT = budget((0, 1, 2.5, 5), (0, 1, 2.5, 5), (1,))
WAYS = {                                                         # what stands for no picture, which pairs, scaled?
    "black": ("black", "both", True),
    "zero latent": ("zero", "both", True),
    "learned": ("learned", "both", True),
    "exact pairs only": ("black", "exact", True),
    "unscaled latents": ("black", "both", False),
}


class Asked:
    """Unseen digits, instructions for them, and the exact answers: pictures (N, 3, 32, 32).

    kind: "changes" of color, stroke or lean; "held out", those whose results are held-out combinations; "digits"."""

    def __init__(self, parts, unseen, kind, seed, count=COUNT):
        generator, rows = generator_for(seed, 21), []
        while sum(map(len, rows)) < count:
            said = unseen.allowed[torch.randint(len(unseen.allowed), (4 * count,), generator=generator)]
            changes = torch.full_like(said, UNSAID)
            if kind == "digits":
                changes[:, 0] = (said[:, 0] + torch.randint(1, 10, (len(said),), generator=generator)) % 10
            else:
                changes = instruct.random_changes(len(said), generator, share=0.0)
            result = edited(said, changes)
            fine = (result != said).any(1) & (is_held_out(result) == (kind == "held out"))
            rows.append(torch.cat([said, changes], 1)[fine])
        self.said, self.changes = torch.cat(rows)[:count].chunk(2, 1)
        self.wanted, self.changed = edited(self.said, self.changes), self.changes != UNSAID
        scans = unseen.rows_for(self.said[:, 0], generator)
        self.given, self.answer = unseen.render(scans, self.said), unseen.render(scans, self.wanted)
        self.instructions = [instruction(row) for row in self.changes]
        self.read = read(parts.classifier, self.answer)
        self.parts, self.seeds = parts, range(1_000_000 * seed, 1_000_000 * seed + count)

    def judged(self, pictures):
        """Was the change made, is the rest read as in the exact answer and as its label says, and how near to the exact
        answer is it?  Of every thirty digits the readers misread one even where it is the exact answer."""
        n, seen = len(pictures), read(self.parts.classifier, pictures)
        changed, right, same = self.changed[:n], seen == self.wanted[:n], seen == self.read[:n]
        return {"changed": right[changed].float().mean().item(), "kept": (same | changed).all(1).float().mean().item(),
                "kept by label": (right | changed).all(1).float().mean().item(),
                "both": torch.where(changed, right, same).all(1).float().mean().item(),
                "psnr": psnr(pictures, self.answer[:n]).mean().item()}

    def edited_by(self, editor, count=None, **scales):
        """What an editor makes of the first of them."""
        rows, made = torch.arange(count or len(self.given)).split(200), []
        for part in rows:
            asked = [self.instructions[i] for i in part], [self.seeds[i] for i in part]
            made.append(instruct.edit(self.given[part], *asked, self.parts, editor, steps=STEPS, **scales))
        return torch.cat(made)


def unscaled(parts, pairs):
    """The latents of the given pictures as the encoder gives them, with a mean and a standard deviation of its own."""
    mean, std = parts.autoencoder.latent_mean, parts.autoencoder.latent_std
    return replace(pairs, before=pairs.before * std + mean)


class Unscaled(torch.nn.Module):
    """An editor that is shown latents as the encoder gives them."""

    def __init__(self, editor, parts):
        super().__init__()
        self.editor = editor
        self.mean, self.std = parts.autoencoder.latent_mean, parts.autoencoder.latent_std
        self.nothing = (editor.nothing - self.mean) / self.std   # comes to the editor as it was in training

    def forward(self, xt, t, cond, source):
        return self.editor(xt, t, cond, source * self.std + self.mean)


def lessons(parts, known, seed):
    """Exact pairs, exact and generated ones together, and the seconds that each took."""
    start = time.perf_counter()
    exact = instruct.exact_pairs(known, parts, budget(20_000, 20_000, 100), seed)
    middle = time.perf_counter()
    drawn = instruct.generated_pairs(parts, known, budget(4_000, 4_000, 20), seed)
    taken = {"exact": middle - start, "generated": time.perf_counter() - middle}
    return {"exact": exact, "both": exact + drawn}, {"seed": seed, "seconds": taken, "generated": len(drawn.before)}


def table(editor, asked):
    """All pairs of scales, and the same factor for both with one guidance for everything."""
    found = []
    for by_source in BY_SOURCE:
        for by_text in BY_TEXT:
            pictures = asked.edited_by(editor, FEWER, by_source=by_source, by_text=by_text)
            found.append({"by source": by_source, "by text": by_text, **asked.judged(pictures)})
    return found


def main(path=None):
    known, unseen = load_captioned_digits(DEVICE)
    results = {"before": [], "pairs": [], "ways": {name: [] for name in WAYS}, "scales": []}
    for seed in SEEDS:
        parts = machine(seed)
        pairs, taken = lessons(parts, known, seed)
        asked = {kind: Asked(parts, unseen, kind, seed) for kind in ("changes", "digits")}
        results["pairs"].append(taken)
        first, again = asked["changes"], {}
        for name, pictures in (("the exact answer", first.answer), ("the given picture", first.given)):
            again[name] = first.judged(parts.autoencoder.decode(parts.autoencoder.encode(pictures)).clamp(-1, 1))
        results["before"].append({"seed": seed, **again})        # both through the autoencoder
        print(results["pairs"], results["before"], flush=True)
        for name, (nothing, which, scaled) in WAYS.items():
            told = pairs[which] if scaled else unscaled(parts, pairs[which])
            recipe = instruct.recipe(parts, told, seed, EditorConfig(nothing), TRAINED)
            start = time.perf_counter()
            editor = run(recipe).eval().requires_grad_(False)
            kept = {"seed": seed, "seconds": time.perf_counter() - start, "numbers": parameters(editor)}
            shown = editor if scaled else Unscaled(editor, parts)
            kept |= {kind: asks.judged(asks.edited_by(shown)) for kind, asks in asked.items()}
            results["ways"][name].append(kept)
            print(name, kept, flush=True)
            if name == "black":
                results["scales"].append({"seed": seed, "found": table(editor, asked["changes"])})
    scales = {"by source": instruct.BY_SOURCE, "by text": instruct.BY_TEXT}
    study.keep(__file__, {"edits": COUNT, "edits for each pair of scales": FEWER, **scales}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
