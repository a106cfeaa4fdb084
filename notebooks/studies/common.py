"""What several studies share: where they run, the parts that they start from, and how a crowd of pictures is drawn,
measured and shown.
"""

import itertools
import time
from pathlib import Path

import torch

from minidiff.data import LIKE, WORDS, combinations, load_captioned_digits, sentence
from minidiff.diffusion import (
    clipped,
    ddim_step,
    denoising_loss,
    guided,
    karras_levels,
    last,
    sample,
    sample_levels,
)
from minidiff.evaluation import accuracy, came_true, frechet_with_floor, psnr, read
from minidiff.models import UNetConfig
from minidiff.pipelines import classifier, denoiser, personalize, report, text2image
from minidiff.pipelines.digits import digit_states
from minidiff.tools import autocast, budget, generator_for, noise_for, pick_device, show, study, trained_folder
from minidiff.training import run, train

DEVICE, FOLDER = pick_device(), trained_folder()
SEEDS = budget([0, 1, 2], [0, 1, 2], [0])


# ---------------------------------------------------------------------------------------- any network, and any pictures


def steps_within(seconds, make):
    """How many steps of the training `make()` take that many seconds, judged by the median of the first ones."""
    measuring, times = train(make()), []
    for _ in range(budget(12, 12, 2)):
        start = time.perf_counter()
        next(measuring)
        times.append(time.perf_counter() - start)
    measuring.close()
    return max(3, round(seconds / sorted(times)[len(times) // 2]))


def parameters(model):
    """How many numbers a network learns."""
    return sum(p.numel() for p in model.parameters())


@torch.no_grad()
def by_parts(function, pictures):
    """A function of pictures (N, ...), 500 at a time."""
    return torch.cat([function(part) for part in pictures.to(DEVICE).split(500)])


def trained_classifier():
    """The digit classifier of chapters 4 and 5, as long trained as there; trained here where there is none."""
    return run(classifier.recipe(load_captioned_digits(DEVICE)[0]), FOLDER / "classifier_long.safetensors")


def save_rows(rows, names, path):
    """Rows of pictures, all as long, each with its name below the first one, as PNG; not in the fast budget."""
    if budget(True, True, False):
        show.grid(torch.cat(rows), list(names), columns=len(rows[0]), size=1.3).savefig(path, dpi=100)


# ------------------------------------------------------------------------------------------ chapter 4: digits in pixels


@torch.no_grad()
def draw_digits(model, asked, w, step, steps, spacing=karras_levels):
    """Digits as asked (N,), with guidance w -> pictures (N, 1, 32, 32)."""
    null, parts = torch.zeros(1, 1, 10, device=DEVICE), []
    for rows in torch.arange(len(asked)).split(250 if DEVICE.type == "cpu" else 5_000):
        cond = digit_states(asked[rows].to(DEVICE))
        noise = noise_for(rows.tolist(), (1, 32, 32)).to(DEVICE)
        denoise = clipped(guided(model, null, w), model.schedule)
        with autocast(DEVICE):
            x = last(sample(denoise, noise, model.schedule, steps, step, cond, rows.tolist(), spacing=spacing))
        parts.append(x.float().clamp(-1, 1))
    return torch.cat(parts)


def share_right(reader, pictures, asked):
    """The share of pictures that the classifier reads as asked (N,)."""
    return (by_parts(reader, pictures).argmax(1).cpu() == asked).float().mean().item()


def real_digits(digits, count):
    """Real digits, ten after ten one of each kind, and which they are; at random otherwise."""
    every, labels = torch.cat([digits.train, digits.val]), torch.cat([digits.train_labels, digits.val_labels])
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(0))
    by_class = torch.stack([order[labels[order] == digit] for digit in range(10)], 1)       # (500, 10)
    return every[by_class.flatten()[:count]], labels[by_class.flatten()[:count]]


@torch.no_grad()
def loss_on(model, digits):
    """The loss (v) on the unseen digits, with the same noise and the same levels every time."""
    generator, n = generator_for(7), budget(500, 500, 20)
    t = sample_levels(n, model.schedule, generator, 0.0, 1.5)
    eps = torch.randn(n, 1, 32, 32, generator=generator)
    order = torch.randperm(500, generator=generator)[:n]         # the digits are sorted, and so are the levels
    x0, cond = digits.val[order].to(DEVICE), digit_states(digits.val_labels[order]).to(DEVICE)
    return denoising_loss(model, x0, t.to(DEVICE), eps.to(DEVICE), model.schedule, cond).mean().item()


# ------------------------------------------------------------------------------------------- chapter 5: the autoencoder


def rebuilt_by(model, pictures):
    """Pictures through the autoencoder, as a reader gets them."""
    return by_parts(lambda part: model.decode(model.encode(part)).clamp(-1, 1), pictures)


def left_of(pictures, rebuilt, attributes, reader):
    """What is left of pictures: PSNR by picture and pooled, what is read, and the Frechet distance with its floor."""
    distance, floor = frechet_with_floor(by_parts(reader.features, rebuilt), by_parts(reader.features, pictures))
    return {"psnr": psnr(rebuilt, pictures).mean().item(),
            "psnr pooled": psnr(rebuilt[None], pictures[None]).item(),
            **accuracy(read(reader, rebuilt), attributes), "frechet": distance, "floor": floor}


def diffusion_on(latents, labels, steps, batch, seed=0):
    """A small UNet trained on latents (N, C, h, w) that are told their digit."""
    states, null = digit_states(labels), torch.zeros(1, 1, 10, device=DEVICE)
    config = UNetConfig(latents.shape[1], cond_width=10)
    return run(denoiser.recipe(latents, lambda rows, generator: states[rows], null, seed, config, steps, batch))


@torch.no_grad()
def drawn_latents(model, asked, shape):
    """Latents (N, *shape) drawn as asked with w = 2, 25 steps."""
    null, cond = torch.zeros(1, 1, 10, device=DEVICE), digit_states(asked.to(DEVICE))
    noise = noise_for(range(len(asked)), shape).to(DEVICE)
    with autocast(DEVICE):
        z = last(sample(guided(model, null, 2), noise, model.schedule, budget(25, 25, 3), ddim_step, cond))
    return z.float()


def right_and_far(reader, pictures, asked, crowd):
    """Share of pictures that are the digit asked for, and their Frechet distance to a real crowd, with its floor."""
    real, attributes = crowd
    distance, floor = frechet_with_floor(by_parts(reader.features, pictures), by_parts(reader.features, real),
                                         attributes[:, 0])
    return {"right": share_right(reader, pictures, asked), "frechet": distance, "floor": floor}


def balanced(captioned, count):
    """Real captioned digits, as many of each digit (count, 3, 32, 32), and their attributes (count, 4)."""
    pictures, attributes = captioned.sample(4 * count, generator_for(9, device=DEVICE))
    rows = torch.cat([(attributes[:, 0] == digit).nonzero()[:count // 10, 0] for digit in range(10)])
    return pictures[rows], attributes[rows]


# ----------------------------------------------------------------------------------------- chapter 6: the whole machine

PLAIN = dict(batch=budget(512, 256, 64), decay="cosine", levels=())       # how the UNets of some comparisons learn,
LOUD = dict(guidance=3.5, steps=budget(17, 17, 3))               # without the haste of `text2image.QUICK`, and draw
SHOWN = [(7, 0, 2, 0), (2, 4, 0, 2), (5, 1, 1, 1), (0, 2, 2, 1), (8, 3, 0, 0), (3, 6, 1, 2), (9, 5, 2, 0), (4, 4, 1, 1)]


def ready():
    """Known and unseen digits, and all parts of the machine but the UNet; trained here where they are not there yet."""
    models = {recipe.name: run(recipe, FOLDER / f"{recipe.name}.safetensors")
              for recipe in itertools.islice(text2image.recipes(device=DEVICE), 3)}
    return *load_captioned_digits(DEVICE), text2image.Pipeline(**models, unet=None)


def seconds_to_draw(count, parts):
    """The shortest of five times to draw so many captions."""
    captions, times = [sentence(SHOWN[i % 8]) for i in range(count)], []
    for _ in range(budget(5, 5, 1)):
        start = time.perf_counter()
        text2image.draw(captions, range(count), parts)
        times.append(time.perf_counter() - start)
    return min(times)


def runs_of(plans, file, path=None, drawing=None, **settings):
    """Train a denoiser with each plan and seed, score the machine with each, keep the numbers, and a picture of what
    each draws.

    plans: functions plan(make) -> how many steps (None: the machine's), for a function `make` that makes the training.
    The seconds of encoding the latents are counted in.  drawing: guidance and steps, if not the machine's.
    """
    known, unseen, parts = ready()
    drawing = drawing or {"steps": budget(text2image.STEPS, text2image.STEPS, 3)}
    runs, rows = [], []
    for plan, seed in itertools.product(plans, SEEDS):
        start = time.perf_counter()
        encoded = text2image.latents_of(known, parts.autoencoder, budget(500_000, 60_000, 1_000), seed)
        encoding = time.perf_counter() - start

        def make(steps=None):
            planned = {"steps": steps} if steps else {}
            return text2image.unet_recipe(known, parts.clip, parts.autoencoder, seed, encoded, **planned, **settings)

        recipe = make(plan(make))
        start = time.perf_counter()
        parts.unet = run(recipe)
        seconds = encoding + time.perf_counter() - start
        found = report.score(parts, known, unseen, budget(5_000, 1_000, 24), seed, **drawing)
        runs.append({
            "seed": seed, "seconds": seconds, "steps": recipe.steps, "parameters": parameters(parts.unet),
            **{key: found[key] for key in ("accuracy", "held_out", "floor", "shuffled", "frechet", "frechet_floor",
                                           "diversity", "seconds_a_picture")},
            "seconds for 1": seconds_to_draw(1, parts), "seconds for 64": seconds_to_draw(64, parts)})
        rows.append(text2image.draw([sentence(row) for row in SHOWN], range(len(SHOWN)), parts))
        print(runs[-1], flush=True)
    config = {"captions": found["n"]["accuracy"], "batch": recipe.batch, "held out": found["n"]["held_out"]}
    study.keep(file, config, runs, path)
    save_rows(rows[-len(SEEDS):], [f"seed {seed}" for seed in SEEDS], Path(file).with_suffix(".png"))


# ------------------------------------------------------------------------------------- part II: on the trained machine

GENTLE = dict(guidance=personalize.GUIDANCE, steps=budget(text2image.STEPS, text2image.STEPS, 2))     # new words

def machine(seed):
    """The machine of a seed, as `python -m minidiff train --seed` makes it, kept for all studies that start from it."""
    folder = FOLDER / "seeds" / str(seed) if seed else FOLDER
    for recipe in text2image.recipes(seed, DEVICE):
        run(recipe, folder / f"{recipe.name}.safetensors")
    return text2image.load(folder, DEVICE)


def beside(recipe, seed):
    """What a recipe trains beside the machine of a seed, kept for all studies that need it."""
    folder = FOLDER / "seeds" / str(seed) if seed else FOLDER
    return run(recipe, folder / f"{recipe.name}.safetensors").eval().requires_grad_(False)


def scored(parts, known, unseen, seed, **drawing):
    """What studies keep of a score of 1,000 captions: shares right, distance and its floor, diversity."""
    found = report.score(parts, known, unseen, budget(1_000, 1_000, 24), seed, **drawing)
    return {"seed": seed, **{f"{word} right": found["accuracy"][word] for word in ("digit", "joint")},
            "held out right": found["held_out"]["joint"],
            **{key: found[key] for key in ("frechet", "frechet_floor", "diversity", "seconds_a_picture")}}


def drawn_as(parts, captions, seed):
    """Draw captions with the seeds of a machine, as gently as new words want it."""
    seeds = range(1_000_000 * seed, 1_000_000 * seed + len(captions))
    return torch.cat([text2image.draw(captions[i:i + 250], seeds[i:i + 250], parts, **GENTLE)
                      for i in range(0, len(captions), 250)])


def still_right(parts, known, n, seed):
    """Which share of old captions a machine draws as they were said, with the guidance of new words."""
    old, _ = report.asked_for(known, n, seed)
    drawn = report.draw_all(old, parts, 1_000_000 * seed, **GENTLE)
    return (read(parts.classifier, drawn) == old).all(1).float().mean().item()


def wished(parts, captions, said, word, seed, reader=None):
    """Draw captions of a new word, made of attributes `said` (N, 4) -> shares in which the word, and in which all four
    wishes came true.  reader: of outlines, where it is needed."""
    true = came_true(word, reader or parts.classifier, drawn_as(parts, captions, seed), said)
    return {"word": true[:, list(WORDS).index(LIKE[word])].float().mean().item(),
            "all": true.all(1).float().mean().item()}


def wishes_for(word, digits, count, seed):
    """So many combinations (count, 4) for a new word, evenly, in random order."""
    every = combinations(word, digits).to(DEVICE)
    order = torch.randperm(len(every), generator=generator_for(seed, 8)).to(DEVICE)
    return every[order].repeat(-(-count // len(every)), 1)[:count]
