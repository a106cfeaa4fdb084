"""The loop, the moving average, the optimizer, and checkpoints that survive a kill."""

import os
import random
import signal
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from minidiff.__main__ import main
from minidiff.data import LabeledDigits, grammar
from minidiff.models import ClipConfig, TextConfig, UNetConfig
from minidiff.pipelines import autoencoder, classifier, clip, denoiser, language, text2image, toy
from minidiff.training import (
    EMA,
    CheckpointError,
    Muon,
    MuonAdamW,
    Recipe,
    checkpoint,
    load_checkpoint,
    load_model,
    loop,
    lr_at,
    orthogonalize,
    run,
    save_checkpoint,
    train,
)
from minidiff.training.muon import COEFFICIENTS


@dataclass(frozen=True)
class LineConfig:
    width: int = 11


def line_recipe(steps=13, seed=0, **settings):
    """A regression small enough for a test, with weight matrices, thin ones, biases and a moving average."""
    def make_model():
        return nn.Sequential(nn.Linear(3, 11), nn.Tanh(), nn.Linear(11, 13), nn.Tanh(), nn.Linear(13, 1))

    def loss_of(model, generator):
        x = torch.randn(17, 3, generator=generator)
        return (model(x) - x.sum(1, keepdim=True).sin()).square().mean()

    return Recipe("line", make_model, LineConfig(), loss_of, steps, 17, 0.01, seed, **{"ema": 0.9} | settings)


def weights(recipe):
    """All weights of a recipe's model as one copy (N,)."""
    return torch.cat([p.flatten() for p in recipe.model.state_dict().values()])


@pytest.fixture(scope="module")
def straight():
    """The weights in which an undisturbed training of `line_recipe` ends."""
    run(recipe := line_recipe())
    return weights(recipe)


# ------------------------------------------------------------------ average, learning rate, optimizer


def test_the_average_of_weights_is_its_formula():
    model = nn.Linear(3, 2, bias=False)
    ema, shadow = EMA(model, 0.9), model.weight.detach().clone()
    for n in range(1, 31):
        with torch.no_grad():
            model.weight.add_(torch.randn(2, 3))
        ema.update(model)
        decay = min(0.9, (1 + n) / (10 + n))
        shadow = decay * shadow + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(ema.shadow["weight"], shadow, atol=1e-6, rtol=1e-5)


def test_learning_rate_rises_and_falls_to_zero():
    recipe = line_recipe(steps=200)
    rates = [lr_at(step, recipe) for step in range(200)]
    assert rates[0] == pytest.approx(0.001) and max(rates) == rates[9] == rates[10] == 0.01
    assert rates[105] == pytest.approx(0.005) and rates[-1] < 1e-5
    assert rates[10:] == sorted(rates[10:], reverse=True)
    linear = [lr_at(step, replace(recipe, decay="linear")) for step in range(200)]
    assert linear[:10] == rates[:10] and linear[105] == pytest.approx(0.005)
    assert linear[57] == pytest.approx(0.01 * (200 - 57) / 190) and linear[-1] == pytest.approx(0.01 / 190)


@pytest.mark.parametrize("shape", [(3, 7, 17), (2, 17, 7), (1, 13, 13)])
def test_orthogonalized_matrices_keep_directions_and_lose_lengths(shape):
    n, rows, columns = shape
    lengths = torch.logspace(-1.5, 0, min(rows, columns))        # singular values from 0.03 to 1
    u = torch.linalg.qr(torch.randn(n, rows, len(lengths), generator=torch.Generator().manual_seed(0)))[0]
    v = torch.linalg.qr(torch.randn(n, columns, len(lengths), generator=torch.Generator().manual_seed(1)))[0]
    matrices = u * lengths @ v.mT
    for before, after in zip(matrices, orthogonalize(matrices), strict=True):
        u, s, v = torch.linalg.svd(before, full_matrices=False)
        rotated = u.T @ after @ v.T                              # diagonal, if no direction was turned
        assert 0.6 < rotated.diag().min() and rotated.diag().max() < 1.3
        assert (rotated - rotated.diag().diag()).abs().max() < 0.05


def newton_schulz(x, iterations):
    """The same in float64, written as in the paper: X <- a X + (b A + c A A) X."""
    a, b, c = COEFFICIENTS
    x = x.double() if len(x) <= x.shape[1] else x.double().mT
    x = x / x.norm()
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


