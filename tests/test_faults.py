"""Hard to break: two trainings at once, kills, full disks, damaged files, hostile files, no network.

Each damage must end in one of three ways: an error in one line that names the file and what repairs it; no harm at all,
the result is the same; or a repair, the result is the same.  `tests/README.md` counts the cases.  What takes minutes is
marked slow: `make faults`.
"""

import ast
import gc
import json
import multiprocessing
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
from test_train import line_recipe, weights

from minidiff.__main__ import main
from minidiff.data import FOLDER, MNIST_MD5, DataError, digits, load_captioned_digits, load_digits
from minidiff.exercises import main
from minidiff.models import DIGIT_PICTURES, UNet
from minidiff.pipelines import classifier, denoiser, text2image
from minidiff.tools import FileError, peak_memory_mb, sealed, study, write_json
from minidiff.training import CheckpointError, checkpoint, load_checkpoint, save_checkpoint, train

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "minidiff"
MODULES = {"judge": metrics, "clip": clip, "autoencoder": autoencoder, "unet": unet}
TRAIN = [sys.executable, "-m", "minidiff", "train"]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A folder with all parts, each trained for one step: they draw badly, and load like any others."""
    folder = tmp_path_factory.mktemp("quick")
    captioned, _ = load_captioned_digits(folder)
    made = {name: MODULES[name].recipe(captioned, steps=1) for name in text2image.STAGES[:3]}
    for name, recipe in made.items():
        list(train(recipe, folder / f"{name}.safetensors"))
    encoded = text2image.latents_of(captioned, made["autoencoder"].model, 1_000)
    last = text2image.unet_recipe(captioned, made["clip"].model, made["autoencoder"].model, encoded=encoded, steps=1)
    list(train(last, folder / "unet.safetensors"))
    return folder


@pytest.fixture
def copied(quick, tmp_path):
    return Path(shutil.copytree(quick, tmp_path / "parts"))


def names(folder):
    return sorted(file.name for file in Path(folder).iterdir())


def one_line_of(error):
    said = str(error).strip()
    assert said and len(said.splitlines()) == 1, said
    return said


def damages(path, seed, head=None):
    """Damage a file in many ways, one after the other: yields what was done; in the end the file is whole again.

    Cut at 20 places, one bit turned at 50 (half of them in its first `head` bytes), empty, another kind, a directory.
    """
    good, rng = path.read_bytes(), random.Random(seed)
    yield from _contents(path, {f"cut at {n}": good[:n] for n in rng.sample(range(1, len(good)), 20)})
    flips = {}
    while len(flips) < 50:
        at, bit = rng.randrange((head or len(good)) if len(flips) % 2 else len(good)), rng.randrange(8)
        flips[f"bit {bit} of byte {at}"] = good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1:]
    yield from _contents(path, flips)
    png = (HERE.parent / "notebooks" / "gallery.png").read_bytes()[:5_000]
    yield from _contents(path, {"empty": b"", "a png": png, "a text": b"not what you expect\n" * 9})
    path.unlink()
    path.mkdir()
    yield "a directory"
    path.rmdir()
    path.write_bytes(good)


def _contents(path, contents):
    for what, content in contents.items():
        path.write_bytes(content)
        yield what


# ------------------------------------------------------------------ two at once

HOLD = """
import sys, time
sys.path.insert(0, sys.argv[1])
from test_train import line_recipe, train
for state in train(line_recipe(steps=1_000_000), sys.argv[2], save_every=0):
    print(state.step, flush=True)
    time.sleep(0.02)
