"""The whole pipeline, trained in the fast budget: it need not be good yet, but it must be right."""

import itertools
import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from minidiff.__main__ import GALLERY, main
from minidiff.data import is_held_out, load_captioned_digits
from minidiff.diffusion import ddim_step, ddpm_step
from minidiff.models import LATENTS, LATENTS_LARGE, ClipConfig, TextConfig, UNet, UNetConfig
from minidiff.pipelines import autoencoder, classifier, clip, denoiser, report, text2image
from minidiff.training import CheckpointError, run


@pytest.fixture(scope="module")
def parts(trained):
    return text2image.load(trained, "cpu")


@pytest.fixture(scope="module")
def known():
    """The training digits of the fast budget: 45 of each class."""
    return load_captioned_digits()[0]


def test_pictures_have_their_shape_and_range_and_the_caption_matters(parts):
    red, blue = (text2image.draw([f"a {color} seven"], [3], parts, steps=4) for color in ("red", "blue"))
    assert red.shape == (1, 3, 32, 32) and red.min() >= -1 and red.max() <= 1
    assert (red - blue).abs().max() > 1e-3


@pytest.mark.parametrize("step", [ddim_step, ddpm_step])
def test_a_picture_is_the_same_alone_and_in_a_batch(parts, step):
    captions = ["a red seven", "a thin blue two", "", "a thick digit leaning left"]
    together = text2image.draw(captions, [5, 6, 7, 8], parts, steps=5, step=step)
    alone = text2image.draw(captions[1:2], [6], parts, steps=5, step=step)
    torch.testing.assert_close(alone[0], together[1], atol=1e-4, rtol=1e-4)


def test_without_guidance_the_caption_is_ignored_exactly(parts):
    one, other = (text2image.draw([c, c], [1, 2], parts, guidance=0, steps=3)
                  for c in ("a red seven", "a thin blue two"))
    assert torch.equal(one, other)
    null, silent = (text2image.draw([c, c], [1, 2], parts, guidance=w, steps=3, step=ddim_step)
                    for c, w in (("", 1), ("a red seven", 0)))
    torch.testing.assert_close(silent, null, atol=1e-5, rtol=1e-5)


def test_the_latents_on_the_way_end_in_the_picture(parts):
    walk = list(text2image.denoising(["a red seven"], [3], parts, steps=4))
    assert [level for level, _ in walk] == [1000, 750, 500, 250, 0]
    assert torch.equal(parts.autoencoder.decode(walk[-1][1]).clamp(-1, 1),
                       text2image.draw(["a red seven"], [3], parts, steps=4))
    for captions, seeds, hint in ((["a red seven"], [1, 2], "one seed per caption"), ([], [], "at least one"),
                                  ("a red seven", [1], "list of captions")):
        with pytest.raises(ValueError, match=hint):
            text2image.draw(captions, seeds, parts)


def test_training_latents_are_standardized_and_never_held_out(parts, known):
    latents, attributes = text2image.latents_of(known, parts.autoencoder, 2_000)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(4), atol=0.03, rtol=0)
    assert not is_held_out(attributes).any()


def test_in_the_small_budget_the_machine_learns_in_a_hurry_and_a_chapter_alone_does_not(parts, known, monkeypatch):
    monkeypatch.setattr(text2image, "load_captioned_digits", lambda device: (known, known))
    encoded = text2image.latents_of(known, parts.autoencoder, 100)

    def stages():
        return [*itertools.islice(text2image.recipes(), 3),
                text2image.unet_recipe(known, parts.clip, parts.autoencoder, encoded=encoded)]

    fast = stages()                                              # as in their own files
    assert [recipe.steps for recipe in fast] == [30, 30, 30, 30] and fast[3].config == LATENTS
    monkeypatch.setenv("MINIDIFF_BUDGET", "small")
    for recipe in stages():
        told = {key: value for key, value in text2image.QUICK[recipe.name].items() if key != "levels"}
        assert {key: getattr(recipe, key) for key in told} == told
    assert classifier.recipe(known).steps == 1_000 and autoencoder.recipe(known).steps == 1_440
    monkeypatch.setenv("MINIDIFF_BUDGET", "full")
    large = text2image.unet_recipe(known, parts.clip, parts.autoencoder, encoded=encoded)
    assert large.config == LATENTS_LARGE and large.steps == 2_500


def test_the_unet_is_never_made_from_parts_that_are_not_trained():
    with pytest.raises(ValueError, match="clip and autoencoder make of the digits: train them first"):
        list(text2image.recipes())


def test_an_error_while_drawing_is_told_as_what_it_is(trained, monkeypatch):
    def no_memory(*ignored):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(UNet, "forward", no_memory)
    parts = text2image.load(trained)                             # it draws nothing
    with pytest.raises(RuntimeError, match="^out of memory$"):
        text2image.draw(["a red seven"], [3], parts, steps=1)


