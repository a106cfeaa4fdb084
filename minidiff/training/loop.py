"""One visible training loop: a generator that yields after each step, and can be killed at any moment."""

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from minidiff.tools.checks import check, check_number, check_whole, kind_of
from minidiff.tools.files import one_training
from minidiff.tools.runtime import autocast, budget_name, fast_bf16, float32, generator_for, peak_memory_mb, seeded
from minidiff.training.checkpoint import (
    CheckpointError,
    check_fits,
    fitting,
    load_checkpoint,
    read_about,
    rebuild,
    save_checkpoint,
)
from minidiff.training.ema import EMA
from minidiff.training.muon import MuonAdamW


@dataclass
class Recipe:
    """What is trained, on what, and how long.  `loss_of(model, generator)` is the loss of one fresh batch.

    make_model() builds the model, always with the same first weights; a training begins with fresh ones.  config: the
    model's frozen dataclass.  objective: whatever else decides what is learned, as plain values: the checksum of the
    data, the weight of the loss, the levels.  finish(model) runs once after the last step.
    """

    name: str
    make_model: Callable
    config: object
    loss_of: Callable
    steps: int
    batch: int
    lr: float
    seed: int = 0
    objective: dict = field(default_factory=dict)
    warmup: float = 0.05                                         # share of the steps
    decay: str = "cosine"                                        # how the learning rate falls, or "linear"
    weight_decay: float = 0.01
    muon: bool = True                                            # False: AdamW for the matrices, too
    ema: float | None = None                                     # decay of the moving average, None for none
    finish: Callable = lambda model: None
    device: object = "cpu"
    seconds_before: float = 0.0                                  # spent on the data, counted as training
    done: bool = False                                           # whether the model is trained, and in which format:
    bf16: bool | None = None                                     # measured when a training begins

    def __post_init__(self):
        check_whole("steps of a training", self.steps)
        check_whole("batch of a training", self.batch)
        check_number("the learning rate", self.lr)
        check_number("weight_decay", self.weight_decay)
        check_number("warmup", self.warmup, 0, 1)
        check(self.decay in ("cosine", "linear"), f"decay {self.decay!r}: expected cosine or linear")

    @cached_property
    def model(self):
        """The model, built when it is first asked for."""
        with seeded(self.seed), float32():
            return self.make_model().to(self.device, memory_format=torch.channels_last)

    def settings(self):
        """What must be equal for a training to go on where another left off."""
        names = ("steps", "batch", "lr", "seed", "objective", "warmup", "decay", "weight_decay", "ema")
        return json.loads(json.dumps({"config": asdict(self.config)} | {name: getattr(self, name) for name in names}))


@dataclass(frozen=True)
class Progress:
    """What the loop yields after each step: how many steps are done, of how many, and how the last one went."""

    step: int
    steps: int
    loss: float
    lr: float
    grad_norm: float
    seconds: float                                               # of training, earlier sittings included


def lr_at(step, recipe):
    """The learning rate of a step: up in a straight line, then down to zero, on half a cosine wave or straight."""
    rise = max(1, round(recipe.warmup * recipe.steps))
    past = (step - rise) / max(1, recipe.steps - rise)
    fall = 1 - past if recipe.decay == "linear" else (1 + math.cos(math.pi * past)) / 2
    return recipe.lr * ((step + 1) / rise if step < rise else fall)


def run(recipe, path=None, save_every=15.0):
    """Train to the end -> the trained model."""
    for _ in train(recipe, path, save_every):
        pass
    return recipe.model


def train(recipe, path=None, save_every=15.0):
    """Train in sight: a generator that yields a `Progress` after each step.

    With a path the training is kept there every `save_every` seconds, and when the caller stops looking.  Killed at any
    moment, by Ctrl-C too, the same call goes on from what was kept, and ends bit for bit where an undisturbed run ends,
    since the randomness of step n depends on (seed, n) alone.  A finished checkpoint is loaded, and nothing is yielded.
    While another process trains into that path, the training is refused.
    """
    check_number("save_every", min(save_every, 1e9))             # infinity is allowed
    if is_finished(path):
        Sitting(recipe, path)
        return
    with one_training(path) as newest:
        sitting = Sitting(recipe, path)
        saved = time.perf_counter()
        while sitting.step < recipe.steps:
            if not newest():
                raise CheckpointError(f"{path} is being trained by a newer call of train; this one ends")
            progress = sitting.take_step()
            if path and not recipe.done and time.perf_counter() - saved > save_every:
                saved = time.perf_counter()
                sitting.save()
            try:
                yield progress
            except GeneratorExit:
                if path and not recipe.done and newest():
                    sitting.save()
                raise


