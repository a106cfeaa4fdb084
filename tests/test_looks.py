"""The pictures of looks show the numbers that they were given."""

import re

import pytest
import torch

from minidiff.tools import show_attention

WEIGHTS = torch.tensor([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.5, 0.01, 0.49]])


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
