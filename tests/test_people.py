"""What people really do: other working directories, kernels, editors, locales, devices that fail, a thousand pictures.

Each of these was a bug report about some project of this kind.  The inputs are of the kinds of `tests/README.md`;
own pictures are in `test_pictures.py`, set-up and installation in `test_setup.py`.
"""

import ast
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from minidiff.__main__ import main
from minidiff.data import load_captioned_digits
from minidiff.exercises.__main__ import main as exercises
from minidiff.exercises.checker import all_exercises
from minidiff.options import parser
from minidiff.pipelines import classifier, text2image
from minidiff.tools import DeviceError, FileError, budget_name, pick_device, runs_folder, show, study, trained_folder
from minidiff.tools.runtime import checkout, device_trouble
from minidiff.training import CheckpointError, load_checkpoint, run, save_checkpoint, train

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "minidiff"
NOTEBOOKS = ROOT / "notebooks"


def refusal(use, error=CheckpointError):
    """The one line with which use() is refused."""
    with pytest.raises(error) as found:
        use()
    said = str(found.value)
    assert said and len(said.splitlines()) == 1, said
    return said


def drawn(folder, *words):
    """The status of a small drawing by the command line."""
    return main(["draw", "a red seven", "--n", "1", "--steps", "1", "--folder", str(folder), *words])


@pytest.fixture
def parts(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "parts"))


@pytest.fixture(scope="module")
def fresh():
    """A new recipe of a small training."""
    captioned, _ = load_captioned_digits()
    return lambda **settings: classifier.recipe(captioned, **{"steps": 3, "batch": 17} | settings)


# ------------------------------------------------------------------ 1. a wrong diagnosis that destroys


def foreign(path):
    """A file of another program."""
    path.unlink()
    save_file({"weight": torch.zeros(3)}, path, {"format": "pt"})


def older(path):
    """A file of the first minidiff, whose description was not sealed."""
    tensors, about = load_checkpoint(path)
    path.unlink()
    save_file(tensors, path, {"about": json.dumps(about), "sha256": "0"})


def pointer(path):
    """What lies there where Git LFS has not fetched the file."""
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", encoding="utf-8")


def in_a_folder(path):
    path.unlink()
    path.mkdir()
    (path / "notes.txt").write_text("mine", encoding="utf-8")


def changed(change):
    """A function that writes a whole checkpoint anew, its tensors and description changed."""
    def write(path):
        tensors, about = load_checkpoint(path)
        save_checkpoint(path, *change(tensors, json.loads(json.dumps(about))))
    return write


def newer(tensors, about):
    about["settings"]["config"]["dropout"] = 0.1
    return tensors, about


WHOLE = {  # what is done to a part, and what the refusal says
    "a newer version, with a setting more": (changed(newer), "not known here: dropout"),
    "no settings at all": (changed(lambda t, about: (t, {"step": 30})), "another minidiff"),
    "another part of this name": (lambda path: shutil.copy(path.with_name("clip.safetensors"), path), "another part"),
    "other names of tensors": (changed(lambda t, about: ({f"net.{k}": x for k, x in t.items()}, about)), "unknown"),
    "another number format": (changed(lambda t, about: ({k: x.double() for k, x in t.items()}, about)),
                              "of float64, and float32 is expected"),
    "another program": (foreign, "was not written by minidiff. Move it"),
    "the first version": (older, "older minidiff"),
    "Git LFS": (pointer, "git lfs pull"),
    "a folder": (in_a_folder, "is a folder, where a file belongs. Move it"),
}


@pytest.mark.parametrize("what", WHOLE)
def test_what_is_whole_is_never_called_damaged_and_never_to_be_deleted(parts, what):
    path, (change, words) = parts / "classifier.safetensors", WHOLE[what]
    change(path)
    said = refusal(lambda: text2image.load(parts))
    assert said.startswith(str(path)) and words in said
    assert not re.search("damaged|delete", said, re.IGNORECASE)


