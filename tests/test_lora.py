"""LoRA against the formula: nothing before its first step, the base bit for bit, merged as unmerged."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from minidiff.models import LATENTS, UNet
from minidiff.models.lora import Lora, loras, merged, with_lora
from minidiff.tools import generator_for

LAYERS = {"linear": (lambda: nn.Linear(7, 5), (11, 7)), "convolution": (
    lambda: nn.Conv2d(7, 5, 3, padding=1, stride=2), (2, 7, 8, 8))}


def trained(layer, rank=3, alpha=None):
    """A LoRA whose B is not zero any more."""
    torch.manual_seed(0)
    lora = Lora(layer(), rank, alpha)
    lora.B.data = torch.randn(lora.B.shape, generator=generator_for(1))
    return lora


@pytest.mark.parametrize("layer, shape", LAYERS.values(), ids=LAYERS)
def test_it_adds_b_a_x_scaled_by_alpha_over_rank(layer, shape):
    lora, x = trained(layer, alpha=6), torch.randn(shape, generator=generator_for(2))
    down = F.linear(x, lora.A) if x.ndim == 2 else F.conv2d(x, lora.A, padding=1, stride=2)
    up = F.linear(down, lora.B) if x.ndim == 2 else F.conv2d(down, lora.B[:, :, None, None])
    torch.testing.assert_close(lora(x), lora.base(x) + 2 * up)
    lora.strength = 0.5
    torch.testing.assert_close(lora(x), lora.base(x) + up)
    lora.strength = 0.0
    assert torch.equal(lora(x), lora.base(x))


@pytest.mark.parametrize("layer, shape", LAYERS.values(), ids=LAYERS)
def test_before_the_first_step_nothing_is_changed_and_only_b_has_a_gradient(layer, shape):
    lora, x = Lora(layer(), 2), torch.randn(shape, generator=generator_for(2))
    assert torch.equal(lora(x), lora.base(x))
    lora(x).square().sum().backward()
    assert lora.A.grad.abs().max() == 0 < lora.B.grad.abs().max() and lora.base.weight.grad is None


@pytest.mark.parametrize("layer, shape", LAYERS.values(), ids=LAYERS)
def test_merged_it_answers_the_same_and_unmerged_the_weight_is_back_bit_for_bit(layer, shape):
    lora, x = trained(layer), torch.randn(shape, generator=generator_for(2))
    weight, answer = lora.base.weight.clone(), lora(x)
    lora.merge()
    torch.testing.assert_close(lora(x), answer, atol=1e-5, rtol=1e-5)
    assert not torch.equal(lora.base.weight, weight)
    with pytest.raises(ValueError, match="merged already"):
        lora.merge()
    lora.unmerge()
    assert torch.equal(lora.base.weight, weight) and torch.equal(lora(x), answer)


def test_a_change_has_the_rank_that_was_given():
    lora = trained(lambda: nn.Linear(17, 13), rank=3)
    assert torch.linalg.matrix_rank(lora.change()) == 3


def test_in_a_unet_it_changes_nothing_at_first_and_never_the_base():
    unet, generator = UNet(LATENTS), generator_for(3)
    nn.init.normal_(unet.last[2].weight, generator=generator)   # a fresh UNet ends in zeros
    x, t, cond = (torch.randn(2, 4, 4, 4, generator=generator), torch.tensor([1000, 7]),
                  torch.randn(2, 5, 64, generator=generator))
    before = {name: p.clone() for name, p in unet.state_dict().items()}
    adapted = with_lora(unet, 2)
    torch.testing.assert_close(adapted(x, t, cond), unet(x, t, cond), atol=1e-6, rtol=1e-6)
    free = [p for p in adapted.parameters() if p.requires_grad]
    assert sum(p.numel() for p in free) == sum(p.numel() for lora in loras(adapted).values() for p in lora.learned())
    torch.optim.SGD(free, 0.1).zero_grad()
    adapted(x, t, cond).square().mean().backward()
    torch.optim.SGD(free, 0.1).step()
    assert (adapted(x, t, cond) - unet(x, t, cond)).abs().max() > 1e-6
    assert all(torch.equal(p, before[name]) for name, p in unet.state_dict().items())
    frozen = {name.replace(".base.", "."): p for name, p in adapted.state_dict().items()
              if name[-2:] not in (".A", ".B")}
    assert frozen.keys() == before.keys() and all(torch.equal(p, before[name]) for name, p in frozen.items())


def test_changes_of_several_adapters_add_up_in_a_plain_copy():
    plain, (x,) = nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3)), [torch.randn(11, 7, generator=generator_for(2))]
    before, adapted = plain[0].weight.clone(), []
    for seed, rank in ((1, 2), (3, 4)):
        adapted.append(with_lora(plain, rank, where=lambda name: name == "0"))
        adapted[-1][0].B.data = torch.randn(5, rank, generator=generator_for(seed))
    both = merged(merged(plain, adapted[0], 0.5), adapted[1], -2)
    change = 0.5 * adapted[0][0].B @ adapted[0][0].A - 2 * adapted[1][0].B @ adapted[1][0].A
    torch.testing.assert_close(both(x), plain(x) + F.linear(F.linear(x, change), plain[1].weight), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(merged(plain, adapted[0])(x), adapted[0](x), atol=1e-5, rtol=1e-5)
    assert not loras(both) and torch.equal(plain[0].weight, before)


def test_it_goes_where_it_is_asked_to():
    unet = UNet(LATENTS)
    attention = with_lora(unet, 4, where=lambda name: "attention" in name or "cross" in name)
    assert loras(attention) and all("attention" in name or "cross" in name for name in loras(attention))
    narrow = [lora for lora in loras(with_lora(unet, 99)).values() if min(lora.base.weight.shape[:2]) < 99]
    assert narrow and all(lora.A.shape[0] == min(lora.base.weight.shape[:2]) for lora in narrow)
    with pytest.raises(ValueError, match="no Linear"):
        with_lora(unet, 1, where=lambda name: False)
    with pytest.raises(ValueError, match="Linear or a Conv2d"):
        Lora(nn.LayerNorm(3), 1)