@pytest.mark.parametrize("other", ["latents", "words"])
def test_parts_of_different_machines_are_told_apart_and_none_is_to_be_deleted(trained, tmp_path, captioned, other):
    folder = shutil.copytree(trained, tmp_path / "parts")
    if other == "latents":
        config = UNetConfig(channels=5, attention=(False,), pooled=True)
        recipe = denoiser.recipe(torch.randn(7, 5, 4, 4), lambda rows, generator: torch.zeros(len(rows), 1, 64),
                                 torch.zeros(1, 1, 64), config=config, steps=1, batch=3)
    else:
        recipe = clip.recipe(captioned, config=ClipConfig(text=TextConfig(width=48)), steps=1, batch=3)
    (folder / f"{recipe.name}.safetensors").unlink()
    run(recipe, folder / f"{recipe.name}.safetensors")
    with pytest.raises(CheckpointError, match="unet.safetensors belongs to another machine") as refused:
        text2image.load(folder)
    found = "5 channels and words of width 64" if other == "latents" else "make 4 and 48"
    assert found in str(refused.value) and "elete" not in str(refused.value)


def test_draw_writes_the_picture(trained, tmp_path, capsys):
    file = tmp_path / "new" / "seven.png"
    assert main(["draw", "a thick red seven leaning left", "--folder", str(trained), "--n", "3", "--steps", "2",
                 "-o", str(file)]) == 0
    assert str(file) in capsys.readouterr().out
    image = imread(file)
    assert image.shape[1] > image.shape[0] and np.ptp(image) > 0.5


def test_the_gallery_is_drawn_from_captions_that_were_trained_and_some_that_were_not(trained):
    held = is_held_out(torch.tensor(GALLERY))
    assert 0 < held.sum() < len(GALLERY) == len(set(GALLERY)) == 16
    assert main(["draw", "--folder", str(trained), "--steps", "2"]) == 0
    assert imread(trained / "gallery.png").shape[0] > 300


def test_score_reports_every_number(trained, capsys):
    assert main(["score", "--folder", str(trained), "--n", "30", "--steps", "2"]) == 0
    result = json.loads((trained / "report.json").read_text(encoding="utf-8"))
    for crowd in ("accuracy", "held_out", "floor", "shuffled"):
        assert set(result[crowd]) == {"digit", "color", "stroke", "lean", "joint"}
        assert all(0 <= share <= 1 for share in result[crowd].values())
        assert result[crowd]["joint"] <= min(result[crowd].values())
    assert result["floor"]["color"] == 1 and result["floor"]["lean"] > 0.9        # real digits, real readers
    assert set(result["seconds"]) == set(text2image.STAGES) and result["n"]["held_out"] == 63
    assert all(math.isfinite(result[key]) for key in ("frechet", "frechet_floor", "diversity", "peak_memory_mb"))
    assert result["peak_memory_mb"] > 100 and result["seed"] == 0
    printed = capsys.readouterr().out
    assert "held-out combinations" in printed and "peak memory" in printed


def test_the_two_crowds_of_real_digits_are_of_the_right_class_and_share_no_digit(parts, monkeypatch):
    train, val = load_captioned_digits()                         # 45 a class: odd, so that pairs could cross
    seen, render = [], train.render
    monkeypatch.setattr(train, "render", lambda rows, asked: seen.append((rows, asked)) or render(rows, asked))
    report.score(parts, train, val, n=200, steps=1)
    (even, asked), (odd, _) = seen
    assert torch.equal(train.labels[even], asked[:, 0]) and torch.equal(train.labels[odd], asked[:, 0])
    assert not set(even.tolist()) & set(odd.tolist())


def test_real_digits_in_place_of_drawn_ones_score_at_the_floor(parts, known, captioned, monkeypatch):
    """The yardstick itself: if drawing returned real rendered digits, distance and diversity would be the floor's."""
    generator = torch.Generator().manual_seed(0)
    monkeypatch.setattr(report, "draw_all",
                        lambda asked, *rest: known.render(known.rows_for(asked[:, 0], generator), asked))
    result = report.score(parts, known, captioned, n=400)
    assert result["diversity"] == pytest.approx(1, abs=0.1)
    assert result["frechet"] < 3 * result["frechet_floor"]
    assert all(result["accuracy"][word] > 0.9 for word in ("color", "stroke", "lean"))
    assert result["shuffled"]["color"] == pytest.approx(1 / 7, abs=0.08)


@pytest.mark.parametrize("words, hint", [
    (["draw", "a thick red sevn"], "seven"), (["draw", "a red seven", "--n", "0"], "--n"),
    (["draw", "a", "red", "seven"], "in quotes"), (["draw", "a red seven", "-o", "here"], ".png"),
    (["score", "--n", "3"], "at least 20"),
    (["draw", "a red seven", "--steps", "0"], "steps"), (["draw", "a red seven", "--guidance", "nan"], "finite"),
])
def test_mistakes_are_one_line_and_status_1(trained, capsys, words, hint):
    assert main([*words, "--folder", str(trained)]) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith("minidiff: ") and hint in said and len(said.splitlines()) == 1


def test_drawing_before_training_says_what_to_do(tmp_path, capsys):
    assert main(["draw", "a red seven", "--folder", str(tmp_path)]) == 1
    assert "python -m minidiff train" in capsys.readouterr().err


def test_help_names_commands_defaults_and_examples():
    said = subprocess.run([sys.executable, "-m", "minidiff", "draw", "--help"], capture_output=True, text=True).stdout
    assert "a thick red seven leaning left" in said and f"default: {text2image.STEPS}" in said and "--guidance" in said


def test_the_suite_and_what_it_starts_cannot_reach_the_network():
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"
    with pytest.raises(OSError, match="offline"):
        exec(code)
    assert "offline" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr
