"""What makes CLIP work?  Three losses, three mistakes and a supervised twin, the same steps each, three seeds.

The first row is the chapter's own training, with twice the steps.  All are tested on the 500 unseen digits in all 63
renderings, a tenth of the combinations never trained on.  `sizes` are the singular values of 1,000 picture embeddings,
as shares of their sum: if one is nearly 1, all pictures land on one line.  `seconds` is the median step times the
steps.  The picture is what the first model finds for three sentences, among 4,500 unseen pictures.
"""

import math
import sys
from pathlib import Path

import torch
from common import SEEDS
from torch.nn import functional as F

from minidiff.data import (
    SIZES,
    CaptionedDigits,
    caption_index,
    drop_words,
    grammar,
    is_held_out,
    is_true_of,
    load_digits,
    parse,
    render_styles,
    shift,
)
from minidiff.evaluation import accuracy, read_zero_shot
from minidiff.models import Clip, ClipConfig, ImageTower, contrastive_loss, end_state, sigmoid_loss
from minidiff.tools import budget, generator_for, show, study
from minidiff.training import Recipe, train

STEPS, BATCH = budget(300, 300, 4), budget(256, 256, 32)
EVERY, _ = grammar(0.25)


def several_right(logits, true, model, seen, said):
    return contrastive_loss(logits, true)


def one_right(logits, true, model, seen, said):
    """Plain CLIP: its own caption is right, and all others are wrong, equal ones too."""
    return contrastive_loss(logits, torch.eye(len(logits), dtype=torch.bool))


def yes_or_no(logits, true, model, seen, said):
    return sigmoid_loss(logits, true, model.bias)


def soft_targets(logits, true, model, seen, said):
    """A famous repository's bug: the targets are the model's own similarities, of features without unit length."""
    target = ((seen @ seen.T + said @ said.T) / 2).softmax(1)
    scores = seen @ said.T
    return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target.T)) / 2


FULL = "several right, all steps"
LOSSES = {FULL: several_right, "several right": several_right, "one right": one_right, "yes or no": yes_or_no,
          "no unit length": several_right, "temperature 1": several_right, "soft targets": soft_targets,
          "mirrored pictures": several_right}


class Twin(torch.nn.Module):
    """The image tower alone, with a label for each attribute: what supervision reaches in the same seconds."""

    def __init__(self, config=ClipConfig()):
        super().__init__()
        self.image, self.config = ImageTower(config.widths, config.embed_width), config
        self.out = torch.nn.Linear(config.embed_width, sum(SIZES))

    def forward(self, pictures):
        return self.out(F.silu(self.image(pictures).float())).split(SIZES, 1)


def model_for(name):
    """The model of a row, new."""
    model = Twin() if name == "supervised twin" else Clip()
    if name == "yes or no":
        model.bias = torch.nn.Parameter(torch.tensor(-10.0))     # the best of six starts; with SigLIP's own scale of
        model.log_scale.data.fill_(math.log(20.0))               # 10 it reads 80 % of the digits after these steps
    if name == "temperature 1":
        model.log_scale = torch.nn.Parameter(torch.tensor(0.0), requires_grad=False)
    return model


def recipe_for(name, captioned, seed):
    """The training of a row."""
    def loss_of(model, generator):
        pictures, attributes = captioned.sample(BATCH, generator)
        pictures = shift(pictures, 2, generator)
        if name == "supervised twin":
            answers = model(pictures)
            return sum(F.cross_entropy(answer, column) for answer, column in zip(answers, attributes.T)) / 4
        if name == "mirrored pictures":
            flip = torch.rand(len(pictures), generator=generator) < 0.5
            pictures = torch.where(flip[:, None, None, None], pictures.flip(-1), pictures)
        said = drop_words(attributes, 0.25, generator)
        ids = EVERY[caption_index(said)]
        seen, heard = model.embed_pictures(pictures), model.embed_tokens(ids)
        if name in ("no unit length", "soft targets"):
            seen = model.image(pictures).float()
            heard = model.text_out(end_state(model.text(ids), ids)).float()
        logits = model.logits(seen, heard)
        return LOSSES[name](logits, is_true_of(said, attributes), model, seen, heard)

    return Recipe(name, lambda: model_for(name), ClipConfig(), loss_of, STEPS * (1 + (name == FULL)), BATCH, 2e-3, seed,
                  weight_decay=0.05)


@torch.no_grad()
def measure(model, val):
    """Zero-shot on every unseen digit in all 63 renderings, seen combinations and held-out ones apart."""
    read, asked, some = [], [], slice(None, None, budget(1, 1, 25))
    for style in torch.cartesian_prod(*(torch.arange(size) for size in SIZES[1:])):
        attributes = torch.cat([val.labels[some, None], style.expand(len(val.labels[some]), 3)], 1)
        pictures = val.render(torch.arange(len(val.labels))[some], attributes)
        if isinstance(model, Twin):
            read.append(torch.stack([answer.argmax(1) for answer in model(pictures)], 1))
        else:
            read.append(read_zero_shot(model, pictures))
        asked.append(attributes)
    read, asked = torch.cat(read), torch.cat(asked)
    held = is_held_out(asked)
    pictures, _ = val.sample(1_000, generator_for(9))
    found = model.image(pictures).float()
    if not isinstance(model, Twin):
        found = F.normalize(found, dim=1)
    sizes = torch.linalg.svdvals(found)
    return {"seen": accuracy(read[~held], asked[~held]), "held_out": accuracy(read[held], asked[held]),
            "sizes": (sizes / sizes.sum())[:8].tolist()}


@torch.no_grad()
def picture(model, val):
    """What is found for three sentences, in rows of eight, each sentence under its first picture."""
    pictures, facts = val.sample(4_500, generator_for(6))
    asks = ["a thick red seven leaning left", "a cyan two", "a thin digit leaning right"]
    best = (model.embed_captions(asks) @ model.embed_pictures(pictures).T).topk(8).indices.flatten()
    right = is_true_of(torch.tensor([parse(ask) for ask in asks]), facts[best])
    print("right in the picture:", [right[8 * i:8 * i + 8, i].sum().item() for i in range(3)], "of 8")
    return show.grid(pictures[best], list(asks), size=1.1)


def main(path=None):
    digits, some, results = load_digits(), slice(None, None, budget(1, 1, 10)), {}
    captioned = CaptionedDigits(render_styles(digits.train[some]), digits.train_labels[some])
    val = CaptionedDigits(render_styles(digits.val), digits.val_labels)
    for name in [*LOSSES, "supervised twin"]:
        results[name] = []
        for seed in SEEDS:
            recipe = recipe_for(name, captioned, seed)
            states = list(train(recipe))
            steps = torch.tensor([state.seconds for state in states]).diff()
            seconds = steps.median().item() * recipe.steps
            results[name].append({"seed": seed, "steps": recipe.steps, "seconds": seconds, "loss": states[-1].loss,
                                  **measure(recipe.model, val)})
            shown = {part: {k: round(100 * v, 1) for k, v in results[name][-1][part].items()} for part in
                     ("seen", "held_out")}
            print(name, seed, f"{seconds:.0f} s, loss {states[-1].loss:.3f}", shown, flush=True)
            if name == FULL and seed == 0 and budget(True, True, False):
                picture(recipe.model, val).savefig(Path(__file__).with_suffix(".png"), dpi=90)
    study.keep(__file__, {"steps": STEPS, "batch": BATCH}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
