"""Numbers about quality, against closed forms, loops and other libraries."""

import itertools
import math

import numpy as np
import pytest
import torch

from minidiff.data import UNSAID, parse
from minidiff.evaluation import (
    accuracy,
    diversity,
    frechet_distance,
    frechet_with_floor,
    nearest,
    prompts,
    psnr,
    recall_at,
    wilson,
)
from minidiff.tools import generator_for

torch.manual_seed(0)


def test_frechet_distance_of_gaussians_on_a_line():
    """Closed form in one dimension: (m - m')^2 + (s - s')^2."""
    a, b = torch.randn(11, 1).double(), 3 * torch.randn(13, 1).double() + 2
    expected = (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected.item(), rel=1e-9)


def test_frechet_distance_against_the_matrix_square_root():
    a, b = torch.randn(101, 5).double(), torch.randn(103, 5).double() @ torch.randn(5, 5).double() + 1
    sa, sb = np.cov(a.numpy().T), np.cov(b.numpy().T)
    eigenvalues = np.linalg.eigvals(sa @ sb)                     # of a product of two positive matrices
    expected = np.sum((a.mean(0) - b.mean(0)).numpy() ** 2) + np.trace(sa + sb) - 2 * np.sum(np.sqrt(eigenvalues.real))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_real_features_are_as_far_from_real_ones_as_the_floor_says():
    real, fresh = (torch.randn(2_000, 7, generator=generator_for(seed)) for seed in (1, 2))
    distance, floor = frechet_with_floor(fresh, real)
    assert 0.5 * floor < distance < 2 * floor
    shifted, _ = frechet_with_floor(fresh + 1.0, real)
    assert shifted == pytest.approx(7, rel=0.1)                  # a shift by one in each of seven directions


def test_a_floor_by_groups_leaves_the_chance_mixture_out():
    group = torch.arange(2_000) % 2
    place = 20 * group[:, None].float() * torch.tensor([1.0, 0, 0, 0, 0])
    real, fresh = (torch.randn(2_000, 5, generator=generator_for(seed)) + place for seed in (1, 2))
    shuffled = torch.randperm(2_000, generator=generator_for(3))
    real, group = real[shuffled], group[shuffled]
    distance, floor = frechet_with_floor(fresh, real, group)
    assert 0.5 * floor < distance < 2 * floor
    far = [frechet_with_floor(fresh, real, seed=seed)[1] for seed in range(5)]
    assert floor < 0.1 < sum(far) / 5                            # 20 apart, halves a few in a hundred off balance


def test_the_nearest_are_found_as_by_loops():
    pictures, others = torch.randn(5, 1, 3, 2), torch.randn(11, 1, 3, 2)
    distance, row = nearest(pictures, others)
    for i, picture in enumerate(pictures):
        ways = sorted(((picture - other).square().sum().sqrt().item(), j) for j, other in enumerate(others))
        assert row[i].tolist() == [j for _, j in ways[:2]]
        assert distance[i].tolist() == pytest.approx([way for way, _ in ways[:2]], rel=1e-4)


def test_frechet_distance_is_a_distance():
    a, b = torch.randn(50, 7), torch.randn(60, 7) + 0.5
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert frechet_distance(a, a + 3) == pytest.approx(7 * 9, rel=1e-5)


@pytest.mark.parametrize("right, n", [(0, 10), (7, 10), (967, 1000)])
def test_wilson_interval_solves_its_equation(right, n):
    """Both ends p satisfy |right/n - p| = z sqrt(p (1 - p) / n)."""
    for p in wilson(right / n, n):
        assert 0 <= p <= 1 and abs(right / n - p) == pytest.approx(1.96 * math.sqrt(max(0, p * (1 - p)) / n), abs=1e-9)


def test_accuracy_by_hand():
    asked = torch.tensor([[1, 2, 0, 0], [3, 2, 1, 0]])
    read = torch.tensor([[1, 2, 0, 0], [3, 1, 1, 2]])
    assert accuracy(read, asked) == {"digit": 1.0, "color": 0.5, "stroke": 1.0, "lean": 0.5, "joint": 0.5}


def test_diversity_is_the_mean_distance_within_groups():
    pictures = torch.rand(7, 1, 32, 32, generator=generator_for(0)) * 2 - 1
    attributes = torch.tensor([[1, c, 0, 0] for c in range(4)] + [[2, c, 0, 0] for c in range(3)])
    ink = (pictures[:, 0] + 1) / 2
    pairs = [(i, j) for i, j in itertools.combinations(range(7), 2) if attributes[i, 0] == attributes[j, 0]]
    expected = sum((ink[i] - ink[j]).norm() / 32 for i, j in pairs) / len(pairs)
    assert diversity(pictures, attributes) == pytest.approx(expected.item(), rel=1e-5)
    assert diversity(pictures[:1].expand(7, -1, -1, -1), attributes) == 0


def test_psnr_by_hand():
    twice = psnr(torch.tensor([[1.0, 1.0, 1.0], [0.2, 0.2, 0.2]]), torch.zeros(2, 3))
    torch.testing.assert_close(twice, torch.tensor([10 * math.log10(4), 20.0]))
    assert psnr(torch.ones(1, 3), torch.ones(1, 3)).item() == math.inf


def test_recall_against_plain_loops():
    similarity, true = torch.randn(11, 7), torch.rand(11, 7) < 0.3
    true[:, 0] = True
    for k in (1, 3, 7):
        hits = 0
        for row, right in zip(similarity.tolist(), true.tolist(), strict=True):
            best = sorted(range(7), key=lambda j: -row[j])[:k]
            hits += any(right[j] for j in best)
        assert recall_at(k, similarity, true) == pytest.approx(hits / 11)
    assert recall_at(100, similarity, true) == 1


def test_prompts_say_one_word_each():
    said = prompts()
    assert [len(words) for words in said.values()] == [10, 7, 3, 3]
    for column, words in enumerate(said.values()):
        for i, prompt in enumerate(words):
            expected = [UNSAID] * 4
            expected[column] = i
            assert list(parse(prompt)) == expected
