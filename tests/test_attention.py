"""Attention, the transformer block, the text encoder and the GPT against torch's own, with copied weights."""

import contextlib

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from minidiff.data import (
    LENGTH,
    PAD,
    STROKES,
    TOKEN,
    all_combinations,
    detokenize,
    every_caption,
    grammar,
    is_true_of,
    next_word_entropy,
    parse,
    sentence,
    tokenize,
)
from minidiff.models import (
    Attention,
    Block,
    GPTConfig,
    TextConfig,
    TextEncoder,
    TinyGPT,
    attend,
    attention_weights,
    end_state,
    next_token_probs,
    next_word_loss,
)
from minidiff.pipelines import language
from minidiff.tools import generator_for
from minidiff.training import run

torch.manual_seed(0)
Q, K, V = torch.randn(2, 3, 5, 7), torch.randn(2, 3, 11, 7), torch.randn(2, 3, 11, 13)


def wake(module):
    """Give zero-initialized layers random weights, so that a test can see them."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return module


def test_attend_is_torchs_attention():
    torch.testing.assert_close(attend(Q, K, V), F.scaled_dot_product_attention(Q, K, V), atol=1e-6, rtol=1e-6)


def test_attend_with_a_mask_is_torchs_attention():
    mask = torch.rand(2, 1, 5, 11) < 0.6
    mask[..., 0] = True
    torch.testing.assert_close(attend(Q, K, V, mask), F.scaled_dot_product_attention(Q, K, V, mask),
                               atol=1e-6, rtol=1e-6)


def test_attention_weights_are_shares():
    weights = attention_weights(Q, K)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 5))
    assert weights.shape == (2, 3, 5, 11) and bool((weights > 0).all())


def multihead(ours, width, context_width):
    """torch's MultiheadAttention with the weights of ours."""
    theirs = nn.MultiheadAttention(width, ours.heads, kdim=context_width, vdim=context_width, batch_first=True)
    with torch.no_grad():
        if context_width == width:
            theirs.in_proj_weight.copy_(torch.cat([ours.q.weight, ours.k.weight, ours.v.weight]))
        else:
            for part, layer in (("q", ours.q), ("k", ours.k), ("v", ours.v)):
                getattr(theirs, f"{part}_proj_weight").copy_(layer.weight)
        theirs.in_proj_bias.zero_()
        theirs.out_proj.weight.copy_(ours.out.weight)
        theirs.out_proj.bias.copy_(ours.out.bias)
    return theirs


@pytest.mark.parametrize("context_width", [None, 17])
def test_attention_is_torchs_multihead_attention(context_width):
    ours = Attention(15, 3, context_width)
    x = torch.randn(2, 5, 15)
    context = torch.randn(2, 7, context_width) if context_width else x
    theirs = multihead(ours, 15, context_width or 15)
    expected, weights = theirs(x, context, context, average_attn_weights=False)
    torch.testing.assert_close(ours(x, context), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours.weights(x, context), weights, atol=1e-6, rtol=1e-5)


def encoder_layer(block, width):
    """torch's pre-norm transformer layer with the weights of a block."""
    layer = nn.TransformerEncoderLayer(width, block.attention.heads, 4 * width, dropout=0, activation="gelu",
                                       batch_first=True, norm_first=True)
    layer.self_attn = multihead(block.attention, width, width)
    layer.norm1, layer.norm2, layer.linear1, layer.linear2 = block.norm1, block.norm3, block.mlp[0], block.mlp[2]
    return layer.train()                                         # in evaluation torch takes another path


def encoder(blocks, width, norm):
    """torch's transformer encoder with the weights of some blocks and a last norm."""
    theirs = nn.TransformerEncoder(encoder_layer(blocks[0], width), len(blocks), norm, enable_nested_tensor=False)
    theirs.layers = nn.ModuleList(encoder_layer(block, width) for block in blocks)
    return theirs.train()


def test_block_is_torchs_pre_norm_encoder_layer():
    ours, x = wake(Block(15, 3)), torch.randn(2, 7, 15)
    torch.testing.assert_close(ours(x), encoder_layer(ours, 15)(x), atol=1e-5, rtol=1e-5)


def test_a_new_block_changes_nothing_and_an_awake_one_hears_its_context():
    x, context, block = torch.randn(2, 5, 12), torch.randn(2, 3, 7), Block(12, 3, context_width=7)
    torch.testing.assert_close(block(x, context), x)
    assert (wake(block)(x, context) - block(x, context.flip(-1))).abs().max() > 1e-3


