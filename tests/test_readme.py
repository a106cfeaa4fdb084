"""What the README promises: its ten lines run, its commands exist, its picture is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from matplotlib.image import imread

from minidiff.exercises.checker import all_exercises

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_ten_lines_run_and_draw(tmp_path):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], str(ROOT)])}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True)
    image = imread(tmp_path / "moons.png")
    assert image.shape[1] > 3 * image.shape[0] and np.ptp(image) > 0.5


def test_the_commands_and_files_that_it_names_exist():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"demo", "test"} <= set(targets) and set(re.findall(r'(?<!")make (\w+) ', README)) <= set(targets)
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert "notebooks/gallery.png" in links and all((ROOT / link).exists() for link in links)
    table = "".join(line for line in README.splitlines() if re.match(r"\| \d+ \|", line))
    files = re.findall(r"`([\w/]+)`", table)                      # a room and a file in it
    assert len(files) > 20 and all((ROOT / "minidiff" / f"{file}.py").exists() for file in files)
    for module in set(re.findall(r"python -m (minidiff[.\w]*)", README)):
        assert (ROOT / module.replace(".", "/") / "__main__.py").exists()
    assert f"exercises that check themselves, {len(all_exercises())} in all" in README
