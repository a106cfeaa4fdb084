"""Figures show the numbers that they were given."""

import re

import pytest
import torch

from minidiff.tools import noise_for, show, show_attention, show_plane

WEIGHTS = torch.tensor([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.5, 0.01, 0.49]])


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


def test_a_loss_curve_shows_the_values_their_running_mean_and_the_floor():
    lines = show.curve([4.0, 2.0, 3.0, 1.0], floor=0.5, smooth=2).get_axes()[0].lines
    assert lines[0].get_ydata().tolist() == [4, 2, 3, 1]
    assert lines[1].get_ydata().tolist() == [3, 2.5, 2] and lines[1].get_xdata().tolist() == [1, 2, 3]
    assert set(lines[2].get_ydata()) == {0.5}


def test_show_source_is_the_live_source(capsys):
    show.source(noise_for)
    assert "generator_for(s, draw)" in capsys.readouterr().out


def test_points_and_trajectories_are_drawn_at_their_places():
    cloud = torch.tensor([[0.0, 1.0], [2.0, -1.0]])
    figure = show_plane.points([cloud, -cloud], ["one", "other"])
    assert [ax.get_title() for ax in figure.axes] == ["one", "other"]
    torch.testing.assert_close(torch.as_tensor(figure.axes[1].collections[0].get_offsets().data), -cloud.double())
    height = torch.arange(9.0)                                   # of plane(limit, 3): x is slow, y is fast
    ways = torch.stack([cloud, cloud + 0.5, cloud + 1])          # three stops of two points
    ax, = show_plane.landscapes([height], ["way"], trajectories=[ways]).axes
    assert ax.images[0].get_array().tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]      # rows are y, from below
    assert [line.get_xdata().tolist() for line in ax.lines] == [[0, 0.5, 1], [2, 2.5, 3]]
    assert [c.get_offsets().tolist() for c in ax.collections] == [ways[0].tolist(), ways[-1].tolist()]


def test_tables_show_each_number_in_its_cell_and_a_common_range():
    figure = show_attention.heatmaps([WEIGHTS, 4 * WEIGHTS[:2]], ["a", "b", "c"], ["x", "y", "z"], ["one", "two"])
    one, two = figure.axes
    assert [t.get_text() for t in one.texts] == [f"{w:.2f}".removeprefix("0") for w in WEIGHTS.flatten().tolist()]
    assert one.images[0].get_clim() == (0, 1) and two.images[0].get_clim() == (0, 4)   # shares, and what is larger
    torch.testing.assert_close(torch.as_tensor(one.images[0].get_array().data), WEIGHTS)
    assert [t.get_text() for t in one.get_yticklabels()] == ["a", "b", "c"] and one.get_title() == "one"


def test_signed_tables_have_zero_in_the_middle():
    figure = show_attention.heatmaps([torch.tensor([[-3.0, 1.0]])], signed=True, numbers=False)
    assert figure.axes[0].images[0].get_clim() == (-3, 3) and not figure.axes[0].texts
    middle = show_attention.SIGNED(0.5)
    assert min(middle[:3]) > 0.99                                # zero is white


def test_hover_draws_a_line_as_thick_as_the_look_and_none_for_none():
    page = show_attention.hover(["<start>", "a", "red"], {"head 1": WEIGHTS})._repr_html_()
    widths = [float(w) for w in re.findall(r'stroke-width="([\d.]+)"', page)]
    expected = [6 * w for w in WEIGHTS.flatten().tolist() if w > 0.02]
    assert widths == pytest.approx(expected, abs=0.06)
    assert "&lt;start&gt;" in page and "<start>" not in page and "<script" not in page
    assert page.count('class="looks"') == 3


def test_looks_over_pictures_cover_most_where_most_is_looked_at():
    maps = torch.tensor([[[[0.0, 0.2], [0.4, 0.1]]]])
    figure = show_attention.over_pictures(torch.zeros(1, 1, 8, 8), maps, ["head"])
    picture, look = figure.axes
    assert len(picture.images) == 1 and look.get_title() == "head"
    alpha = torch.as_tensor(look.images[1].get_alpha())
    torch.testing.assert_close(alpha, 0.85 * maps[0, 0] / 0.4)


def test_scatter_draws_each_group_at_its_places():
    points = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    figure = show_attention.scatter([{"one": (points, "red", "."), "two": (points[:1], "blue", "*")}], ["both"])
    one, two = figure.axes[0].collections
    torch.testing.assert_close(torch.as_tensor(one.get_offsets().data), points.double())
    assert len(two.get_offsets()) == 1 and [t.get_text() for t in figure.axes[0].get_legend().texts] == ["one"]
    assert [(t.get_text(), tuple(t.xy)) for t in figure.axes[0].texts] == [("two", (0.0, 1.0))]   # named at its place
