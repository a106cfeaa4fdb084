"""Shared set-up: the fast budget, no network, one thread for each worker, and digits rendered once."""

import os
import runpy
from pathlib import Path

import pytest

OFFLINE = Path(__file__).parent / "offline"
os.environ |= {"MINIDIFF_BUDGET": "fast", "PYTHONPATH": os.pathsep.join([str(OFFLINE), str(OFFLINE.parents[1])]),
               "MPLBACKEND": "agg", "MINIDIFF_BF16": "0"}
if "PYTEST_XDIST_WORKER" in os.environ:                          # two workers on two cores: one thread each
    os.environ["OMP_NUM_THREADS"] = "1"
runpy.run_path(str(OFFLINE / "sitecustomize.py"))


@pytest.fixture(scope="session")
def digits():
    from minidiff.data import load_digits
    return load_digits()


@pytest.fixture(scope="session")
def val_ink(digits):
    """The 500 validation digits in all nine styles, as bytes (500, 3, 3, 32, 32)."""
    from minidiff.data import render_styles
    return render_styles(digits.val)


@pytest.fixture(scope="session")
def captioned(digits, val_ink):
    from minidiff.data import CaptionedDigits
    return CaptionedDigits(val_ink, digits.val_labels)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder in which every stage was trained, undisturbed, in the fast budget."""
    from minidiff.__main__ import main
    folder = tmp_path_factory.mktemp("trained")
    assert main(["train", "--folder", str(folder)]) == 0
    return folder
