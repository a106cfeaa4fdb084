"""The same on other machines: older Pythons, no bf16, one thread, no display, other alphabets, no network.
`tests/README.md` says what was run by hand."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from minidiff.__main__ import main
from minidiff.data import load_captioned_digits
from minidiff.pipelines import autoencoder, classifier, clip, text2image
from minidiff.training import train

ROOT = Path(__file__).parent.parent
CAPTIONS = ["a thick red seven leaning left", "a thin cyan two"]


@pytest.fixture(scope="module")
def recipe_of(trained):
    """A function from the name of a stage to a new recipe of it, always with the same first weights and data."""
    captioned, _ = load_captioned_digits()
    parts = text2image.load(trained, "cpu")
    encoded = text2image.latents_of(captioned, parts.autoencoder, 1_000)
    modules = {"classifier": classifier, "clip": clip, "autoencoder": autoencoder}

    def recipe_of(stage):
        if stage == "unet":
            return text2image.unet_recipe(captioned, parts.clip, parts.autoencoder, encoded=encoded)
        return modules[stage].recipe(captioned)

    return recipe_of


def last_step(recipe, steps=1):
    """A few steps of training -> the loss of the last one, and its gradient for all weights (N,)."""
    training = train(recipe)
    states = [next(training) for _ in range(steps)]
    training.close()
    return states[-1].loss, torch.cat([p.grad.flatten() for p in recipe.model.parameters()])


@pytest.fixture
def threads():
    """A function that sets the number of threads, until the end of the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


# ------------------------------------------------------------------ other processors


@pytest.mark.parametrize("stage", text2image.STAGES)
def test_a_step_with_bf16_and_one_without_have_the_same_loss_and_direction(recipe_of, stage, monkeypatch):
    steps = 2 if stage == "unet" else 1                          # in the first step the UNet answers zero
    monkeypatch.setenv("MINIDIFF_BF16", "0")
    loss, gradient = last_step(recipe_of(stage), steps)
    monkeypatch.setenv("MINIDIFF_BF16", "1")
    rounded, other = last_step(recipe_of(stage), steps)
    assert rounded == pytest.approx(loss, rel=0.005) and rounded != loss
    assert other.norm().item() == pytest.approx(gradient.norm().item(), rel=0.02)
    assert torch.cosine_similarity(gradient, other, dim=0) > 0.995


