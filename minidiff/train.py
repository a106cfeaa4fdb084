"""One visible training loop, and a moving average of the weights."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from minidiff.checkpoint import CheckpointError, blaming, fits, load_checkpoint, save_checkpoint
from minidiff.inputs import check_loss, check_number, check_share, check_training, check_whole
from minidiff.keeping import one_training, signals_wait
from minidiff.optimizer import Muon
from minidiff.runtime import autocast, budget_name, generator_for, peak_memory_mb


@dataclass
class Recipe:
    """What is trained, on what, and how long.  `loss_of(model, generator)` is the loss of one fresh batch.

    config: the model's frozen dataclass, kept in the checkpoint; `finish(model)` runs once after the last step."""

    name: str
    model: torch.nn.Module
    config: object
    loss_of: Callable
    steps: int
    batch: int
    lr: float
    seed: int = 0
    warmup: float = 0.05                                         # share of the steps
    decay: str = "cosine"                                        # how the learning rate falls, or "linear"
    weight_decay: float = 0.01
    ema: float | None = None                                     # decay of the moving average, None for none
    finish: Callable = lambda model: None
    seconds_before: float = 0.0                                  # spent on the data, counted as training

    def __post_init__(self):
        check_training(self)

    def settings(self):
        """What must be equal for a training to go on where another left off."""
        names = ("steps", "batch", "lr", "seed", "warmup", "decay", "weight_decay", "ema")
        return {"config": asdict(self.config)} | {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Progress:
    """What the loop yields after each step: how many steps are done, of how many, and how the last one went."""

    step: int
    steps: int
    loss: float
    lr: float
    grad_norm: float
    seconds: float                                               # of training, earlier sittings included


class EMA:
    """A moving average of the weights: shadow += (1 - decay) (weights - shadow).  [DDPM app. B]

    In the first steps the decay is (1 + n) / (10 + n), so that the average forgets the initial weights."""

    def __init__(self, model, decay):
        check_share("decay", decay)
        self.decay, self.updates = decay, 0
        self.shadow = {name: p.detach().clone() for name, p in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model):
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        weights = model.state_dict()
        torch._foreach_lerp_(list(self.shadow.values()), [weights[name] for name in self.shadow], 1 - decay)


def lr_at(step, recipe):
    """The learning rate of a step: up in a straight line, then down to zero, on half a cosine wave or straight."""
    check_whole("step", step, 0, recipe.steps)
    rise = max(1, round(recipe.warmup * recipe.steps))
    past = (step - rise) / max(1, recipe.steps - rise)
    fall = 1 - past if recipe.decay == "linear" else (1 + math.cos(math.pi * past)) / 2
    return recipe.lr * ((step + 1) / rise if step < rise else fall)


def train(recipe, path=None, save_every=15.0):
    """Train in sight: a generator that yields a `Progress` after each step.

    With a path the training is kept there every `save_every` seconds, when the caller stops, and on Ctrl-C; the same
    call goes on from it and ends bit for bit where an undisturbed run ends, since the randomness of step n depends on
    (seed, n) alone.  A finished checkpoint is loaded, and nothing is yielded.  While another process trains into that
    path, the training is refused.
    """
    check_number("save_every", min(save_every, 1e9))             # infinity is allowed
    model, device = recipe.model, next(recipe.model.parameters()).device
    optimizer = Muon(model.parameters(), recipe.lr, recipe.weight_decay)
    ema = EMA(model, recipe.ema) if recipe.ema else None
    step, seconds = _resume(path, recipe, optimizer, ema)
    if step == recipe.steps:
        model.eval()
        return
    with signals_wait() as stop, one_training(path) as newest:
        step, seconds = _resume(path, recipe, optimizer, ema)    # again: now nobody else writes there
        model.train(step < recipe.steps)
        started = saved = time.perf_counter()
        while step < recipe.steps:
            if not newest():
                raise CheckpointError(f"{path} is being trained by a newer call of train; this one ends")
            optimizer.param_groups[0]["lr"] = lr = lr_at(step, recipe)
            with autocast(device):
                loss = check_loss(recipe.loss_of(model, generator_for(recipe.seed, step, device=device)))
            optimizer.zero_grad()
            loss.backward()
            grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            _check_finite(loss, grad_norm, step, lr, path)
            optimizer.step()
            if ema:
                ema.update(model)                                # after the step, never before
            step += 1
            total = seconds + (now := time.perf_counter()) - started
            if step == recipe.steps:
                _finish(path, recipe, ema, total, loss.item())
            elif path and (stop or now - saved > save_every):
                saved = now
                _save_training(path, recipe, optimizer, ema, step, total)
            if stop:
                raise KeyboardInterrupt(f"stopped after step {step} of {recipe.steps} ({recipe.name})")
            try:
                yield Progress(step, recipe.steps, loss.item(), lr, grad_norm.item(), total)
            except GeneratorExit:
                if path and step < recipe.steps and newest():
                    _save_training(path, recipe, optimizer, ema, step, total)
                raise
        if stop:                                                 # the signal came after the last step
            raise KeyboardInterrupt(f"stopped after the last step ({recipe.name})")


def _check_finite(loss, grad_norm, step, lr, path):
    if not (torch.isfinite(loss) and torch.isfinite(grad_norm)):
        kept = f"The last good state is in {path}." if path and Path(path).exists() else "Nothing was saved yet."
        raise FloatingPointError(
            f"the loss is {loss.item()} and the gradient norm {grad_norm.item()} at step {step}, learning rate "
            f"{lr:.2g}. Usual reasons: too high a learning rate, or a division by zero in the loss. {kept}")


def _save_training(path, recipe, optimizer, ema, step, seconds):
    tensors = {f"model.{name}": t for name, t in recipe.model.state_dict().items()}
    tensors |= {f"ema.{name}": t for name, t in (ema.shadow if ema else {}).items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": t for name, t in state.items()}
    save_checkpoint(path, tensors, {"settings": recipe.settings(), "step": step, "seconds": seconds})


def _finish(path, recipe, ema, seconds, loss):
    if ema:
        recipe.model.load_state_dict(ema.shadow)
    recipe.model.eval()
    recipe.finish(recipe.model)
    if path:
        tensors = {f"model.{name}": t for name, t in recipe.model.state_dict().items()}
        save_checkpoint(path, tensors, {"settings": recipe.settings(), "step": recipe.steps, "seconds": seconds,
                                        "loss": loss, "peak_memory_mb": peak_memory_mb(), "budget": budget_name()})


def _resume(path, recipe, optimizer, ema):
    if path is None or not Path(path).exists():
        return 0, recipe.seconds_before
    tensors, about = load_checkpoint(path)
    with blaming(path):
        wanted = json.loads(json.dumps(recipe.settings()))
        found = {"decay": "cosine"} | about["settings"]          # the only one, until it had a name
        if found != wanted:
            other = [k for k in wanted if found.get(k) != wanted[k]]
            raise CheckpointError(f"{path} was trained with other settings ({', '.join(other)} differ: another budget "
                                  "or seed?). Give another --folder, or delete that file")
        def part(prefix):
            return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
        fits(part("model."), recipe.model.state_dict())
        recipe.model.load_state_dict(part("model."))
        if about["step"] < recipe.steps:
            state = {}
            for name, t in part("optimizer.").items():
                index, key = name.split(".")
                state.setdefault(int(index), {})[key] = t
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
            if ema:
                fits(part("ema."), ema.shadow)
                ema.shadow = {name: t.to(next(recipe.model.parameters()).device) for name, t in part("ema.").items()}
                ema.updates = about["step"]
        return about["step"], float(about["seconds"])
