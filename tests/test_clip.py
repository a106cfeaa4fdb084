"""CLIP's losses against torch's and against loops, and its towers and readings against what is known."""

import math

import pytest
import torch
from test_attention import wake
from torch.nn import functional as F

from minidiff.evaluation import prompts, read_zero_shot
from minidiff.models import Clip, ClipConfig, ImageTower, TextConfig, contrastive_loss, sigmoid_loss

TINY = ClipConfig(widths=(16, 16, 16), text=TextConfig(12, 3, 1), embed_width=7)


def contrast_by_hand(logits, positive):
    """The two-way contrastive loss in plain Python."""
    def one_way(rows, right):
        total = 0.0
        for row, marks in zip(rows, right, strict=True):
            log_sum = math.log(sum(math.exp(x) for x in row))
            good = [x - log_sum for x, mark in zip(row, marks, strict=True) if mark]
            total -= sum(good) / len(good)
        return total / len(rows)
    turn = [list(column) for column in zip(*logits, strict=True)], [list(c) for c in zip(*positive, strict=True)]
    return (one_way(logits, positive) + one_way(*turn)) / 2


def test_contrastive_loss_against_plain_loops():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    positive = torch.rand(5, 7, generator=generator) < 0.4
    positive[range(5), range(5)] = True
    positive[0] = True
    by_hand = contrast_by_hand(logits.tolist(), positive.tolist())
    assert contrastive_loss(logits, positive).item() == pytest.approx(by_hand)


def test_contrastive_loss_closed_forms():
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 3])
    positive = labels[:, None] == labels
    flat = contrastive_loss(torch.zeros(7, 7), positive)         # nothing known: ln 7
    assert flat.item() == pytest.approx(math.log(7), abs=1e-6)
    perfect = contrastive_loss(100.0 * positive, positive)       # all known: the entropy of the targets
    floor = torch.log(positive.sum(1).float()).mean().item()
    assert perfect.item() == pytest.approx(floor, abs=1e-5)
    nobody = torch.tensor([[True, False], [True, False]])        # a column without a partner: never a number
    assert contrastive_loss(torch.zeros(2, 2), nobody).isnan()


def test_plain_clip_is_the_case_of_one_partner_each():
    logits = torch.randn(7, 7)
    plain = (F.cross_entropy(logits, torch.arange(7)) + F.cross_entropy(logits.T, torch.arange(7))) / 2
    torch.testing.assert_close(contrastive_loss(logits, torch.eye(7, dtype=torch.bool)), plain)


def test_sigmoid_loss_is_torchs_cross_entropy_of_each_pair():
    logits, positive = torch.randn(5, 7, dtype=torch.float64), torch.rand(5, 7) < 0.4
    expected = F.binary_cross_entropy_with_logits(logits - 3, positive.double(), reduction="sum") / 5
    assert sigmoid_loss(logits, positive, -3.0).item() == pytest.approx(expected.item())


def test_sigmoid_loss_by_hand():
    """One pair right with logit 2, three wrong with -2, bias 0: four times -log sigmoid(2), in two rows."""
    logits = torch.tensor([[2.0, -2.0], [-2.0, -2.0]])
    expected = 4 * math.log(1 + math.exp(-2)) / 2
    positive = torch.tensor([[True, False], [False, False]])
    assert sigmoid_loss(logits, positive, 0.0).item() == pytest.approx(expected, rel=1e-6)


def test_for_equal_captions_plain_and_multi_positive_are_one_loss_with_one_gradient():
    """Equal captions share their embedding, so the wrong pushes and pulls of the plain loss cancel."""
    kind = torch.tensor([0, 0, 1, 2, 2, 2, 3])
    pictures, words = torch.randn(7, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    found = []
    for positive in (torch.eye(7, dtype=torch.bool), kind[:, None] == kind):
        p, w = pictures.clone().requires_grad_(), words.clone().requires_grad_()
        loss = contrastive_loss(p @ w[kind].T, positive)
        found.append((loss, *torch.autograd.grad(loss, (p, w))))
    for plain, several in zip(*found, strict=True):
        torch.testing.assert_close(plain, several)
    other = words[kind] + 0.1 * torch.randn(7, 5, dtype=torch.float64)                 # true, but not equal: it matters
    assert abs(contrastive_loss(pictures @ other.T, torch.eye(7, dtype=torch.bool))
               - contrastive_loss(pictures @ other.T, kind[:, None] == kind)) > 1e-3


def test_clip_embeddings_have_length_one_and_do_not_depend_on_the_batch():
    model = wake(Clip(TINY)).eval()
    captions = ["a red seven", "", "a thick blue two leaning left"]
    embedded = model.embed_captions(captions)
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(model.embed_captions(captions[2:]), embedded[2:], atol=1e-5, rtol=1e-5)


def test_the_image_tower_keeps_the_means_of_the_four_quarters():
    torch.manual_seed(0)
    tower, pictures = wake(ImageTower((16, 16, 16), 7)), torch.rand(5, 3, 32, 32) * 2 - 1
    seen = tower.net[:-2](pictures)                              # (B, C, 4, 4)
    quarters = [seen[:, :, i:i + 2, j:j + 2].mean((2, 3)) for i in (0, 2) for j in (0, 2)]
    weights = tower.out.weight.view(7, 16, 4)
    expected = tower.out.bias + sum(quarter @ weights[:, :, i].T for i, quarter in enumerate(quarters))
    torch.testing.assert_close(tower(pictures), expected, atol=1e-5, rtol=1e-5)


def test_reading_takes_the_sentence_with_the_smallest_angle():
    torch.manual_seed(0)
    model, pictures = wake(Clip(TINY)).eval(), torch.rand(5, 3, 32, 32) * 2 - 1         # asleep, it hears no word
    seen = read_zero_shot(model, pictures)
    assert seen.shape == (5, 4)
    for column, words in enumerate(prompts().values()):
        far = torch.cdist(model.embed_pictures(pictures), model.embed_captions(words))   # between arrows of length one
        assert (far.amax(1) - far.amin(1)).min() > 1e-4           # so that the next line can fail
        torch.testing.assert_close(far.gather(1, seen[:, column, None]), far.amin(1, keepdim=True), atol=1e-6, rtol=0)