def test_the_same_weights_draw_the_same_with_and_without_bf16_and_with_one_thread(trained, monkeypatch, threads):
    parts, drawn = text2image.load(trained), {}
    for bf16, count in (("0", 1), ("1", 1), ("0", 2)):
        monkeypatch.setenv("MINIDIFF_BF16", bf16)
        threads(count)
        drawn[bf16, count] = text2image.draw(CAPTIONS, [3, 5], parts, steps=2)
    assert torch.equal(drawn["0", 1], drawn["1", 1])             # drawing is float32 on every CPU
    torch.testing.assert_close(drawn["0", 1], drawn["0", 2], atol=1e-3, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_gpu_draws_and_learns_what_the_cpu_does(trained, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)               # all 23 bits, as on the CPU
    cpu, gpu = (text2image.load(trained, device) for device in ("cpu", "cuda"))
    drawn = [text2image.draw(CAPTIONS, [3, 5], parts, steps=3).cpu() for parts in (cpu, gpu)]
    torch.testing.assert_close(*drawn, atol=1e-3, rtol=0)
    for part in (*vars(cpu).values(), *vars(gpu).values()):
        part.requires_grad_(True)
    x, t, grads = torch.randn(13, 4, 4, 4), torch.randint(1, 1001, (13,)), []
    for parts in (cpu, gpu):
        text = parts.clip.text_states([CAPTIONS[0]] * 13)
        pictures = parts.autoencoder.decode(parts.unet.network(x.to(parts.device), t.to(parts.device), text))
        (parts.classifier(pictures).square().mean() + (parts.clip.embed_pictures(pictures) ** 3).sum()).backward()
        weights = [p for part in vars(parts).values() for p in part.parameters()]
        grads.append(torch.cat([p.grad.flatten().cpu() for p in weights if p.grad is not None]))
    torch.testing.assert_close(*grads, atol=1e-3 * grads[0].abs().max().item(), rtol=0)


# ------------------------------------------------------------------ other terminals, other alphabets

BARE = """
import sys, torch
from minidiff.pipelines import text2image
before = set(sys.modules)
text2image.load(sys.argv[1], "cpu")
print({"torch._dynamo", "sympy"} & (set(sys.modules) - before), "scipy.optimize" in sys.modules)
from minidiff import exercises
from minidiff.tools import show, show_attention
show.grid(torch.zeros(2, 3, 32, 32), ["ein Bild", "noch eins"]).savefig("Bild \\xfc.png")
drawn = [name for name in sys.modules if name.startswith(("tkinter", "PyQt", "PySide", "gi.", "wx"))]
print(drawn, "matplotlib.pyplot" in sys.modules, torch.get_num_threads())
sys.argv = ["exercises", "--hints", "1.5"]
import runpy
runpy.run_module("minidiff.exercises", run_name="__main__")
"""


def test_without_a_display_and_with_a_terminal_of_letters_only_figures_are_drawn_and_hints_told(trained, tmp_path):
    """And nothing large is imported to load the parts: torch's compiler takes a second, scipy's optimizers half."""
    folder = tmp_path / "Größe 1 ü"
    folder.mkdir()
    ours = ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND", "PYTHONUTF8")
    bare = {key: value for key, value in os.environ.items() if key not in ours}
    bare |= {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run([sys.executable, "-W", "ignore::RuntimeWarning:runpy", "-c", BARE, trained], cwd=folder,
                          env=bare, capture_output=True, text=True)
    said = done.stdout.splitlines()
    assert (done.returncode, done.stderr, said[:2]) == (0, "", ["set() False", "[] False 1"])
    assert said[2].startswith("1. ") and said[4].startswith("3. ") and "?" in done.stdout
    picture, = folder.glob("Bild *.png")                         # its name is in the child's encoding, not in ours
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_a_folder_may_have_spaces_and_letters_of_any_alphabet(trained, tmp_path, capsys):
    name = "数字 %s {0}".encode(sys.getfilesystemencoding(), "ignore").decode(sys.getfilesystemencoding())
    folder = Path(shutil.copytree(trained, tmp_path / "Größe 1 ü" / name))       # cp1252 knows two of three alphabets
    assert main(["train", "--folder", str(folder)]) == 0
    assert main(["draw", CAPTIONS[0], "--n", "1", "--steps", "1", "--folder", str(folder)]) == 0
    assert main(["draw", CAPTIONS[0], "--n", "1", "--steps", "1", "--folder", str(trained),
                 "-o", str(folder / "né.png")]) == 0
    said = capsys.readouterr().out
    assert f"The parts are in {folder}/" in said and f"Drawn: {folder / 'drawing.png'}" in said
    assert (folder / "né.png").read_bytes() == (folder / "drawing.png").read_bytes()


# ------------------------------------------------------------------ other versions


def pins(line):
    """numpy==2.2.6; python_version < "3.11" -> numpy, (2, 2, 6), and the Python versions 3.x that it is for."""
    name, version, relation = re.fullmatch(r"([\w-]+)==([\d.]+)(?:; python_version (<|>=) \"3.11\")?", line).groups()
    minor = {None: range(10, 14), "<": range(10, 11), ">=": range(11, 14)}[relation]
    return name, tuple(map(int, version.split("."))), set(minor)


def test_every_supported_python_has_one_version_of_each_package_and_not_below_its_bound():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'requires-python = ">=3.10"' in text
    assert re.findall(r"Python :: 3\.(\d+)", text) == ["10", "11", "12", "13"]
    bounds = {name: tuple(map(int, least.split("."))) for name, least in re.findall(r'"([\w-]+)>=([\d.]+)"', text)}
    found = {}
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()[:-1]:
        name, version, minors = pins(line)
        assert not minors & found.setdefault(name, set()) and version >= bounds[name]
        found[name] |= minors
    assert set(found) == set(bounds) - {"hatchling"} and all(minors == {10, 11, 12, 13} for minors in found.values())


def test_no_file_and_no_notebook_is_written_in_a_newer_python():
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--target-version=py310",
                           "--select=F7", "minidiff", "tests", "notebooks"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "All checks passed!\n"), done.stdout


# ------------------------------------------------------------------ no network

REMOTE = re.compile(r"""!\[[^]]*\]\(\s*<?https?:|^\[[^]]+\]:\s*https?:\S+\.(?:png|jpe?g|gif|svg)"""
                    r"""|(?:\bsrc|srcset|poster|data)\s*=\s*["'\\]*(?:https?:)?//|<link\b[^>]+href"""
                    r"""|@import|url\(["'\\]*(?:https?:)?//""", re.MULTILINE | re.IGNORECASE)


def test_no_page_of_the_book_shows_anything_from_the_network():
    for remote in ("![x](https://a.b/c.png)", '<img src=\\"//a.b/c\\">', "<script async src='http://a.b'>",
                   '<link rel="stylesheet" href="x">', "background: url(https://a.b/c)", "[x]: http://a.b/c.png"):
        assert REMOTE.search(remote)
    pages = sorted(ROOT.glob("notebooks/*.ipynb")) + sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("*/*.md"))
    assert len(pages) >= 14
    for page in pages:
        assert not (found := REMOTE.search(page.read_text(encoding="utf-8"))), (page.name, found)

