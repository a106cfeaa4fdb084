import pytest
import torch

from minidiff.tools import autocast, budget, generator_for, noise_for, peak_memory_mb, runs_folder, seed_all, show


def test_noise_of_a_picture_is_private_normal_and_fresh_at_each_draw():
    assert torch.equal(noise_for([3, 5, 7], (2, 4))[1], noise_for([5], (2, 4))[0])
    assert not torch.equal(noise_for([5], (2, 4)), noise_for([5], (2, 4), draw=1))
    noise = noise_for(range(4_000), (7,))
    assert noise.mean().abs() < 0.03 and (noise.std() - 1).abs() < 0.03
    neighbors = torch.corrcoef(torch.stack([noise[:-1].flatten(), noise[1:].flatten()]))[0, 1]
    assert neighbors.abs() < 0.03                                # seeds 3 and 4 are not alike


def test_streams_are_named_by_all_their_numbers():
    draws = {torch.rand(1, generator=generator_for(a, b)).item() for a in range(5) for b in range(5)}
    assert len(draws) == 25


def test_seeds_repeat_the_initial_weights():
    def weights():
        seed_all(3)
        return torch.nn.Linear(5, 7).weight
    assert torch.equal(weights(), weights())


@pytest.mark.parametrize("name, value", [("fast", 3), ("small", 2), ("full", 1)])
def test_budgets(monkeypatch, name, value):
    monkeypatch.setenv("MINIDIFF_BUDGET", name)
    assert budget(full=1, small=2, fast=3) == value


def test_each_budget_keeps_its_own_runs(monkeypatch):
    folders = []
    for name in ("full", "small", "fast"):
        monkeypatch.setenv("MINIDIFF_BUDGET", name)
        folders.append(runs_folder().as_posix())
    assert folders == ["../runs/full", "../runs", "../runs/fast"]
    monkeypatch.setenv("MINIDIFF_FOLDER", "elsewhere")
    assert runs_folder().as_posix() == "elsewhere/fast"


def test_wrong_settings_of_the_environment_are_named(monkeypatch):
    monkeypatch.setenv("MINIDIFF_BUDGET", "huge")
    with pytest.raises(ValueError, match="fast, small, full"):
        budget(1, 2, 3)
    monkeypatch.setenv("MINIDIFF_BF16", "yes")
    with pytest.raises(ValueError, match="0 or 1"):
        autocast("cpu")


@pytest.mark.parametrize("choice, dtype", [("0", torch.float32), ("1", torch.bfloat16)])
def test_autocast_follows_the_machine_or_the_override(monkeypatch, choice, dtype):
    monkeypatch.setenv("MINIDIFF_BF16", choice)
    with autocast("cpu"):
        assert (torch.ones(3, 3) @ torch.ones(3, 3)).dtype == dtype


def test_peak_memory_grows_to_what_is_held():
    before = peak_memory_mb()
    held = torch.ones(int((before + 100) * 1024**2 / 4))         # alone more than the peak so far
    assert peak_memory_mb() >= before + 100 and held[-1] == 1


def test_figures_have_a_picture_for_each_tensor_and_a_caption_in_its_color():
    figure = show.grid(torch.zeros(5, 3, 32, 32), ["a red seven"] * 5, columns=3)
    axes = figure.get_axes()
    assert [len(ax.images) for ax in axes] == [1, 1, 1, 1, 1, 0]
    assert axes[0].get_xlabel() == "red seven" and axes[0].xaxis.label.get_color() == show.WORD_COLORS["red"]
    assert axes[0].images[0].get_array().max() == pytest.approx(0.5)                # 0 in [-1, 1] is middle gray
    assert figure._repr_png_().startswith(b"\x89PNG")              # what a notebook shows
    film = show.strip([torch.zeros(1, 8, 8)] * 4, ["1000", "500", "250", "0"])
    assert [ax.get_xlabel() for ax in film.get_axes()] == ["1000", "500", "250", "0"]
    rows = show.grid(torch.zeros(5, 3, 8, 8), ["first row", "second"], columns=3)
    assert [ax.get_xlabel() for ax in rows.get_axes()] == ["first row", "", "", "second", "", ""]
    with pytest.raises(ValueError, match=r"5 pictures take as many captions, or one a row \(2\); got 4"):
        show.grid(torch.zeros(5, 3, 8, 8), ["too few"] * 4, columns=3)


def test_a_loss_curve_shows_the_values_their_running_mean_and_the_floor():
    lines = show.curve([4.0, 2.0, 3.0, 1.0], floor=0.5, smooth=2).get_axes()[0].lines
    assert lines[0].get_ydata().tolist() == [4, 2, 3, 1]
    assert lines[1].get_ydata().tolist() == [3, 2.5, 2] and lines[1].get_xdata().tolist() == [1, 2, 3]
    assert set(lines[2].get_ydata()) == {0.5}


def test_show_source_is_the_live_source(capsys):
    show.source(noise_for)
    assert "generator_for(s, draw)" in capsys.readouterr().out
