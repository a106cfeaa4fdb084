"""The editor: instructions there and back, exact pairs, two guidances against equation 3, and a start that changes
nothing."""

import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image, ImageDraw

from minidiff.__main__ import main
from minidiff.data import CaptionError, is_held_out, sentence
from minidiff.data.edits import edited, instruction, understand
from minidiff.diffusion.guidance import doubly_guided
from minidiff.evaluation import read_color, read_lean, read_stroke
from minidiff.models import Attention, UNet, attend, sharing
from minidiff.models.shared_attention import Shared
from minidiff.pipelines import control, instruct, text2image
from minidiff.tools import generator_for
from minidiff.training import CheckpointError, load_checkpoint


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
    editor, generator = instruct.new_editor(parts, instruct.EditorConfig()), generator_for(2)
    xt, source = torch.randn(2, 4, 4, 4, generator=generator), torch.randn(2, 4, 4, 4, generator=generator)
    t, cond = torch.tensor([900, 30]), parts.clip.text_states(["a red digit", "a thin digit"])
    torch.testing.assert_close(editor(xt, t, cond, source), parts.unet(xt, t, cond), atol=1e-5, rtol=1e-5)
    more = sum(p.numel() for p in editor.unet.parameters()) - sum(p.numel() for p in parts.unet.parameters())
    assert more == 4 * 64 * 9 and not editor.nothing.requires_grad
    learned, zero = (instruct.new_editor(parts, instruct.EditorConfig(name)) for name in ("learned", "zero"))
    assert learned.nothing.requires_grad and not learned.nothing.any() and not zero.nothing.any()
    black = parts.autoencoder.decode(editor.nothing)
    torch.testing.assert_close(black, parts.autoencoder.decode(parts.autoencoder.encode(-torch.ones(1, 3, 32, 32))))


def test_a_dropped_picture_is_nothing_and_the_answer_stays(captioned, parts):
    pairs = instruct.exact_pairs(captioned, parts, 60)
    seen, generator = [], generator_for(4)

    class Witness(torch.nn.Module):
        nothing = torch.full((1, 4, 4, 4), 7.0)

        def forward(self, xt, t, cond, source):
            seen.append((source, cond))
            return torch.zeros_like(xt)

    losses = [instruct.recipe(parts, pairs, batch=128).loss_of(Witness(), generator).item() for _ in range(8)]
    sources, conds = (torch.cat(some) for some in zip(*seen))
    unseen = (sources == 7).flatten(1).all(1)
    untold = (conds == parts.clip.text_states([""])).flatten(1).all(1)
    for share, wanted in ((unseen, 0.1), (untold, 0.1), (unseen & untold, 0.05)):
        assert share.float().mean() == pytest.approx(wanted, abs=0.03)
    before = {row.numpy().tobytes() for row in pairs.before}
    assert all(row.numpy().tobytes() in before for row in sources[~unseen])
    assert all(loss > 0 for loss in losses)


def test_a_generated_pair_is_one_noise_and_two_digits_and_clip_throws_the_wrong_away(captioned, parts, monkeypatch):
    pairs = instruct.generated_pairs(parts, captioned, 40, seed=3)
    assert (pairs.changes[:, 1:] == -1).all() and (pairs.changes[:, 0] != pairs.said[:, 0]).all()
    monkeypatch.setattr(instruct, "looks_as_said", lambda parts, latents, both: torch.ones(len(both), dtype=torch.bool))
    everything = instruct.generated_pairs(parts, captioned, 40, seed=3)
    assert len(pairs.before) < len(everything.before) and not is_held_out(everything.said).any()
    both = instruct.exact_pairs(captioned, parts, 10) + everything
    assert len(both.before) == len(both.changes) == 10 + len(everything.before)


