"""The pen finds the strokes that were drawn, in the order of its rule, and draws them again where they were."""

import math

import pytest
import torch

from minidiff.data.pens import POINTS, pen_distance, spaced, strokes_of, trace, write
from minidiff.evaluation import iou
from minidiff.tools import generator_for

L = ((0, 0), (0, 11), (7, 11))                                   # corners x, y, one below the other and to the right
T = ((0, 0), (12, 0), (6, 0), (6, 9))
CIRCLE = [(0.4 * math.sin(k * math.pi / 20), -0.6 * math.cos(k * math.pi / 20)) for k in range(41)]


def skeleton(*corners, size=19):
    """Lines one pixel wide from corner to corner, 3 pixels from the edge."""
    mask = torch.zeros(size, size, dtype=torch.bool)
    for (x, y), (to_x, to_y) in zip(corners, corners[1:]):
        for k in range(101):
            mask[3 + round(y + (to_y - y) * k / 100), 3 + round(x + (to_x - x) * k / 100)] = True
    return mask


def drawn(*strokes):
    """Strokes, lists of (x, y) in [-1, 1], as one trajectory (1, P, 3)."""
    return torch.tensor([[(x, y, 1.0 if k else -1.0) for stroke in strokes for k, (x, y) in enumerate(stroke)]])


def ends(strokes):
    return [(stroke[0] - 3 - 3j, stroke[-1] - 3 - 3j) for stroke in strokes]


def turning(trajectory):
    """Twice the area inside a trajectory (P, 3), positive where it runs clockwise (y points down)."""
    x, y = trajectory[:, 0], trajectory[:, 1]
    return (x[:-1] * y[1:] - x[1:] * y[:-1]).sum().item()


def lifts(trajectories):
    return (trajectories[:, 1:, 2] < 0).sum(1).tolist()


def test_a_line_and_a_corner_are_one_stroke_from_the_top():
    assert ends(strokes_of(skeleton((0, 5), (11, 5)))) == [(5j, 11 + 5j)]
    (stroke,) = strokes_of(skeleton(*L))
    assert stroke == [3 + 1j * y for y in range(3, 15)] + [x + 14j for x in range(4, 11)]


def test_at_a_junction_the_pen_goes_straight_on():
    assert ends(strokes_of(skeleton(*T))) == [(0, 12), (6, 6 + 9j)]
    cross = strokes_of(skeleton((0, 0), (12, 12)) | skeleton((12, 0), (0, 12)))
    assert ends(cross) == [(0, 12 + 12j), (12, 12j)]


def test_no_stroke_climbs_and_a_nine_begins_with_its_loop():
    nine = skeleton((10, 2), (5, 0), (0, 4), (5, 7), (10, 5), (10, 2)) | skeleton((10, 4), (10, 15))
    (stroke,) = strokes_of(nine)
    assert stroke[-1] == 13 + 18j and stroke.count(stroke[0]) == 2                     # the junction, twice


def test_a_spur_goes_and_a_dot_stays():
    assert ends(strokes_of(skeleton((0, 2), (12, 2)) | skeleton((6, 0), (6, 2)))) == [(2j, 12 + 2j)]
    strokes = strokes_of(skeleton((0, 2), (12, 2)) | skeleton((6, 9), (6, 9)))
    assert ends(strokes) == [(2j, 12 + 2j), (6 + 9j, 6 + 9j)]
    places, pen = spaced(strokes)
    assert len(places) == POINTS and pen[-2:].tolist() == [-1, 1] and places[-2] == places[-1]


def test_a_closed_loop_begins_at_the_top_and_turns_either_way():
    circles = write(drawn(CIRCLE)).expand(16, -1, -1, -1)
    traced = trace(circles, generator_for(0))
    ways = [turning(one) > 0 for one in traced]
    assert 3 <= sum(ways) <= 13 and lifts(traced) == [0] * 16
    assert traced[:, 0, :2].sub(torch.tensor([0.0, -0.6])).norm(dim=1).max() < 2 / 16  # within two pixels


