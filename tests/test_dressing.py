"""Dressed digits are what their captions say: read back from the picture alone, and checked on known shapes."""

import pytest
import torch

from minidiff.data import (
    RGB,
    all_combinations,
    distance_to,
    is_held_out,
    lean_of,
    moments,
    shear_to,
    stroke_width,
    tint,
)
from minidiff.evaluation import read_color, read_lean, read_stroke
from minidiff.tools import generator_for


def bar(width, height=20, size=32):
    """An upright bar of ink, (1, size, size)."""
    ink = torch.zeros(1, size, size)
    low, left = (size - height) // 2, (size - width) // 2
    ink[0, low:low + height, left:left + width] = 1
    return ink


def test_moments_of_a_bar():
    mass, (cy, cx), (u02, u11) = moments(bar(4))
    assert mass.item() == 80 and cy.item() == cx.item() == 15.5
    assert u02.item() == pytest.approx((20**2 - 1) / 12) and u11.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("width", [2, 4, 6])
def test_stroke_width_of_a_long_bar(width):
    """2 area / perimeter of a bar w x h is w h / (w + h); sampling rounds the corners."""
    assert stroke_width(bar(width, 28)).item() == pytest.approx(width * 28 / (width + 28), rel=0.06)


@pytest.mark.parametrize("lean", [-0.45, 0.0, 0.3])
def test_shearing_reaches_the_lean_asked_for_and_centers(lean):
    ink = shear_to(shear_to(bar(4), 0.2, 32).clamp(0, 1), lean, 32).clamp(0, 1)
    assert lean_of(ink).item() == pytest.approx(lean, abs=0.01)
    _, (cy, cx), _ = moments(ink)
    assert cy.item() == pytest.approx(15.5, abs=0.05) and cx.item() == pytest.approx(15.5, abs=0.05)


def test_leaning_right_moves_the_top_to_the_right():
    top = shear_to(bar(4), 0.45, 32)[:, 7]
    assert (top[0] * torch.arange(32)).sum() / top.sum() > 17


def test_distance_is_the_euclidean_distance():
    mask = torch.rand(3, 13, 17, generator=torch.Generator().manual_seed(0)) < 0.03
    mask[:, 5, 5] = True
    places = torch.cartesian_prod(torch.arange(13), torch.arange(17)).float()
    for one, found in zip(mask, distance_to(mask, reach=10), strict=True):
        exact = torch.cdist(places, one.nonzero().float()).amin(1).view(13, 17)
        near = exact <= 10
        torch.testing.assert_close(found[near], exact[near])
        assert bool((found[~near] > 10).all())
    with pytest.raises(ValueError, match="reach"):
        distance_to(mask, reach=11)


def test_tint_gives_the_color():
    ink = torch.full((7, 1, 1), 255, dtype=torch.uint8)
    torch.testing.assert_close((tint(ink, torch.arange(7))[:, :, 0, 0] + 1) / 2, RGB)


@pytest.mark.parametrize("name, least", [("stroke", 0.97), ("lean", 0.97)])
def test_readers_recover_the_shape_of_every_validation_digit(val_shapes, name, least):
    right, reader = [], {"stroke": read_stroke, "lean": read_lean}[name]
    for stroke in range(3):
        for lean in range(3):
            pictures = val_shapes[:, stroke, lean][:, None].float() / 255 * 2 - 1
            right.append(reader(pictures) == {"stroke": stroke, "lean": lean}[name])
    assert torch.cat(right).float().mean() >= least


def test_reader_recovers_the_color_of_every_validation_digit(captioned):
    pictures, attributes = captioned.sample(2_000, generator_for(0))
    assert (read_color(pictures) == attributes[:, 1]).float().mean() >= 0.995


def test_a_wardrobe_never_draws_a_held_out_combination_and_tells_the_truth(captioned, val_shapes, digits):
    pictures, attributes = captioned.sample(5_000, generator_for(1))
    assert not is_held_out(attributes).any() and len(captioned.allowed) == 567
    assert len(attributes.unique(dim=0)) > 560                   # and nearly every other one
    d, c, s, k = attributes[3].tolist()
    of_class = val_shapes[digits.val_labels == d][:, s, k]
    candidates = tint(of_class, torch.full((len(of_class),), c))
    assert (candidates == pictures[3]).flatten(1).all(1).any()


def test_all_combinations_can_be_dressed_by_name(captioned):
    every = all_combinations()
    rows = captioned.rows_for(every[:, 0], generator_for(2))
    assert torch.equal(captioned.labels[rows], every[:, 0])
    assert captioned.render(rows, every).shape == (630, 3, 32, 32)
