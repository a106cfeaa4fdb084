"""Rendered digits are what their captions say: read back from the picture alone, and checked on known shapes."""

import pytest
import torch

from minidiff.data import (
    RGB,
    CaptionedDigits,
    all_combinations,
    is_held_out,
    jitter,
    lean_of,
    moments,
    shift,
    stroke_width,
    tint,
)
from minidiff.data.rendering import distance_to, shear_to
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
    mask = torch.rand(3, 13, 17, generator=generator_for(0)) < 0.03
    mask[:, 5, 5] = True
    places = torch.cartesian_prod(torch.arange(13), torch.arange(17)).float()
    for one, found in zip(mask, distance_to(mask, reach=10), strict=True):
        exact = torch.cdist(places, one.nonzero().float()).amin(1).view(13, 17)
        near = exact <= 10
        torch.testing.assert_close(found[near], exact[near])
        assert bool((found[~near] > 10).all())


def test_tint_gives_the_color():
    ink = torch.full((7, 1, 1), 255, dtype=torch.uint8)
    torch.testing.assert_close((tint(ink, torch.arange(7))[:, :, 0, 0] + 1) / 2, RGB)


@pytest.mark.parametrize("reader, axis", [(read_stroke, 0), (read_lean, 1)])
def test_readers_recover_the_style_of_every_validation_digit(val_ink, reader, axis):
    right = [reader(val_ink[:, stroke, lean][:, None].float() / 255 * 2 - 1) == (stroke, lean)[axis]
             for stroke in range(3) for lean in range(3)]
    assert torch.cat(right).float().mean() >= 0.97


def test_reader_recovers_the_color_of_every_validation_digit(captioned):
    pictures, attributes = captioned.sample(2_000, generator_for(0))
    assert (read_color(pictures) == attributes[:, 1]).float().mean() >= 0.995


def test_a_sample_never_has_a_held_out_combination_and_tells_the_truth(captioned, val_ink, digits):
    pictures, attributes = captioned.sample(5_000, generator_for(1))
    assert not is_held_out(attributes).any() and len(captioned.allowed) == 567
    assert len(attributes.unique(dim=0)) > 560                   # and nearly every other one
    d, c, s, k = attributes[3].tolist()
    of_class = val_ink[digits.val_labels == d][:, s, k]
    candidates = tint(of_class, torch.full((len(of_class),), c))
    assert (candidates == pictures[3]).flatten(1).all(1).any()


def test_all_combinations_can_be_rendered_by_name(captioned):
    every = all_combinations()
    rows = captioned.rows_for(every[:, 0], generator_for(2))
    assert torch.equal(captioned.labels[rows], every[:, 0])
    assert captioned.render(rows, every).shape == (630, 3, 32, 32)


def test_the_checksum_tells_other_digits_and_other_labels(val_ink, digits):
    ink, labels = val_ink[::50], digits.val_labels[::50]         # one of each digit
    given = ((ink, labels), (ink, labels), (ink.flip(0), labels), (ink, labels.roll(1)))
    one, same, other_ink, other_labels = (CaptionedDigits(*pair).checksum for pair in given)
    assert one == same and len({one, other_ink, other_labels}) == 3


def test_shifting_moves_each_picture_as_a_whole():
    picture = torch.full((64, 3, 32, 32), -1.0)
    picture[:, :, 10, 20] = 1
    moved = shift(picture, 2, generator_for(0))
    where = (moved[:, 0] == 1).nonzero()
    assert torch.equal(moved[:, 0], moved[:, 2]) and len(where) == 64
    assert set((where[:, 1] - 10).tolist()) == set((where[:, 2] - 20).tolist()) == {-2, -1, 0, 1, 2}


def test_jitter_keeps_the_range_and_changes_each_picture_differently(captioned):
    pictures, _ = captioned.sample(5, generator_for(0))
    moved = jitter(pictures[:1].expand(5, -1, -1, -1), generator_for(1))
    assert moved.min() >= -1.001 and moved.max() <= 1.001
    assert torch.cdist(moved.flatten(1), moved.flatten(1), p=torch.inf).fill_diagonal_(9).min() > 0.1