def test_clip_calls_real_digits_by_their_names_and_no_others(captioned, parts):
    pictures, said = captioned.sample(50, generator_for(6))
    latents = parts.autoencoder.encode(pictures)
    wrong = said.clone()
    wrong[:, 0] = (said[:, 0] + 3) % 10
    embedded = parts.clip.embed_pictures(parts.autoencoder.decode(latents).clamp(-1, 1))
    for asked in (said, wrong):
        found = instruct.looks_as_said(parts, latents, [sentence(row) for row in asked])
        for i, row in enumerate(asked):                          # one picture at a time, all ten digits said
            texts = parts.clip.embed_captions([sentence((digit, *row[1:])) for digit in range(10)])
            assert found[i] == ((texts @ embedded[i]).argmax() == row[0])


def test_shared_attention_looks_with_the_first_and_speaks_of_the_second():
    torch.manual_seed(0)
    attention = Attention(12, 3, 5)
    x, context = torch.randn(4, 7, 12), torch.randn(4, 2, 5)
    found = Shared(attention)(x, context)
    torch.testing.assert_close(found[::2], attention(x[::2], context[::2]))
    q, k, v = (attention.split(made) for made in (attention.q(x[::2]), attention.k(context[::2]),
                                                  attention.v(context[1::2])))
    torch.testing.assert_close(found[1::2], attention.out(attend(q, k, v).transpose(1, 2).flatten(2)))


def test_pairs_share_their_attention_above_a_level_only(parts):
    generator = generator_for(8)
    xt, cond = torch.randn(4, 4, 4, 4, generator=generator), parts.clip.text_states(
        ["a seven", "a three", "a red one", "a thin two"])
    for level, free in ((300, True), (700, False)):
        t = torch.full((4,), level)
        found, plain = sharing(parts.unet, 500)(xt, t, cond), parts.unet(xt, t, cond)
        torch.testing.assert_close(found[::2], plain[::2], atol=1e-5, rtol=1e-5)
        assert torch.allclose(found[1::2], plain[1::2], atol=1e-5) == free


def test_edit_and_control_train_once_and_draw(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MINIDIFF_BUDGET", "fast")
    scribble = Image.new("L", (300, 400), 255)
    ImageDraw.Draw(scribble).line([(80, 90), (220, 90), (120, 320)], fill=0, width=20)
    scribble.save(tmp_path / "seven.png")
    folder = tmp_path / "runs"
    shutil.copytree(trained, folder)
    options = ["--folder", str(folder), "--n", "1", "-o", str(tmp_path / "out.png")]
    assert main(["control", "--hint", str(tmp_path / "seven.png"), "an orange seven", *options]) == 1
    assert "orange" in capsys.readouterr().err and not (folder / "control.safetensors").exists()
    assert main(["control", "--hint", str(tmp_path / "seven.png"), "a thick red seven", *options]) == 0
    said = capsys.readouterr()
    assert "its bright ground became black" in said.out and "thinned to a line" in said.out and "once" in said.err
    changed = (folder / "control.safetensors").stat().st_mtime_ns
    assert main(["control", "--hint", str(tmp_path / "seven.png"), "a seven", *options]) == 0
    assert "once" not in capsys.readouterr().err and (folder / "control.safetensors").stat().st_mtime_ns == changed
    assert main(["edit", str(tmp_path / "seven.png"), "make it orange", *options]) == 1
    assert "is not of the form make it" in capsys.readouterr().err and not (folder / "editor.safetensors").exists()
    assert main(["edit", str(tmp_path / "seven.png"), "make it blue", *options]) == 0 and Image.open(options[-1])
    kept, _ = load_checkpoint(folder / "control.safetensors")
    assert not any("up." in name or "last" in name for name in kept)                   # nothing of the base
    parts = text2image.load(folder)
    other = replace(parts, unet=UNet(parts.unet.config))
    for pipeline, name in ((control, "control"), (instruct, "editor")):
        with pytest.raises(CheckpointError, match="trained beside another machine"):
            pipeline.load(folder / f"{name}.safetensors", other)
        with pytest.raises(ValueError, match="is missing: `python -m minidiff"):
            pipeline.load(folder / "nothing.safetensors", parts)
