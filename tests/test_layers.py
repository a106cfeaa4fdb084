"""The architecture: a file imports only from strictly lower layers, and stays small."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "minidiff"
LAYERS = {
    0: ["inputs", "keeping", "__init__"],
    1: ["runtime", "data", "captions", "schedule", "checkpoint", "optimizer", "show", "differences", "exercises"],
    2: ["clouds", "dressing", "objectives", "samplers", "attention", "blocks", "train", "looks", "likelihood", "study"],
    3: ["toy", "transformer", "autoencoder"],
    4: ["clip", "unet", "dit"],
    5: ["metrics"],
    6: ["text2image", "vit"],
    7: ["report", "ch1", "ch1b", "ch2", "ch2b", "ch3", "ch3b",  # and the exercises
        "ch4", "ch4b", "ch4c", "ch5", "ch5b", "ch6", "ch6b", "ch6c"],
    8: ["__main__", "judging"],
    9: ["checks"],
}
LAYER = {name: layer for layer, names in LAYERS.items() for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(path):
    """The names of the package's files that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "minidiff":
            yield from (alias.name for alias in node.names if alias.name in LAYER)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minidiff."):
            yield node.module.split(".")[-1]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[-1] for a in node.names if a.name.startswith("minidiff."))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_imports_come_from_strictly_lower_layers(path):
    assert path.stem in LAYER, f"{path.stem} has no layer"
    assert [name for name in imported(path) if LAYER[name] >= LAYER[path.stem]] == []


def test_the_import_reader_sees_all_forms(tmp_path):
    file = tmp_path / "example.py"
    file.write_text("import minidiff.unet\nfrom minidiff import clip, __version__\ndef f():\n"
                    "    from minidiff.data import batch\n")
    assert sorted(imported(file)) == ["clip", "data", "unet"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 200
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


def test_nothing_is_pickled_and_nothing_evaluated():
    for path in FILES:
        for word in ("pickle.", "torch.load", "torch.save", "eval(", "exec(", "os.system", "shell=True"):
            found = [line for line in path.read_text().splitlines()
                     if word in line and ".eval(" not in line and "allow_pickle=False" not in line]
            assert found == [], (path, word)
