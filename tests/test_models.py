"""Blocks, UNet, autoencoder, CLIP: shapes, wiring, exact formulas, and clear refusals."""

import math
from dataclasses import replace

import pytest
import torch
from test_attention import wake
from torch.nn import functional as F

from minidiff.data import shift
from minidiff.diffusion import to_eps
from minidiff.evaluation import psnr
from minidiff.models import (
    DIGIT_PICTURES,
    LATENTS,
    Autoencoder,
    AutoencoderConfig,
    Clip,
    ClipConfig,
    DiT,
    DiTConfig,
    Down,
    ResBlock,
    TextConfig,
    UNet,
    UNetConfig,
    Up,
    contrastive_loss,
    kl_to_normal,
    time_embedding,
)
from minidiff.pipelines import autoencoder, classifier, clip, denoiser, digits
from minidiff.tools import generator_for

SMALL_UNET = UNetConfig(channels=3, widths=(16, 32), blocks=1, attention=(False, True), heads=2, cond_width=13)


def test_time_embedding_against_plain_loops():
    t, width = torch.tensor([0, 1, 17, 1000]), 6
    for row, level in zip(time_embedding(t, width), t.tolist(), strict=True):
        angles = [level / 10_000 ** (i / 3) for i in range(3)]
        expected = [math.cos(a) for a in angles] + [math.sin(a) for a in angles]
        torch.testing.assert_close(row, torch.tensor(expected), atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="even"):
        time_embedding(t, 5)


def test_blocks_have_their_shapes_and_a_new_residual_block_changes_nothing():
    x = torch.randn(2, 16, 8, 12)
    torch.testing.assert_close(ResBlock(16, 16)(x), x)
    assert ResBlock(16, 32, 5)(x, torch.randn(2, 5)).shape == (2, 32, 8, 12)
    assert Down(16, 24)(x).shape == (2, 24, 4, 6) and Up(16, 5)(x).shape == (2, 5, 16, 24)


def test_a_new_upsampler_is_a_convolution_and_nearest_neighbors():
    up, x = Up(3, 5), torch.randn(2, 3, 4, 6)
    small = F.conv2d(x, up.conv.weight[::4], up.conv.bias[::4], padding=1)
    torch.testing.assert_close(up(x), F.interpolate(small, scale_factor=2, mode="nearest"))


def test_unet_keeps_the_shape_and_starts_by_predicting_v_zero():
    model, x, t = UNet(SMALL_UNET), torch.randn(2, 3, 8, 12), torch.tensor([3, 900])
    eps = model(x, t, torch.randn(2, 5, 13))
    torch.testing.assert_close(eps, to_eps(torch.zeros_like(x), x, t, model.schedule, "v"))


def test_unet_answers_alone_as_in_a_batch():
    model = wake(UNet(SMALL_UNET))
    x, t, cond = torch.randn(5, 3, 8, 8), torch.tensor([1, 5, 50, 500, 1000]), torch.randn(5, 7, 13)
    torch.testing.assert_close(model(x, t, cond)[3:4], model(x[3:4], t[3:4], cond[3:4]), atol=1e-5, rtol=1e-4)


def test_unet_listens_to_time_caption_and_every_wire():
    model = wake(UNet(SMALL_UNET))
    x, t, cond = torch.randn(1, 3, 8, 8), torch.tensor([500]), torch.randn(1, 7, 13)
    out = model.network(x, t, cond)
    assert (model.network(x, torch.tensor([400]), cond) - out).abs().max() > 1e-4
    assert (model.network(x, t, cond.flip(-1)) - out).abs().max() > 1e-4
    for layer in model.up:                                       # each skip connection carries a gradient
        if hasattr(layer, "res"):
            wire_weights = layer.res.conv1.weight
            grad, = torch.autograd.grad(model.network(x, t, cond).square().sum(), wire_weights)
            assert (grad[:, -SMALL_UNET.widths[0]:].abs().amax((0, 2, 3)) > 0).all()


@pytest.mark.parametrize("shape, cond, words", [
    ((1, 3, 9, 8), (1, 5, 13), "multiples of 2"), ((1, 4, 8, 8), (1, 5, 13), "takes"), ((3, 8, 8), (1, 5, 13), "takes"),
    ((1, 3, 8, 8), None, "condition"), ((1, 3, 8, 8), (1, 5, 12), "condition"),
])
def test_unet_refuses_what_it_was_not_built_for(shape, cond, words):
    with pytest.raises(ValueError, match=words):
        UNet(SMALL_UNET)(torch.zeros(shape), torch.tensor([1]), None if cond is None else torch.zeros(cond))


def test_a_unet_on_patches_answers_alone_as_in_a_batch_and_listens():
    model = wake(UNet(DIGIT_PICTURES))
    x, t, cond = torch.randn(5, 1, 32, 24), torch.tensor([1, 5, 50, 500, 1000]), digits.digit_states(torch.arange(5))
    out = model(x, t, cond)
    assert out.shape == x.shape
    torch.testing.assert_close(out[3:4], model(x[3:4], t[3:4], cond[3:4]), atol=1e-5, rtol=1e-4)
    assert (model(x, t, cond.roll(1, 0)) - out).abs().amax((1, 2, 3)).min() > 1e-4
    with pytest.raises(ValueError, match="multiples of 4"):
        model(torch.zeros(1, 1, 30, 32), t[:1], cond[:1])
    with pytest.raises(ValueError, match="would not hear"):
        UNet(UNetConfig(attention=(False,), middle=False))


def test_the_machines_unet_hears_words_by_their_mean_and_by_looking():
    x, t, cond = torch.randn(5, 4, 4, 4), torch.tensor([1, 5, 50, 500, 1000]), torch.randn(5, 7, 64)
    far = cond + torch.randn(5, 1, 64) * torch.tensor([1.0, -1, 1, -1, 1, -1, 0])[:, None]        # of the same mean
    model = wake(UNet(LATENTS))
    assert (model.network(x, t, far) - model.network(x, t, cond)).abs().amax((1, 2, 3)).min() > 1e-4     # by looking
    assert not any(stage.look for stage in (*model.down, *model.up)) and model.middle.look is not None
    deaf = replace(LATENTS, middle=False)
    model = wake(UNet(deaf))
    torch.testing.assert_close(model.network(x, t, far), model.network(x, t, cond), atol=1e-5, rtol=1e-5)
    assert (model.network(x, t, cond + 1) - model.network(x, t, cond)).abs().amax((1, 2, 3)).min() > 1e-4


def test_a_transformer_denoiser_keeps_the_unets_contract_and_its_places_are_a_set():
    x, t, cond = torch.randn(5, 3, 2, 2), torch.tensor([1, 5, 50, 500, 1000]), torch.randn(5, 7, 13)
    model = DiT(DiTConfig(channels=3, size=2, width=20, depth=2, heads=5, cond_width=13))
    torch.testing.assert_close(model(x, t, cond), to_eps(torch.zeros_like(x), x, t, model.schedule, "v"))
    out = wake(model).network(x, t, cond)
    torch.testing.assert_close(out[3:4], model.network(x[3:4], t[3:4], cond[3:4]), atol=1e-5, rtol=1e-4)
    assert (model.network(x, t.flip(0), cond) - out)[:2].abs().max() > 1e-4
    assert (model.network(x, t, cond.flip(-1)) - out).abs().amax((1, 2, 3)).min() > 1e-4
    assert (model.network(x.flip(2), t, cond) - out.flip(2)).abs().max() > 1e-4       # positions tell places apart
    with torch.no_grad():
        model.position.copy_(model.position[:1].expand(4, -1))
    flipped = model.network(x.flip(2), t, cond)                  # and nothing else does
    torch.testing.assert_close(flipped, model.network(x, t, cond).flip(2), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape, cond, words", [
    ((1, 3, 2, 3), (1, 5, 13), r"2 x 2 .*got \(1, 3, 2, 3\)"), ((1, 4, 2, 2), (1, 5, 13), "takes"),
    ((1, 3, 2, 2), None, "condition"), ((1, 3, 2, 2), (1, 5, 12), "condition"),
])
def test_a_transformer_denoiser_refuses_what_it_was_not_built_for(shape, cond, words):
    model = DiT(DiTConfig(channels=3, size=2, width=20, depth=1, heads=5, cond_width=13))
    with pytest.raises(ValueError, match=words):
        model(torch.zeros(shape), torch.tensor([1]), None if cond is None else torch.zeros(cond))


def test_digits_as_conditions_have_a_single_one():
    states = digits.digit_states(torch.tensor([3, 0]))
    assert states.shape == (2, 1, 10) and states.sum() == 2 and states[0, 0, 3] == 1 and states[1, 0, 0] == 1


