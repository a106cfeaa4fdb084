"""Captions: there and back, which are held out, how often each is said, and what nobody can know of them."""

import itertools
import math

import pytest
import torch

from minidiff.data import (
    END,
    LENGTH,
    PAD,
    SIZES,
    START,
    UNSAID,
    all_combinations,
    caption_index,
    caption_shares,
    detokenize,
    drop_words,
    every_caption,
    grammar,
    is_held_out,
    is_true_of,
    next_word_entropy,
    parse,
    said_twice,
    sentence,
    tokenize,
)


def test_every_caption_goes_to_tokens_and_back_and_is_different():
    every = every_caption()
    sentences = [sentence(said) for said in every]
    assert len(set(sentences)) == len(every) == 11 * 8 * 4 * 4
    assert detokenize(tokenize(sentences)) == sentences
    assert [parse(s) for s in sentences] == [tuple(said) for said in every.tolist()]
    assert torch.equal(caption_index(every), torch.arange(len(every)))


def test_tokens_are_start_words_end_padding():
    ids = tokenize(["", "A thick red SEVEN, leaning left."])
    assert ids.shape == (2, LENGTH)
    assert ids[0].tolist() == [START, END] + [PAD] * (LENGTH - 2)
    assert detokenize(ids) == ["", "a thick red seven leaning left"]


def test_one_combination_in_ten_is_held_out_and_the_rule_is_balanced():
    every = all_combinations()
    held = every[is_held_out(every)]
    assert len(every) == 630 and len(held) == 63
    for column, size, counts in zip(range(4), SIZES, ({6, 7}, {9}, {21}, {21}), strict=True):
        assert set(torch.bincount(held[:, column], minlength=size).tolist()) == counts


def test_every_pair_of_words_still_occurs_in_training():
    every = all_combinations()
    trained = {tuple(row) for row in every[~is_held_out(every)].tolist()}
    for i, j in itertools.combinations(range(4), 2):
        assert len({(row[i], row[j]) for row in trained}) == SIZES[i] * SIZES[j]


def test_dropped_words_are_a_share_p_and_the_rest_is_untouched():
    attributes = torch.ones(20_000, 4, dtype=torch.long)
    said = drop_words(attributes, 0.25, torch.Generator().manual_seed(0))
    assert (said == UNSAID).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert bool((said[said != UNSAID] == 1).all())


def test_truth_of_captions_agrees_with_a_loop():
    generator = torch.Generator().manual_seed(1)
    pictures = all_combinations()[torch.randint(630, (13,), generator=generator)]
    said = drop_words(pictures[torch.randint(13, (17,), generator=generator)], 0.5, generator)
    table = is_true_of(said, pictures)
    for i, j in itertools.product(range(13), range(17)):
        truth = all(s in (a, UNSAID) for s, a in zip(said[j].tolist(), pictures[i].tolist(), strict=True))
        assert bool(table[i, j]) == truth


def test_the_grammar_as_a_probability():
    shares = caption_shares(0.3)
    assert shares.sum().item() == pytest.approx(1, abs=1e-12)
    rows = all_combinations()[torch.randint(630, (200_000,), generator=torch.Generator().manual_seed(0))]
    said = caption_index(drop_words(rows, 0.3, torch.Generator().manual_seed(1)))
    counted = torch.bincount(said, minlength=1408) / len(rows)
    assert (counted - shares).abs().max() < 5 * (shares.max() / len(rows)).sqrt()      # the luck of the draws


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_the_uncertainty_of_the_words_adds_up_to_the_entropy_of_the_grammar(p):
    """A second formula: the four attributes are independent, so their entropies add."""
    expected = sum(-p * math.log(p) - (1 - p) * math.log((1 - p) / size) for size in SIZES)
    words = next_word_entropy(*grammar(p))
    assert words.sum().item() == pytest.approx(expected, abs=1e-9)
    assert words[0].abs().item() < 1e-12                         # every caption begins with "a"
    assert words[1].item() == pytest.approx(second_word(p), abs=1e-9) and bool((words >= -1e-12).all())


def test_what_is_said_twice_costs_as_much_as_once():
    """The second saying holds no news, so all uncertainty is in the first: that of three independent attributes."""
    p = 0.3
    ids, shares = said_twice(p)
    assert shares.sum().item() == pytest.approx(1, abs=1e-12) and len(ids.unique(dim=0)) == len(ids) == 352
    halves = [text.split() for text in detokenize(ids)]
    assert all(words[:len(words) // 2] == words[len(words) // 2:] for words in halves)
    expected = sum(-p * math.log(p) - (1 - p) * math.log((1 - p) / size) for size in SIZES[:3])
    words = next_word_entropy(ids, shares)
    assert words.sum().item() == pytest.approx(expected, abs=1e-9) and words[4:].abs().max() < 1e-12


def second_word(p):
    """By hand: after "a" comes a stroke, or a color if no stroke is said, or a digit if neither, or "digit"."""
    stroke, color, digit = (1 - p), p * (1 - p), p * p * (1 - p)
    shares = [stroke / 3] * 3 + [color / 7] * 7 + [digit / 10] * 10 + [p**3]
    return -sum(share * math.log(share) for share in shares)


def test_a_language_in_which_nothing_is_left_out_has_the_entropy_of_its_combinations():
    """What is never said has the share 0, and 0 log 0 is 0."""
    assert next_word_entropy(*grammar(0.0)).sum().item() == pytest.approx(math.log(630), abs=1e-9)