"""


def test_a_second_training_is_refused_with_the_number_of_the_first_and_a_kill_frees_the_place(tmp_path):
    path, other = tmp_path / "line.safetensors", tmp_path / "other.safetensors"
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(HERE), str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "1\n"
        with pytest.raises(FileError, match=f"line.safetensors is being trained by process {first.pid}") as refused:
            next(train(line_recipe(steps=1_000_000), path))
        one_line_of(refused.value)
        assert load_checkpoint(path)[1]["step"] >= 1             # reading is never refused
        list(train(line_recipe(), other))                        # nor is the training of another part
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


def test_in_one_process_the_newer_training_takes_over_and_the_older_cannot_spoil_it(tmp_path):
    straight, path = line_recipe(), tmp_path / "line.safetensors"
    list(train(straight))
    older, abandoned = train(line_recipe(), path), train(line_recipe(), path)
    next(abandoned), next(older)
    with pytest.raises(CheckpointError, match="newer call"):
        next(abandoned)
    newer = line_recipe()
    list(train(newer, path))                                     # such as a cell that is run again
    older.close()                                                # before, this put step 1 over the finished training
    assert load_checkpoint(path)[1]["step"] == 13 and torch.equal(weights(newer), weights(straight))
    assert names(tmp_path) == ["line.safetensors"]


def test_a_training_that_nobody_holds_any_more_is_kept_and_frees_its_place(tmp_path):
    path = tmp_path / "line.safetensors"
    training = train(line_recipe(), path)
    next(training), next(training)
    assert ".line.safetensors.lock" in names(tmp_path)
    del training
    gc.collect()
    assert names(tmp_path) == ["line.safetensors"] and load_checkpoint(path)[1]["step"] == 2


def test_where_no_lock_can_be_made_a_finished_training_is_loaded_and_another_refused(tmp_path):
    path = tmp_path / "line.safetensors"
    done = line_recipe()
    list(train(done, path))
    (tmp_path / ".line.safetensors.lock").mkdir()                # a folder for reading only, even for root
    again = line_recipe()
    assert list(train(again, path)) == [] and torch.equal(weights(again), weights(done))
    path.unlink()
    with pytest.raises(FileError, match="line.safetensors cannot be trained there") as refused:
        list(train(line_recipe(), path))
    one_line_of(refused.value)


@pytest.mark.parametrize("at", [1, 7, 13])
def test_sigterm_keeps_the_last_step_and_is_never_swallowed(tmp_path, at):
    recipe, path = line_recipe(), tmp_path / "line.safetensors"
    with pytest.raises(KeyboardInterrupt, match="stopped after"):
        for state in train(recipe, path):
            if state.step == at:
                os.kill(os.getpid(), signal.SIGTERM)             # while the caller looks
    assert load_checkpoint(path)[1]["step"] == min(at + 1, 13)
    resumed, straight = line_recipe(), line_recipe()
    list(train(resumed, path)), list(train(straight))
    assert torch.equal(weights(resumed), weights(straight)) and names(tmp_path) == ["line.safetensors"]


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
@pytest.mark.parametrize("what", ["checkpoint", "report", "picture", "template", "dressed"])
def test_on_a_full_disk_the_file_before_survives(copied, capsys, what, size):
    file = copied / {"checkpoint": "unet.safetensors", "report": "report.json", "picture": "drawing.png",
                     "template": "answers.py", "dressed": "dressed.safetensors"}[what]
    draw = ["draw", "a red seven", "--folder", str(copied), "--n", "1", "--steps", "1"]
    if what == "report":
        write_json({"a": [1] * 500}, file)
    if what == "picture":
        assert main(draw) == 0
    if what == "dressed":
        save_checkpoint(file, {"train": torch.zeros(3)}, {"dressed": "other digits"})
    before, listed = file.read_bytes() if file.exists() else None, names(copied)
    capsys.readouterr()
    with disk_of(size):
        if what == "picture":
            assert main(draw) == 1
            said = capsys.readouterr().err
        elif what == "template":
            assert main(["--template", "-o", str(file)]) == 1
            said = capsys.readouterr().err
        else:
            with pytest.raises(FileError) as failed:
                {"checkpoint": lambda: save_checkpoint(file, {"a": torch.zeros(999)}, {}),
                 "report": lambda: write_json({"a": [2] * 500}, file),
                 "dressed": lambda: load_captioned_digits(copied)}[what]()
            said = str(failed.value)
    said = one_line_of(said)
    assert str(file) in said and "disk full, the file too large" in said
    assert (file.read_bytes() if file.exists() else None) == before and names(copied) == listed


def test_a_place_where_nothing_can_be_written_is_one_line(copied, capsys, monkeypatch):
    blocked = copied / "file"
    blocked.write_text("no folder")
    part = ["--folder", str(copied), "--steps", "1"]
    monkeypatch.setattr(text2image, "shapes", lambda pictures: torch.zeros(len(pictures), 3, 3, 32, 32).byte())
    for place in (blocked / "deep", Path("/proc/nothing/deep"), copied / ("x" * 300)):
        for run in (lambda: main(["draw", "a red seven", "-o", f"{place}/x.png", "--n", "1", *part]),
                    lambda: main(["--template", "-o", f"{place}/x.py"]),
                    lambda: main(["train", "--folder", str(place)]),
                    lambda: main(["draw", "a red seven", "--folder", str(place)])):
            assert run() == 1
            assert place.name[:20] in one_line_of(capsys.readouterr().err)
    assert main(["score", *part, "--n", "20", "-o", str(blocked / "deep" / "x.json")]) == 1
    assert "x.json could not be written" in one_line_of(capsys.readouterr().err) and blocked.read_text() == "no folder"


def test_a_missing_folder_is_made(copied, capsys):
    assert main(["--template", "-o", str(copied / "new" / "deep" / "mine.py")]) == 0
    assert main(["draw", "a red seven", "-o", str(copied / "new" / "x" / "y.jpg"), "--n", "1", "--steps", "1",
                 "--folder", str(copied)]) == 0
    assert names(copied / "new" / "deep") == ["mine.py"] and names(copied / "new" / "x") == ["y.jpg"]


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch):
    straight, jumped, rng, path = line_recipe(), line_recipe(), random.Random(0), tmp_path / "line.safetensors"
    list(train(straight))
    monkeypatch.setattr(time, "time", lambda: rng.uniform(-1e9, 4e9))
    states = [state for _ in range(2) for state, _ in zip(train(jumped, path, save_every=0.001), range(9))]
    assert states[-1].step == 13 and all(0 <= state.seconds < 60 for state in states)
    assert torch.equal(weights(jumped), weights(straight))


# ------------------------------------------------------------------ damaged files


@pytest.mark.parametrize("stage", ["judge", "unet", *(pytest.param(stage, marks=pytest.mark.slow)
                                                      for stage in ("clip", "autoencoder"))])
def test_a_damaged_part_is_named_and_never_used(copied, stage):
    path = copied / f"{stage}.safetensors"
    cases = list(zip(damages(path, text2image.STAGES.index(stage), head=800), iter(lambda: _refused(
        lambda: MODULES[stage].load(path), CheckpointError, path, "python -m minidiff train"), None)))
    assert len(cases) == 74 and all(refused for _, refused in cases), [what for what, refused in cases if not refused]
    assert MODULES[stage].load(path) is not None                 # whole again


def _refused(use, error, *words):
    """Whether use() is refused with an error of one line that has these words."""
    try:
        use()
    except error as refused:
        said = one_line_of(refused)
        return all(str(word) in said for word in words)
    return False


def test_a_damaged_training_is_named_and_left_alone(tmp_path):
    path = tmp_path / "line.safetensors"
    training = train(line_recipe(), path)
    next(training), next(training)
    training.close()
    for what in damages(path, 5, head=400):
        before = None if path.is_dir() else path.read_bytes()
        assert _refused(lambda: list(train(line_recipe(), path)), CheckpointError, path, "Delete it"), what
        assert before is None or path.read_bytes() == before
        assert names(tmp_path) == ["line.safetensors"]
    straight, resumed = line_recipe(), line_recipe()
    list(train(straight)), list(train(resumed, path))
    assert torch.equal(weights(resumed), weights(straight))


def test_a_damaged_cache_of_dressed_digits_is_seen(copied):
    path = copied / "dressed.safetensors"
    good, about = load_checkpoint(path)
    save_checkpoint(path, {"train": good["train"][:30], "val": good["val"]}, about)    # whole, and of another shape
    for what in damages(path, 6, head=1_024):
        assert _refused(lambda: load_checkpoint(path), CheckpointError, path), what
    load_captioned_digits(copied)
    found, _ = load_checkpoint(path)
    assert all(torch.equal(found[name], good[name]) for name in good)
    path.unlink()
    path.mkdir()
    with pytest.raises(FileError, match="dressed.safetensors could not be written"):
        load_captioned_digits(copied)


def test_what_was_loaded_stays_though_the_file_is_overwritten(tmp_path):
    path = tmp_path / "some.safetensors"
    save_checkpoint(path, {"a": torch.arange(99.0)}, {})
    found, _ = load_checkpoint(path)
    size = path.stat().st_size
    with open(path, "rb+") as file:                              # in place, as `cp` does it
        file.write(bytes(size))
    assert torch.equal(found["a"], torch.arange(99.0))


def test_files_of_older_versions_are_read_and_their_tensors_checked(copied):
    path = copied / "judge.safetensors"
    tensors, about = load_checkpoint(path)
    del about["settings"]["decay"]                               # as it was before there was a choice
    save_file(tensors, path, {"about": json.dumps(about), "sha256": checkpoint._checksum(tensors)})
    model = classifier.load(path)
    assert all(torch.equal(t, tensors[f"model.{name}"]) for name, t in model.state_dict().items())
    recipe = classifier.recipe(load_captioned_digits(copied)[0], steps=1)
    assert list(train(recipe, path)) == []
    with pytest.raises(CheckpointError, match="other settings"):
        list(train(replace(recipe, lr=0.5), path))
    good = path.read_bytes()
    path.write_bytes(good[:-9] + bytes([good[-9] ^ 1]) + good[-8:])
    assert _refused(lambda: classifier.load(path), CheckpointError, path, "checksum")


def test_damaged_digits_are_named(tmp_path):
    path = Path(shutil.copy(FOLDER / "mnist_5k.npz", tmp_path))
    for what in damages(path, 7, head=2_048):
        assert _refused(lambda: digits._load_embedded(path), DataError, path, "git checkout"), what
    assert len(digits._load_embedded(path).train) == 4_500


@pytest.mark.parametrize("name", ["train-labels-idx1-ubyte", *(
    pytest.param(name, marks=pytest.mark.slow) for name in MNIST_MD5 if name != "train-labels-idx1-ubyte")])
def test_damaged_idx_files_are_never_used(tmp_path, torchvision_imports, monkeypatch, capsys, name):  # noqa: F811
    monkeypatch.setattr(data, "MNIST_MD5", write_mnist(tmp_path, (600, 100)))
    cases = 0
    for what in damages(tmp_path / "MNIST/raw" / name, 8, head=8):
        with pytest.raises(Exception):                           # noqa: B017, `load_digits` makes one line of any
            digits._load_mnist(tmp_path)
        cases += 1
        if what in ("empty", "a directory"):
            assert len(load_digits(full=True, root=tmp_path).train) == 4_500
            assert "going on with the 5,000 embedded digits" in one_line_of(capsys.readouterr().err)
    assert cases == 74 and len(digits._load_mnist(tmp_path).train) == 600


@pytest.mark.parametrize("name", ["study", "report"])
def test_a_damaged_json_is_named_or_reads_the_same(tmp_path, name):
    kept = study.load("vit_cnn", HERE.parent / "notebooks" / "studies")
    path = tmp_path / f"{name}.json"
    write_json(sealed({k: v for k, v in kept.items() if k != "sha256"}), path)
    whole, same = study.load(name, tmp_path), 0
    for what in damages(path, 12):
        try:
            found = study.load(name, tmp_path)
        except FileError as error:
            assert str(path) in one_line_of(error) and "git checkout" in str(error), what
        else:
            assert all(found[key] == whole[key] for key in whole if key != "sha256"), what
            same += 1
    assert same <= 10                                            # blanks between numbers, at most
    path.write_text('{"results": [1, 2]}')
    assert study.load(name, tmp_path) == {"results": [1, 2]}     # from before there were seals


def test_damaged_answers_are_judged_or_told_in_one_line(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text('"""Mine."""\nimport torch\n\n\ndef answer_2_6(x, *parts):\n    return x\n\n\n'
                    "answer_1_4 = 1.0\nanswer_3_1 = 7.74\nanswer_1_1 = 'b'\n")
    judged = 0
    for what in damages(path, 13):
        status, said = main([str(path)]), capsys.readouterr()
        if said.out:
            judged += 1
            assert said.err == "" and status in (0, 1) and "chapter 1:" in said.out, what
        else:
            assert status == 1 and "mine.py cannot be run" in one_line_of(said.err), what
    assert 0 < judged < 74


# ------------------------------------------------------------------ hostile files


def hostile(path):
    """Files that somebody might hand around, each with a right checksum where it has one -> what, how to write it."""
    tensors, about = load_checkpoint(path)
    shape = next(name for name in tensors if tensors[name].ndim == 4)

    def kept(tensors, text):
        return lambda: save_file(tensors, path, {"about": text, "checksum": checkpoint._checksum(tensors, text)})

    def raw(length, header=b"", body=b""):
        return lambda: path.write_bytes(struct.pack("<Q", length) + header + body)

    yield "a header of 2^63 bytes", raw(2**63, b"{}")
    yield "a header of a gigabyte", raw(10**9, b"{}")
    yield "a header that is no JSON", raw(9, b"not: json")
    yield "a header in a thousand brackets", raw(2_000, b"[" * 1_000 + b"]" * 1_000)
    far = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    yield "a tensor of four terabytes", raw(len(far), far, b"0000")
    yield "a path for a name", kept(tensors | {"../../x": torch.ones(3)}, json.dumps(about))
    yield "another shape", kept(tensors | {shape: torch.ones(7)}, json.dumps(about))
    yield "another number format", kept(tensors | {shape: tensors[shape].double()}, json.dumps(about))
    yield "a missing tensor", kept({k: t for k, t in tensors.items() if k != shape}, json.dumps(about))
    yield "one tensor more", kept(tensors | {"model.more": torch.ones(3)}, json.dumps(about))
    yield "a name without its part", kept(tensors | {shape.removeprefix("model."): torch.ones(3)}, json.dumps(about))
    yield "no description", lambda: save_file(tensors, path)
    yield "a description of ten megabytes", kept(tensors, json.dumps({"x": "y" * 10**7}))
    yield "a description in 100,000 brackets", kept(tensors, "[" * 100_000 + "]" * 100_000)
    for thing in ([1, 2], 7, None, "text", {}, {"settings": 3, "step": 1}, {"settings": {"steps": 1}, "step": 1}):
        yield f"the description {thing}", kept(tensors, json.dumps(thing))
    settings = about["settings"]
    for change in ({"widths": [10**9]}, {"widths": [10**9] * 3}, {"levels": 10**9}, {"blocks": 10**9},
                   {"channels": 10**9}, {"cond_width": 10**9}, {"heads": 10**9}, {"heads": 0}, {"widths": [-64]},
                   {"widths": []}, {"widths": "wide"}, {"widths": [64.5]}, {"widths": None}, {"patch": 0},
                   {"predicts": "the future"}, {"unknown": 1}, {"levels": float("nan")}, {"levels": -3},
                   {"__class__": "os.system"}, {"widths": [[[[[64]]]]]}, {"attention": [True] * 900},
                   {"widths": [4_000] * 3, "attention": [True] * 3}):
        changed = settings | {"config": settings["config"] | change}
        yield f"the setting {str(change)[:60]}", kept(tensors, json.dumps(about | {"settings": changed}))
    for config in ([], 3, None, "config"):
        yield f"the config {config}", kept(tensors, json.dumps(about | {"settings": settings | {"config": config}}))
    digits = UNet(DIGIT_PICTURES)
    found = {f"model.{name}": t.contiguous() for name, t in digits.state_dict().items()}
    yield "a UNet for pixels", kept(found, json.dumps(about | {"settings": settings | {"config": asdict(DIGIT_PICTURES)}}))
    yield "the judge", lambda: shutil.copy(path.with_name("judge.safetensors"), path)
    yield "the autoencoder", lambda: shutil.copy(path.with_name("autoencoder.safetensors"), path)


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_a_hostile_checkpoint_is_refused_in_one_line(copied, capsys):
    path, before, cases = copied / "unet.safetensors", peak_memory_mb(), 0
    for what, write in list(hostile(path)):
        path.unlink()
        write()
        cases += 1
        assert any(_refused(lambda: load(place), CheckpointError, path)  # alone, or at the latest with the others
                   for load, place in ((denoiser.load, path), (text2image.load, copied))), what
        if cases % 7 == 0:
            assert main(["draw", "a red seven", "--folder", str(copied)]) == 1, what
            assert str(path) in one_line_of(capsys.readouterr().err)
    assert cases == 50 and peak_memory_mb() < before + 500       # nothing absurd was allocated
    assert names(copied.parent) == ["parts"] and "drawing.png" not in names(copied)


@pytest.mark.parametrize("stage", ["judge", "clip"])
def test_a_setting_that_nobody_knows_is_refused(copied, stage):
    path = copied / f"{stage}.safetensors"
    tensors, about = load_checkpoint(path)
    about["settings"]["config"]["unknown"] = 1
    save_checkpoint(path, tensors, about)
    assert _refused(lambda: text2image.load(copied), CheckpointError, path, "not known here: unknown")


def test_what_is_read_is_never_run():
    """No module of the package unpickles, evaluates or starts anything; a learner's own file is run, in one place."""
    runs = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                found = [alias.name.split(".")[0] for alias in node.names] + [getattr(node, "module", "") or ""]
                assert not {"pickle", "marshal", "shelve", "dill", "joblib", "subprocess", "ctypes"} & set(found), path
                if "runpy" in found:
                    runs[path.name] = "runpy"
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name not in ("eval", "exec", "compile", "__import__", "torch.load", "torch.save", "os.system",
                                    "os.popen", "torch.hub.load"), path
                for keyword in node.keywords:
                    assert keyword.arg not in ("shell", "allow_pickle", "weights_only") or (
                        ast.unparse(keyword.value) == "False" and keyword.arg != "weights_only"), path
    assert runs == {"checks.py": "runpy"}