def test_two_strokes_take_one_lift_and_points_lie_evenly():
    traced = trace(write(drawn([(-0.5, -0.6), (-0.5, 0.6)], [(0.4, -0.3), (0.4, 0.6)])), generator_for(0))
    assert traced.shape == (1, POINTS, 3) and lifts(traced) == [1] and traced[0, 0, 2] == -1
    steps = traced[0, 1:, :2].sub(traced[0, :-1, :2]).norm(dim=1)[traced[0, 1:, 2] > 0]
    assert steps.max() < 1.1 * steps.min()


@pytest.mark.parametrize("corners", [((-0.5, -0.5), (0.5, -0.4), (-0.1, 0.7)), ((0.4, -0.6), (-0.4, 0.0), (0.3, 0.6))])
def test_what_was_drawn_comes_back_within_a_pixel(corners):
    """No traced point is off the line; thinning cuts ends short by the pen's radius, and sharp corners by more."""
    line = drawn(corners)
    traced = trace(write(line), generator_for(0))
    on_line, on_traced = pen_distance(line), pen_distance(traced)
    assert on_line[on_traced < 0.1].max() < 1 and on_traced[on_line < 0.5].max() < 3
    assert on_traced[on_line < 0.5].mean() < 1 and iou(write(traced), write(line)).item() > 0.7


def test_distances_are_those_of_the_nearest_line():
    some = torch.rand(3, 5, 3, generator=generator_for(1), dtype=torch.float64) * 2 - 1
    some[:, 1, 2] = 1
    t = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
    y, x = torch.meshgrid(*[(torch.arange(32, dtype=torch.float64) + 0.5) / 16 - 1] * 2, indexing="ij")
    for one, found in zip(some, pen_distance(some)):
        dense = torch.cat([a[:2] + t * (b - a)[:2] for a, b in zip(one, one[1:]) if b[2] > 0])
        true = torch.cdist(torch.stack([x, y], -1).view(-1, 2), dense).amin(1) * 16
        assert torch.allclose(found.flatten(), true, atol=0.01)


def test_writing_has_the_gradient_of_finite_differences():
    some = drawn([(-0.41, -0.52), (0.33, -0.27), (0.11, 0.64)]).double().requires_grad_()
    weight = torch.randn(32, 32, generator=generator_for(0)).double()
    (slope,) = torch.autograd.grad((write(some)[0, 0] * weight).sum(), some)
    for k, axis in ((0, 0), (1, 1), (2, 0)):
        step = torch.zeros_like(some)
        step[0, k, axis] = 1e-6
        change = ((write(some + step) - write(some - step))[0, 0] * weight).sum().item() / 2e-6
        assert slope[0, k, axis].item() == pytest.approx(change, rel=1e-3)


def test_digits_are_redrawn_where_they_were_and_seeds_repeat(digits):
    some = digits.val[:47]
    traced = trace(some, generator_for(3))
    assert torch.equal(traced, trace(some, generator_for(3))) and not torch.equal(traced, trace(some, generator_for(4)))
    assert iou(write(traced), some).mean() > 0.6 and traced[..., :2].abs().max() < 1


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"no ink to trace in pictures \[1\]"):
        trace(torch.cat([write(drawn(CIRCLE)), -torch.ones(1, 1, 32, 32)]), generator_for(0))
    for call, words in ((lambda: trace(torch.zeros(1, 3, 32, 32), None), "pictures must be"),
                        (lambda: strokes_of(torch.zeros(1, 9, 9)), "skeleton must be"),
                        (lambda: strokes_of(torch.eye(9), heading=0), "heading is 1"),
                        (lambda: write(torch.zeros(1, 9, 2)), "trajectories must be"),
                        (lambda: write(torch.full((1, 9, 3), 16.0)), "pixels"),
                        (lambda: write(torch.full((1, 9, 3), float("nan"))), "NaN"),
                        (lambda: write(torch.zeros(1, 9, 3), width=0), "width must be")):
        with pytest.raises(ValueError, match=words):
            call()
