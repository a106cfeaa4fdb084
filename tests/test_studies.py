"""Each study runs in the fast budget, and what is committed beside it is a run of the small one."""

import json
import math
import runpy
import sys
from pathlib import Path

import pytest

from minidiff.data import CLOUDS
from minidiff.tools import study, write_json

FOLDER = Path(__file__).parent.parent / "notebooks" / "studies"
STUDIES = sorted(FOLDER.glob("*.py"))


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
    fresh, kept = json.loads(out.read_text()), study.load(path.stem, FOLDER)
    assert fresh["budget"] == "fast" and kept["budget"] != "fast"
    assert shape(fresh["results"]) == shape(kept["results"])
    assert kept["command"].endswith(path.name) and set(kept["versions"]) == {"minidiff", "torch", "python"}


def test_the_fast_budget_never_overwrites_real_numbers(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["study.py"])
    with pytest.raises(ValueError, match="fast budget"):
        study.keep(str(FOLDER / "toy_gan.py"), {}, {})


def test_a_missing_study_says_how_it_is_made(tmp_path):
    with pytest.raises(FileNotFoundError, match="python notebooks/studies/toy_none.py"):
        study.load("toy_none", tmp_path)


def test_the_kept_toys_are_as_near_to_their_clouds_as_the_chapter_says():
    results = study.load("toy_wasserstein", FOLDER)["results"]
    assert set(results) == set(CLOUDS)
    for name, row in results.items():
        for run in row["runs"]:
            assert math.fsum(run["w2"]) <= 1.15 * math.fsum(row["real"]), name
            assert run["excess"] <= 0.02 * run["floor"] and run["seconds"] <= 20, name


def test_written_json_reads_back_the_same_with_a_line_for_a_list_of_numbers(tmp_path):
    content = {"runs": [{"w2": [0.5, -1e-07, 3], "name": "a [1, 2] b"}, {"w2": []}], "none": None}
    write_json(content, tmp_path / "deep" / "it.json")
    text = (tmp_path / "deep" / "it.json").read_text()
    assert json.loads(text) == content and "[ 0.5, -1e-07, 3 ]" in text
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["it.json"]


def test_the_kept_readers_are_as_good_as_the_chapter_says():
    results = study.load("vit_cnn", FOLDER)["results"]
    for name, least in (("ViT, patches of 7 x 7", 0.95), ("CNN", 0.98)):
        assert all(run["accuracy"] >= least and run["seconds"] <= 60 for run in results[name]["runs"])


def test_the_kept_gpts_are_honest_at_the_floor_and_cheat_below_it():
    kept = study.load("gpt_mistakes", FOLDER)
    floor, honest = kept["config"]["floor"], ("right", "root forgotten", "no positions")
    for name, runs in kept["results"].items():
        for run in runs:
            if name in honest:
                assert floor < run["loss"] < 1.01 * floor and run["leak"] == 0 and run["valid"] >= 0.995
            else:
                assert run["loss"] < 0.01 * floor and run["leak"] > 1 and run["different"] < 0.1


def test_the_kept_clips_read_as_well_as_the_chapter_says():
    least = {"digit": 0.98, "color": 0.995, "stroke": 0.95, "lean": 0.95}
    for run in study.load("clip_losses", FOLDER)["results"]["several right, all steps"]:
        assert all(run["seen"][name] >= share for name, share in least.items()) and run["seconds"] <= 120
        assert run["held_out"]["joint"] >= run["seen"]["joint"] - 0.02


def test_the_kept_digits_are_as_right_and_as_varied_as_the_chapter_says():
    runs = study.load("digits_unet", FOLDER)["results"]["runs"]
    for run in runs:
        plain, loud = run["ways"]["w = 1"], run["ways"]["w = 2"]
        assert plain["right"] >= 0.97 and loud["right"] >= 0.995
        assert plain["frechet"] <= 3 * plain["floor"]
    lost = [run["learned from real"] - run["learned from generated"] for run in runs]
    assert len(runs) == 3 and math.fsum(lost) / 3 <= 0.015