def test_kl_is_torchs_kl():
    mean, logvar = torch.randn(7, 5), torch.randn(7, 5)
    ours = torch.distributions.Normal(mean, (logvar / 2).exp())
    expected = torch.distributions.kl_divergence(ours, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(kl_to_normal(mean, logvar), expected, atol=1e-5, rtol=1e-5)


def test_autoencoder_is_48_times_smaller_and_deterministic():
    model, pictures = Autoencoder().eval(), torch.rand(3, 3, 32, 32) * 2 - 1
    latents = model.encode(pictures)
    assert pictures[0].numel() == 48 * latents[0].numel()
    assert model.decode(latents).shape == pictures.shape
    assert torch.equal(latents, model.encode(pictures))
    with pytest.raises(ValueError, match="multiples of 8"):
        model.encode(torch.zeros(1, 3, 30, 32))


def test_measured_latents_have_mean_0_and_spread_1_and_decode_undoes_the_scale(captioned):
    torch.manual_seed(0)                                         # a random network, but the same one each time
    model = wake(Autoencoder()).eval()
    pictures, _ = captioned.sample(1_500, generator_for(0))
    before = model.decoder(model.encoder(pictures[:2])[0])
    model.measure_latents(pictures)
    torch.testing.assert_close(model.encode(pictures).std((0, 2, 3)).detach(), torch.ones(4), atol=1e-4, rtol=0)
    latents = model.encode(captioned.sample(1_500, generator_for(1))[0]).detach()
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(4), atol=0.02, rtol=0)
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(4), atol=0.05, rtol=0)
    torch.testing.assert_close(model.decode(model.encode(pictures[:2])), before, atol=1e-4, rtol=1e-4)


def test_psnr_by_hand():
    twice = psnr(torch.tensor([[1.0, 1.0, 1.0], [0.2, 0.2, 0.2]]), torch.zeros(2, 3))
    torch.testing.assert_close(twice, torch.tensor([10 * math.log10(4), 20.0]))


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
    one_each = contrastive_loss(torch.randn(5, 5).double(), torch.eye(5, dtype=torch.bool))
    assert one_each > 0


def test_plain_clip_is_the_case_of_one_partner_each():
    logits = torch.randn(7, 7)
    plain = (F.cross_entropy(logits, torch.arange(7)) + F.cross_entropy(logits.T, torch.arange(7))) / 2
    torch.testing.assert_close(contrastive_loss(logits, torch.eye(7, dtype=torch.bool)), plain)


def test_a_picture_without_a_true_caption_is_refused():
    with pytest.raises(ValueError, match="partner"):
        contrastive_loss(torch.zeros(2, 2), torch.tensor([[True, False], [True, False]]))


def test_clip_embeddings_have_length_one_and_do_not_depend_on_the_batch():
    model = wake(Clip(ClipConfig(widths=(16, 16), text=TextConfig(12, 3, 1), embed_width=7))).eval()
    captions = ["a red seven", "", "a thick blue two leaning left"]
    embedded = model.embed_captions(captions)
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(model.embed_captions(captions[2:]), embedded[2:], atol=1e-5, rtol=1e-5)


def test_shifting_moves_each_picture_as_a_whole():
    picture = torch.full((64, 3, 32, 32), -1.0)
    picture[:, :, 10, 20] = 1
    moved = shift(picture, 2, generator_for(0))
    where = (moved[:, 0] == 1).nonzero()
    assert torch.equal(moved[:, 0], moved[:, 2]) and len(where) == 64
    assert set((where[:, 1] - 10).tolist()) == set((where[:, 2] - 20).tolist()) == {-2, -1, 0, 1, 2}


@pytest.mark.parametrize("name", ["autoencoder", "clip", "unet", "judge"])
def test_the_full_budget_is_built_and_stepped_once(name, captioned, monkeypatch):
    from minidiff.train import train
    monkeypatch.setenv("MINIDIFF_BUDGET", "full")
    recipe = {
        "autoencoder": lambda: autoencoder.recipe(captioned), "clip": lambda: clip.recipe(captioned),
        "judge": lambda: classifier.recipe(captioned),
        "unet": lambda: denoiser.recipe(torch.randn(50, 4, 4, 4), lambda rows, g: torch.randn(len(rows), 10, 64),
                                    torch.zeros(1, 10, 64)),
    }[name]()
    before = [p.clone() for p in recipe.model.parameters()]
    state = next(train(recipe))
    assert state.steps >= 2_000 and math.isfinite(state.loss)
    assert any((p != q).any() for p, q in zip(recipe.model.parameters(), before, strict=True))


def test_autoencoder_config_must_fit():
    with pytest.raises(ValueError):
        Autoencoder(AutoencoderConfig(widths=(16, 16), blocks=(1,)))
