"""The editor: instructions there and back, exact pairs, two guidances against equation 3, and a start that changes
nothing."""

from dataclasses import replace

import pytest
import torch

from minidiff.data import CaptionError, is_held_out
from minidiff.data.edits import edited, instruction, understand
from minidiff.diffusion.guidance import doubly_guided
from minidiff.evaluation import read_color, read_lean, read_stroke
from minidiff.pipelines import instruct, text2image
from minidiff.tools import generator_for


@pytest.fixture(scope="module")
def parts(trained):
    return text2image.load(trained)


def test_every_instruction_is_understood_as_it_was_meant():
    every = torch.cartesian_prod(*(torch.arange(-1, size) for size in (10, 7, 3, 3)))[1::17]
    for changes in every:
        assert torch.equal(understand(instruction(changes)), changes), instruction(changes)
    assert understand("make it an eight").tolist() == [8, -1, -1, -1] == understand("Make it eight.").tolist()
    for wrong in ("make it", "paint it red", "make it red and blue", "make it orange", ""):
        with pytest.raises(CaptionError, match="is not of the form make it"):
            understand(wrong)
    assert edited(torch.tensor([7, 0, 2, 0]), torch.tensor([-1, 4, -1, 1])).tolist() == [7, 4, 2, 1]


def test_an_exact_pair_is_the_same_scan_with_the_change_and_nothing_else(captioned, parts):
    pairs = instruct.exact_pairs(captioned, parts, 200)
    assert not is_held_out(pairs.said).any() and not is_held_out(edited(pairs.said, pairs.changes)).any()
    counts = (pairs.changes != -1).sum(1)
    assert set(counts.tolist()) == {1, 2} and 0.1 < (counts == 2).float().mean() < 0.4
    assert (pairs.changes[:, 0] == -1).all()
    same = (edited(pairs.said, pairs.changes) == pairs.said).all(1)
    torch.testing.assert_close(pairs.after[same], pairs.before[same])

    class AsTheyAre:                                             # an autoencoder that leaves pictures as they are
        encode = staticmethod(lambda pictures: pictures)

    plain = instruct.exact_pairs(captioned, replace(parts, autoencoder=AsTheyAre), 200)
    wanted = edited(plain.said, plain.changes)
    assert (read_color(plain.after) == wanted[:, 1]).float().mean() > 0.99
    assert (read_stroke(plain.after) == wanted[:, 2]).float().mean() > 0.95
    assert (read_lean(plain.after) == wanted[:, 3]).float().mean() > 0.95
    assert (read_color(plain.before) == plain.said[:, 1]).float().mean() > 0.99


def test_two_guidances_are_equation_3():
    def denoise(xt, t, cond, source):
        return xt.sin() * t.view(-1, 1, 1, 1) + 2 * source + cond.mean((1, 2)).view(-1, 1, 1, 1) * source.cos()

    generator = generator_for(1)
    xt, source, black = (torch.randn(n, 4, 2, 2, generator=generator) for n in (3, 3, 1))
    cond, null = (torch.randn(n, 5, 7, generator=generator) for n in (3, 1))
    t = torch.tensor([3, 5, 7])
    e = {(i, c): denoise(xt, t, cond if c else null.expand_as(cond), source if i else black.expand_as(source))
         for i in (0, 1) for c in (0, 1)}
    wanted = e[0, 0] + 1.5 * (e[1, 0] - e[0, 0]) + 4 * (e[1, 1] - e[1, 0])
    torch.testing.assert_close(doubly_guided(denoise, null, black, 1.5, 4)(xt, t, (cond, source)), wanted)
    torch.testing.assert_close(doubly_guided(denoise, null, black, 1, 1)(xt, t, (cond, source)), e[1, 1])


def test_the_editor_begins_as_the_frozen_machine_and_hears_no_picture_yet(parts):
    unet, generator = instruct.editor_unet(parts.unet), generator_for(2)
    xt, source = torch.randn(2, 4, 4, 4, generator=generator), torch.randn(2, 4, 4, 4, generator=generator)
    t, cond = torch.tensor([900, 30]), parts.clip.text_states(["a red digit", "a thin digit"])
    torch.testing.assert_close(instruct.beside(unet)(xt, t, cond, source), parts.unet(xt, t, cond), atol=1e-5,
                               rtol=1e-5)
    assert sum(p.numel() for p in unet.parameters()) - sum(p.numel() for p in parts.unet.parameters()) == 2_304