class Sitting:
    """A training under way: model, optimizer, average, and how far they are.  It begins anew, or from a checkpoint."""

    def __init__(self, recipe, path):
        self.recipe, self.path = recipe, path
        with seeded(recipe.seed), float32():                     # fresh weights, even if this recipe was trained before
            recipe.model.load_state_dict(recipe.make_model().state_dict())
        recipe.bf16 = fast_bf16(recipe.device)
        self.optimizer = MuonAdamW(recipe.model, recipe.lr, recipe.weight_decay, recipe.muon)
        self.ema = EMA(recipe.model, recipe.ema) if recipe.ema else None
        self.step, self.seconds = 0, recipe.seconds_before
        if path and Path(path).exists():
            with fitting(path):
                self.resume(*load_checkpoint(path))
        self.started = time.perf_counter() - self.seconds
        recipe.done = self.step == recipe.steps
        recipe.model.train(not recipe.done)

    def take_step(self):
        """One step of the training: batch, loss, gradient, update, average."""
        recipe, model = self.recipe, self.recipe.model
        lr = lr_at(self.step, recipe)
        with autocast(recipe.device, recipe.bf16), float32():
            loss = recipe.loss_of(model, generator_for(recipe.seed, self.step, device=recipe.device))
        check(torch.is_tensor(loss) and loss.numel() == 1,
              f"the loss must be a tensor of a single number, got {kind_of(loss)}: is `.mean()` missing?")
        self.optimizer.zero_grad()
        loss.backward()
        grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        loss, grad_norm = torch.stack([loss.detach().flatten()[0].float(), grad_norm.float()]).tolist()
        check_finite(loss, grad_norm, self.step, lr, self.path)
        self.optimizer.step(lr)
        if self.ema:
            self.ema.update(model)                               # after the step, never before
        self.step += 1
        self.seconds = time.perf_counter() - self.started
        if self.step == recipe.steps:
            self.finish(loss)
        return Progress(self.step, recipe.steps, loss, lr, grad_norm, self.seconds)

    def finish(self, loss):
        """After the last step: the average becomes the model, and is kept."""
        if self.ema:
            self.recipe.model.load_state_dict(self.ema.shadow)
        self.recipe.model.eval()
        self.recipe.finish(self.recipe.model)
        self.recipe.done = True
        self.save(loss=loss, peak_memory_mb=peak_memory_mb(), budget=budget_name())

    def save(self, **more):
        """Keep the finished model, or all that is needed to go on."""
        sets = {"model": self.recipe.model.state_dict()}
        if not self.recipe.done:
            sets |= {"optimizer": self.optimizer.tensors(), "ema": self.ema.shadow if self.ema else {}}
        if self.path:
            save_checkpoint(self.path, {f"{name}.{key}": t for name, some in sets.items() for key, t in some.items()},
                            {"settings": self.recipe.settings(), "bf16": self.recipe.bf16, "step": self.step,
                             "seconds": self.seconds} | more)

    def resume(self, tensors, about):
        """Go on from a checkpoint; one of other settings is refused."""
        recipe, wanted = self.recipe, self.recipe.settings()
        config = asdict(rebuild(type(recipe.config), about["settings"]["config"]))       # newer fields: their defaults
        found = about["settings"] | {"config": json.loads(json.dumps(config))}
        other = [key for key in found | wanted if found.get(key) != wanted.get(key)]
        if about["bf16"] != recipe.bf16 and "MINIDIFF_BF16" in os.environ:
            other.append("MINIDIFF_BF16")
        if other:
            raise CheckpointError(f"{self.path} was trained with other settings ({', '.join(other)} differ: another "
                                  "budget, seed, or other data?). Give another folder, or move that file elsewhere")
        sets = {"model": {}, "optimizer": {}, "ema": {}}
        for name, t in tensors.items():
            kind, _, key = name.partition(".")
            sets[kind][key] = t.to(recipe.device)
        check_fits(sets["model"], recipe.model.state_dict())
        recipe.model.load_state_dict(sets["model"])
        recipe.bf16 = about["bf16"]                              # measured before its first step, not in this minute
        self.step, self.seconds = about["step"], float(about["seconds"])
        if self.step < recipe.steps:
            self.optimizer.load(sets["optimizer"])
        if self.ema and self.step < recipe.steps:
            check_fits(sets["ema"], self.ema.shadow)
            self.ema.shadow, self.ema.updates = sets["ema"], self.step


def check_finite(loss, grad_norm, step, lr, path):
    """Stop before a step that would spoil every weight."""
    if not (math.isfinite(loss) and math.isfinite(grad_norm)):
        kept = f"The last good state is in {path}." if path and Path(path).exists() else "Nothing was saved yet."
        raise FloatingPointError(
            f"the loss is {loss} and the gradient norm {grad_norm} at step {step}, learning rate {lr:.2g}. "
            f"Usual reasons: too high a learning rate, or a division by zero in the loss. {kept}")


def is_finished(path):
    """Whether a checkpoint holds a finished training; it is only read, so that it needs no place in the queue."""
    if path is None or not Path(path).exists():
        return False
    try:
        about = read_about(path)
        return about["step"] == about["settings"]["steps"]
    except Exception:                                            # `load_checkpoint` will say what is wrong with it
        return False
