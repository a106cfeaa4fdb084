"""Each notebook runs from top to bottom in the fast budget, and what is committed is one clean run."""

import json
import re
from pathlib import Path

import nbclient
import nbformat
import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(path, trained, monkeypatch):
    monkeypatch.setenv("MINIDIFF_FOLDER", str(trained))
    notebook = nbformat.read(path, 4)
    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3",
                            resources={"metadata": {"path": str(FOLDER)}}).execute()
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in ran] == list(range(1, len(ran) + 1))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_one_clean_run_small_and_mostly_prose(path):
    text = path.read_text()
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
