"""Hard to break: two trainings at once, kills, full disks, damaged files, hostile files, no network.

Each damage must end in one of three ways: an error in one line that names the file and what repairs it; no harm at all,
the result is the same; or a repair, the result is the same.  `tests/README.md` counts the cases.  What takes minutes is
marked slow: `make faults`.
"""

import ast
import gc
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from test_data import torchvision_imports, write_mnist  # noqa: F401
from test_train import LineConfig, line_recipe, straight, weights  # noqa: F401

from minidiff.__main__ import main
from minidiff.data import DataError, digits, load_digits
from minidiff.data.digits import EMBEDDED, MNIST_MD5
from minidiff.exercises.__main__ import main as exercises
from minidiff.models import DIGIT_PICTURES, UNet
from minidiff.pipelines import autoencoder, classifier, clip, denoiser, text2image
from minidiff.tools import FileError, peak_memory_mb, study, write_json
from minidiff.tools.files import checksum
from minidiff.training import CheckpointError, load_checkpoint, load_model, run, save_checkpoint, train

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "minidiff"
MODULES = {"classifier": classifier, "clip": clip, "autoencoder": autoencoder, "unet": denoiser}
TRAIN = [sys.executable, "-m", "minidiff", "train"]


@pytest.fixture
def copied(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "parts"))


def names(folder):
    return sorted(file.name for file in Path(folder).iterdir())


def one_line_of(error):
    said = str(error).strip()
    assert said and len(said.splitlines()) == 1, said
    return said


def refused(use, error, *words):
    """Whether use() is refused with an error of one line that has these words."""
    try:
        use()
    except error as found:
        return all(str(word) in one_line_of(found) for word in words)
    return False


def damages(path, seed, head=None):
    """Damage a file in 74 ways, one after the other: yields what was done; in the end the file is whole again.

    Cut at 20 places, one bit turned at 50 (half of them in its first `head` bytes), empty, a picture, a text, a folder.
    """
    good, rng = path.read_bytes(), random.Random(seed)
    contents = {f"cut at {n}": good[:n] for n in rng.sample(range(1, len(good)), 20)}
    while len(contents) < 70:
        at, bit = rng.randrange((head or len(good)) if len(contents) % 2 else len(good)), rng.randrange(8)
        contents[f"bit {bit} of byte {at}"] = good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1:]
    png = (HERE.parent / "notebooks" / "gallery.png").read_bytes()[:5_000]
    contents |= {"empty": b"", "a png": png, "a text": b"not what you expect\n" * 9}
    for what, content in contents.items():
        path.write_bytes(content)
        yield what
    path.unlink()
    path.mkdir()
    yield "a directory"
    path.rmdir()
    path.write_bytes(good)


# ------------------------------------------------------------------ two at once

HOLD = """
import sys, time
sys.path.insert(0, sys.argv[1])
from test_train import line_recipe, train
for state in train(line_recipe(steps=1_000_000), sys.argv[2], save_every=0):
    print(state.step, flush=True)
    time.sleep(0.02)
"""


