"""Slides from the notebooks' own cells:  python notebooks/slides/build.py OUT [NOTEBOOK ...]

Which cell is shown says its tag, "Slide Type" in Jupyter:  a slide or subslide is shown, notes are for the speaker
(key S), skip is left out.  Of a text one sees the headings and the first sentence of each paragraph, the rest is in
the notes; code comes on one slide and what it prints or draws on the next one, so that a class can predict it.
"""

import copy
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter
from traitlets.config import Config

HERE, LONGEST = Path(__file__).parent, 14                        # lines of code that a slide can hold
WITHOUT = Config({"TagRemovePreprocessor": {"enabled": True, "remove_input_tags": ["without input"]}})


def chunks(text):
    """A text, cut where a heading or a paragraph with a bold beginning starts."""
    text = re.sub(r"<details>.*?</details>\s*", "", text, flags=re.DOTALL)
    return [part.strip() for part in re.split(r"\n(?=## |\*\*)", "\n" + text) if part.strip()]


def lead(chunk):
    """What a slide shows of a text: headings, pictures, tables and lists whole; of a paragraph its first two sentences
    and its questions, and nothing of what stands in the notes only: time, memory, needs.
    """
    shown = []
    for paragraph in map(str.strip, re.sub(r"\n(?=\*\*)", "\n\n", chunk).split("\n\n")):
        if re.match(r"#|!\[|\||-|\d+\.|```", paragraph):
            shown.append(paragraph)
        elif not re.match(r"\*\*(Time|Memory|Needs|Projects|To read)|\*[^*]|\(|&", paragraph):
            sentences = re.split(r"(?:(?<=[.?!:])|(?<=[.?!:]\*\*))\s+(?=[A-Z`*“(])", paragraph.replace("\n", " "))
            sentences = [sentence for sentence in sentences if sentence[0] != "("]
            shown.append(" ".join(sentences[:2] + [s for s in sentences[2:] if "?" in s or "**Predict**" in s]))
    return "\n\n".join(shown)


def deck(notebook):
    """A notebook -> a notebook whose cells are slides, of which none holds more than it can."""
    def cell_of(cell, kind, **changed):
        new = copy.deepcopy(cell)
        new.update(changed)
        new.metadata["slideshow"] = {"slide_type": kind}
        return new

    cells = []
    for cell in notebook.cells:
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
        if kind == "skip":
            continue
        if cell.cell_type == "markdown":
            for chunk in [cell.source] if not cells else chunks(cell.source):            # the title card is one slide
                if chunk.startswith("## Exercises"):
                    break                                        # they are for paper and keyboard
                if chunk.startswith("**Projects"):
                    continue
                if kind != "notes" and chunk.startswith(("#", "**")) and lead(chunk):
                    cells.append(cell_of(cell, "slide" if chunk.startswith("#") else "subslide", source=lead(chunk)))
                cells.append(cell_of(cell, "notes", source=chunk))
        else:
            if len(cell.source.splitlines()) <= LONGEST:
                cells.append(cell_of(cell, "subslide", outputs=[]))
            if cell.outputs:
                cells.append(cell_of(cell, "subslide"))
                cells[-1].metadata["tags"] = ["without input"]
    while cells and cells[0].metadata.slideshow.slide_type == "notes":
        del cells[0]                                             # nothing to stand beside
    for number, cell in enumerate(cells):
        cell.id = f"slide-{number}"
    return nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)


def main(out, *paths):
    """Write OUT/NAME.html for each notebook, and reveal.js beside them."""
    out = Path(out)
    reveal = Path(find_spec("sphinx_revealjs").submodule_search_locations[0], "_static", "revealjs")
    shutil.copytree(reveal, out / "reveal.js", dirs_exist_ok=True)
    exporter = SlidesExporter(template_name="slides", extra_template_basedirs=[str(HERE.parent)], embed_images=True,
                              reveal_url_prefix="reveal.js", config=WITHOUT)
    for path in map(Path, paths or sorted(HERE.parent.glob("*.ipynb"))):
        slides = deck(nbformat.read(path, 4))
        page, _ = exporter.from_notebook_node(slides, {"metadata": {"path": str(path.parent), "name": path.stem}})
        (out / f"{path.stem}.html").write_text(page, encoding="utf-8")
        print(out / f"{path.stem}.html")


if __name__ == "__main__":
    main(*sys.argv[1:])
