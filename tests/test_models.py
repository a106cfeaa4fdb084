"""Blocks, UNet, transformer denoiser and autoencoder: wiring, exact formulas, and what a new layer leaves alone."""

import math
from dataclasses import replace

import pytest
import torch
from test_attention import encoder_layer, wake
from torch.nn import functional as F

from minidiff.diffusion import to_eps
from minidiff.models import (
    DIGIT_PICTURES,
    LATENTS,
    Autoencoder,
    DiT,
    DiTConfig,
    Down,
    ResBlock,
    UNet,
    UNetConfig,
    Up,
    kl_to_normal,
    time_embedding,
)
from minidiff.models.dit import DiTBlock
from minidiff.models.unet import TrajectoryConfig
from minidiff.pipelines import autoencoder, classifier, clip, denoiser
from minidiff.pipelines.digits import digit_states
from minidiff.tools import generator_for
from minidiff.training import train

SMALL_UNET = UNetConfig(channels=3, widths=(16, 32), blocks=1, attention=(False, True), heads=2, cond_width=13)
T = torch.tensor([1, 5, 50, 500, 1000])


def far(one, other):
    """How far the answers for each picture are apart, at most (B,)."""
    return (one - other).flatten(1).abs().amax(1)


def test_time_embedding_against_plain_loops():
    t, width = torch.tensor([0, 1, 17, 1000]), 6
    for row, level in zip(time_embedding(t, width), t.tolist(), strict=True):
        angles = [level / 10_000 ** (i / 3) for i in range(3)]
        expected = [math.cos(a) for a in angles] + [math.sin(a) for a in angles]
        torch.testing.assert_close(row, torch.tensor(expected), atol=1e-4, rtol=1e-4)


def test_blocks_have_their_shapes_and_a_new_residual_block_changes_nothing():
    x = torch.randn(2, 16, 8, 12)
    torch.testing.assert_close(ResBlock(16, 16)(x), x)
    assert ResBlock(16, 32, 5)(x, torch.randn(2, 5)).shape == (2, 32, 8, 12)
    assert Down(16, 24)(x).shape == (2, 24, 4, 6) and Up(16, 5)(x).shape == (2, 5, 16, 24)


def test_a_new_upsampler_is_a_convolution_and_nearest_neighbors():
    up, x = Up(3, 5), torch.randn(2, 3, 4, 6)
    small = F.conv2d(x, up.conv.weight[::4], up.conv.bias[::4], padding=1)
    torch.testing.assert_close(up(x), F.interpolate(small, scale_factor=2, mode="nearest"))


def test_blocks_along_a_trajectory_are_those_of_a_picture_one_pixel_high():
    one, two, x, time = ResBlock(5, 7, 11, dims=1), ResBlock(5, 7, 11), torch.randn(2, 5, 13), torch.randn(2, 11)
    with torch.no_grad():
        for thin, wide in zip(one.parameters(), two.parameters(), strict=True):
            thin.normal_()
            wide.zero_()
            (wide[:, :, wide.shape[2] // 2] if wide.ndim == 4 else wide).copy_(thin)     # the middle row of a kernel
    torch.testing.assert_close(one(x, time), two(x[:, :, None], time)[:, :, 0], atol=1e-4, rtol=1e-4)
    up = Up(5, 3, dims=1)
    small = F.conv1d(x, up.conv.weight[::2], up.conv.bias[::2], padding=1)
    torch.testing.assert_close(up(x), F.interpolate(small, scale_factor=2, mode="nearest"))
    unet, plans = UNet(TrajectoryConfig(widths=(16, 32), heads=2, cond_width=13)), torch.randn(2, 3, 48)
    assert unet(plans, torch.tensor([3, 999]), torch.randn(2, 5, 13)).shape == plans.shape


@pytest.mark.parametrize("config, shape", [(SMALL_UNET, (3, 8, 12)), (DIGIT_PICTURES, (1, 32, 24))])
def test_unet_starts_by_predicting_v_zero_and_answers_alone_as_in_a_batch(config, shape):
    torch.manual_seed(0)
    model, x, cond = UNet(config), torch.randn(5, *shape), torch.randn(5, 7, config.cond_width)
    torch.testing.assert_close(model(x, T, cond), to_eps(torch.zeros_like(x), x, T, model.schedule, "v"))
    out = wake(model)(x, T, cond)
    assert out.shape == x.shape
    torch.testing.assert_close(out[3:4], model(x[3:4], T[3:4], cond[3:4]), atol=1e-5, rtol=1e-4)
    assert far(model(x, T, cond.roll(1, 0)), out).min() > 1e-4   # it listens


def test_unet_listens_to_time_caption_and_every_skip_connection():
    model = wake(UNet(SMALL_UNET))
    x, t, cond = torch.randn(1, 3, 8, 8), torch.tensor([500]), torch.randn(1, 7, 13)
    out = model.network(x, t, cond)
    assert far(model.network(x, torch.tensor([400]), cond), out) > 1e-4
    assert far(model.network(x, t, cond.flip(-1)), out) > 1e-4
    for layer in model.up:                                       # each skip connection carries a gradient
        if hasattr(layer, "res"):
            weights = layer.res.conv1.weight
            grad, = torch.autograd.grad(model.network(x, t, cond).square().sum(), weights)
            assert (grad[:, -SMALL_UNET.widths[0]:].abs().amax((0, 2, 3)) > 0).all()


def test_unet_can_be_run_in_three_steps_and_a_skip_can_be_added_to():
    """What a ControlNet needs: each skip is heard, and the list of them stays as it was."""
    model = wake(UNet(SMALL_UNET))
    x, cond = torch.randn(5, 3, 8, 8), torch.randn(5, 7, 13)
    time = model.time_state(T, cond)
    bottom, skips = model.encode(x, time, cond)
    bottom, kept = model.middle(bottom, time, cond), list(skips)
    out = model.decode(bottom, skips, time, cond)
    assert torch.equal(out, model.network(x, T, cond))
    assert len(skips) == len(kept) and all(one is other for one, other in zip(skips, kept, strict=True))
    assert torch.equal(model.decode(bottom, tuple(skips), time, cond), out)            # it can be run again
    for i, skip in enumerate(skips):
        more = [*skips[:i], skip + 1, *skips[i + 1:]]
        assert far(model.decode(bottom, more, time, cond), out).min() > 1e-4


def test_a_unet_may_take_more_channels_than_it_gives():
    """An editor: the noisy latent, and beside it a second one that is only looked at."""
    model = UNet(UNetConfig(channels=4, in_channels=8))
    x, cond = torch.randn(5, 8, 4, 4), torch.randn(5, 7, 64)
    silent = to_eps(torch.zeros(5, 4, 4, 4), x[:, :4], T, model.schedule, "v")
    torch.testing.assert_close(model(x, T, cond), silent)
    out = wake(model)(x, T, cond)
    assert out.shape == (5, 4, 4, 4)
    assert far(model(torch.cat([x[:, :4], x[:, 4:].flip(0)], 1), T, cond), out)[[0, 1, 3, 4]].min() > 1e-4


def test_the_machines_unet_hears_words_by_their_mean_and_by_looking():
    x, cond = torch.randn(5, 4, 4, 4), torch.randn(5, 7, 64)
    other = cond + torch.randn(5, 1, 64) * torch.tensor([1.0, -1, 1, -1, 1, -1, 0])[:, None]      # of the same mean
    model = wake(UNet(LATENTS))
    assert far(model.network(x, T, other), model.network(x, T, cond)).min() > 1e-4     # by looking
    assert not any(stage.look for stage in (*model.down, *model.up)) and model.middle.look is not None
    deaf = wake(UNet(replace(LATENTS, middle=False)))
    torch.testing.assert_close(deaf.network(x, T, other), deaf.network(x, T, cond), atol=1e-5, rtol=1e-5)
    assert far(deaf.network(x, T, cond + 1), deaf.network(x, T, cond)).min() > 1e-4


def test_a_transformer_denoiser_keeps_the_unets_contract_and_its_places_are_a_set():
    x, cond = torch.randn(5, 3, 2, 2), torch.randn(5, 7, 13)
    model = DiT(DiTConfig(channels=3, size=2, width=20, depth=2, heads=5, cond_width=13))
    torch.testing.assert_close(model(x, T, cond), to_eps(torch.zeros_like(x), x, T, model.schedule, "v"))
    out = wake(model).network(x, T, cond)
    torch.testing.assert_close(out[3:4], model.network(x[3:4], T[3:4], cond[3:4]), atol=1e-5, rtol=1e-4)
    assert far(model.network(x, T.flip(0), cond), out)[:2].max() > 1e-4
    assert far(model.network(x, T, cond.flip(-1)), out).min() > 1e-4
    assert far(model.network(x.flip(2), T, cond), out.flip(2)).max() > 1e-4            # positions tell places apart
    with torch.no_grad():
        model.position.copy_(model.position[:1].expand(4, -1))
    flipped = model.network(x.flip(2), T, cond)                  # and nothing else does
    torch.testing.assert_close(flipped, model.network(x, T, cond).flip(2), atol=1e-4, rtol=1e-4)


def test_a_new_dit_block_changes_nothing_and_one_that_hears_no_time_is_torchs_layer():
    """adaLN-Zero: all gates begin at zero; scale and shift 0 and gate 1 make the plain pre-norm block."""
    torch.manual_seed(0)
    block = DiTBlock(15, 3, 7)
    x, time, cond = torch.randn(5, 11, 15), 10 * torch.randn(5, 15), torch.randn(5, 2, 7)
    assert torch.equal(block(x, time, cond), x)
    with torch.no_grad():
        block.time.bias.copy_(torch.tensor([0.0, 0, 1, 0, 0, 1]).repeat_interleave(15))
    torch.testing.assert_close(block(x, time, cond), encoder_layer(block, 15)(x), atol=1e-5, rtol=1e-5)
    wake(block.time)
    assert far(block(x, time, cond), block(x, time.flip(0), cond))[[0, 1, 3, 4]].min() > 1e-2
    grad, = torch.autograd.grad(block(x, time, cond).square().sum(), block.time.bias)
    assert (grad.view(6, 15).abs() > 0).all()                    # each of the six is used


def test_digits_as_conditions_have_a_single_one():
    states = digit_states(torch.tensor([3, 0]))
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


def test_measured_latents_have_mean_0_and_std_1_and_decode_undoes_the_scale(captioned):
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


@pytest.mark.parametrize("make", [
    classifier.recipe, clip.recipe, autoencoder.recipe,
    lambda _: denoiser.recipe(torch.randn(50, 4, 4, 4), lambda rows, dice: torch.randn(len(rows), 10, 64),
                              torch.zeros(1, 10, 64))], ids=["classifier", "clip", "autoencoder", "unet"])
def test_the_full_budget_is_built_and_stepped_once(make, captioned, monkeypatch):
    monkeypatch.setenv("MINIDIFF_BUDGET", "full")
    recipe = make(captioned)
    before = [p.clone() for p in recipe.model.parameters()]
    state = next(train(recipe))
    assert state.steps >= 2_000 and math.isfinite(state.loss)
    assert any((p != q).any() for p, q in zip(recipe.model.parameters(), before, strict=True))
