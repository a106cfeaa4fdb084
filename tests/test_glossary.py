"""The glossary: its terms are in the notebooks, its names are in the package, and no old name is left in either."""

import ast
import json
import re
import unicodedata
from pathlib import Path

import pytest

import minidiff

ROOT = Path(__file__).parent.parent
NOTEBOOKS = {path.name.split("_")[0]: path for path in sorted(ROOT.glob("notebooks/*.ipynb"))}       # 04b: where it is
PACKAGE = Path(minidiff.__file__).parent
SOURCES = {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
LINES = [line for line in (ROOT / "notebooks/GLOSSARY.md").read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
HEADER, RULE, *ROWS = [[cell.strip() for cell in line[1:-1].split("|")] for line in LINES]
TERMS = [row[0] for row in ROWS]
OLD_NAMES = ("Wardrobe", "dress", "crowded_levels", "draw_levels", "continue_caption", "next_word_shares", "looked_at")


def cells_of(notebook):
    return json.loads(NOTEBOOKS[notebook].read_text(encoding="utf-8"))["cells"]


def text_of(notebook):
    """What stands in the cells of a notebook, on one line and without the signs for bold, italics and code."""
    text = " ".join("".join(cell["source"]) for cell in cells_of(notebook))
    return " ".join(re.sub("[*`]", "", text).split())


def printed_in(notebook):
    """What its cells have printed, which may be the source of a function."""
    outputs = [output for cell in cells_of(notebook) for output in cell.get("outputs", [])]
    return "\n".join("".join(output.get("text", output.get("data", {}).get("text/plain", ""))) for output in outputs)


def identifiers():
    """The names that the package defines or uses, and its strings, since some choices are given as such."""
    for node in (node for source in SOURCES.values() for node in ast.walk(ast.parse(source))):
        for field in ("id", "attr", "name", "asname", "arg", "value"):
            if isinstance(name := getattr(node, field, None), str):
                yield name


def alphabetically(term):
    """The place of a term in the table: capitals and accents do not count."""
    return unicodedata.normalize("NFKD", term).encode("ascii", "ignore").decode().casefold()


def test_the_table_is_whole_sorted_and_names_each_term_once():
    assert len(ROWS) >= 90 and HEADER[0] == "term" and {len(row) for row in (HEADER, RULE, *ROWS)} == {6}
    assert [row for row in ROWS if not all(row)] == []           # an empty cell is a dash
    assert TERMS == sorted(TERMS, key=alphabetically)
    assert len({term.casefold() for term in TERMS}) == len(TERMS)


def test_each_meaning_is_one_short_sentence():
    assert [row[4] for row in ROWS if not re.fullmatch(r"[A-Z].*\.", row[4]) or len(row[4].split()) > 25] == []


@pytest.mark.parametrize("notebook", sorted({row[3] for row in ROWS}))
def test_each_term_occurs_in_the_notebook_that_introduces_it(notebook):
    text = text_of(notebook)
    terms = [re.split(r" \(|,", term)[0] for term, _, _, place, *_ in ROWS if place == notebook]
    assert [term for term in terms if not re.search(rf"\b{re.escape(term)}s?\b", text, re.IGNORECASE)] == []


def test_each_name_in_the_code_exists():
    names = [name for row in ROWS for name in re.findall(r"`([^`]+)`", row[2])]
    known = set(identifiers())
    assert len(names) > 60 and [name for name in names if not set(name.split(".")) <= known] == []
    assert [row[2] for row in ROWS if row[2] != "–" and not re.fullmatch(r"`[\w.]+`(, `[\w.]+`)*", row[2])] == []


@pytest.mark.parametrize("name", OLD_NAMES)
def test_no_old_name_is_left_in_the_package_and_the_notebooks(name):
    """What a notebook has printed counts, too: there the readers see sources."""
    texts = SOURCES | {path.name: f"{text_of(place)}\n{printed_in(place)}" for place, path in NOTEBOOKS.items()}
    assert [where for where, text in texts.items() if re.search(rf"\b{name}\b", text)] == []