def test_the_kept_unet_learns_more_than_a_stack_and_a_stack_more_than_single_pixels():
    nets = study.load("digits_nets", FOLDER)["results"]
    for alone, stack, whole in zip(*(nets[name] for name in ("each pixel alone", "stack of convolutions", "UNet"))):
        assert whole["loss"] < stack["loss"] < alone["loss"] and whole["right"] > max(stack["right"], alone["right"])


def test_the_kept_small_sets_are_copied_and_the_large_one_is_not():
    sizes = study.load("digits_memory", FOLDER)["results"]["sizes"]
    assert all(run["copies"] > 0.95 for run in sizes["10"]) and all(run["copies"] > 0.5 for run in sizes["100"])
    assert all(run["copies"] < 0.01 for run in sizes["1000"] + sizes["4500"])


def test_the_kept_targets_rank_as_the_chapter_says():
    runs = study.load("digits_targets", FOLDER)["results"]
    for noise, alike, crowded in zip(*(runs[name] for name in (
            "eps, all levels alike", "v, all levels alike", "v, more at high noise"))):
        assert noise["right"] < alike["right"] < crowded["right"]
        assert noise["frechet"] > alike["frechet"] > crowded["frechet"]


def test_the_kept_guidance_trades_kinds_for_right_digits():
    rows = {row["w"]: row for row in study.load("digits_sampling", FOLDER)["results"]["guidance"]}
    assert rows[0]["right"] < 0.2 < 0.9 < rows[1]["right"] < rows[2]["right"]
    assert rows[1]["diversity"] > rows[2]["diversity"] and rows[1]["frechet"] < rows[2]["frechet"] < rows[8]["frechet"]


def test_the_kept_autoencoders_keep_what_matters_as_the_chapter_says():
    results = study.load("latent_seeds", FOLDER)["results"]
    originals, linear = results["originals"], results["linear, 64 numbers"]
    for run in results["runs"]:
        assert run["psnr"] >= 32.4 and run["psnr"] > linear["psnr"] + 10 and run["seconds"] <= 120
        assert run["digit"] >= originals["digit"] - 0.005 and run["color"] >= 0.999
        assert run["stroke"] >= originals["stroke"] - 0.01 and run["lean"] >= originals["lean"] - 0.002
        assert all(abs(spread - 1) <= 0.02 for spread in run["spread by channel"])


def mean_of(runs, key, part=None):
    return sum(run[part][key] if part else run[key] for run in runs) / len(runs)


def test_the_kept_latents_rank_as_the_chapter_says():
    sizes = list(study.load("latent_sizes", FOLDER)["results"]["sizes"].values())      # 12, 24, 48, 96 times smaller
    assert all(mean_of(a, "psnr") > mean_of(b, "psnr") + 0.8 for a, b in zip(sizes, sizes[1:]))
    weights = study.load("latent_kl", FOLDER)["results"]
    clear = [row["psnr"] for row in weights]
    assert weights[2]["weight"] == 1e-4 and abs(clear[2] - clear[0]) < 0.1 and clear[0] > clear[-1] + 6
    assert all(row["drawn"]["right"] > 0.85 > 0.5 > row["random codes"]["right"] for row in weights)
    ways = study.load("latent_scale", FOLDER)["results"]["ways"]
    for good in ("as they come", "measured"):
        for bad in ("spread 5.49", "times 0.18215"):
            assert min(run["right"] for run in ways[good]) > max(run["right"] for run in ways[bad]) + 0.05
    plain, light, heavy = study.load("latent_features", FOLDER)["results"]["ways"].values()
    assert mean_of(plain, "psnr") > mean_of(light, "psnr") + 0.4 and mean_of(light, "psnr") > mean_of(heavy, "psnr") + 1
    assert abs(mean_of(plain, "digit") - mean_of(heavy, "digit")) < 0.003


def test_the_kept_machines_draw_what_they_are_told_and_what_they_never_saw():
    runs = study.load("text_seeds", FOLDER)["results"]
    for run in runs:
        right = run["accuracy"]
        assert right["digit"] > run["floor"]["digit"] - 0.002 and right["color"] >= 0.998  # as right as real digits
        assert right["stroke"] >= 0.97 and right["lean"] >= 0.995
        assert right["joint"] >= 0.96 and run["held_out"]["joint"] >= 0.93 and run["shuffled"]["joint"] < 0.01
        assert run["diversity"] >= 0.85 and run["frechet"] < 4 * run["frechet_floor"]
        assert run["seconds for 1"] < 0.3 and run["seconds for 64"] < 2
    assert sum(run["accuracy"]["digit"] for run in runs) / 3 >= 0.99 and max(run["seconds"] for run in runs) <= 60