OFFLINE = """
import importlib, os, pkgutil, socket, sys
from pathlib import Path
folder, allowed = sys.argv[1], [os.path.realpath(sys.argv[1]), os.devnull]

def audit(event, arguments):
    if event.startswith("socket.") and event not in ("socket.gethostname",):
        raise SystemExit(f"{event} {arguments}")
    if event == "open" and isinstance(arguments[0], str) and isinstance(arguments[2], int):
        if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            written.append(arguments[0])
    if event in ("os.mkdir", "os.rename", "os.remove"):
        written.extend(str(a) for a in arguments[:2] if isinstance(a, str))

written = []
sys.addaudithook(audit)
import minidiff
seen = []
for module in pkgutil.walk_packages(minidiff.__path__, "minidiff."):
    importlib.import_module(module.name)
    seen.append(module.name)
import matplotlib
allowed.append(os.path.realpath(matplotlib.get_cachedir()))
written.clear()                                                  # what torch and matplotlib do for themselves
from minidiff.__main__ import main
os.chdir("/")
status = main(["draw", "a red seven", "--folder", folder, "--n", "1", "--steps", "1"])
outside = [w for w in written if not os.path.realpath(w).startswith(tuple(allowed))]
print(status, len(seen), len(written) > 0, outside)
"""