def test_a_second_training_is_refused_and_a_kill_frees_the_place(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(text2image, "recipes", lambda seed: [line_recipe(steps=1_000_000)])
    path, other = tmp_path / "line.safetensors", tmp_path / "other.safetensors"
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(HERE), str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "1\n"
        assert main(["train", "--folder", str(tmp_path)]) == 1
        assert capsys.readouterr().err.splitlines()[-1].startswith(
            f"minidiff: {path} is being trained by another process. Wait until that is done")
        assert load_checkpoint(path)[1]["step"] >= 1             # reading is never refused
        run(line_recipe(), other)                                # nor is the training of another part
        assert int(first.stdout.readline()) == 2 and first.poll() is None
    finally:
        first.kill()
        first.wait()
    (tmp_path / f"line.safetensors.{first.pid}.part").write_bytes(b"what a kill in the middle of a write leaves")
    step = load_checkpoint(path)[1]["step"]
    training = train(line_recipe(steps=1_000_000), path)
    assert next(training).step == step + 1
    training.close()
    assert names(tmp_path) == ["line.safetensors", "other.safetensors"]


def test_in_one_process_the_newer_training_takes_over_and_the_older_cannot_spoil_it(tmp_path, straight):  # noqa: F811
    path = tmp_path / "line.safetensors"
    older, abandoned = train(line_recipe(), path), train(line_recipe(), path)
    next(abandoned), next(older)
    assert refused(lambda: next(abandoned), CheckpointError, "newer call")
    newer = line_recipe()
    run(newer, path)                                             # such as a cell that is run again
    older.close()                                                # it must not put step 1 over the finished training
    assert load_checkpoint(path)[1]["step"] == 13 and torch.equal(weights(newer), straight)
    assert names(tmp_path) == ["line.safetensors"]


def test_a_training_that_nobody_holds_any_more_is_kept_and_frees_its_place(tmp_path):
    path = tmp_path / "line.safetensors"
    training = train(line_recipe(), path)
    next(training), next(training)
    assert ".line.safetensors.lock" in names(tmp_path)
    del training
    gc.collect()
    assert names(tmp_path) == ["line.safetensors"] and load_checkpoint(path)[1]["step"] == 2


def test_where_no_lock_can_be_made_a_finished_training_is_loaded_and_another_refused(tmp_path, straight):  # noqa: F811
    path, again = tmp_path / "line.safetensors", line_recipe()
    run(line_recipe(), path)
    (tmp_path / ".line.safetensors.lock").mkdir()                # a folder for reading only, even for root
    assert list(train(again, path)) == [] and torch.equal(weights(again), straight)
    path.unlink()
    assert refused(lambda: run(line_recipe(), path), FileError, "line.safetensors cannot be trained there")


# ------------------------------------------------------------------ full disks, bad places, wrong clocks


@contextmanager
def disk_of(size):
    """As if the disk were full after so many bytes of a file (Python ignores the signal, so the write fails)."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 300])
@pytest.mark.parametrize("what", ["unet.safetensors", "report.json", "drawing.png", "answers.py"])
def test_on_a_full_disk_the_file_before_survives(copied, capsys, what, size):
    file = copied / what
    if what != "answers.py":                                     # a template is never written over another file
        shutil.copy(copied / "unet.safetensors", file.with_suffix(".there"))
        file.with_suffix(".there").replace(file)
    before, listed = file.read_bytes() if file.exists() else None, names(copied)
    with disk_of(size):
        if what in ("drawing.png", "answers.py"):
            assert (main(["draw", "a red seven", "--folder", str(copied), "--n", "1", "--steps", "1"])
                    if what == "drawing.png" else exercises(["--template", "-o", str(file)])) == 1
            said = capsys.readouterr().err
        else:
            with pytest.raises(FileError) as failed:
                save_checkpoint(file, {"a": torch.zeros(999)}, {}) if "unet" in what else write_json([2] * 500, file)
            said = str(failed.value)
    assert str(file) in one_line_of(said) and "disk full, the file too large" in said
    assert (file.read_bytes() if file.exists() else None) == before and names(copied) == listed


def test_a_place_where_nothing_can_be_written_is_one_line(copied, capsys):
    blocked = copied / "file"
    blocked.write_text("no folder", encoding="utf-8")
    part = ["--folder", str(copied), "--steps", "1"]
    for place in (blocked / "deep", Path("/proc/nothing/deep"), copied / ("x" * 300)):
        for command in (lambda: main(["draw", "a red seven", "-o", f"{place}/x.png", "--n", "1", *part]),
                        lambda: exercises(["--template", "-o", f"{place}/x.py"]),
                        lambda: main(["train", "--folder", str(place)]),
                        lambda: main(["draw", "a red seven", "--folder", str(place)])):
            capsys.readouterr()
            assert command() == 1
            said = [line for line in capsys.readouterr().err.splitlines() if line and "0/30" not in line]      # no bar
            assert len(said) == 1 and place.name[:20] in said[0]
    assert main(["score", *part, "--n", "20", "-o", str(blocked / "deep" / "x.json")]) == 1
    assert "x.json could not be written" in one_line_of(capsys.readouterr().err)
    assert blocked.read_text(encoding="utf-8") == "no folder"


def test_a_missing_folder_is_made(copied):
    assert exercises(["--template", "-o", str(copied / "new" / "deep" / "mine.py")]) == 0
    assert main(["draw", "a red seven", "-o", str(copied / "new" / "x" / "y.jpg"), "--n", "1", "--steps", "1",
                 "--folder", str(copied)]) == 0
    assert names(copied / "new" / "deep") == ["mine.py"] and names(copied / "new" / "x") == ["y.jpg"]


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch, straight):  # noqa: F811
    jumped, rng, path = line_recipe(), random.Random(0), tmp_path / "line.safetensors"
    monkeypatch.setattr(time, "time", lambda: rng.uniform(-1e9, 4e9))
    states = [state for _ in range(2) for state, _ in zip(train(jumped, path, save_every=0.001), range(9))]
    assert states[-1].step == 13 and all(0 <= state.seconds < 60 for state in states)
    assert torch.equal(weights(jumped), straight)


# ------------------------------------------------------------------ damaged files


@pytest.mark.parametrize("what", ["classifier", "unet", "digits", *(
    pytest.param(stage, marks=pytest.mark.slow) for stage in ("clip", "autoencoder"))])
def test_a_damaged_file_is_named_and_never_used(copied, what):
    path, load = copied / f"{what}.safetensors", MODULES[what].load if what != "digits" else digits._load_embedded
    error, repair = (CheckpointError, "python -m minidiff train") if what != "digits" else (DataError, "git checkout")
    if what == "digits":
        path = Path(shutil.copy(EMBEDDED, copied))
    cases = [(how, refused(lambda: load(path), error, path, repair)) for how in damages(path, len(what), head=800)]
    assert len(cases) == 74 and [how for how, named in cases if not named] == []
    assert load(path) is not None                                # whole again


def test_a_damaged_training_is_named_and_left_alone(tmp_path, straight):  # noqa: F811
    path, resumed = tmp_path / "line.safetensors", line_recipe()
    training = train(line_recipe(), path)
    next(training), next(training)
    training.close()
    for what in damages(path, 5, head=400):
        before = None if path.is_dir() else path.read_bytes()
        assert refused(lambda: run(line_recipe(), path), CheckpointError, path, "python -m minidiff train"), what
        assert before is None or path.read_bytes() == before
        assert names(tmp_path) == ["line.safetensors"]
    run(resumed, path)
    assert torch.equal(weights(resumed), straight)


def test_what_was_loaded_stays_though_the_file_is_overwritten(tmp_path):
    path = tmp_path / "some.safetensors"
    save_checkpoint(path, {"a": torch.arange(99.0)}, {})
    found, _ = load_checkpoint(path)
    size = path.stat().st_size
    with open(path, "rb+") as file:                              # in place, as `cp` does it
        file.write(bytes(size))
    assert torch.equal(found["a"], torch.arange(99.0))


@pytest.mark.parametrize("name", ["train-labels-idx1-ubyte", *(
    pytest.param(name, marks=pytest.mark.slow) for name in MNIST_MD5 if name != "train-labels-idx1-ubyte")])
def test_damaged_idx_files_are_never_used(tmp_path, torchvision_imports, monkeypatch, capsys, name):  # noqa: F811
    monkeypatch.setattr(digits, "MNIST_MD5", write_mnist(tmp_path, (600, 100)))
    cases = 0
    for what in damages(tmp_path / "MNIST/raw" / name, 8, head=8):
        with pytest.raises(Exception):                           # noqa: B017, `load_digits` makes one line of any
            digits._load_mnist(tmp_path)
        cases += 1
        if what in ("empty", "a directory"):
            assert len(load_digits(full=True, root=tmp_path).train) == 4_500
            assert "going on with the 5,000 embedded digits" in one_line_of(capsys.readouterr().err)
    assert cases == 74 and len(digits._load_mnist(tmp_path).train) == 600


def test_json_that_cannot_be_read_is_named(tmp_path):
    path = Path(shutil.copy(HERE.parent / "notebooks/studies/vit_cnn.json", tmp_path))
    whole = study.load("vit_cnn", tmp_path)
    for what in damages(path, 12):
        if not refused(lambda: study.load("vit_cnn", tmp_path), FileError, path, "git checkout"):
            assert what.startswith("bit") or study.load("vit_cnn", tmp_path) == whole, what  # a turned bit git can see


def test_damaged_answers_are_graded_or_told_in_one_line(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text('"""Mine."""\nimport torch\n\n\ndef answer_2_6(x, *parts):\n    return x\n\n\n'
                    "answer_1_4 = 1.0\nanswer_3_1 = 7.74\nanswer_1_1 = 'b'\n", encoding="utf-8")
    graded = 0
    for what in damages(path, 13):
        status, said = exercises([str(path)]), capsys.readouterr()
        if said.out:
            graded += 1
            assert said.err == "" and status in (0, 1) and "chapter 1:" in said.out, what
        else:
            assert status == 1 and "mine.py cannot be run" in one_line_of(said.err), what
    assert 0 < graded < 74


# ------------------------------------------------------------------ hostile files


def hostile(path):
    """Twelve files that somebody might hand around, each with a right checksum where it has one: what, a function
    that writes it."""
    tensors, about = load_checkpoint(path)
    shape = next(name for name in tensors if tensors[name].ndim == 4)

    def kept(tensors, text):
        return lambda: save_file(tensors, path, {"about": text, "checksum": checksum(text, tensors)})

    def configured(tensors=tensors, **config):
        settings = about["settings"] | {"config": about["settings"]["config"] | config}
        return kept(tensors, json.dumps(about | {"settings": settings}))

    far = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    pixels = {f"model.{name}": t.contiguous() for name, t in UNet(DIGIT_PICTURES).state_dict().items()}
    return {"a header of 2^63 bytes": lambda: path.write_bytes(struct.pack("<Q", 2**63) + b"{}"),
            "a tensor of four terabytes": lambda: path.write_bytes(struct.pack("<Q", len(far)) + far + b"0000"),
            "a path for a name": kept(tensors | {"../../x": torch.ones(3)}, json.dumps(about)),
            "another shape": kept(tensors | {shape: torch.ones(7)}, json.dumps(about)),
            "another number format": kept(tensors | {shape: tensors[shape].double()}, json.dumps(about)),
            "a missing tensor": kept({k: t for k, t in tensors.items() if k != shape}, json.dumps(about)),
            "no dict as description": kept(tensors, json.dumps([1, 2])),
            "a description in 100,000 brackets": kept(tensors, "[" * 100_000 + "]" * 100_000),
            "an absurd width": configured(widths=[10**9]),
            "no number of levels": configured(levels=float("nan")),
            "an unknown setting": configured(__class__="os.system"),
            "a UNet for pixels": configured(pixels, **asdict(DIGIT_PICTURES))}


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_a_hostile_checkpoint_is_refused_in_one_line(copied, capsys):
    path, before = copied / "unet.safetensors", peak_memory_mb()
    for number, (what, write) in enumerate(hostile(path).items()):
        path.unlink()
        write()
        assert any(refused(lambda: load(place), CheckpointError, path)  # alone, or at the latest with the others
                   for load, place in ((denoiser.load, path), (text2image.load, copied))), what
        if number % 3 == 0:
            assert main(["draw", "a red seven", "--folder", str(copied)]) == 1, what
            assert str(path) in one_line_of(capsys.readouterr().err)
    assert peak_memory_mb() < before + 500                       # nothing absurd was allocated
    assert names(copied.parent) == ["parts"] and "drawing.png" not in names(copied)


@pytest.mark.parametrize("number", [8_000, 10**9])
def test_a_large_number_in_a_setting_is_fine_and_an_absurd_one_is_refused(tmp_path, number):
    recipe, path = replace(line_recipe(), config=LineConfig(number)), tmp_path / "line.safetensors"
    run(recipe, path)
    made = []

    def load():
        return load_model(path, lambda config: made.append(config) or recipe.make_model(), LineConfig)[0]

    if number == 8_000:
        assert torch.equal(load()[0].weight, recipe.model[0].weight) and made == [LineConfig(8_000)]
    else:
        assert refused(load, CheckpointError, path, "a number in its settings is absurd (width)") and made == []


def test_what_is_read_is_never_run():
    """No module of the package unpickles, evaluates or starts anything, except for the one that makes `.venv`; a
    learner's own file is run, in one place."""
    unwanted = {"pickle", "marshal", "shelve", "dill", "joblib", "subprocess", "ctypes", "eval", "exec", "compile",
                "__import__", "torch.load", "torch.save", "os.system", "os.popen", "torch.hub.load"}
    runs = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found = {ast.unparse(node.func)} if isinstance(node, ast.Call) else set()
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                found = {(getattr(node, "module", None) or alias.name).split(".")[0] for alias in node.names}
            assert found & unwanted <= ({"subprocess"} if path.name == "setup.py" else set()), path
            runs += [path.relative_to(PACKAGE).as_posix()] * ("runpy" in found)
            if isinstance(node, ast.keyword) and node.arg in ("shell", "allow_pickle", "weights_only"):
                assert node.arg == "allow_pickle" and ast.unparse(node.value) == "False", path
    assert runs == ["exercises/__main__.py"]


OFFLINE = """
import importlib, json, os, pkgutil, sys
allowed, written, seen = [os.getcwd(), os.devnull], [], []

def audit(event, arguments):
    if event.startswith("socket.") and event != "socket.gethostname":
        raise SystemExit(f"{event} {arguments}")
    if event == "open" and isinstance(arguments[0], str) and isinstance(arguments[2], int):
        if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            written.append(arguments[0])
    if event in ("os.mkdir", "os.rename", "os.remove"):
        written.extend(str(a) for a in arguments[:2] if isinstance(a, str))

sys.addaudithook(audit)
import minidiff
for module in pkgutil.walk_packages(minidiff.__path__, "minidiff."):
    seen.append(importlib.import_module(module.name))
import matplotlib
allowed.append(os.path.realpath(matplotlib.get_cachedir()))
written.clear()                                                  # what torch and matplotlib do for themselves
from minidiff.__main__ import main
status = [main(words) for words in json.loads(sys.argv[1])]
outside = [w for w in written if not os.path.realpath(w).startswith(tuple(allowed))]
print(status, len(seen), len(written) > 0, outside)
"""
EVERYTHING = [[*words, "--folder", "runs"] for words in (["train", "--budget", "fast"], ["draw"], ["score"])]


@pytest.mark.parametrize("commands", [[["draw", "a red seven", "--steps", "1", "--folder", "runs"]],
                                      pytest.param(EVERYTHING, marks=pytest.mark.slow)], ids=["draw", "everything"])
def test_without_any_socket_every_module_is_imported_and_only_the_folder_written(trained, copied, commands):
    folder = copied.parent / "Größe 1 ü"
    folder.mkdir()
    if commands != EVERYTHING:
        copied.replace(folder / "runs")
    done = subprocess.run([sys.executable, "-c", OFFLINE, json.dumps(commands)], capture_output=True, text=True,
                          cwd=folder, env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(folder)})
    modules = len(list(PACKAGE.rglob("*.py"))) - 1
    assert done.stdout.splitlines()[-1] == f"{[0] * len(commands)} {modules} True []", done
    if commands == EVERYTHING:
        assert {"gallery.png", "report.json"} <= set(names(folder / "runs"))
        same_weights(folder / "runs", trained)
    else:
        assert "drawing.png" in names(folder / "runs") and done.stderr == ""


