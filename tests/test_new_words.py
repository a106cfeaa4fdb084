"""New words: a vector before a frozen tower, the file of an adapter, own drawings, and the commands that teach them."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from minidiff.__main__ import main
from minidiff.data import (
    COLORS,
    TOKEN,
    VOCABULARY,
    CaptionError,
    Mixed,
    Wish,
    combinations,
    is_held_out,
    outline,
    parse,
    said_with,
    shrink,
    tokenize,
)
from minidiff.evaluation import came_true, radius
from minidiff.models import Adapter, with_word
from minidiff.pipelines import personalize, text2image
from minidiff.pipelines.personalize import WordConfig
from minidiff.tools import generator_for, noise_for
from minidiff.training import CheckpointError, run, train


@pytest.fixture(scope="module")
def parts(trained):
    return text2image.load(trained)


@pytest.fixture(scope="module")
def lesson(captioned):
    pictures, said = Wish("orange", captioned, (1, 7)).sample(13, generator_for(1))
    return pictures, said_with("orange", said)


def trained_states(parts):
    return {name: tensor.clone() for part in ("clip", "unet", "autoencoder")
            for name, tensor in getattr(parts, part).state_dict(prefix=part).items()}


# ------------------------------------------------------------------------------------------------------ what is learned


def test_captions_say_the_new_word_in_the_place_of_an_old_one():
    rows = torch.tensor([[7, 7, 2, 0], [8, -1, -1, -1], [0, 3, 1, 2]])
    assert said_with("orange", rows) == ["a thick orange seven leaning left", "a orange eight",
                                         "a plain orange zero leaning right"]
    assert said_with("small", rows[2:]) == ["a small yellow zero leaning right"]
    assert said_with("dotted", rows[2:], like="stroke") == ["a dotted yellow zero leaning right"]
    ids = tokenize(["an orange seven", "a small orange seven"], new=("orange", "small"))
    assert ids[0, 2] == ids[1, 3] == len(VOCABULARY) and ids[1, 2] == len(VOCABULARY) + 1
    assert parse("an eight") == (8, -1, -1, -1)
    with pytest.raises(CaptionError, match="unknown word 'orange'.*orange seven"):
        tokenize(["an orange seven"])
    with pytest.raises(CaptionError, match="Nearest known: small"):
        tokenize(["a smal seven"], new=("small",))


def test_outlines_are_hollow_and_small_digits_are_small(val_ink):
    square = torch.zeros(1, 32, 32, dtype=torch.uint8)
    square[0, 8:24, 8:24] = 255
    line = outline(square)[0]
    assert line[10:22, 10:22].max() == 0 == line[:6].max() and abs(int(line[7, 16]) + int(line[8, 16]) - 255) < 2
    small = shrink(square)[0]
    assert small.float().sum().item() / square.float().sum().item() == pytest.approx(0.36, abs=0.04)
    assert (small > 128).nonzero().float().mean(0).tolist() == [15.5, 15.5]
    ratio = radius(shrink(val_ink[:50, 1, 1])[:, None].float() / 127.5 - 1) / radius(
        val_ink[:50, 1, 1][:, None].float() / 127.5 - 1)
    assert ratio.min() > 0.57 and ratio.max() < 0.65


@pytest.mark.parametrize("word", ["orange", "small", "outlined"])
def test_a_wish_shows_only_its_digits_and_its_readers_see_it_come_true(word, captioned, parts):
    wish = Wish(word, captioned, (1, 7))
    pictures, said = wish.sample(101, generator_for(2))
    assert set(said[:, 0].tolist()) == {1, 7} and len(wish.allowed) == 2 * len(combinations(word, (1,)))
    true = came_true(word, lambda pictures: torch.zeros(len(pictures), 20), pictures, said)
    column = 1 if word == "orange" else 2
    if word != "outlined":                                       # outlines are read by a trained reader
        assert true[:, column].float().mean() > 0.95
    known = said.clamp_max(torch.tensor([9, 6, 2, 2]))           # white instead of orange
    plain = captioned.render(captioned.rows_for(said[:, 0], generator_for(3)), known)
    assert came_true(word, lambda pictures: torch.zeros(len(pictures), 20), plain, said)[:, column].float().mean() < 0.1


def test_a_mixed_set_tells_its_halves_apart_by_ten(captioned):
    pictures, said = Mixed(captioned, Wish("outlined", captioned)).sample(10, generator_for(4))
    assert pictures.shape == (10, 3, 32, 32) and said[:5, 0].max() < 10 <= said[5:, 0].min()
    assert not is_held_out(said[:5]).any()


def test_a_new_word_begins_at_the_mean_of_its_kind_and_changes_nothing_else(parts):
    clip = with_word(parts.clip, "orange", near=COLORS)
    known = parts.clip.text.token.weight
    torch.testing.assert_close(clip.text.token.weight[-1], known[[TOKEN[color] for color in COLORS]].mean(0))
    old = ["a thick red seven leaning left", "", "an eight"]
    assert torch.equal(clip.text_states(old), parts.clip.text_states(old))
    assert [name for name, p in clip.named_parameters() if p.requires_grad] == ["text.token.new"]
    clip.text.token.new.data += 1
    assert (clip.text_states(["an orange seven"]) - parts.clip.text_states(["a red seven"])).abs().max() > 1e-3
    token = clip.text.token
    torch.testing.assert_close(token.at(0.5), token.first + 0.5)
    two = with_word(clip, "small")
    assert torch.equal(two.text_states(["an orange seven"]), clip.text_states(["an orange seven"]))
    for word, why in (("red", "known already"), ("orange", "known already"), ("Orange", "lower-case"),
                      ("or ange", "lower-case"), ("an", "known already")):
        with pytest.raises(ValueError, match=why):
            with_word(two, word)


# ------------------------------------------------------------------------------------------------- adapters of machines


CONFIGS = {"a vector": WordConfig(where="nowhere"), "attention": WordConfig(rank=2),
           "everywhere, and the decoder": WordConfig("small", "stroke", "everywhere", rank=2, alpha=4, decoder_rank=2),
           "all weights": WordConfig(where="full")}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_before_its_first_step_an_adapter_changes_no_old_caption(config, parts):
    new = personalize.applied(parts, personalize.with_new_word(parts, config))
    captions, seeds = ["a red seven", "a thin blue two upright"], [3, 5]
    torch.testing.assert_close(text2image.draw(captions, seeds, new, steps=2),
                               text2image.draw(captions, seeds, parts, steps=2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_it_learns_leaves_the_base_bit_for_bit_and_keeps_only_its_own(config, parts, lesson, captioned, tmp_path):
    before, path = trained_states(parts), tmp_path / "word.safetensors"
    pictures, captions = lesson[0], [caption.replace("orange", config.word) for caption in lesson[1]]
    past = personalize.own_drawings(parts, captioned, 11)
    adapter = run(personalize.recipe(parts, pictures, captions, config, past, steps=4, batch=8), path)
    assert all(torch.equal(tensor, trained_states(parts)[name]) for name, tensor in before.items())
    fresh = personalize.with_new_word(parts, config).state_dict()
    assert not any(torch.equal(tensor, fresh[name]) for name, tensor in adapter.state_dict().items()
                   if "A" not in name)
    assert path.stat().st_size < 4 * sum(tensor.numel() for tensor in fresh.values()) + 40_000
    loaded = personalize.load(path, parts)
    assert all(torch.equal(tensor, adapter.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    asked = [f"a {config.word} seven", "a blue two"]
    beside, seeds = personalize.applied(parts, loaded), [1, 2]
    if config.where != "full":
        torch.testing.assert_close(text2image.draw(asked, seeds, personalize.joined(parts, [(loaded, 1.0)]), steps=2),
                                   text2image.draw(asked, seeds, beside, steps=2), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(
            text2image.draw(asked[1:], [2], personalize.joined(parts, [(loaded, 0.0)]), steps=2),
            text2image.draw(asked[1:], [2], parts, steps=2), atol=1e-5, rtol=1e-5)
    with pytest.raises(CheckpointError, match="another machine"):
        personalize.load(path, replace(parts, unet=beside.unet if config.where != "nowhere" else type(parts.unet)(
            parts.unet.config)))


def test_a_training_goes_on_where_it_was_stopped_and_ends_bit_for_bit_the_same(parts, lesson, tmp_path):
    def recipe():
        return personalize.recipe(parts, *lesson, WordConfig(rank=2), steps=5, batch=8)

    undisturbed, path = run(recipe()).state_dict(), tmp_path / "word.safetensors"
    for state in train(recipe(), path):
        if state.step == 3:
            break
    with pytest.raises(CheckpointError, match="stopped at step 3"):
        personalize.load(path, parts)
    again = run(recipe(), path).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in undisturbed.items())


def test_what_is_learned_is_heard_by_the_pictures_of_the_word(parts, lesson):
    adapter = run(personalize.recipe(parts, *lesson, WordConfig(where="nowhere"), steps=40, batch=13))
    start, latents = personalize.with_new_word(parts, WordConfig(where="nowhere")), parts.autoencoder.encode(lesson[0])
    t, eps = torch.full((13,), 500), noise_for(range(13), (4, 4, 4))
    losses = []
    for one in (start, adapter):
        xt = parts.unet.schedule.signal[500] * latents + parts.unet.schedule.noise[500] * eps
        guess = parts.unet(xt, t, one["clip"].text_states(lesson[1]))
        losses.append((guess - eps).square().mean().item())
    assert losses[1] < losses[0]


def test_own_drawings_are_what_the_machine_draws_one_in_ten_without_a_caption(parts, captioned):
    latents, captions = personalize.own_drawings(parts, captioned, 20)
    assert [i for i, caption in enumerate(captions) if not caption] == [0, 10]
    pictures = parts.autoencoder.decode(latents).clamp(-1, 1)
    drawn = text2image.draw(captions[1:4], [personalize.FIRST_SEED + i for i in (1, 2, 3)], parts)
    torch.testing.assert_close(pictures[1:4], drawn, atol=1e-3, rtol=1e-3)


def test_an_adapter_is_what_may_learn_when_it_is_made():
    first, second = torch.nn.Linear(2, 3).requires_grad_(False), torch.nn.Linear(3, 5)
    adapter = Adapter({"first": first, "second": second})
    kept = {name: tensor.clone() for name, tensor in adapter.state_dict().items()}
    adapter.requires_grad_(False)
    with torch.no_grad():
        second.weight.zero_()
    adapter.load_state_dict(kept)
    assert kept.keys() == {"second.weight", "second.bias"} and torch.equal(second.weight, kept["second.weight"])


@pytest.mark.parametrize("wrong, why", [
    (dict(captions=["a red seven"] * 13), "does not say the new word 'orange'"),
    (dict(captions=["an orange seven"]), "one caption per picture: got 13 and 1"),
    (dict(config=WordConfig(rank=0)), "rank")])
def test_a_lesson_that_cannot_be_learned_is_refused(wrong, why, parts, lesson):
    settings = dict(pictures=lesson[0], captions=lesson[1], config=WordConfig()) | wrong
    with pytest.raises(ValueError, match=why):
        run(personalize.recipe(parts, **settings))


# ------------------------------------------------------------------------------------------------------------- commands


def test_a_word_is_taught_from_pictures_and_drawn_with_by_command(trained, tmp_path, capsys, captioned):
    pictures, _ = Wish("orange", captioned, (1, 7)).sample(3, generator_for(1))
    for i, picture in enumerate(pictures):
        image = Image.fromarray(((picture + 1) * 127.5).byte().movedim(0, -1).numpy())
        image.resize((90 + i, 120)).save(tmp_path / f"{i}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    folder, out = ["--folder", str(trained)], str(tmp_path / "out.png")
    assert main(["draw", "--with", "orange", "an orange seven", *folder]) == 1
    assert "teach orange --pictures" in capsys.readouterr().err
    assert main(["teach", "orange", "--pictures", str(tmp_path), *folder]) == 0
    said = capsys.readouterr()
    assert "broken.png is not a picture" in said.err and said.out.count("orange ") >= 4
    assert (trained / "words" / "orange.png").exists()
    assert main(["draw", "--with", "orange:0.5", "an orange seven", "--n", "2", "-o", out, *folder]) == 0
    assert main(["draw", "an orange seven", "-o", out, *folder]) == 1
    assert main(["draw", "--with", "orange:much", "an orange seven", "-o", out, *folder]) == 1
    assert "expected a taught word" in capsys.readouterr().err
    assert main(["draw", "--with", "orange", "--calls", "1", "an orange seven", "-o", out, *folder]) == 1
    assert "learned no new words" in capsys.readouterr().err
    (tmp_path / "captions.csv").write_text("file,caption\n0.png,a red one\n", encoding="utf-8")
    assert main(["teach", "purple", "--pictures", str(tmp_path), *folder]) == 1
    assert "does not say the new word 'purple'" in capsys.readouterr().err
    assert main(["teach", "red", "--pictures", str(tmp_path), *folder]) == 1
    for file in (trained / "words").iterdir():                   # the folder is shared
        file.unlink()
    (trained / "words").rmdir()