def test_told_says_what_made_a_study_and_gives_its_results(capsys):
    assert study.told("latent_seeds", FOLDER) == study.load("latent_seeds", FOLDER)["results"]
    assert capsys.readouterr().out == ("made by: python notebooks/studies/latent_seeds.py "
                                       "(pictures: 4,000; steps: 1,440; batch: 64)\n\n")


def test_the_kept_readers_of_captions_fail_where_the_chapter_says():
    runs = study.load("text_towers", FOLDER)["results"]
    joint = {name: [run["accuracy"]["joint"] for run in rows] for name, rows in runs.items()}
    alike = joint["CLIP"] + joint["each word by itself"] + joint["bag of words"]
    assert 0.92 < min(alike) < max(alike) < 0.97 and max(joint["each word, quietly"]) < 0.25
    assert all(run["accuracy"]["lean"] > 0.98 and run["accuracy"]["digit"] < 0.2 for run in runs["TinyGPT"])
    assert all(run["held_out"]["joint"] < 0.01 < 0.6 < run["accuracy"]["joint"] for run in runs["a vector a caption"])


def test_the_kept_transformer_needs_three_times_the_seconds_to_be_as_right_and_is_less_varied():
    unets, transformers = (study.load(name, FOLDER)["results"] for name in ("text_seeds", "text_transformer"))
    quick, slow = transformers[:3], transformers[3:]
    right = [run["accuracy"]["joint"] for run in unets]
    assert max(run["accuracy"]["joint"] for run in quick) < min(right) - 0.02
    assert min(run["accuracy"]["joint"] for run in slow) > min(right)
    assert max(run["diversity"] for run in quick) < min(run["diversity"] for run in slow)
    assert max(run["diversity"] for run in slow) < min(run["diversity"] for run in unets)


def test_the_kept_tricks_are_worth_what_the_chapter_says():
    results = study.load("text_quick", FOLDER)["results"]
    joint = {name: sum(run["accuracy"]["joint"] for run in runs) / 3 for name, runs in results.items()}
    best = joint.pop("as it is")
    assert all(best - joint.pop(name) > 0.01 for name in ("looks in every stage", "words through looks alone"))
    assert all(abs(best - share) < 0.005 for share in joint.values()) and len(joint) == 3


def test_what_grows_grows_as_the_chapter_says():
    cores, gpu = (study.load(name, FOLDER) for name in ("growth", "growth_gpu"))
    assert cores["machine"]["device"] == "cpu" and gpu["machine"]["device"] == "cuda"
    for kept in (cores["results"], gpu["results"]):
        for what in ("digits", "width", "channels"):             # more of each: more varied, nearer to the real crowd
            rows = kept[what]
            assert all(a["diversity"] < b["diversity"] for a, b in zip(rows, rows[1:]))
            assert all(a["distance"] > b["distance"] for a, b in zip(rows, rows[1:]))
        assert kept["channels"][0]["digit"] > kept["channels"][2]["digit"] + 0.02
        assert kept["size"][0]["digit"] > kept["size"][1]["digit"] + 0.03
    clock = [[row["autoencoder seconds"] + row["unet seconds"] for row in kept["results"]["size"]]
             for kept in (cores, gpu)]
    assert clock[0][1] > 1.8 * clock[0][0] and max(clock[1]) < 1.2 * min(clock[1]) < clock[0][0]


def test_the_kept_captions_are_understood_as_the_chapter_says():
    short, detailed, both = study.load("text_captions", FOLDER)["results"].values()
    assert all(run["detailed"]["true"] < 0.45 < 0.85 < run["short"]["true"] for run in short)
    for run in detailed + both:
        assert run["detailed"]["true"] > 0.97 and run["short"]["true"] > 0.94 and run["short"]["variety"] < 0.75
        assert run["short, made detailed"]["true"] > 0.99 and run["short, made detailed"]["variety"] > 0.99
    assert min(run["short"]["true"] for run in both) > max(run["short"]["true"] for run in detailed)
