"""Sketches and ControlNet: thinning against a second formulation, and an adapter that changes nothing at first."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from minidiff.data.skeletons import open_sketch, thin
from minidiff.diffusion import guided, guided_away
from minidiff.models import LATENTS, UNet
from minidiff.models.controlnet import Controlled, ControlNet
from minidiff.pipelines import control, text2image
from minidiff.tools import generator_for


def thin_by_loops(mask):
    """Zhang & Suen 1984, pixel by pixel, as the paper says it: P2 is above P1, and so on clockwise."""
    mask = np.pad(mask.copy(), 1)
    changed = True
    while changed:
        changed = False
        for second in (False, True):
            gone = []
            for y in range(1, mask.shape[0] - 1):
                for x in range(1, mask.shape[1] - 1):
                    if not mask[y, x]:
                        continue
                    p2, p3, p4 = mask[y - 1, x], mask[y - 1, x + 1], mask[y, x + 1]
                    p5, p6, p7 = mask[y + 1, x + 1], mask[y + 1, x], mask[y + 1, x - 1]
                    p8, p9 = mask[y, x - 1], mask[y - 1, x - 1]
                    ring = [p2, p3, p4, p5, p6, p7, p8, p9, p2]
                    a = sum(1 for one, other in zip(ring, ring[1:]) if not one and other)
                    b = sum(map(int, ring[:8]))
                    first = not (p2 and p4 and p6) and not (p4 and p6 and p8)
                    other = not (p2 and p4 and p8) and not (p2 and p6 and p8)
                    if 2 <= b <= 6 and a == 1 and (other if second else first):
                        gone.append((y, x))
            for y, x in gone:
                mask[y, x] = False
            changed = changed or bool(gone)
    return mask[1:-1, 1:-1]


def test_a_skeleton_is_what_the_paper_peels_pixel_by_pixel(val_ink):
    masks = torch.cat([val_ink[::97, 1, 1] > 127, torch.rand(3, 32, 32, generator=generator_for(1)) > 0.4])
    masks[0, :2] = True                                          # touches the edge
    for mask, found in zip(masks, thin(masks)):
        assert (found.numpy() == thin_by_loops(mask.numpy())).all()


def test_a_skeleton_is_thin_lies_inside_and_stays_in_one_piece(val_ink):
    masks = val_ink[:50, 1, 1] > 127
    lines = thin(masks)
    assert not (lines & ~masks).any() and torch.equal(thin(lines), lines)
    square = torch.nn.functional.avg_pool2d(lines[:, None].float(), 2, stride=1)
    assert (square == 1).sum() < 50                              # hardly a square of two by two is left
    assert lines.flatten(1).any(1).all()


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    made = UNet(LATENTS)
    torch.nn.init.normal_(made.last[2].weight, generator=generator_for(3))             # a fresh UNet ends in zeros
    return made.requires_grad_(False)


def asked(batch=3):
    generator = generator_for(5)
    return (torch.randn(batch, 4, 4, 4, generator=generator), torch.tensor([1000, 500, 7][:batch]),
            torch.randn(batch, 5, 64, generator=generator)), torch.rand(batch, 1, 32, 32, generator=generator).round()


def test_before_the_first_step_a_controlnet_changes_nothing_and_only_its_zeros_learn(unet):
    question, hint = asked()
    control = ControlNet(unet)
    assert torch.equal(Controlled(unet, (control, hint, 1.0))(*question), unet(*question))
    assert torch.equal(Controlled(unet)(*question), unet(*question))
    Controlled(unet, (control, hint, 1.0))(*question).square().sum().backward()
    moved = {name for name, p in control.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert moved and all(name.startswith("zeros.") for name in moved)
    assert all(p.grad is None for p in unet.parameters())
    with torch.no_grad():
        for zero in control.zeros:
            zero.weight.fill_(0.01)
    control.zero_grad()
    Controlled(unet, (control, hint, 1.0))(*question).square().sum().backward()
    assert control.copy.first.weight.grad.abs().max() > 0 and control.hint[-1].weight.grad.abs().max() > 0
    assert control.hint[0].conv.weight.grad.abs().max() == 0                       # behind a zero of its own


def test_controls_add_up_by_their_strengths_and_a_hint_is_repeated_for_guidance(unet):
    (xt, t, cond), hint = asked()
    controls = [ControlNet(unet), ControlNet(unet)]
    for i, net in enumerate(controls):
        for p in (*net.zeros.parameters(), *net.hint[-1].parameters()):
            torch.nn.init.normal_(p, std=0.1, generator=generator_for(7 + i))
    time = unet.time_state(t, cond)
    x, skips = unet.encode(xt, time, cond)
    parts = [*skips, unet.middle(x, time, cond)]
    more = [net(xt, t, cond, hint) for net in controls]
    parts = [part + 0.5 * one - 2 * other for part, one, other in zip(parts, *more, strict=True)]
    network = unet.decode(parts[-1], parts[:-1], time, cond)
    both = Controlled(unet, (controls[0], hint, 0.5), (controls[1], hint, -2.0))
    signal, noise = unet.schedule.at(t, like=xt)
    torch.testing.assert_close(both(xt, t, cond), noise * xt + signal * network, atol=1e-4, rtol=1e-4)
    twice = both(torch.cat([xt, xt]), torch.cat([t, t]), torch.cat([cond, cond]))
    torch.testing.assert_close(twice[:3], twice[3:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(twice[:3], both(xt, t, cond), atol=1e-4, rtol=1e-4)
    assert sum(p.numel() for p in controls[0].parameters()) < 0.65 * 688_772


def test_a_scribble_of_either_ground_and_any_size_is_thinned_in_the_middle():
    for size, ground in (((300, 400), 255), ((90, 120), 0)):
        scribble = Image.new("L", size, ground)
        points = [(x * size[0], y * size[1]) for x, y in ((0.3, 0.25), (0.7, 0.25), (0.4, 0.8))]
        ImageDraw.Draw(scribble).line(points, fill=255 - ground, width=size[0] // 15)
        sketch, did = open_sketch(scribble)
        assert sketch.shape == (1, 32, 32) and set(sketch.unique().tolist()) == {0, 1}
        assert torch.equal(thin(sketch), sketch.bool()) and did.endswith("thinned to a line")
        rows, columns = sketch[0].nonzero().float().T
        assert (rows.mean() - 15.5).abs() < 4 and (columns.mean() - 15.5).abs() < 4 and 15 < sketch.sum() < 60


def test_a_steered_machine_draws_its_sketches_and_strength_zero_is_the_machine(trained):
    parts = text2image.load(trained)
    net, captions = control.new_control(parts, control.ControlConfig()), ["a red seven", "a three"]
    torch.nn.init.normal_(net.zeros[-1].weight, generator=generator_for(2))
    sketches = torch.zeros(2, 32, 32, dtype=torch.uint8)
    sketches[0, 5:25, 16] = 1
    plain = control.draw(captions, sketches, range(2), parts, net, strength=0.0, steps=3)
    torch.testing.assert_close(plain, text2image.draw(captions, range(2), parts, control.GUIDANCE, 3, below=math.inf),
                               atol=1e-4, rtol=1e-4)
    both = control.draw(captions, sketches, range(2), parts, net, steps=3)
    alone = control.draw(captions[:1], sketches[:1], [0], parts, net, steps=3)
    torch.testing.assert_close(both[:1], alone, atol=1e-4, rtol=1e-4)
    assert (both - plain).abs().max() > 0.01
    for wrong in (sketches[:, None], sketches[:1]):
        with pytest.raises(ValueError, match="sketch"):
            control.draw(captions, wrong, range(2), parts, net)


def test_guidance_away_from_another_denoiser_exaggerates_what_that_one_is_not_told():
    def steered(xt, t, cond):
        return 2 * xt + 3 * cond + 5

    def plain(xt, t, cond):
        return 2 * xt + 3 * cond

    xt, cond, null, t = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [0.5]]), torch.zeros(1, 1), torch.ones(2)
    torch.testing.assert_close(guided_away(steered, plain, null, 4)(xt, t, cond), 2 * xt + 4 * (3 * cond + 5))
    torch.testing.assert_close(guided_away(steered, steered, null, 4)(xt, t, cond),
                               guided(steered, null, 4)(xt, t, cond))
    torch.testing.assert_close(guided_away(steered, plain, null, 0)(xt, t, cond), plain(xt, t, null))