def test_text_states_do_not_depend_on_padding_and_are_zero_there():
    model = wake(TextEncoder(TextConfig(width=12, heads=3, depth=2)))
    ids = tokenize(["a red seven", "a thick blue two leaning left"])
    states = model(ids)
    assert bool((states[ids == PAD] == 0).all())
    torch.testing.assert_close(model(ids[:1, :5]), states[:1, :5], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(end_state(states, ids), torch.stack([states[0, 4], states[1, 7]]))


def test_text_encoder_is_torchs_encoder_with_a_padding_mask():
    ours = wake(TextEncoder(TextConfig(width=15, heads=3, depth=2)))
    ids = tokenize(["a red seven", "a thick two upright"])
    theirs = encoder(ours.blocks, 15, ours.norm)
    expected = theirs(ours.token(ids) + ours.position, src_key_padding_mask=ids == PAD)
    real = ids != PAD
    torch.testing.assert_close(ours(ids)[real], expected[real], atol=1e-5, rtol=1e-5)


def test_text_states_know_the_order_of_words():
    model = wake(TextEncoder(TextConfig(width=12, heads=3, depth=1)))
    one, other = model(tokenize(["a red seven", "a seven red"]))
    assert (one[4] - other[4]).abs().max() > 1e-3                # the states of <end>


SMALL_GPT = GPTConfig(width=15, heads=3, depth=2)


def test_gpt_is_torchs_transformer_with_a_causal_mask():
    ours, ids = wake(TinyGPT(SMALL_GPT)), tokenize(["a thick red seven", "a two leaning left"])
    mask = nn.Transformer.generate_square_subsequent_mask(LENGTH)
    expected = ours.out(encoder(ours.blocks, 15, ours.norm)(ours.token(ids) + ours.position, mask=mask))
    torch.testing.assert_close(ours(ids), expected, atol=1e-5, rtol=1e-5)


def test_no_word_can_be_seen_before_it_is_said():
    model, cheat = wake(TinyGPT(SMALL_GPT)), wake(TinyGPT(GPTConfig(15, 3, 2, causal=False)))
    ids = tokenize(["a thick red seven leaning left"])
    for j in range(1, LENGTH):
        changed = ids.clone()
        changed[0, j] = 9
        before, after = model(ids), model(changed)
        torch.testing.assert_close(before[:, :j], after[:, :j], atol=0, rtol=0)
        assert (before[:, j] - after[:, j]).abs().max() > 1e-4
        assert (cheat(ids)[:, 0] - cheat(changed)[:, 0]).abs().max() > 1e-6


def test_next_word_loss_is_the_surprise_at_each_word():
    model, ids = wake(TinyGPT(SMALL_GPT)), tokenize(["a red seven", "a thick blue two leaning left"])
    shares, loss = model(ids).softmax(-1), next_word_loss(model, ids)
    for b, row in enumerate(ids.tolist()):
        for i in range(LENGTH - 1):
            expected = 0.0 if row[i + 1] == PAD else -shares[b, i, row[i + 1]].log().item()
            assert loss[b, i].item() == pytest.approx(expected, abs=1e-5)


def test_temperature_and_top_k():
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0]])
    torch.testing.assert_close(next_token_probs(logits), logits.softmax(-1))
    torch.testing.assert_close(next_token_probs(logits, 0.5), (2 * logits).softmax(-1))
    torch.testing.assert_close(next_token_probs(logits, top_k=2)[0, [1, 2]], logits[0, [1, 2]].softmax(-1))
    assert next_token_probs(logits, top_k=1).tolist() == [[0, 1, 0, 0]]


@pytest.fixture(scope="module")
def trained_gpt():
    return run(language.recipe(*grammar(0.3), steps=300, batch=128))


def test_a_trained_gpt_is_near_the_entropy_of_the_grammar_which_none_can_beat(trained_gpt):
    """Over all 1,408 captions with their exact shares: no luck of a sample is in this number."""
    ids, shares = grammar(0.3)
    with torch.no_grad():
        loss = (shares @ next_word_loss(trained_gpt, ids).double()).sum().item()
    floor = next_word_entropy(ids, shares).sum().item()
    assert floor < loss < 1.01 * floor


def test_upsampled_captions_say_the_same_and_more_as_often_as_the_gpt_would():
    said, n = "a red seven leaning right", 3_000                 # what is open is the stroke: three ways to go on
    gpt = wake(TinyGPT(GPTConfig(width=24)))
    written = language.upsample(gpt, [said] * n, generator_for(1))
    ways = [said.replace("a red", f"a {stroke} red") for stroke in STROKES]
    found = torch.tensor([written.count(way) / n for way in ways])
    logits = gpt(tokenize(["a"]))[0, 1, [TOKEN[stroke] for stroke in STROKES]]
    assert found.sum() == 1
    torch.testing.assert_close(found, logits.softmax(-1).detach(), atol=0.03, rtol=0)
    terse = [sentence(row) for row in every_caption()[::7]]
    more = torch.tensor([parse(caption) for caption in language.upsample(gpt, terse, generator_for(2))])
    assert (more >= 0).all() and is_true_of(torch.tensor([parse(c) for c in terse]), more).diagonal().all()
    full = [sentence(row) for row in all_combinations()[::13]]
    assert language.upsample(gpt, full, generator_for(3)) == full


def test_a_trained_gpt_says_captions_that_parse_and_keeps_the_beginning(trained_gpt):
    said = language.generate(trained_gpt, "a thick red", 300, generator_for(0))
    assert all(caption.startswith("a thick red ") for caption in said) and len(set(said)) > 20
    good = []
    for caption in said:
        with contextlib.suppress(ValueError):                    # a few may babble, or not come to an end
            good += [caption] * (parse(caption)[1:3] == (0, 2))
    assert len(good) >= 0.97 * len(said)
    assert detokenize(tokenize(good)) == good
