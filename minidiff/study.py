"""Comparisons that take longer than a chapter may: run once, kept as JSON, drawn by the chapter."""

import datetime
import json
import os
import platform
import re
import sys
from pathlib import Path

import torch

from minidiff import __version__
from minidiff.runtime import budget_name


def about_this_run():
    """What a number depends on besides its code: budget, versions and machine."""
    return {
        "budget": budget_name(),
        "versions": {"minidiff": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "machine": {"device": "cuda" if torch.cuda.is_available() else "cpu", "threads": torch.get_num_threads()},
    }


def write_json(content, path):
    """Write JSON, whole or not at all; a list of numbers takes one line."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.part")
    text = json.dumps(content, indent=1)
    text = re.sub(r"\[[-\d.eE+,\s]+\]", lambda numbers: " ".join(numbers.group().split()), text)
    draft.write_text(text + "\n")
    os.replace(draft, path)


def keep(file, config, results):
    """Write the results of the study `file` beside it as NAME.json, or to the path given on the command line.

    The fast budget must name a path: its numbers would replace real ones.
    """
    if len(sys.argv) < 2 and budget_name() == "fast":
        raise ValueError(f"the fast budget would overwrite {Path(file).with_suffix('.json').name} with numbers that "
                         "mean nothing; name another file: python STUDY.py OUT.json")
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(file).with_suffix(".json")
    write_json({"command": f"python notebooks/studies/{Path(file).name}", "date": str(datetime.date.today()),
                **about_this_run(), "config": config, "results": results}, path)
    print(f"written to {path}")


def load(name, folder="studies"):
    """The kept results of a study -> dict with `command`, `date`, `config`, `results` and more."""
    path = Path(folder) / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing. It is part of the repository; "
                                f"`python notebooks/studies/{name}.py` makes it anew")
    return json.loads(path.read_text())


def told(name, folder="studies"):
    """The results of a study, after a line that says what made them: the command, and the settings that are numbers."""
    kept = load(name, folder)
    numbers = {key: value for key, value in kept["config"].items() if isinstance(value, (int, float))}
    settings = "; ".join(f"{key}: {value:,}" for key, value in numbers.items())
    print(f"made by: {kept['command']} ({settings})\n")
    return kept["results"]