@contextmanager
def somebody_else(path):
    """As another user, who may see this file and not read it."""
    path.chmod(0)
    if os.geteuid() == 0:                                        # root may read everything
        os.seteuid(65_534)
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


@pytest.mark.skipif(os.name == "nt", reason="asks for users of Unix")
def test_a_file_that_this_user_may_not_read_is_whole(parts):
    with tempfile.TemporaryDirectory() as folder:                # pytest's own are closed to others
        os.chmod(folder, 0o755)
        path = Path(shutil.copy(parts / "classifier.safetensors", folder))
        with somebody_else(path):
            said = refusal(lambda: classifier.load(path))
    assert said.startswith(f"{path} cannot be read here (PermissionError") and "elete" not in said


def test_a_part_may_be_read_by_whoever_may_read_other_files_of_its_folder(parts):
    path, other = parts / "new.safetensors", parts / "other"
    save_checkpoint(path, {"a": torch.ones(3)}, {})
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode           # a teacher's parts, in a folder of the class


def test_too_many_open_files_are_no_damage(parts):
    resource = pytest.importorskip("resource")
    held, limits = [], resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(500, limits[1]), limits[1]))
    try:
        with pytest.raises(OSError):
            while True:
                held.append(open(os.devnull, "rb"))
        said = refusal(lambda: classifier.load(parts / "classifier.safetensors"))
    finally:
        for file in held:
            file.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert "Too many open files" in said and "elete" not in said


