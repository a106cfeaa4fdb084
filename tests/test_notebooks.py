"""Each notebook runs from top to bottom in the fast budget, and what is committed is one clean run."""

import json
import re
import shutil
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(scope="module")
def runs(trained):
    """The trained parts, both where the command leaves them and where a notebook looks in the fast budget."""
    (trained / "fast").mkdir(exist_ok=True)
    for path in trained.glob("*.safetensors"):
        shutil.copy(path, trained / "fast")
    return trained


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(path, runs, monkeypatch):
    monkeypatch.setenv("MINIDIFF_FOLDER", str(runs))
    notebook = nbformat.read(path, 4)
    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3",
                            resources={"metadata": {"path": str(FOLDER)}}).execute()
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in ran] == list(range(1, len(ran) + 1))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_one_clean_run_small_and_mostly_prose(path):
    text = path.read_text(encoding="utf-8")
    cells = json.loads(text)["cells"]
    code = [c for c in cells if c["cell_type"] == "code"]
    assert [c["execution_count"] for c in code] == list(range(1, len(code) + 1))
    outputs = [o for c in code for o in c["outputs"]]
    assert outputs and not any(o["output_type"] == "error" or o.get("name") == "stderr" for o in outputs)
    assert path.stat().st_size <= 1_000_000
    assert re.search(r"!\[[^]]*\]\(https?://|<img[^>]+https?://", text) is None
    lines = [[line for line in "".join(c["source"]).splitlines() if line.strip()] for c in code]
    words = sum(len("".join(c["source"]).split()) for c in cells if c["cell_type"] == "markdown")
    assert max(map(len, lines)) <= 25 and sum(map(len, lines)) <= 250 and words >= 4 * sum(map(len, lines))
    assert max(len(line) for cell in lines for line in cell) <= 120


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_slides_hold_little_and_their_notes_hold_all(path, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER / "slides")
    sys.modules.pop("build", None)
    import build
    notebook = nbformat.read(path, 4)
    assert all(cell.metadata.get("slideshow", {}).get("slide_type") in ("slide", "subslide", "notes", "skip")
               for cell in notebook.cells)
    slides = build.deck(notebook)
    nbformat.validate(slides)
    kinds = [cell.metadata.slideshow.slide_type for cell in slides.cells]
    shown = [cell.source for cell, kind in zip(slides.cells, kinds) if cell.cell_type == "markdown" and kind != "notes"]
    notes = "\n".join(cell.source for cell, kind in zip(slides.cells, kinds) if kind == "notes")
    words = [sum(len(line.split()) for line in text.splitlines() if line[:1] != "|") for text in shown]
    assert kinds[0] == "slide" and len(shown) >= 5 and max(words) <= 120 and min(words) > 0
    titles = [line for cell in notebook.cells if cell.metadata.slideshow.slide_type == "slide"
              for line in cell.source.splitlines() if line.startswith("#") and "Exercises" not in line]
    assert all(any(title in text for text in shown) and title in notes for title in titles)
    code = [cell for cell in slides.cells if cell.cell_type == "code"]
    assert all(len(cell.source.splitlines()) <= build.LONGEST for cell in code if "tags" not in cell.metadata)
    assert sum(bool(cell.outputs) for cell in code) == sum(
        cell.metadata.slideshow.slide_type == "subslide" for cell in notebook.cells if cell.get("outputs"))