@pytest.mark.parametrize("iterations", [1, 4, 5])
def test_orthogonalizing_on_the_small_side_is_the_papers_iteration_whatever_is_beside_it(iterations):
    shapes, dice = [(7, 17), (17, 7), (7, 7), (3, 19), (13, 7)], torch.Generator().manual_seed(2)
    matrices = [10.0**i * torch.randn(shape, generator=dice) for i, shape in enumerate(shapes)]
    for before, after in zip(matrices, orthogonalize(matrices, iterations), strict=True):
        expected = newton_schulz(before, iterations)
        expected = expected if expected.shape == before.shape else expected.mT
        torch.testing.assert_close(after.double(), expected, atol=1e-4, rtol=1e-4)
    assert orthogonalize([], iterations) == []


def test_how_a_weight_lies_in_memory_changes_no_step():
    plain = nn.Parameter(torch.randn(11, 13, 3, 3))
    beside = nn.Parameter(plain.detach().clone(memory_format=torch.channels_last))
    assert beside.stride() != plain.stride()
    mine, other = Muon([plain], lr=0.01, weight_decay=0.1), Muon([beside], lr=0.01, weight_decay=0.1)
    for step in range(5):
        for p, optimizer in ((plain, mine), (beside, other)):
            p.grad = torch.sin(torch.arange(p.numel()) + step).view(p.shape) * p.detach()
            optimizer.step()
    torch.testing.assert_close(beside, plain, atol=1e-5, rtol=1e-4)
    assert beside.stride() != plain.stride()


def test_a_matrix_moves_by_the_stated_amount():
    p = nn.Parameter(torch.zeros(16, 48))
    p.grad = torch.randn(16, 48)
    Muon([p], lr=0.01).step()
    assert p.square().mean().sqrt().item() == pytest.approx(0.01 * 0.2, rel=0.2)


class Kinds(nn.Module):
    """A weight of each kind that the optimizer tells apart."""

    def __init__(self):
        super().__init__()
        self.matrix, self.filters = nn.Linear(11, 13), nn.Conv2d(11, 17, 3)
        self.thin = nn.Conv2d(11, 3, 3, bias=False)
        self.embedding, self.norm = nn.Embedding(19, 11), nn.LayerNorm(11)
        self.position = nn.Parameter(torch.randn(11, 13))


def gradients(model, number):
    """Set gradients that depend on the number of the step alone, lying in memory as the weights do."""
    for p in model.parameters():
        p.grad = torch.empty_like(p).copy_(torch.sin(torch.arange(p.numel()) + number).view(p.shape))


def test_only_weight_matrices_decay():
    model = Kinds()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = MuonAdamW(model, lr=0.5, weight_decay=0.1)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step(0.01)
    shrunk = {"matrix.weight", "filters.weight", "thin.weight"}
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), before[name] * (1 - 0.01 * 0.1 * (name in shrunk)), atol=0, rtol=1e-6)


def test_what_is_no_matrix_is_trained_by_adamw_embeddings_and_positions_too():
    ours, theirs = Kinds(), Kinds()
    theirs.load_state_dict(ours.state_dict())
    others = dict(theirs.named_parameters())
    for name in ("matrix.weight", "filters.weight", "thin.weight"):
        del others[name]
    groups = [{"params": [theirs.thin.weight], "weight_decay": 0.1}, {"params": others.values(), "weight_decay": 0.0}]
    mine, reference = MuonAdamW(ours, lr=0.5, weight_decay=0.1), torch.optim.AdamW(groups, 0.01, betas=(0.9, 0.99))
    for number in range(20):
        gradients(ours, number), gradients(theirs, number)
        mine.step(0.01), reference.step()
    for name, p in {"thin.weight": theirs.thin.weight, **others}.items():
        torch.testing.assert_close(ours.get_parameter(name), p, atol=1e-6, rtol=1e-5)
    assert len(others) == 6 and not torch.equal(ours.matrix.weight, theirs.matrix.weight)


def test_an_optimizer_goes_on_from_what_it_told_however_that_lies_in_memory():
    one, other = (Kinds().to(memory_format=torch.channels_last) for _ in range(2))
    straight = MuonAdamW(one, lr=0.5, weight_decay=0.1)
    for number in range(2):
        gradients(one, number), straight.step(0.01)
    other.load_state_dict(one.state_dict())
    resumed = MuonAdamW(other, lr=0.5, weight_decay=0.1)
    resumed.load({name: t.clone(memory_format=torch.contiguous_format) for name, t in straight.tensors().items()})
    for number in range(2, 5):
        gradients(one, number), gradients(other, number)
        straight.step(0.01), resumed.step(0.01)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


# ------------------------------------------------------------------ the loop


def test_training_yields_after_each_step_and_learns():
    states = list(train(line_recipe(steps=300)))
    assert [s.step for s in states] == list(range(1, 301))
    assert sum(s.loss for s in states[-50:]) < 0.3 * sum(s.loss for s in states[:50])