def test_without_any_socket_every_module_is_imported_and_a_picture_drawn_below_the_folder(copied):
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(copied)}
    done = subprocess.run([sys.executable, "-c", OFFLINE, str(copied)], capture_output=True, text=True, env=environment)
    modules = len([p for p in PACKAGE.rglob("*.py") if p.parent == PACKAGE]) - 1 + len(list(PACKAGE.glob("*/*.py")))
    assert done.stdout.splitlines()[-1] == f"0 {modules} True []", done
    assert "drawing.png" in names(copied) and done.stderr == ""


# ------------------------------------------------------------------ numbers that are none


def test_a_loss_that_is_not_a_number_is_one_line_at_the_command_line(tmp_path, monkeypatch, capsys):
    recipe = line_recipe()
    plain, calls = recipe.loss_of, []

    def loss_of(model, generator):
        calls.append(1)
        return plain(model, generator) * (float("nan") if len(calls) == 4 else 1)

    recipe.loss_of = loss_of
    monkeypatch.setattr(text2image, "recipes", lambda folder, seed: [recipe])
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
    with pytest.raises(FloatingPointError, match="line.safetensors was not written: after step 1") as stopped:
        list(train(replace(line_recipe(), lr=3e38, weight_decay=1.0), path, save_every=0))
    one_line_of(stopped.value)
    assert names(tmp_path) == []
    with pytest.raises(FloatingPointError, match="was not written: after step 13"):
        list(train(line_recipe(finish=lambda model: model[0].weight.data.fill_(float("nan"))), path))
    assert not path.exists()


