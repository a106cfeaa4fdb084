"""Patches against a strided convolution, and the vision transformer against torch's own layers."""

import pytest
import torch
from test_attention import encoder, wake
from torch.nn import functional as F

from minidiff.data import LabeledDigits
from minidiff.models import Classifier, ClassifierConfig, ViT, ViTConfig, to_patches
from minidiff.pipelines import classifier
from minidiff.tools import generator_for
from minidiff.training import run

TINY = ViTConfig(size=10, patch=5, channels=3, width=14, heads=2, depth=2, classes=11)


@pytest.fixture
def vit():
    torch.manual_seed(0)
    return wake(ViT(TINY))


def test_patches_times_a_matrix_are_a_convolution_that_jumps():
    pictures, kernel = torch.randn(2, 3, 15, 10), torch.randn(7, 3, 5, 5)
    ours = to_patches(pictures, 5) @ kernel.flatten(1).T         # (B, P, 7)
    reference = F.conv2d(pictures, kernel, stride=5).flatten(2).transpose(1, 2)
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5)


def test_vit_is_torchs_encoder_on_patches(vit):
    pictures = torch.randn(3, 3, 10, 10, generator=generator_for(0))
    x = torch.cat([vit.token.expand(3, -1, -1), vit.patch(to_patches(pictures, 5))], 1) + vit.position
    expected = vit.out(encoder(vit.blocks, 14, vit.norm)(x)[:, 0])
    torch.testing.assert_close(vit(pictures), expected, atol=1e-5, rtol=1e-5)


def test_without_places_a_picture_is_a_bag_of_patches(vit):
    """Swapping two patches changes nothing once the positions are gone, and something while they are there."""
    pictures = torch.randn(3, 3, 10, 10, generator=generator_for(1))
    swapped = torch.cat([pictures[..., 5:], pictures[..., :5]], -1)
    assert (vit(pictures) - vit(swapped)).abs().max() > 1e-3
    with torch.no_grad():
        vit.position.zero_()
    torch.testing.assert_close(vit(pictures), vit(swapped), atol=1e-5, rtol=1e-5)


def test_attention_maps_are_shares_of_one_look(vit):
    maps = vit.attention_maps(torch.randn(3, 3, 10, 10))
    assert maps.shape == (2, 3, 2, 4) and bool((maps > 0).all()) and bool((maps.sum(-1) < 1).all())


@pytest.mark.parametrize("network, config, cut, least", [(ViT, ViTConfig(), 2, 0.5),
                                                         (Classifier, ClassifierConfig(), 0, 0.9)])
def test_a_short_training_already_reads_digits(digits, network, config, cut, least):
    """Far above chance (0.1) on digits that it never saw."""
    inside = (..., slice(cut, 32 - cut), slice(cut, 32 - cut))   # the transformer does without the empty rim
    data = LabeledDigits(digits.train[inside], digits.train_labels)
    model = run(classifier.recipe(data, config=config, steps=100, network=network))
    with torch.no_grad():
        right = model(digits.val[inside]).argmax(1) == digits.val_labels
    assert right.float().mean() > least


def test_a_classifier_reads_gray_as_white():
    torch.manual_seed(0)
    model, gray = wake(Classifier()).eval(), torch.rand(3, 1, 32, 32) * 2 - 1
    torch.testing.assert_close(model(gray), model(gray.expand(-1, 3, -1, -1)))
