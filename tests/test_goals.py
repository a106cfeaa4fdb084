"""The table of goals: what it asks for is kept, and it stars what is missed."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from minidiff.tools import study, write_json

STUDIES = Path(__file__).parent.parent / "notebooks" / "studies"
goals = SimpleNamespace(**runpy.run_path(str(STUDIES / "goals.py")))
NOT_KEPT = {"GPT: seconds", "CLIP: a true picture first for a sentence, %"}
MISSED = {"PSNR of unseen digits, dB", "points lost by learning from drawn digits", "one call: all four, %",
          "one call: Frechet distance over the 27 calls'", "one call: diversity over the 27 calls'",
          "one call: diversity, of the real digits'", "pairs and student, seconds",
          "flow matching: W2 of the two moons over its floor", "LoRA: gain on orange digits, % of a full training's",
          "LoRA: points lost on old captions", "LoRA: orange digits that were never shown, %",
          "ControlNet: seconds of training", "editor: seconds of training", "watermark at alpha 1, % of frames",
          "drawn together: frechet of sounds over apart", "the machine of skewed digits: seconds of training"}


def test_every_goal_has_a_study_with_a_number_for_each_of_three_seeds():
    for goal in goals.GOALS:
        if goal.what not in NOT_KEPT:
            found = goal.key(study.load(goal.study, STUDIES))
            assert len(found) >= 3 and all(isinstance(n, (int, float)) for n in found), goal.what
    assert len({(goal.chapter, goal.what) for goal in goals.GOALS}) == len(goals.GOALS)


@pytest.fixture
def folder(tmp_path):
    runs = [{"share": share, "far": far, "floor": 2.0} for share, far in ((0.97, 5.0), (0.99, 6.0), (0.98, 7.0))]
    write_json({"results": {"runs": runs}}, tmp_path / "made_up.json")
    return tmp_path


def test_the_worst_seed_counts_and_a_star_says_that_it_missed(folder):
    share, far, floor = (goals.number("runs", ..., name) for name in ("share", "far", "floor"))
    rows = [goals.Goal(9, "share, reached", ">=", 0.97, "made_up", share),
            goals.Goal(9, "share, missed", ">=", 0.98, "made_up", share),
            goals.Goal(9, "floors, reached", "<=", 3.5, "made_up", goals.over(far, floor)),
            goals.Goal(9, "nobody kept it", ">=", 0),
            goals.Goal(9, "more than the floor, missed", "<=", 4.5, "made_up", goals.less(far, floor))]
    assert [goals.worst(row, folder) for row in rows] == [0.97, 0.97, 3.5, None, 5.0]
    lines = goals.table(rows, folder).splitlines()
    assert [line.endswith("*") for line in lines] == [False, False, True, False, True, True, False]
    assert "not kept" in lines[4] and lines[-1] == "2 of 5 goals are reached"


def test_the_printed_table_has_a_line_for_each_goal_and_counts_those_without_a_star():
    _, *lines, last = goals.table(goals.GOALS, STUDIES).splitlines()
    starred = {re.split(r"  +", line)[1] for line in lines if line.endswith("*")}
    assert starred == MISSED | NOT_KEPT and len(lines) == len(goals.GOALS)
    assert last == f"{len(goals.GOALS) - len(starred)} of {len(goals.GOALS)} goals are reached"