# ------------------------------------------------------------------ minutes of it: make faults


def quiet_main(arguments):
    """The command line in a process of its own, which says nothing."""
    for number in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    sys.exit(main(arguments))


def same_weights(folder, trained, stages=text2image.STAGES):
    for stage in stages:
        ours, theirs = (load_checkpoint(Path(f) / f"{stage}.safetensors")[0] for f in (folder, trained))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs), stage


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None:
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.002)


def trains(path, pid):
    """Whether the process trains into the path now."""
    lock = path.with_name(f".{path.name}.lock")
    return lock.exists() and lock.read_text() == f"process {pid}\n"


@pytest.mark.slow
@pytest.mark.parametrize("stage", text2image.STAGES)
def test_twenty_kills_in_every_stage_end_in_the_same_weights(trained, tmp_path, stage):
    """Processes are forked from one that has imported torch already: seconds less for each of the eighty."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_faults"])
    rng, kills, path = random.Random(stage), 0, tmp_path / f"{stage}.safetensors"
    before = text2image.STAGES[:text2image.STAGES.index(stage)]
    for name in (*before, "dressed") if before else ():          # the judge's turn begins with dressing
        shutil.copy(trained / f"{name}.safetensors", tmp_path)
    while kills < 20:
        process = context.Process(target=quiet_main, args=(["train", "--folder", str(tmp_path), "--save-every", "0"],))
        process.start()
        process.poll = lambda: process.exitcode
        if kills % 5:                                            # in the steps; every fifth time at any moment
            wait_for(lambda: trains(path, process.pid), process)
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.join()
        if not path.exists() or load_checkpoint(path)[1]["step"] < 30:
            kills += 1
            continue
        same_weights(tmp_path, trained, [stage])                 # it was faster than the kill: once more from the start
        for name in text2image.STAGES[len(before):]:
            (tmp_path / f"{name}.safetensors").unlink(missing_ok=True)
    subprocess.run([*TRAIN, "--folder", str(tmp_path)], check=True, capture_output=True)
    same_weights(tmp_path, trained)
    assert [name for name in names(tmp_path) if name.endswith(".part")] == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_five_signals_keep_the_last_step_and_say_how_to_go_on(trained, tmp_path, number):
    rng, stopped = random.Random(number), 0
    for stage in rng.choices(text2image.STAGES, k=5):
        for name in text2image.STAGES[text2image.STAGES.index(stage):]:
            (tmp_path / f"{name}.safetensors").unlink(missing_ok=True)
        process = subprocess.Popen([*TRAIN, "--folder", str(tmp_path)], stderr=subprocess.PIPE, text=True,
                                   stdout=subprocess.DEVNULL,  # a shell may have told its children to ignore it
                                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
        path = tmp_path / f"{stage}.safetensors"
        wait_for(lambda: trains(path, process.pid), process)
        time.sleep(rng.uniform(0, 0.5 * (len(text2image.STAGES) - text2image.STAGES.index(stage))))         # a stage takes a second or less
        process.send_signal(number)
        said = process.communicate()[1].splitlines()[-1]
        if process.returncode in (0, -number):                   # it came too late, or while Python left: all is done
            same_weights(tmp_path, trained)
            continue
        stopped += 1
        assert process.returncode == 130 and said.startswith("minidiff: stopped"), said
        assert said.endswith("What was trained is kept; the same command goes on.")
        if "after step" in said:
            step, name = int(said.split()[4]), said.split("(")[1].split(")")[0]
            assert load_checkpoint(tmp_path / f"{name}.safetensors")[1]["step"] == step
    assert stopped >= 3
    subprocess.run([*TRAIN, "--folder", str(tmp_path)], check=True, capture_output=True)
    same_weights(tmp_path, trained)
    assert names(tmp_path) == sorted(f"{name}.safetensors" for name in (*text2image.STAGES, "dressed"))


@pytest.mark.slow
def test_of_two_commands_the_second_is_refused_and_the_first_undisturbed(trained, tmp_path):
    command = [*TRAIN, "--folder", str(tmp_path)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: trains(tmp_path / "judge.safetensors", first.pid), first)
    second = subprocess.run(command, capture_output=True, text=True)
    said = second.stderr.splitlines()[-1]
    assert second.returncode == 1 and f"is being trained by process {first.pid}." in said
    assert first.wait() == 0
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


@pytest.mark.slow
def test_a_clock_that_jumps_changes_no_weight(trained, tmp_path):
    code = ("import random, sys, time; rng = random.Random(0); time.time = lambda: rng.uniform(-1e9, 4e9)\n"
            "from minidiff.__main__ import main; sys.exit(main(sys.argv[1:]))")
    subprocess.run([sys.executable, "-c", code, "train", "--folder", str(tmp_path), "--save-every", "0.2"],
                   check=True, capture_output=True)
    same_weights(tmp_path, trained)


@pytest.mark.slow
def test_a_damaged_cache_is_made_again_the_same(copied):
    path = copied / "dressed.safetensors"
    good, _ = load_captioned_digits(copied)
    before = good.ink.clone()
    for what in damages(path, 6, head=1_024):
        if what == "a directory":
            with pytest.raises(FileError, match="dressed.safetensors could not be written"):
                load_captioned_digits(copied)
        else:
            assert torch.equal(load_captioned_digits(copied)[0].ink, before), what
