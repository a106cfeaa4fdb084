"""Comparisons that take longer than a chapter may: run once, kept as JSON, drawn by the chapter."""

import datetime
import platform
from pathlib import Path

import torch

from minidiff import __version__
from minidiff.tools.checks import check
from minidiff.tools.files import read_json, write_json
from minidiff.tools.runtime import budget_name, checkout, device_name


def about_this_run():
    """What a number depends on besides its code: budget, versions and machine."""
    return {
        "budget": budget_name(),
        "versions": {"minidiff": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "machine": {"device": device_name().split(":")[0], "threads": torch.get_num_threads()},
    }


def keep(file, config, results, path=None):
    """Write the results of the study `file` beside it as NAME.json, or to a path, which the fast budget must name:
    its numbers would replace real ones."""
    check(path or budget_name() != "fast", f"the fast budget would overwrite {Path(file).with_suffix('.json').name} "
          "with numbers that mean nothing; name another file: python STUDY.py OUT.json")
    path = Path(path or Path(file).with_suffix(".json"))
    write_json({"command": f"python notebooks/studies/{Path(file).name}", "date": str(datetime.date.today()),
                **about_this_run(), "config": config, "results": results}, path)
    print(f"written to {path}")


def load(name, folder="studies"):
    """The kept results of a study -> dict with `command`, `date`, `config`, `results` and more.

    A folder is one beside the notebooks of the repository, wherever one stands, or else of the working directory.
    """
    places = [Path(folder) / f"{name}.json"]
    if root := checkout():
        places.insert(0, (root / "notebooks" / places[0]).resolve())
    path = next((path for path in places if path.exists()), places[0])
    again = f"`python notebooks/studies/{name}.py` makes it anew"
    if not path.exists():
        where = "" if root else ", and here is only the package: clone it and start there"
        raise FileNotFoundError(f"{path} is missing. It is part of the repository{where}; {again}")
    return read_json(path, f"Restore it: git checkout {path}, or {again}")


def told(name, folder="studies"):
    """The results of a study, after a line that says what made them: the command, and the settings that are numbers."""
    kept = load(name, folder)
    numbers = {key: value for key, value in kept["config"].items() if isinstance(value, (int, float))}
    settings = "; ".join(f"{key}: {value:,}" for key, value in numbers.items())
    print(f"made by: {kept['command']} ({settings})\n")
    return kept["results"]
