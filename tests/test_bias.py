"""Chapter 13: skewed digits, what guidance aims at, groups, equal weights, and sets that are evened by drawings."""

import pytest
import torch

from minidiff.data import SkewedDigits
from minidiff.diffusion import guidance_target
from minidiff.evaluation import by_group
from minidiff.pipelines import bias
from minidiff.tools import generator_for


def test_a_share_of_the_sevens_is_red_and_nothing_else_changes(captioned):
    digits = SkewedDigits(captioned, 0.8)
    _, said = digits.sample(7_001, generator_for(1))
    seven = said[:, 0] == 7
    assert abs(seven.float().mean() - 0.1) < 0.01
    assert abs((said[seven, 1] == 0).float().mean() - 0.8) < 0.04 and abs(digits.share(0, 7) - 0.8) < 1e-6
    rest = said[seven & (said[:, 1] != 0), 1].bincount(minlength=7)[1:] / (seven & (said[:, 1] != 0)).sum()
    assert (rest - 1 / 6).abs().max() < 0.1
    others = said[~seven, 1].bincount(minlength=7) / (~seven).sum()
    assert (others - 1 / 7).abs().max() < 0.02
    assert abs(digits.share(0) - (said[:, 1] == 0).float().mean()) < 0.02
    fair = SkewedDigits(captioned, 0.8, digit=3, color=2)
    assert abs(fair.share(2, 3) - 0.8) < 1e-6 and abs(fair.share(0, 7) - 1 / 7) < 0.02
    assert len({digits.checksum, fair.checksum, captioned.checksum}) == 3


@pytest.mark.parametrize("share, digit, color", [(1.2, 7, 0), (0.5, 10, 0), (0.5, 7, 7)])
def test_a_skew_that_cannot_be_is_refused(captioned, share, digit, color):
    with pytest.raises(ValueError, match="share|digit"):
        SkewedDigits(captioned, share, digit, color)


def test_guidance_aims_at_powers_of_the_shares():
    cond, uncond = torch.tensor([0.7, 0.3]), torch.tensor([0.4, 0.6])
    target = torch.tensor([0.49 / 0.4, 0.09 / 0.6])
    torch.testing.assert_close(guidance_target(cond, uncond, 2), target / target.sum())
    torch.testing.assert_close(guidance_target(cond, uncond, 1), cond)
    torch.testing.assert_close(guidance_target(cond, uncond, 0), uncond)
    with pytest.raises(ValueError, match="not 0"):
        guidance_target(cond, torch.tensor([0.0, 1.0]), 2)


def test_groups_are_counted_apart():
    said = torch.tensor([[7, 0, 1, 1]] * 5 + [[7, 3, 1, 1]] * 3 + [[2, 3, 1, 1]] * 2)
    right = torch.tensor([1, 1, 1, 0, 1, 0, 0, 1, 1, 1]).bool()
    table = by_group(right, said)
    assert table.shape == (10, 7) and table.isnan().sum() == 67
    torch.testing.assert_close(table[[7, 7, 2], [0, 3, 3]], torch.tensor([0.8, 1 / 3, 1.0]))
    with pytest.raises(ValueError, match="=="):
        by_group(right.float(), said)


def test_equal_weights_make_every_color_of_a_digit_count_the_same_and_keep_the_digits(captioned):
    _, said = SkewedDigits(captioned, 0.9).sample(3_001, generator_for(3))
    weights = bias.equal_weights(said)
    for digit in range(10):
        own = said[:, 0] == digit
        of_color = torch.stack([weights[own & (said[:, 1] == color)].sum() for color in range(7)])
        torch.testing.assert_close(of_color, own.sum() / 7 * torch.ones(7), rtol=1e-4, atol=1e-4)
    assert bias.in_every_color(captioned)[1][:, 1].bincount().tolist() == [len(captioned.labels)] * 7


def test_evened_sets_keep_their_size_and_give_only_spare_sevens_away(captioned):
    pictures, said = SkewedDigits(captioned, 0.95).sample(701, generator_for(4))
    evened, now, new = bias.evened(pictures, said, lambda rows: torch.full((len(rows), 3, 32, 32), 0.5))
    assert len(evened) == len(now) == 701 and new.any()
    assert (said[new][:, :2] == torch.tensor([7, 0])).all() and (now[new, 0] == 7).all()
    assert torch.equal(evened[~new], pictures[~new]) and torch.equal(now[~new], said[~new])
    assert torch.equal(now[:, [0, 2, 3]], said[:, [0, 2, 3]]) and (evened[new] == 0.5).all()
    count = now[now[:, 0] == 7, 1].bincount(minlength=7)
    assert count[1:].min() == count.sum() // 7 and count.max() - count.min() < 7
