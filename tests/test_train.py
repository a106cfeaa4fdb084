"""The loop, the moving average, the optimizer, and checkpoints that survive a kill."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from minidiff.pipelines import text2image
from minidiff.training import (
    COEFFICIENTS,
    EMA,
    CheckpointError,
    Muon,
    Recipe,
    load_checkpoint,
    load_weights,
    lr_at,
    orthogonalize,
    save_checkpoint,
    train,
)


@dataclass(frozen=True)
class LineConfig:
    width: int = 11


def line_recipe(steps=13, seed=0, **settings):
    """A regression small enough for a test, with weight matrices, biases and a moving average."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 11), nn.Tanh(), nn.Linear(11, 13), nn.Tanh(), nn.Linear(13, 1))

    def loss_of(model, generator):
        x = torch.randn(17, 3, generator=generator)
        return (model(x) - x.sum(1, keepdim=True).sin()).square().mean()

    return Recipe("line", model, LineConfig(), loss_of, steps, 17, 0.01, seed, **{"ema": 0.9} | settings)


def weights(recipe):
    return torch.cat([p.flatten() for p in recipe.model.state_dict().values()])


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
    straight = [lr_at(step, replace(recipe, decay="linear")) for step in range(200)]
    assert straight[:10] == rates[:10] and straight[105] == pytest.approx(0.005)
    assert straight[57] == pytest.approx(0.01 * (200 - 57) / 190) and straight[-1] == pytest.approx(0.01 / 190)


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


def test_what_is_no_matrix_is_trained_by_adamw():
    ours, theirs = nn.Parameter(torch.ones(7)), nn.Parameter(torch.ones(7))
    mine = Muon([ours], lr=0.01, weight_decay=0.1)
    reference = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1, betas=(0.9, 0.99))
    for step in range(20):
        for p, optimizer in ((ours, mine), (theirs, reference)):
            p.grad = torch.sin(torch.arange(7.0) + step) * p.detach()
            optimizer.step()
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_a_matrix_moves_by_the_stated_amount():
    p = nn.Parameter(torch.zeros(16, 48))
    p.grad = torch.randn(16, 48)
    Muon([p], lr=0.01).step()
    assert p.square().mean().sqrt().item() == pytest.approx(0.01 * 0.2, rel=0.2)


def test_training_yields_after_each_step_and_learns():
    recipe = line_recipe(steps=300)
    states = list(train(recipe))
    assert [s.step for s in states] == list(range(1, 301))
    assert sum(s.loss for s in states[-50:]) < 0.3 * sum(s.loss for s in states[:50])


@pytest.mark.parametrize("stop_after", [1, 5, 12])
def test_a_stopped_training_goes_on_bit_for_bit(tmp_path, stop_after):
    straight, path = line_recipe(), tmp_path / "line.safetensors"
    list(train(straight))
    for state in train(line_recipe(), path):
        if state.step == stop_after:
            break                                                # the reader looks away; the loop keeps its state
    resumed = line_recipe()
    steps = [state.step for state in train(resumed, path)]
    assert steps == list(range(stop_after + 1, 14))
    assert torch.equal(weights(resumed), weights(straight))
    again = line_recipe()
    assert list(train(again, path)) == [] and torch.equal(weights(again), weights(straight))


def test_ctrl_c_waits_for_the_end_of_the_step_and_keeps_it(tmp_path):
    straight, recipe, path = line_recipe(), line_recipe(), tmp_path / "line.safetensors"
    list(train(straight))
    plain, handler = recipe.loss_of, signal.getsignal(signal.SIGINT)

    def loss_of(model, generator):
        if len(seen) == 4:
            os.kill(os.getpid(), signal.SIGINT)                  # in the middle of step 5
        return plain(model, generator)

    seen, recipe.loss_of = [], loss_of
    with pytest.raises(KeyboardInterrupt, match="step 5"):
        for state in train(recipe, path):
            seen.append(state)
    assert load_checkpoint(path)[1]["step"] == 5 and signal.getsignal(signal.SIGINT) is handler
    resumed = line_recipe()
    list(train(resumed, path))
    assert torch.equal(weights(resumed), weights(straight))


