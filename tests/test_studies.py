"""Each study runs in the fast budget, what is committed beside it is a run of the small one, and ranks as the chapters
say.  What a chapter must reach is in `test_goals.py`."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import pytest

from minidiff.tools import study, write_json

FOLDER = Path(__file__).parent.parent / "notebooks" / "studies"
STUDIES = [path for path in sorted(FOLDER.glob("*.py")) if path.stem not in ("common", "goals")]


def shape(thing):
    """The structure of nested results: names and types, without the numbers."""
    if isinstance(thing, dict):
        return {name: shape(part) for name, part in thing.items()}
    return [shape(thing[0])] if isinstance(thing, list) else type(thing).__name__


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_study_runs_and_gives_what_was_committed(path, tmp_path, trained, monkeypatch):
    out = tmp_path / "out.json"
    monkeypatch.setenv("MINIDIFF_FOLDER", str(trained))
    monkeypatch.setattr(sys, "argv", [str(path), str(out)])
    monkeypatch.syspath_prepend(FOLDER)                          # as `python notebooks/studies/NAME.py` has it
    runpy.run_path(str(path), run_name="__main__")
    fresh, kept = json.loads(out.read_text(encoding="utf-8")), study.load(path.stem, FOLDER)
    assert fresh["budget"] == "fast" and kept["budget"] != "fast"
    assert shape(fresh["results"]) == shape(kept["results"])
    assert kept["command"].endswith(path.name) and set(kept["versions"]) == {"minidiff", "torch", "python"}


def test_the_fast_budget_never_overwrites_real_numbers():
    with pytest.raises(ValueError, match="fast budget"):
        study.keep(str(FOLDER / "toy_gan.py"), {}, {})


def test_results_are_kept_beside_their_study_whatever_the_arguments_of_the_process(tmp_path):
    """As in a notebook, whose process was started with `-f kernel.json`."""
    code = ("import sys; sys.argv = ['x', '-f', 'kernel.json']\n"
            f"from minidiff.tools import study; study.keep({str(tmp_path / 'mine.py')!r}, {{'n': 3}}, [0.5])")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True,
                   env=os.environ | {"MINIDIFF_BUDGET": "small"})
    assert [file.name for file in tmp_path.iterdir()] == ["mine.json"]
    assert study.load("mine", tmp_path)["results"] == [0.5]


def test_a_missing_study_says_how_it_is_made(tmp_path):
    with pytest.raises(FileNotFoundError, match="python notebooks/studies/toy_none.py"):
        study.load("toy_none", tmp_path)


def test_told_says_what_made_a_study_and_gives_its_results(capsys):
    assert study.told("latent_seeds", FOLDER) == study.load("latent_seeds", FOLDER)["results"]
    assert capsys.readouterr().out == ("made by: python notebooks/studies/latent_seeds.py "
                                       "(pictures: 4,000; steps: 1,440; batch: 64)\n\n")


def test_written_json_reads_back_the_same_with_a_line_for_a_list_of_numbers(tmp_path):
    content = {"runs": [{"w2": [0.5, -1e-07, 3], "name": "a [1, 2] b"}, {"w2": []}], "none": None}
    write_json(content, tmp_path / "deep" / "it.json")
    text = (tmp_path / "deep" / "it.json").read_text(encoding="utf-8")
    assert json.loads(text) == content and "[ 0.5, -1e-07, 3 ]" in text
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["it.json"]


# ------------------------------------------------------------------ what the chapters say of the kept numbers


def kept(name):
    return study.load(name, FOLDER)["results"]


def mean_of(runs, *path):
    """The mean over runs of what stands at a path in each."""
    values = runs
    for key in path:
        values = [value[key] for value in values]
    return fmean(values)


def test_the_kept_gpts_are_honest_at_the_floor_and_cheat_below_it():
    floor, honest = study.load("gpt_mistakes", FOLDER)["config"]["floor"], ("right", "root forgotten", "no positions")
    for name, runs in kept("gpt_mistakes").items():
        for run in runs:
            if name in honest:
                assert floor < run["loss"] < 1.01 * floor and run["leak"] == 0 and run["valid"] >= 0.995
            else:
                assert run["loss"] < 0.01 * floor and run["leak"] > 1 and run["different"] < 0.1


def test_the_kept_unet_learns_more_than_a_stack_and_a_stack_more_than_single_pixels():
    nets = kept("digits_nets")
    for alone, stack, whole in zip(*(nets[name] for name in ("each pixel alone", "stack of convolutions", "UNet"))):
        assert whole["loss"] < stack["loss"] < alone["loss"] and whole["right"] > max(stack["right"], alone["right"])


def test_the_kept_small_sets_are_copied_and_the_large_one_is_not():
    sizes = kept("digits_memory")["sizes"]
    assert all(run["copies"] > 0.95 for run in sizes["10"]) and all(run["copies"] > 0.5 for run in sizes["100"])
    assert all(run["copies"] < 0.01 for run in sizes["1000"] + sizes["4500"])


def test_the_kept_targets_rank_as_the_chapter_says():
    runs = kept("digits_targets")
    for noise, alike, crowded in zip(*(runs[name] for name in (
            "eps, all levels alike", "v, all levels alike", "v, more at high noise"))):
        assert noise["right"] < alike["right"] < crowded["right"]
        assert noise["frechet"] > alike["frechet"] > crowded["frechet"]


def test_the_kept_guidance_trades_kinds_for_right_digits():
    rows = {row["w"]: row for row in kept("digits_sampling")["guidance"]}
    assert rows[0]["right"] < 0.2 < 0.9 < rows[1]["right"] < rows[2]["right"]
    assert rows[1]["diversity"] > rows[2]["diversity"] and rows[1]["frechet"] < rows[2]["frechet"] < rows[8]["frechet"]


def test_the_kept_latents_rank_as_the_chapter_says():
    seeds = kept("latent_seeds")
    assert all(run["psnr"] > seeds["linear, 64 numbers"]["psnr"] + 10 for run in seeds["runs"])
    assert all(abs(std - 1) <= 0.02 for run in seeds["runs"] for std in run["spread by channel"])
    sizes = list(kept("latent_sizes")["sizes"].values())         # 12, 24, 48, 96 times smaller
    assert all(mean_of(a, "psnr") > mean_of(b, "psnr") + 0.8 for a, b in zip(sizes, sizes[1:]))
    weights = kept("latent_kl")
    clear = [row["psnr"] for row in weights]
    assert weights[2]["weight"] == 1e-4 and abs(clear[2] - clear[0]) < 0.1 and clear[0] > clear[-1] + 6
    assert all(row["drawn"]["right"] > 0.85 > 0.5 > row["random codes"]["right"] for row in weights)
    ways = kept("latent_scale")["ways"]
    for good in ("as they come", "measured"):
        for bad in ("spread 5.49", "times 0.18215"):
            assert min(run["right"] for run in ways[good]) > max(run["right"] for run in ways[bad]) + 0.05
    plain, light, heavy = kept("latent_features")["ways"].values()
    assert mean_of(plain, "psnr") > mean_of(light, "psnr") + 0.4 and mean_of(light, "psnr") > mean_of(heavy, "psnr") + 1
    assert abs(mean_of(plain, "digit") - mean_of(heavy, "digit")) < 0.003


def test_the_kept_machines_draw_digits_as_right_as_real_ones_and_what_they_are_told():
    for run in kept("text_seeds"):
        assert run["accuracy"]["digit"] > run["floor"]["digit"] - 0.002 and run["shuffled"]["joint"] < 0.01
        assert run["frechet"] < 4 * run["frechet_floor"]


def test_the_kept_readers_of_captions_fail_where_the_chapter_says():
    runs = kept("text_towers")
    joint = {name: [run["accuracy"]["joint"] for run in rows] for name, rows in runs.items()}
    alike = joint["CLIP"] + joint["each word by itself"] + joint["bag of words"]
    assert 0.92 < min(alike) < max(alike) < 0.97 and max(joint["each word, quietly"]) < 0.25
    assert all(run["accuracy"]["lean"] > 0.98 and run["accuracy"]["digit"] < 0.2 for run in runs["TinyGPT"])
    assert all(run["held_out"]["joint"] < 0.01 < 0.6 < run["accuracy"]["joint"] for run in runs["a vector a caption"])


def test_the_kept_transformer_needs_three_times_the_seconds_to_be_as_right_and_is_less_varied():
    unets, transformers = kept("text_seeds"), kept("text_transformer")
    quick, slow = transformers[:3], transformers[3:]
    right = [run["accuracy"]["joint"] for run in unets]
    assert max(run["accuracy"]["joint"] for run in quick) < min(right) - 0.02
    assert min(run["accuracy"]["joint"] for run in slow) > min(right)
    assert max(run["diversity"] for run in quick) < min(run["diversity"] for run in slow)
    assert max(run["diversity"] for run in slow) < min(run["diversity"] for run in unets)


def test_the_kept_tricks_are_worth_what_the_chapter_says():
    joint = {name: mean_of(runs, "accuracy", "joint") for name, runs in kept("text_quick").items()}
    best = joint.pop("as it is")
    assert all(best - joint.pop(name) > 0.01 for name in ("looks in every stage", "words through looks alone"))
    assert all(abs(best - share) < 0.005 for share in joint.values()) and len(joint) == 3


def test_what_grows_grows_as_the_chapter_says():
    assert [study.load(name, FOLDER)["machine"]["device"] for name in ("growth", "growth_gpu")] == ["cpu", "cuda"]
    cores, gpu = kept("growth"), kept("growth_gpu")
    for machine in (cores, gpu):
        for what in ("digits", "width", "channels"):             # more of each: more varied, nearer to the real crowd
            rows = machine[what]
            assert all(a["diversity"] < b["diversity"] for a, b in zip(rows, rows[1:]))
            assert all(a["distance"] > b["distance"] for a, b in zip(rows, rows[1:]))
        assert machine["channels"][0]["digit"] > machine["channels"][2]["digit"] + 0.02
        assert machine["size"][0]["digit"] > machine["size"][1]["digit"] + 0.03
    slow, fast = ([row["autoencoder seconds"] + row["unet seconds"] for row in found["size"]] for found in (cores, gpu))
    assert slow[1] > 1.8 * slow[0] and max(fast) < 1.2 * min(fast) < slow[0]


def test_the_kept_captions_are_understood_as_the_chapter_says():
    short, detailed, both = kept("text_captions").values()
    assert all(run["detailed"]["true"] < 0.45 < 0.85 < run["short"]["true"] for run in short)
    for run in detailed + both:
        assert run["detailed"]["true"] > 0.97 and run["short"]["true"] > 0.94 and run["short"]["variety"] < 0.75
        assert run["short, made detailed"]["true"] > 0.99 and run["short, made detailed"]["variety"] > 0.99
    assert min(run["short"]["true"] for run in both) > max(run["short"]["true"] for run in detailed)


def test_the_kept_samplers_end_in_one_crowd_where_the_old_one_is_not_yet():
    rows = {(row["sampler"], row["calls"], row["guidance"], row["temperature"], row["seed"]): row
            for row in kept("flow_sampler")["reported"]}
    for seed in (0, 1, 2):
        new, old, end, once = (rows[(*way, 3.25, 1.0, seed)] for way in (
            ("angle", 13), ("Heun", 27), ("Heun", 79), ("DDIM", 1)))
        assert new["joint right"] > 0.99 and abs(new["diversity"] - end["diversity"]) < 0.01
        assert old["diversity"] > end["diversity"] + 0.06 and old["frechet"] < end["frechet"]
        assert once["joint right"] > 0.88 and once["diversity"] < 0.26
        few, fewer = rows["Heun", 7, 3.25, 1.0, seed], rows["angle", 3, 3.25, 1.0, seed]
        assert few["joint right"] < 0.1 < 0.96 < fewer["joint right"]


def test_the_kept_paths_are_alike_and_crowded_levels_help_both():
    circle, circle_crowded, chord, chord_crowded = kept("flow_digits").values()
    assert abs(mean_of(circle, "diversity") - mean_of(chord, "diversity")) < 0.015
    for plain, crowded in ((circle, circle_crowded), (chord, chord_crowded)):
        assert mean_of(crowded, "frechet") < mean_of(plain, "frechet")
        assert mean_of(crowded, "diversity") > mean_of(plain, "diversity")


def test_the_kept_students_learn_from_flows_and_not_from_chance():
    teachers = kept("few_teachers")["teachers"]
    for name, runs in teachers.items():
        lost = [run["teacher"]["diversity"] - run["student"]["diversity"] for run in runs]
        assert min(lost) > 0.25 if name.startswith("DDPM") else 0.03 < min(lost) <= max(lost) < 0.06
    few, many = kept("few_teachers")["pairs"]["500"], kept("few_teachers")["pairs"]["20000"]
    assert mean_of(few, "joint right") < 0.95 < 0.98 < mean_of(many, "joint right")
    ways = {name: [run for run in runs if run["calls"] == 1] for name, runs in kept("few_steps").items()}
    for name in ("pairs", "pairs, 3 in 10 anywhere", "reflow", "reflow twice"):
        assert mean_of(ways[name], "frechet") < 0.7 * min(mean_of(ways[other], "frechet") for other in (
            "progressive", "consistency"))


def test_the_kept_controls_rank_as_the_chapter_says():
    found = kept("control_ways")
    ways = {name: mean_of(runs, "iou") for name, runs in found["ways"].items()}
    assert ways["all weights"] > ways["ControlNet"] + 0.015 > ways["lite"] + 0.05
    assert abs(ways["ControlNet"] - ways["random instead of zero"]) < 0.01
    assert ways["ControlNet"] > max(ways["ControlNet, AdamW"], ways["plain hint encoder"]) + 0.01
    for rows in found["moved"].values():
        assert rows[0]["prediction"] == rows[0]["copy"] == rows[1]["copy"] == 0 < rows[1]["prediction"]
    second = {name: rows[2]["copy"] for name, rows in found["moved"].items()}
    assert second["SGD"] < 1e-6 and min(second["AdamW"], second["Muon"]) > 0.01
    for seed in (0, 1, 2):
        steps = {row["step"]: row["iou"] for row in found["while it learns"] if row["seed"] == seed}
        assert abs(steps[25] - steps[1]) < 0.01 and steps[75] - steps[25] > 0.5 * (steps[700] - steps[25])


def test_the_kept_sketches_are_followed_best_by_who_alone_sees_them_and_win_over_captions():
    found = kept("control_hints")
    for run in found["guidance"]:
        modes = {(row["mode"], row["guidance"], row["caption"]): row["iou"] for row in run["found"]}
        assert modes["the captioned one", 2, True] > modes["both", 2, True] + 0.02
        assert modes["both", 1, False] == pytest.approx(modes["both", 3.25, False], abs=1e-3)
    for run in found["against"]:
        rows = {row["strength"]: row for row in run["found"]}
        assert rows[0]["as said"] > 0.99 and rows[0.5]["as sketched"] > 0.7 and rows[1]["as sketched"] > 0.9
    for run in found["two"]:
        whole, half, both = (run["found"][name]["iou"] for name in ("whole", "upper half", "both halves"))
        assert half + 0.05 < both < whole - 0.05


def test_the_kept_editors_need_drawn_pairs_for_digits_and_no_special_nothing():
    ways = kept("editor_ways")["ways"]
    both = {name: fmean(run["changes"]["both"] for run in runs) for name, runs in ways.items()}
    assert max(both.values()) - min(both.values()) < 0.03
    assert max(run["digits"]["changed"] for run in ways["exact pairs only"]) < 0.02
    assert min(run["digits"]["changed"] for run in ways["black"]) > 0.98


def test_the_kept_inversions_return_with_the_order_of_their_steps_and_guidance_leads_astray():
    for run in kept("editor_rivals")["round trips"]:
        error = {(row["step"], row["guidance"], row["steps"]): row["error"] for row in run["found"]}
        std = {(row["step"], row["guidance"]): row["std"] for row in run["found"] if row["steps"] == 160}
        assert 1.9 < error["DDIM", 1, 80] / error["DDIM", 1, 160] < 2.1
        assert error["angle", 1, 40] / error["angle", 1, 80] > 3.5
        assert 0.8 < std["angle", 1] < 1 < 2.5 < std["angle", 3.25]
    for run in kept("editor_rivals")["rivals"]:
        rows = {row["way"]: row for row in run["ways"]}
        assert rows["editor"]["psnr"] > max(row["psnr"] for name, row in rows.items() if name != "editor") + 0.5
