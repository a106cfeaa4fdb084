"""Comparisons that take longer than a chapter may: run once, kept as JSON, drawn by the chapter."""

import datetime
import hashlib
import json
import platform
import re
import sys
from pathlib import Path

import torch

from minidiff import __version__
from minidiff.keeping import FileError, one_line, whole
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
    text = json.dumps(content, indent=1)
    text = re.sub(r"\[[-\d.eE+,\s]+\]", lambda numbers: " ".join(numbers.group().split()), text)
    with whole(path) as draft:
        draft.write_text(text + "\n")


def sealed(content):
    """A dict with a checksum of all else in it, which `opened` looks at."""
    content = json.loads(json.dumps(content))                    # as it will be read
    return content | {"sha256": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}


def opened(path, repair):
    """The dict in a JSON file that was sealed, or was written before there were seals; a damaged one is an error."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if "sha256" in content and sealed({k: v for k, v in content.items() if k != "sha256"}) != content:
            raise ValueError("its checksum does not fit its contents")
        return dict(content)
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise FileError(f"{path} is damaged ({one_line(error)}). {repair}") from error


def keep(file, config, results):
    """Write the results of the study `file` beside it as NAME.json, or to the path given on the command line.

    The fast budget must name a path: its numbers would replace real ones.
    """
    if len(sys.argv) < 2 and budget_name() == "fast":
        raise ValueError(f"the fast budget would overwrite {Path(file).with_suffix('.json').name} with numbers that "
                         "mean nothing; name another file: python STUDY.py OUT.json")
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(file).with_suffix(".json")
    write_json(sealed({"command": f"python notebooks/studies/{Path(file).name}", "date": str(datetime.date.today()),
                       **about_this_run(), "config": config, "results": results}), path)
    print(f"written to {path}")


def load(name, folder="studies"):
    """The kept results of a study -> dict with `command`, `date`, `config`, `results` and more."""
    path = Path(folder) / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing. It is part of the repository; "
                                f"`python notebooks/studies/{name}.py` makes it anew")
    return opened(path, f"Restore it: git checkout {path}, or python notebooks/studies/{name}.py makes it anew")


def told(name, folder="studies"):
    """The results of a study, after a line that says what made them: the command, and the settings that are numbers."""
    kept = load(name, folder)
    numbers = {key: value for key, value in kept["config"].items() if isinstance(value, (int, float))}
    settings = "; ".join(f"{key}: {value:,}" for key, value in numbers.items())
    print(f"made by: {kept['command']} ({settings})\n")
    return kept["results"]