def test_a_recipe_trained_twice_is_trained_twice_from_the_same_weights(straight):
    recipe = line_recipe()
    first = list(train(recipe))
    again = list(train(recipe))
    assert [s.step for s in again] == list(range(1, 14)) and [s.loss for s in again] == [s.loss for s in first]
    assert torch.equal(weights(recipe), straight)


@pytest.mark.parametrize("stop_after", [1, 5, 12])
def test_a_stopped_training_goes_on_bit_for_bit(tmp_path, straight, stop_after):
    path = tmp_path / "line.safetensors"
    for state in train(line_recipe(), path):
        if state.step == stop_after:
            break                                                # the reader looks away; the loop keeps its state
    resumed = line_recipe()
    assert [state.step for state in train(resumed, path)] == list(range(stop_after + 1, 14))
    assert torch.equal(weights(resumed), straight)
    again = line_recipe()
    assert list(train(again, path)) == [] and torch.equal(weights(again), straight)


@pytest.fixture
def ctrl_c():
    """Ctrl-C as Python has it, even where a shell told its children to ignore it -> a function that presses it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda *ignored: os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_is_never_swallowed_and_signals_stay_as_they_were(ctrl_c):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    one, other = train(line_recipe()), train(line_recipe())
    next(one), next(other)
    with pytest.raises(KeyboardInterrupt):                       # while they are merely alive
        ctrl_c()
        time.sleep(1)
    next(one), one.close(), next(other), other.close()           # one began first, and ends first
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.mark.parametrize("moment", ["in the loss", "between the optimizers", "while the caller looks"])
@pytest.mark.parametrize("save_every", [0, float("inf")])
def test_ctrl_c_in_a_step_costs_what_was_not_saved_and_the_same_command_goes_on(
        tmp_path, straight, monkeypatch, capsys, ctrl_c, moment, save_every):
    recipe, path, calls = line_recipe(), tmp_path / "line.safetensors", []
    plain = recipe.loss_of

    def loss_of(model, generator):
        calls.append(1)
        if len(calls) == 5 and moment == "in the loss":
            ctrl_c()
        return plain(model, generator)

    recipe.loss_of = loss_of
    with monkeypatch.context() as patch:
        patch.setattr(text2image, "recipes", lambda seed: [recipe])
        command = ["train", "--folder", str(tmp_path), "--save-every", str(save_every)]
        hook = register_optimizer_step_post_hook(lambda *_: len(calls) == 5 and moment.startswith("b") and ctrl_c())
        if moment.startswith("w"):
            patch.setattr("minidiff.beside.tqdm.set_postfix", lambda *_, **more: len(calls) == 5 and ctrl_c())
        try:
            assert main(command) == 130
        finally:
            hook.remove()
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == (f"minidiff: stopped. All but the last {save_every:g} seconds is kept; "
                    "the same command goes on from there.")
    if moment.startswith("w"):                                   # the step was over, and the loop was told to close
        assert load_checkpoint(path)[1]["step"] == 5
    else:
        assert (load_checkpoint(path)[1]["step"] == 4) if save_every == 0 else not path.exists()
    resumed = line_recipe()
    run(resumed, path)
    assert torch.equal(weights(resumed), straight) and [file.name for file in tmp_path.iterdir()] == [path.name]


def test_other_settings_are_refused_and_the_file_is_left_alone(tmp_path):
    path = tmp_path / "line.safetensors"
    run(line_recipe(), path)
    before = path.read_bytes()
    for name, other in (("steps", line_recipe(steps=14)), ("seed", line_recipe(seed=1)), ("ema", line_recipe(ema=None)),
                        ("lr", replace(line_recipe(), lr=0.02)), ("objective", line_recipe(objective={"weight": "v"}))):
        with pytest.raises(CheckpointError, match=f"other settings .{name} differ"):
            run(other, path)
    assert path.read_bytes() == before


def test_another_loss_or_other_data_is_refused_and_never_loaded(tmp_path, captioned):
    small = UNetConfig(2, (16,), attention=(False,), middle=False, cond_width=3, pooled=True)
    latents = torch.randn(7, 2, 4, 4)
    other = latents.clone()
    other[6, 1, 3, 3] += 0.01                                    # one pixel

    def denoising(latents=latents, **settings):
        return denoiser.recipe(latents, lambda rows, generator: torch.zeros(len(rows), 1, 3), torch.zeros(1, 1, 3),
                               config=small, steps=1, batch=2, **settings)

    def reading(terse):
        towers = ClipConfig(widths=(8, 8, 8), text=TextConfig(8, 1, 1))
        return clip.recipe(captioned, config=towers, steps=1, batch=7, terse=terse)

    run(denoising(), tmp_path / "unet"), run(reading(0.25), tmp_path / "clip")
    for path, recipe in (("unet", denoising(weight="eps")), ("unet", denoising(levels=(0.5, 1.0))),
                         ("unet", denoising(drop=0.2)), ("unet", denoising(other)), ("clip", reading(0.5))):
        with pytest.raises(CheckpointError, match="other settings .objective differ"):
            run(recipe, tmp_path / path)
    assert list(train(denoising(), tmp_path / "unet")) == [] == list(train(reading(0.25), tmp_path / "clip"))


def test_a_checkpoint_remembers_its_number_format(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDIFF_BF16", "1")
    path, rounded = tmp_path / "line.safetensors", line_recipe()
    run(rounded)
    training = train(line_recipe(), path)
    next(training), training.close()
    monkeypatch.setenv("MINIDIFF_BF16", "0")
    with pytest.raises(CheckpointError, match="MINIDIFF_BF16 differ"):
        next(train(line_recipe(), path))
    monkeypatch.delenv("MINIDIFF_BF16")
    monkeypatch.setattr(loop, "fast_bf16", lambda device: False)  # whatever is faster in this minute
    resumed = line_recipe()
    run(resumed, path)
    assert resumed.bf16 and torch.equal(weights(resumed), weights(rounded))


def test_an_unfinished_checkpoint_is_read_and_hashed_once(tmp_path, monkeypatch):
    path, hashed = tmp_path / "line.safetensors", []
    training = train(line_recipe(), path)
    next(training), training.close()
    plain = checkpoint.checksum
    monkeypatch.setattr(checkpoint, "checksum", lambda *parts: hashed.append(len(parts)) or plain(*parts))
    assert next(train(line_recipe(), path)).step == 2 and hashed == [2]


def random_states():
    """What Python, numpy and torch would draw next."""
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def test_recipes_draw_on_the_device_of_their_data_and_leave_the_callers_dice_alone(captioned):
    """On a GPU a draw on the CPU with a generator of the GPU is an error; here its device must have been said."""
    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            if kwargs.get("generator") is not None:
                drawn.append(function.__name__)
                assert "device" in kwargs or function is torch.multinomial, function  # there its first argument says it
            return function(*args, **kwargs)

    points, latents = torch.randn(11, 2), torch.randn(7, 4, 4, 4)
    gray = LabeledDigits(-torch.ones(3, 1, 32, 32), torch.arange(3))
    config = UNetConfig(widths=(16,), attention=(False,), middle=False, cond_width=None)
    made = {"toy": lambda: toy.recipe(points, steps=2, batch=5),
            "gpt": lambda: language.recipe(*grammar(0.3), steps=2, batch=5),
            "classifier": lambda: classifier.recipe(gray, steps=2, batch=5),
            "clip": lambda: clip.recipe(captioned, steps=2, batch=5),
            "autoencoder": lambda: autoencoder.recipe(captioned, steps=2, batch=5),
            "unet": lambda: denoiser.recipe(latents, None, None, config=config, steps=2, batch=5, levels=(0.5, 1.0))}
    for name, make in made.items():
        drawn, before = [], random_states()
        recipe = make()
        assert any(p.requires_grad for p in recipe.model.parameters())                # built when it is asked for
        with Watch():
            next(train(recipe))
        assert drawn and recipe.name == name and random_states() == before


# ------------------------------------------------------------------ files


def test_checkpoints_come_back_as_they_were(tmp_path):
    path = tmp_path / "deep" / "some.safetensors"
    tensors = {"a": torch.randn(5, 7), "b": torch.tensor(3.0), "c": torch.arange(11, dtype=torch.uint8)}
    save_checkpoint(path, tensors, {"step": 3, "name": "x"})
    found, about = load_checkpoint(path)
    assert about == {"step": 3, "name": "x"} and found.keys() == tensors.keys()
    assert all(torch.equal(found[k], tensors[k]) for k in tensors)
    with pytest.raises(FileNotFoundError, match="minidiff train"):
        load_checkpoint(tmp_path / "nothing.safetensors")


def test_half_a_training_is_not_taken_for_a_model(tmp_path):
    path = tmp_path / "line.safetensors"
    training = train(line_recipe(), path)
    next(training), training.close()
    with pytest.raises(CheckpointError, match="stopped at step 1 of 13"):
        load_model(path, lambda config: line_recipe().make_model(), LineConfig)