def test_ctrl_c_before_the_first_step_says_so(tmp_path, monkeypatch, capsys):
    from minidiff import __main__

    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "run_train", interrupted)
    assert __main__.main(["train", "--folder", str(tmp_path)]) == 130
    assert capsys.readouterr().err.strip() == "minidiff: stopped. What was trained is kept; the same command goes on."


def test_other_settings_are_refused_and_the_file_is_left_alone(tmp_path):
    path = tmp_path / "line.safetensors"
    list(train(line_recipe(), path))
    before = path.read_bytes()
    for other in (line_recipe(steps=14), line_recipe(seed=1), line_recipe(ema=None)):
        with pytest.raises(CheckpointError, match="other settings"):
            list(train(other, path))
    assert path.read_bytes() == before


def test_a_loss_that_is_not_finite_stops_at_that_step(tmp_path):
    recipe, path = line_recipe(), tmp_path / "line.safetensors"
    plain, calls = recipe.loss_of, []

    def loss_of(model, generator):
        calls.append(1)
        return plain(model, generator) * (float("nan") if len(calls) == 7 else 1)

    recipe.loss_of = loss_of
    with pytest.raises(FloatingPointError, match=r"step 6, learning rate.*last good state"):
        list(train(recipe, path, save_every=0))
    assert load_checkpoint(path)[1]["step"] == 6


def test_checkpoints_come_back_as_they_were_and_damage_is_seen(tmp_path):
    path = tmp_path / "deep" / "some.safetensors"
    tensors = {"a": torch.randn(5, 7), "b": torch.tensor(3.0), "c": torch.arange(11, dtype=torch.uint8)}
    save_checkpoint(path, tensors, {"step": 3, "name": "x"})
    found, about = load_checkpoint(path)
    assert about == {"step": 3, "name": "x"} and found.keys() == tensors.keys()
    assert all(torch.equal(found[k], tensors[k]) for k in tensors)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    for damaged in (b"", whole[:20], whole[:-5], bytes(flipped), b"not a checkpoint" * 9):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged.*train again"):
            load_checkpoint(path)
    with pytest.raises(FileNotFoundError, match="minidiff train"):
        load_checkpoint(tmp_path / "nothing.safetensors")


def test_a_failed_write_names_the_file_and_leaves_the_old_checkpoint(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "some.safetensors"
    save_checkpoint(path, {"a": torch.ones(3)}, {"step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # as if the disk were full after 4 kB
    try:
        with pytest.raises(CheckpointError, match="some.safetensors could not be written"):
            save_checkpoint(path, {"a": torch.zeros(100_000)}, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_checkpoint(path)[1] == {"step": 1} and list(tmp_path.iterdir()) == [path]


def test_half_a_training_is_not_taken_for_a_model(tmp_path):
    path = tmp_path / "line.safetensors"
    next(iter(training := train(line_recipe(), path)))
    training.close()
    with pytest.raises(CheckpointError, match="stopped at step 1 of 13"):
        load_weights(path, lambda config: line_recipe().model)


@pytest.mark.parametrize("stages", [("judge", "unet"), pytest.param(text2image.STAGES, marks=pytest.mark.slow)], ids=len)
def test_killed_in_stage_after_stage_the_same_command_ends_in_the_same_weights(trained, tmp_path, stages):
    """kill -9 once in each of these stages, then the same command again, against an undisturbed run."""
    command = [sys.executable, "-m", "minidiff", "train", "--folder", str(tmp_path), "--save-every", "0.05"]
    killed = []
    for stage in stages:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        path = tmp_path / f"{stage}.safetensors"
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and process.poll() is None:
            if path.exists():
                process.kill()
                break
            time.sleep(0.01)
        process.wait()
        _, about = load_checkpoint(path)
        killed.append(about["step"] < about["settings"]["steps"])
    subprocess.run(command, check=True, capture_output=True)
    assert killed == [True] * len(stages), "each stage was caught unfinished"
    for stage in text2image.STAGES:
        ours, _ = load_checkpoint(tmp_path / f"{stage}.safetensors")
        theirs, _ = load_checkpoint(trained / f"{stage}.safetensors")
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs), stage