@pytest.mark.parametrize("spoil", [lambda b: b[:len(b) // 2], lambda b: b[:-9] + bytes([b[-9] ^ 1]) + b[-8:],
                                   lambda b: b"", lambda b: b"<html>404</html>"], ids=["cut", "a bit", "empty", "404"])
def test_what_is_damaged_is_called_so(parts, spoil):
    path = parts / "classifier.safetensors"
    path.write_bytes(spoil(path.read_bytes()))
    said = refusal(lambda: text2image.load(parts))
    assert said.startswith(f"{path} is damaged") and "Delete it and train again: `python -m minidiff train`" in said


@pytest.fixture
def other_default():
    """A function that sets torch's default number format, until the end of the test."""
    yield torch.set_default_dtype
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_default_number_format_changes_neither_drawing_nor_training(parts, fresh, tmp_path, other_default, dtype):
    path, recipe, expected = tmp_path / "new.safetensors", fresh(), run(fresh()).state_dict()
    picture = text2image.draw(["a red seven"], [3], text2image.load(parts), steps=2)
    training = train(fresh(), path)
    next(training), training.close()
    other_default(dtype)
    assert torch.equal(text2image.draw(["a red seven"], [3], text2image.load(parts), steps=2), picture)
    found = run(recipe, path).state_dict()                       # it goes on from the first step
    assert all(torch.equal(found[name], t) for name, t in expected.items())


def test_a_part_of_an_earlier_version_without_a_newer_setting_is_loaded_and_other_settings_are_kept(tmp_path, fresh):
    path, recipe = tmp_path / "part.safetensors", fresh()
    run(recipe, path)

    def without_one(tensors, about):
        assert about["settings"]["config"].pop("feature_width") == recipe.config.feature_width
        return tensors, about

    changed(without_one)(path)
    assert list(train(fresh(), path)) == []                      # finished: the default stands for what was not there
    said = refusal(lambda: run(fresh(seed=3), path))
    assert "other settings (seed differ" in said and "Give another folder" in said and "elete" not in said


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_is_read_in_whatever_encoding_an_editor_saved_it(tmp_path, encoding):
    kept = {"results": {"größe": [1, 2.5]}}
    (tmp_path / "mine.json").write_text(json.dumps(kept, ensure_ascii=False), encoding=encoding)
    assert study.load("mine", tmp_path) == kept


def test_json_that_is_no_study_is_named_as_what_it_is(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text("[1, 2]", encoding="utf-8")
    assert refusal(lambda: study.load("mine", tmp_path), FileError) == (
        f"{path} holds a list, where a dict is expected: is it another file?")
    path.write_text('<<<<<<< HEAD\n{"a": 1}', encoding="utf-8")
    assert "damaged: it is no JSON" in refusal(lambda: study.load("mine", tmp_path), FileError)
    path.unlink()
    path.mkdir()
    said = refusal(lambda: study.load("mine", tmp_path), FileError)
    assert "is a folder, where a file belongs. Move it" in said and "damaged" not in said


def texts_of(path):
    """All texts in a file of the package, the parts of a formatted one joined, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    loose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    loose |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value for part in node.values if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in loose:
            yield node.value


def test_only_what_was_seen_to_be_damaged_is_to_be_deleted():
    found = [(path.name, text) for path in PACKAGE.rglob("*.py") for text in texts_of(path)
             if re.search("delete it|delete that", text, re.IGNORECASE)]
    assert [name for name, text in found if "is damaged" not in text] == ["digits.py"]   # half a download of MNIST
    assert {name for name, _ in found} == {"checkpoint.py", "digits.py"}


# ------------------------------------------------------------------ 2. another working directory

PLACES = [ROOT, Path("/"), NOTEBOOKS, NOTEBOOKS / "studies", Path(tempfile.gettempdir())]


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_parts_and_studies_are_found_from_everywhere(place, monkeypatch):
    monkeypatch.delenv("MINIDIFF_FOLDER", raising=False)
    monkeypatch.chdir(place)
    assert (checkout(), trained_folder(), runs_folder()) == (ROOT, ROOT / "runs", ROOT / "runs" / "fast")
    assert (place / parser().parse_args(["draw"]).folder) == ROOT / "runs"
    assert study.load("toy_gan")["command"] == "python notebooks/studies/toy_gan.py"
    assert study.load("race", "../tests/bench")["runs"]          # as chapter 6b says it
    said = refusal(lambda: study.load("toy_none"), FileNotFoundError)
    assert str(NOTEBOOKS / "studies" / "toy_none.json") in said


def test_the_environment_names_the_folder_for_everything(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINIDIFF_FOLDER", str(tmp_path / "mine"))
    assert (trained_folder(), runs_folder()) == (tmp_path / "mine", tmp_path / "mine" / "fast")
    assert parser().parse_args(["train"]).folder == str(tmp_path / "mine")
    assert refusal(text2image.load, FileNotFoundError).startswith(str(tmp_path / "mine" / "classifier.safetensors"))
    assert main(["draw", "a red seven"]) == 1 and str(tmp_path / "mine") in capsys.readouterr().err
    assert runpy.run_path(str(NOTEBOOKS / "studies" / "common.py"))["FOLDER"] == tmp_path / "mine"
    for name, folder in (("~/mine", Path.home() / "mine"), ("", ROOT / "runs"), ("mine", Path("mine"))):
        monkeypatch.setenv("MINIDIFF_FOLDER", name)
        assert trained_folder() == folder


def test_where_only_the_package_is_installed_the_working_directory_is_the_place_unless_it_is_a_checkout(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "site" / "minidiff", ignore=shutil.ignore_patterns("__pycache__"))
    code = ("import os, sys, minidiff; from minidiff.tools import runs_folder, study; print(minidiff.__file__); "
            "print(runs_folder()); os.chdir(sys.argv[1]); print(runs_folder(), study.load('toy_gan')['budget']); "
            "os.chdir(sys.argv[2]); study.load('toy_gan')")
    done = subprocess.run([sys.executable, "-c", code, NOTEBOOKS / "slides", tmp_path], cwd=tmp_path, encoding="utf-8",
                          capture_output=True, env=os.environ | {"PYTHONPATH": str(tmp_path / "site")})
    assert done.stdout.splitlines() == [
        str(tmp_path / "site/minidiff/__init__.py"), str(Path("runs/fast")), f"{ROOT / 'runs/fast'} small"]
    assert "studies/toy_gan.json is missing" in done.stderr.splitlines()[-1].replace("\\", "/")


def kernel(cells, place, **environment):
    """The outputs of some cells, run by a real kernel in a working directory: a list of (name, text) for each."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(book, timeout=240, kernel_name="python3", allow_errors=True,
                                     resources={"metadata": {"path": str(place)}})
    client.execute(env=os.environ | environment)
    return [[(out.get("name", out.output_type), out.get("text", out.get("evalue", ""))) for out in cell.outputs]
            for cell in book.cells]


def copy_of_the_checkout(folder, trained):
    """A checkout with trained parts, of which nothing is lost if a test writes into it."""
    repository = folder / "a copy"
    for name in ("minidiff", "notebooks"):
        shutil.copytree(ROOT / name, repository / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", repository)
    shutil.copytree(trained, repository / "runs")
    return repository


def code_of(name):
    return [cell.source for cell in nbformat.read(NOTEBOOKS / name, 4).cells if cell.cell_type == "code"]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["", "..", "notebooks"])
@pytest.mark.parametrize("name", ["00_start_here.ipynb", "01b_samplers_and_rivals.ipynb"])
def test_a_notebook_runs_in_every_working_directory(trained, tmp_path, name, place):
    repository = copy_of_the_checkout(tmp_path, trained)
    outputs = kernel(code_of(name), repository / place, PYTHONPATH=str(repository))
    assert not [out for cell in outputs for out in cell if out[0] in ("error", "stderr") or "mush" in out[1]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a copy"]


# ------------------------------------------------------------------ 5. inside a kernel


def test_a_kernel_at_the_root_of_the_disk_finds_the_parts_runs_the_commands_and_stays_as_it_was(trained, tmp_path):
    copy_of_the_checkout(tmp_path, trained)
    (tmp_path / "mine.py").write_text("answer_3_1 = 7.74\n", encoding="utf-8")
    imports, load = code_of("00_start_here.ipynb")[:2]
    cells = {
        f"%cd -q {tmp_path}": [],
        '%run -m minidiff draw "a red seven" --n 2 --steps 1 -o x.png': [("stdout", "Drawn: x.png\n")],
        '%run -m minidiff draw "a red sevn"': "minidiff: unknown word 'sevn'",
        "%run -m minidiff draw --nonsense": "unrecognized arguments: --nonsense",
        "%run -m minidiff train --budget fast --seed 3": "was trained with other settings (seed differ",
        "%run -m minidiff.exercises mine.py": "chapter 3: 1 of",
        "%run -m minidiff.exercises none.py": "none.py cannot be run: FileNotFoundError",
        "import os; print(os.environ.get('MINIDIFF_BUDGET'))": [("stdout", "small\n")],
        "class Mine:\n    def one(self):\n        return 1\n\nfrom minidiff.tools import show\nshow.source(Mine)":
            [("stdout", "class Mine:\n    def one(self):\n        return 1\n")],
        "show.source(print)": "has no source that could be shown",
        f"%cd -q /\n{imports}": [], f"{load}\nprint(folder)": f"million numbers\n{tmp_path / 'a copy' / 'runs'}\n"}
    outputs = kernel(list(cells), "/", MINIDIFF_BUDGET="small", PYTHONPATH=str(tmp_path / "a copy"))
    for (cell, expected), found in zip(cells.items(), outputs, strict=True):
        if isinstance(expected, list):
            assert found == expected, cell
        else:
            assert expected in "".join(text for _, text in found), (cell, found)
        assert cell == "show.source(print)" or "error" not in [name for name, _ in found], (cell, found)
    assert Image.open(tmp_path / "x.png").width > 300
    assert {path.name for path in tmp_path.iterdir()} == {"a copy", "mine.py", "x.png"}


def test_what_is_said_outside_of_the_command_line_names_no_option_of_it():
    options = re.compile(r"(?<!\w)--[a-z]")
    for path in PACKAGE.rglob("*.py"):
        if path.name not in ("__main__.py", "beside.py", "options.py", "setup.py"):
            for text in texts_of(path):
                known = "python -m minidiff" in text or "at the command line" in text
                assert known or not options.search(text), (path, text)


# ------------------------------------------------------------------ 6. answers in other forms

ANSWERS = ('"""Größe: meine Lösungen."""\nimport torch\n\n\ndef answer_2_6(x, *parts):\n    return x\n\n\n# Übung\n'
           "answer_1_4 = 1.0\nanswer_3_1 = 7.74\n")


def notebook(*cells):
    """Code cells as a notebook, with a cell of prose before them."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Titel: ü"),
                                           *map(nbformat.v4.new_code_cell, cells)])
    return nbformat.writes(book)


FORMS = {
    "a.txt": ANSWERS, "a.py.txt": ANSWERS, "no extension": ANSWERS,
    "crlf.py": ANSWERS.replace("\n", "\r\n"), "cr.py": ANSWERS.replace("\n", "\r"),
    "bom.py": ANSWERS.encode("utf-8-sig"), "utf16.py": ANSWERS.encode("utf-16"),
    "utf16be.py": b"\xfe\xff" + ANSWERS.encode("utf-16-be"), "utf16 without a mark.py": ANSWERS.encode("utf-16-le"),
    "powershell.py": ANSWERS.replace("\n", "\r\n").encode("utf-16"), "utf32.py": ANSWERS.encode("utf-32"),
    "cp1252.py": ANSWERS.encode("cp1252"), "mac.py": ANSWERS.encode("mac-roman"),
    "latin.py": f"# -*- coding: latin-1 -*-\n{ANSWERS}".encode("latin-1"),
    "a wrong name of its encoding.py": f"# -*- coding: latin-9x -*-\n{ANSWERS}".encode(),
    "book.ipynb": notebook("%matplotlib inline\n!pip install minidiff\nimport torch", ANSWERS),
    "book.txt": notebook(ANSWERS), "book16.ipynb": notebook(ANSWERS).encode("utf-16"),
    "checks.ipynb": notebook(
        "%%html\n<b>no Python</b>", "from minidiff.exercises import check\nlibrary?",
        "def my_step(x, *parts):\n    return x\n\nshown = check('2.6', my_step)\nshown.figure()", "1 / 0",
        "check(\"1.4\",\n      1.0)\ncheck(1.1, None)", "%%time\nsharp = 7.74", "check(3.1, sharp)"),
    "version 3.ipynb": json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [
        {"cells": [{"cell_type": "code", "input": ANSWERS.splitlines(keepends=True), "outputs": []}]}]}),
    "exported.py": ("#!/usr/bin/env python\n# coding: utf-8\n\n# In[1]:\n\n\nget_ipython().system('ls')\n\n"
                    f"# In[2]:\n\n{ANSWERS}"),
    "percent.py": f"# %%\n1 / 0\n# %% [markdown]\n# Prose.\n# %%\n{ANSWERS}",
    "chat.md": f"# Meine Lösungen\n\nHier:\n\n```python\n{ANSWERS}```\n\nViel Spaß!\n",
}


@pytest.fixture(scope="module")
def right_table(tmp_path_factory):
    """What is printed for the answers as plain Python."""
    path = tmp_path_factory.mktemp("plain") / "mine.py"
    path.write_text(ANSWERS, encoding="utf-8")
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", said)
        assert exercises([str(path)]) == 1                       # 2.6 is wrong
    chapters = len({id.split(".")[0] for id in all_exercises()})
    assert said.getvalue().count(" right\n") == 2 + chapters     # two answers, and the sum of each chapter
    return said.getvalue()


@pytest.mark.parametrize("name", FORMS)
def test_answers_are_graded_in_whatever_form_they_are_handed_in(name, right_table, tmp_path, capsys):
    content = FORMS[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    assert exercises([str(tmp_path / name)]) == 1
    said = capsys.readouterr()
    assert said.err == "" and said.out == right_table


UNUSABLE = {
    "empty.py": (b"", "it is empty"), "blank.py": (b" \n\t\n", "it is empty"),
    "mark.py": (b"\xef\xbb\xbf", "it is empty"),
    "a.docx": (b"PK\3\4" + bytes(99), "an office document"), "a.pdf": (b"%PDF-1.7\n%\xe2", "a PDF"),
    "a.rtf": (rb"{\rtf1\ansi answer_3_1 = 7.74}", "rich text"), "a.html": ("<!DOCTYPE html>\n<p>", "a web page"),
    "photo.py": (b"\xff\xd8\xff\xe0" + bytes(99), "a picture"), "bytes.py": (bytes(range(256)), "it is no text"),
    "names.py": ("answer_31 = 7.74\nx = 1\n", "names like answer_1_2, or are handed to check; it has answer_31"),
    "other.py": ("x = 1\n", "there is no answer in it"), "other.ipynb": (notebook("x = 1"), "there is no answer in it"),
    "cut.ipynb": (notebook("x = 1")[:-40], "it is a notebook, and damaged"),
    "quotes.py": ("answer_3_1 = “7.74”\n", "line 1: SyntaxError: invalid character '“'"),
    "error.ipynb": (notebook("x = 1", "\nanswer_1_4 = nobody"), "code cell 2, line 2: answer_1_4 = nobody: NameError"),
    "syntax.ipynb": (notebook("x = 1", "def f(:\n    pass\ncheck('1.2', f)"), "code cell 2, line 1: SyntaxError"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_holds_no_answers_is_named_as_what_it_is(name, tmp_path, capsys):
    content, words = UNUSABLE[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    assert exercises([str(tmp_path / name)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and f"{name} cannot be run: " in said.err and words in said.err


def test_of_a_chapter_only_the_answers_are_run_and_what_they_need(tmp_path, capsys):
    marks = [tmp_path / name for name in ("trained", "not needed")]
    train_it, other = (f"from pathlib import Path\nPath({str(mark)!r}).touch()" for mark in marks)
    cells = [train_it, "def unused():\n    pass", "def helper(a, t):\n    return 1 / 0",
             "def helper(a, t):\n    return a[t]", "SIZES = {}\nSIZES['ones'] = []", "SIZES['ones'] += [1]",
             "for i in range(2):\n    SIZES['ones'].append(1)", f"for state in range(3):\n    SIZE = state\n{other}",
             "def my_add_noise(x0, t, eps, alpha_bar):\n    rest = SIZES['ones'][:x0.ndim - 1]\n"
             "    a = helper(alpha_bar, t).view(-1, *rest)\n    return a.sqrt() * x0 + (1 - a).sqrt() * eps\n\n"
             "check('1.2', my_add_noise)"]
    (tmp_path / "chapter.ipynb").write_text(notebook(*cells), encoding="utf-8")
    assert exercises([str(tmp_path / "chapter.ipynb")]) == 0
    assert "chapter 1: 1 of" in capsys.readouterr().out and not any(mark.exists() for mark in marks)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("0[1-9]*.ipynb")), ids=lambda path: path.stem)
def test_a_chapter_as_it_is_has_no_answer_yet(path, capsys):
    assert exercises([str(path)]) == 0
    said = capsys.readouterr()
    lines = [line for line in said.out.splitlines() if not line.startswith("chapter")]
    assert said.err == "" and all(line.endswith(" -") for line in lines) and "chapter 1: 0 of" in said.out


# ------------------------------------------------------------------ 8. a device that is not usable

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU here can be used")


@no_gpu
@pytest.mark.parametrize("words", [["draw", "a red seven"], ["train"], ["score"]], ids=lambda words: words[0])
def test_a_gpu_that_is_reported_and_fails_is_one_line_that_names_the_way_out(parts, monkeypatch, capsys, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)        # it fails at its first allocation, as there
    assert main([*words, "--folder", str(parts)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("minidiff: the device 'cuda' cannot be used (") and said.count("\n") == 1
    assert "To compute on the CPU: MINIDIFF_DEVICE=cpu, or --device cpu at the command line" in said
    assert "cannot be used" in refusal(pick_device, DeviceError) and budget_name() == "fast"


@no_gpu
def test_the_cpu_is_chosen_by_an_option_or_by_the_environment_which_an_option_leaves_alone(parts, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("MINIDIFF_BUDGET")
    assert budget_name() == "full" and drawn(parts, "--device", "cpu") == 0 and "MINIDIFF_DEVICE" not in os.environ
    for name in ("cpu", "CPU"):
        monkeypatch.setenv("MINIDIFF_DEVICE", name)
        assert pick_device() == torch.device("cpu") and budget_name() == "small" and drawn(parts) == 0
        assert study.about_this_run()["machine"]["device"] == "cpu"
    assert text2image.load(parts).device == torch.device("cpu")
    assert drawn(parts, "--device", "cuda:7") == 1 and "the device 'cuda:7' cannot" in capsys.readouterr().err


@no_gpu
@pytest.mark.parametrize("name", ["cuda", "cuda:7", "mps", "gpu", "meta", "two\nlines", "0"])
def test_a_device_that_is_not_there_is_named(monkeypatch, name):
    if name == "mps" and torch.backends.mps.is_available():
        pytest.skip("it is there")
    monkeypatch.setenv("MINIDIFF_DEVICE", name)
    assert refusal(pick_device, DeviceError).startswith(f"the device {name!r} cannot be used")
    monkeypatch.setenv("MINIDIFF_DEVICE", "")                    # as good as none
    assert pick_device().type == "cpu"


HEAVY = """
import os, resource, sys
from pathlib import Path
from minidiff.__main__ import main
held = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
for megabytes in (1, 12, 60):                                    # too few for the parts, too few for the pictures
    if not os.fork():
        resource.setrlimit(resource.RLIMIT_AS, (held + megabytes * 2**20, -1))
        os._exit(main(["draw", "a red seven", "--n", "500", "--steps", "1", "--folder", sys.argv[1]]))
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux how much is held")
def test_a_memory_that_is_full_is_one_line(trained):
    done = subprocess.run([sys.executable, "-c", HEAVY, trained], capture_output=True, encoding="utf-8",
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert (done.stdout, len(done.stderr.splitlines())) == ("1\n" * 3, 3), done.stderr
    for said in done.stderr.splitlines():
        assert said.startswith("minidiff: the memory is full (") and "ask for less at once" in said


@pytest.mark.parametrize("says, words", [  # as they stand in bug reports
    ("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 11.00 GiB.\nSee documentation",
     "the memory is full (RuntimeError: CUDA out of memory."),
    ("MPS backend out of memory (MPS allocated: 5.05 GB, max allowed: 6.80 GB).", "the memory is full"),
    ("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes.",
     "the memory is full"),
    ("unable to mmap 1867364 bytes from file <x>: Cannot allocate memory (12)", "the memory is full"),
    ("could not create a primitive", "the memory is full"),
    ("CUDA error: no kernel image is available for execution on the device", "the device fails"),
    ("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED", "the device fails"),
    ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "the device fails"),
    ("Found no NVIDIA driver on your system.", "the device fails"),
    ("The size of tensor a (3) must match the size of tensor b (5)", ""), ("the current cut of a custom cube", "")])
def test_what_torch_says_of_a_device_is_known(says, words):
    said = device_trouble(RuntimeError(says))
    assert said.startswith(words) and (said == "") == (words == "") and "\n" not in said
    assert ("To compute on the CPU" in said) == bool(re.search("CUDA|MPS|NVIDIA|cuDNN", says)) and not device_trouble(
        KeyError(says))


# ------------------------------------------------------------------ 9. locale


def silent_about_its_encoding(call):
    """Whether a call opens a text file and leaves its encoding to the locale."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = {word.arg: word.value for word in call.keywords}
    if "encoding" in given or None in given:
        return False
    if name in ("read_text", "write_text"):
        return len(call.args) < (1 if name == "read_text" else 2)
    owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    if name not in ("open", "fdopen", "NamedTemporaryFile") or owner in ("Image", "os", "wave") and name == "open":
        return False
    first = name == "open" and owner not in ("", "io") or name == "NamedTemporaryFile"     # where the mode stands
    mode = given.get("mode") or next(iter(call.args[0 if first else 1:]), None)
    return "b" not in (ast.literal_eval(mode) if mode else "w+b" if name == "NamedTemporaryFile" else "r")


def test_the_reader_of_encodings_sees_what_ruff_does_not():
    for code in ("p.read_text()", "(a / b).write_text(text)", "open(p)", "open(p, 'w')", "p.open()", "p.open(mode='a')",
                 "os.fdopen(3)", "NamedTemporaryFile('w')", "io.open(p, 'r')"):
        assert silent_about_its_encoding(ast.parse(code).body[0].value), code
    for code in ("p.read_text('utf-8')", "p.write_text(t, encoding='utf-8')", "open(p, 'rb')", "p.open('wb')",
                 "Image.open(p)", "os.open(p, 0)", "open(p, **more)", "NamedTemporaryFile()", "open(p, encoding=e)"):
        assert not silent_about_its_encoding(ast.parse(code).body[0].value), code


def test_every_text_file_says_its_encoding():
    sources = {path: path.read_text(encoding="utf-8") for folder in ("minidiff", "tests", "notebooks")
               for path in (ROOT / folder).rglob("*.py")}
    sources |= {path: "\n".join(re.sub(r"^[%!].*", "", cell, flags=re.MULTILINE) for cell in code_of(path.name))
                for path in NOTEBOOKS.glob("*.ipynb")}
    assert len(sources) > 100
    assert [(path, ast.unparse(node)) for path, source in sources.items() for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Call) and silent_about_its_encoding(node)] == []


# ------------------------------------------------------------------ 11. slow where nobody looks


@pytest.mark.parametrize("count, captions", [
    (300, ["a red seven"]), (5, ["a thin blue two"]), (1, ["a six", "a red two"]), (3, ["a seven"] * 7)])
def test_a_sheet_shows_every_pixel_of_every_picture_and_each_caption_once(count, captions):
    """One image and one axis, however many pictures: an axis for each took matplotlib 150 seconds for a thousand."""
    pictures = torch.rand(count * len(captions), 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    figure, file = show.sheet(pictures, captions), io.BytesIO()
    ax, = figure.axes
    assert [text.get_text() for text in ax.texts] == [caption.removeprefix("a ") for caption in captions]
    assert [text.get_color() for text in ax.texts] == [show.colored_caption(caption) for caption in captions]
    figure.savefig(file, format="png", dpi=show.PIXELS)
    page, zoom = torch.from_numpy(np.array(Image.open(file).convert("RGB"))), 2 if count > 64 else 6
    expected = ((pictures.movedim(1, -1) + 1) / 2 * 255).round().byte()
    columns = min(count, 32 if count > 64 else 8)
    for i, text in enumerate(ax.texts):
        left, top = (round(place) for place in (text.get_position()[0], text.get_position()[1] + 6))
        for j in (0, columns - 1, count - 1):
            row, column = divmod(j, columns)
            y, x = top + row * 34 * zoom, left + column * 34 * zoom
            tile = page[y:y + 32 * zoom:zoom, x:x + 32 * zoom:zoom]
            assert torch.equal(tile, expected[i * count + j])


def test_a_thousand_captions_are_still_a_page():
    page = show.sheet(torch.zeros(2_000, 3, 4, 4), ["a red seven leaning left"] * 2_000)
    assert max(page.get_size_inches()) * show.PIXELS < 2**16     # matplotlib draws no larger ones


def test_a_sheet_needs_as_many_pictures_for_each_caption():
    with pytest.raises(ValueError, match="5 pictures, 2 captions"):
        show.sheet(torch.zeros(5, 3, 8, 8), ["one", "two"])
