"""CLIP's losses against torch's and against loops; its readings and its search against what is known."""

import math

import pytest
import torch
from test_attention import wake
from torch.nn import functional as F

from minidiff.data import UNSAID, parse
from minidiff.evaluation import prompts, read_zero_shot, recall_at
from minidiff.models import Clip, ClipConfig, TextConfig, contrastive_loss, sigmoid_loss

TINY = ClipConfig(widths=(16, 16, 16), text=TextConfig(12, 3, 1), embed_width=7)


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


def test_prompts_say_one_word_each():
    said = prompts()
    assert [len(words) for words in said.values()] == [10, 7, 3, 3]
    for column, words in enumerate(said.values()):
        for i, prompt in enumerate(words):
            expected = [UNSAID] * 4
            expected[column] = i
            assert list(parse(prompt)) == expected


def test_reading_takes_the_sentence_with_the_smallest_angle():
    torch.manual_seed(0)
    model, pictures = wake(Clip(TINY)).eval(), torch.rand(5, 3, 32, 32) * 2 - 1         # asleep, it hears no word
    seen = read_zero_shot(model, pictures)
    assert seen.shape == (5, 4)
    for column, words in enumerate(prompts().values()):
        far = torch.cdist(model.embed_pictures(pictures), model.embed_captions(words))   # between arrows of length one
        assert (far.amax(1) - far.amin(1)).min() > 1e-4           # so that the next line can fail
        torch.testing.assert_close(far.gather(1, seen[:, column, None]), far.amin(1, keepdim=True), atol=1e-6, rtol=0)


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
    with pytest.raises(ValueError, match="without any true match"):
        recall_at(1, similarity, torch.zeros(11, 7, dtype=torch.bool))