# ------------------------------------------------------------------ numbers that are none


def test_a_loss_that_is_not_a_number_is_one_line_at_the_command_line(tmp_path, monkeypatch, capsys):
    recipe, calls = line_recipe(), []
    plain = recipe.loss_of

    def loss_of(model, generator):
        calls.append(1)
        return plain(model, generator) * (float("nan") if len(calls) == 4 else 1)

    recipe.loss_of = loss_of
    monkeypatch.setattr(text2image, "recipes", lambda seed: [recipe])
    assert main(["train", "--folder", str(tmp_path), "--save-every", "0"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    path = tmp_path / "line.safetensors"
    for word in ("minidiff: the loss is nan", "gradient norm nan", "at step 3", "learning rate", f"state is in {path}"):
        assert word in said
    tensors, about = load_checkpoint(path)
    assert about["step"] == 3 and all(t.isfinite().all() for t in tensors.values())
    assert names(tmp_path) == ["line.safetensors"]


def test_weights_that_are_not_finite_are_never_kept(tmp_path):
    path = tmp_path / "line.safetensors"
    assert refused(lambda: run(replace(line_recipe(), lr=3e38, weight_decay=1.0), path, save_every=0),
                   FloatingPointError, "line.safetensors was not written: after step 1")
    spoiled = line_recipe(finish=lambda model: model[0].weight.data.fill_(float("nan")))
    assert refused(lambda: run(spoiled, path), FloatingPointError, "was not written: after step 13")
    assert names(tmp_path) == []


# ------------------------------------------------------------------ kills and signals, most of it slow: make faults


def same_weights(folder, trained, stages=text2image.STAGES):
    for stage in stages:
        ours, theirs = (load_checkpoint(Path(f) / f"{stage}.safetensors")[0] for f in (folder, trained))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs), stage


def started(folder, path, **outputs):
    """A process that runs the real command; without the lock beside the path, which a killed one may have left."""
    path.with_name(f".{path.name}.lock").unlink(missing_ok=True)
    heard = signal.default_int_handler                           # a shell may have told its children to ignore it
    return subprocess.Popen([*TRAIN, "--folder", str(folder), "--save-every", "0"], stdout=subprocess.DEVNULL,
                            text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, heard), **outputs)


def wait_until_trained(path, process, seconds=120):
    """Wait until the process trains into the path: until it has made the lock beside it."""
    end = time.monotonic() + seconds
    while not path.with_name(f".{path.name}.lock").exists() and process.poll() is None:
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.002)


@pytest.mark.parametrize("stage, count", [("unet", 1), *(
    pytest.param(stage, 20, marks=pytest.mark.slow) for stage in text2image.STAGES)])
def test_killed_at_many_moments_the_same_command_ends_in_the_same_weights(trained, tmp_path, stage, count):
    rng, kills, path = random.Random(stage), 0, tmp_path / f"{stage}.safetensors"
    before, later = (text2image.STAGES[:(at := text2image.STAGES.index(stage))], text2image.STAGES[at:])
    for name in before:
        shutil.copy(trained / f"{name}.safetensors", tmp_path)
    while kills < count:
        process = started(tmp_path, path, stderr=subprocess.DEVNULL)
        if (kills + 1) % 5:                                      # in the steps; every fifth time at any moment
            wait_until_trained(path, process)
        time.sleep(rng.uniform(0, 0.5 if (kills + 1) % 5 else 6))
        process.kill(), process.wait()
        if not path.exists() or load_checkpoint(path)[1]["step"] < 30:
            kills += 1
            continue
        same_weights(tmp_path, trained, [stage])                 # it was faster than the kill: once more from the start
        for name in later:
            (tmp_path / f"{name}.safetensors").unlink(missing_ok=True)
    subprocess.run([*TRAIN, "--folder", str(tmp_path)], check=True, capture_output=True)
    same_weights(tmp_path, trained)
    assert names(tmp_path) == sorted(f"{name}.safetensors" for name in text2image.STAGES)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_five_signals_cost_what_was_not_saved_and_the_same_command_goes_on(trained, tmp_path, number):
    rng, stopped = random.Random(number), 0
    for stage in rng.choices(text2image.STAGES, k=5):
        for name in text2image.STAGES[text2image.STAGES.index(stage):]:
            (tmp_path / f"{name}.safetensors").unlink(missing_ok=True)
        path = tmp_path / f"{stage}.safetensors"
        process = started(tmp_path, path, stderr=subprocess.PIPE)
        wait_until_trained(path, process)
        time.sleep(rng.uniform(0, 0.5))
        process.send_signal(number)
        said = process.communicate()[1].splitlines()[-1]
        if process.returncode == 0:                              # it came too late: all is done
            same_weights(tmp_path, trained)
            continue
        stopped += 1
        if number == signal.SIGINT:
            assert process.returncode == 130 and said == ("minidiff: stopped. All but the last 0 seconds is kept; "
                                                          "the same command goes on from there.")
        else:                                                    # nobody catches it
            assert process.returncode == -number
        assert all(load_checkpoint(file) for file in tmp_path.glob("*.safetensors"))
    assert stopped >= 3
    subprocess.run([*TRAIN, "--folder", str(tmp_path)], check=True, capture_output=True)
    same_weights(tmp_path, trained)


@pytest.mark.slow
def test_a_training_on_a_full_disk_stops_in_one_line_and_goes_on_with_more_room(trained, tmp_path):
    import resource
    command = [*TRAIN, "--folder", str(tmp_path), "--save-every", "0"]
    for size in (1_000, 1_000_000, 4_700_000, 5_500_000, 8_000_000):
        full = subprocess.run(command, capture_output=True, text=True, preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY)))
        said = full.stderr.splitlines()[-1]
        assert full.returncode == 1 and "could not be written" in said and "disk full" in said, said
        assert Path(said.split()[1]).parent == tmp_path
        assert all(load_checkpoint(file) for file in tmp_path.glob("*.safetensors"))
        assert not [name for name in names(tmp_path) if not name.endswith(".safetensors")]
    subprocess.run(command, check=True, capture_output=True)
    same_weights(tmp_path, trained)

