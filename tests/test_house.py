"""The house: who may import whom, that the reading order names every file, and that all of it is small and safe."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import minidiff

PACKAGE = Path(minidiff.__file__).parent
FLOORS = {"": 0, "tools": 1, "data": 2, "diffusion": 2, "training": 2, "models": 3, "evaluation": 3, "pipelines": 4,
          "exercises": 5, "options": 5, "beside": 5, "__main__": 6}
FILES = {".".join(("minidiff", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
         for path in sorted(PACKAGE.rglob("*.py"))}              # minidiff.data.digits: where it is
ANSWERS = [  # what a newcomer asks: the words in the reading order, the file, and what is defined there
    ("noise is added", "diffusion/schedule.py", "add_noise"),
    ("a caption becomes numbers", "data/captions.py", "tokenize"),
    ("trains the digit classifier", "pipelines/classifier.py", "recipe"),
    ("Frechet distance", "evaluation/metrics.py", "frechet_distance"),
    ("training loop", "training/loop.py", "train"),
    ("classifier-free guidance", "diffusion/guidance.py", "guided"),
    ("skip connections", "models/unet.py", "UNet"),
    ("is colored", "data/rendering.py", "tint"),
    ("figures: pictures", "tools/show.py", "grid"),
    ("moving average of the weights", "training/ema.py", "EMA"),
]


def imported(path):
    """The names of the package's files that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in FILES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: the full name, please, instead of dots"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (file for name in names if (file := name if name in FILES else node.module) in FILES)


def room_of(name):
    return (name.split(".") + [""])[1]


def in_reading_order():
    """(room, file) for each file that `minidiff.__doc__` names between its rooms, and the line it stands in."""
    house, room = minidiff.__doc__.split("Where does a new thing go?")[0], ""
    for line in house.splitlines():
        if found := re.match(r" {4}(\w+)/ ", line):
            room = found[1]
        for name in re.findall(r"\b(\w+\.py)\b", line):
            yield f"{room}/{name}".removeprefix("/"), line


def test_a_room_imports_only_from_rooms_on_lower_floors():
    arrows = [(name, other) for name, path in FILES.items() for other in imported(path)]
    arrows = [(name, other) for name, other in arrows if room_of(name) != room_of(other)]
    assert [(name, other) for name, other in arrows if FLOORS[room_of(name)] <= FLOORS[room_of(other)]] == []
    assert len(arrows) > 100


def test_imports_form_no_circle():
    TopologicalSorter({name: set(imported(path)) for name, path in FILES.items()}).prepare()


def test_the_import_reader_sees_all_forms(tmp_path):
    file = tmp_path / "example.py"
    file.write_text("import minidiff.models.unet\nfrom minidiff.models import clip, UNet\nfrom torch import nn\n"
                    "from minidiff import __version__\ndef f():\n    from minidiff.data.captions import parse\n",
                    encoding="utf-8")
    assert sorted(imported(file)) == ["minidiff", "minidiff.data.captions", "minidiff.models", "minidiff.models.clip",
                                      "minidiff.models.unet"]


def test_the_reading_order_is_the_tree():
    named = [file for file, _ in in_reading_order()]
    tree = [path.relative_to(PACKAGE).as_posix() for path in FILES.values() if path.name != "__init__.py"]
    assert sorted(named) == sorted(tree)
    assert list(dict.fromkeys(re.findall(r"^ {4}(\w+)/ ", minidiff.__doc__, re.MULTILINE))) == [
        "data", "diffusion", "models", "evaluation", "pipelines", "training", "tools", "exercises"]


@pytest.mark.parametrize(("words", "file", "defined"), ANSWERS, ids=[words for words, *_ in ANSWERS])
def test_the_reading_order_answers_a_newcomer_and_is_right(words, file, defined):
    assert [name for name, line in in_reading_order() if words in line] == [file]
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    assert defined in [node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]


def test_functions_stay_small():
    for path in FILES.values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 40, (path, node.name)


def test_nothing_is_pickled_and_nothing_evaluated():
    for path in FILES.values():
        for word in ("pickle.", "torch.load", "torch.save", "eval(", "exec(", "os.system", "shell=True"):
            found = [line for line in path.read_text(encoding="utf-8").splitlines()
                     if word in line and ".eval(" not in line and "allow_pickle=False" not in line]
            assert found == [], (path, word)
