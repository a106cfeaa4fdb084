"""Films: clips whose truth is known, readers of motion held against it, and a module that changes nothing at first."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from minidiff.__main__ import main
from minidiff.data import (
    FRAMES,
    MOTION_NAMES,
    CaptionError,
    frames_of,
    has_watermark,
    hops,
    is_held_out_motion,
    motion_counts,
    moved,
    poses,
    sample_clips,
    split_motion,
    times,
    watermarked,
)
from minidiff.diffusion import in_windows
from minidiff.evaluation import judge_films, read_motion, register, second_difference
from minidiff.models import LATENTS, MotionConfig, MotionModule, Moving, UNet, along_time, as_pictures, spoken
from minidiff.pipelines import text2image, video
from minidiff.tools import generator_for, show
from minidiff.tools.files import checksum
from minidiff.training import train


@pytest.fixture(scope="module")
def clips(captioned):
    return sample_clips(captioned, 70, generator_for(3))


def test_a_turned_point_lies_where_trigonometry_says_and_comes_back():
    rows, columns = torch.meshgrid(torch.arange(33.0), torch.arange(33.0), indexing="ij")
    dot = torch.exp(-((rows - 16) ** 2 + (columns - 26) ** 2) / 4)[None]               # ten pixels right of the middle
    for degrees, size, right, up in ((30, 0.0, 0, 0), (-90, 0.0, 2, 1), (45, math.log(0.5), -3, 4)):
        pose = torch.tensor([[degrees, size, right, up]], dtype=torch.float32)
        there = moved(dot, pose)[0]
        turn, radius = math.radians(degrees), 10 * math.exp(size)
        column, row = 16 + radius * math.cos(turn) + right, 16 - radius * math.sin(turn) - up
        mass = there.sum()
        assert abs((there * columns).sum() / mass - column) < 0.3 and abs((there * rows).sum() / mass - row) < 0.3
    blob = torch.exp(-((rows - 14) ** 2 / 30 + (columns - 18) ** 2 / 60))[None]
    pose = torch.tensor([[25.0, 0.2, 1.5, -2.0]])
    torch.testing.assert_close(moved(moved(blob, pose), pose, back=True)[:, 6:-6, 6:-6], blob[:, 6:-6, 6:-6], atol=0.01,
                               rtol=0)


def test_poses_turn_about_the_middle_of_the_clip_and_opposite_motions_are_opposite():
    every = poses(torch.arange(len(MOTION_NAMES)))
    assert every.shape == (7, FRAMES, 4) and every.mean(1).abs().max() < 1e-6 and (every[0] == 0).all()
    for one, other in ((1, 2), (3, 4), (5, 6)):
        torch.testing.assert_close(every[one], -every[other])
        torch.testing.assert_close(every[one], every[other].flip(0))                   # the film played backward
    torch.testing.assert_close(every[1, 1:, 0] - every[1, :-1, 0], torch.full((7,), 6.0))


def test_held_out_pairs_are_one_in_ten_and_never_in_a_sample(captioned):
    digits, motions = torch.meshgrid(torch.arange(10), torch.arange(7), indexing="ij")
    held_out = is_held_out_motion(digits, motions)
    assert held_out.sum() == 7 and (held_out.sum(0) == 1).all() and held_out.sum(1).max() == 1
    for wanted in (False, True):
        some = sample_clips(captioned, 31, generator_for(4), wanted)
        assert (is_held_out_motion(some.said[:, 0], some.motion) == wanted).all()


def test_what_was_put_into_a_clip_is_read_from_it(clips):
    found, true = read_motion(clips.frames), poses(clips.motion)
    assert torch.equal(found.motion, clips.motion)
    error = (found.pose - (true - true[:, :1])[:, 1:]).abs().mean((0, 1))
    assert error[0] < 0.5 and error[1] < 0.01 and error[2] < 0.1 and error[3] < 0.1
    assert found.same.mean() > 0.93
    still = clips.motion == 0
    assert second_difference(clips.frames[still]) == 0 and (found.same[still] > 0.99).all()


def test_a_register_finds_any_pose_of_a_digit(captioned):
    ink = captioned.ink[::7][:40, 1, 1]
    pose = torch.stack([torch.linspace(-40, 40, 40), torch.linspace(0.15, -0.3, 40), torch.linspace(-2, 2, 40),
                        torch.linspace(2, -2, 40)], 1)
    two = frames_of(ink, torch.full((40,), 6), torch.stack([torch.zeros(40, 4), pose], 1))
    found, same = register(two[:, 1], two[:, 0])
    ring = captioned.labels[::7][:40] == 0                       # a round zero has no angle
    assert (found - pose)[~ring, 0].abs().median() < 1 and (found - pose)[:, 1].abs().max() < 0.05
    assert same.median() > 0.9


def test_films_are_judged_by_their_truth(clips, trained):
    classifier = text2image.load(trained).classifier
    asked = judge_films(clips.frames, clips.said, clips.motion, classifier)
    backward = judge_films(clips.frames.flip(1), clips.said, clips.motion, classifier)
    assert asked["right"] == 1.0 and asked["angle"] < 0.5 and asked["size"] < 0.01
    share = (clips.motion == 0).float().mean().item()
    assert abs(backward["right"] - share) < 1e-6 and backward["second"] == pytest.approx(asked["second"], rel=1e-4)


def test_captions_of_films_are_split_and_said_word_by_word():
    for place, name in enumerate(MOTION_NAMES):
        said = f"A thick red seven, leaning left {name.upper()}."
        assert split_motion(said) == ("a thick red seven leaning left", place)
        assert motion_counts([place]).sum() == len(name.split())
    assert split_motion("a red seven leaning left") == ("a red seven leaning left", None)
    assert motion_counts([None]).sum() == 0
    for wrong in ("a growing red seven", "a red seven turnin left", "a red seven turning"):
        with pytest.raises(CaptionError, match="the motion stands at the end, as one of still, turning left"):
            split_motion(wrong)
    assert split_motion("an orange seven growing") == ("an orange seven", 3)
    with pytest.raises(CaptionError, match="a caption is a string"):
        split_motion(7)


def test_folding_puts_the_frames_of_a_place_side_by_side_and_back():
    x = torch.randn(3 * 5, 2, 7, 11, generator=generator_for(1))                       # three clips of five frames
    each, every = along_time(x, 5, everywhere=False), along_time(x, 5)
    for clip, row, column in ((0, 0, 0), (2, 3, 10), (1, 6, 4)):
        place = row * 11 + column
        for frame in range(5):
            pixel = x[5 * clip + frame, :, row, column]
            assert torch.equal(each[clip * 77 + place, frame], pixel)
            assert torch.equal(every[clip, frame * 77 + place], pixel)
    assert torch.equal(as_pictures(each, x.shape, 5, everywhere=False), x)
    assert torch.equal(as_pictures(every, x.shape, 5), x)


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    made = UNet(LATENTS)
    torch.nn.init.normal_(made.last[2].weight, generator=generator_for(3))             # a fresh UNet ends in zeros
    return made.requires_grad_(False).to(memory_format=torch.channels_last)            # or convolutions round otherwise


def module_that_speaks(unet, cls=MotionModule, **config):
    torch.manual_seed(1)
    module = cls(unet, MotionConfig(**config))
    for layer in module.layers:
        layer.attention.out.reset_parameters()
        layer.mlp[2].reset_parameters()
    return module.requires_grad_(False)


def question(frames=5):
    generator = generator_for(5)
    text = torch.randn(3, 10, 64, generator=generator)
    return torch.randn(3, frames, 4, 4, 4, generator=generator), torch.tensor([1000, 500, 7]), spoken(
        text, motion_counts([1, 6, None]))


@pytest.mark.parametrize("config", [MotionConfig(), MotionConfig(everywhere=False, told=False)])
def test_before_the_first_step_the_clip_machine_is_the_picture_machine(unet, config):
    (xt, t, cond), before = question(), checksum(unet.state_dict())
    module = MotionModule(unet, config)
    pictures = unet(xt.flatten(0, 1), t.repeat_interleave(5), cond[:, :-1].repeat_interleave(5, 0))
    change = (Moving(unet, module)(xt, t, cond).flatten(0, 1) - pictures).abs().max()
    assert change < 1e-4 and (change == 0 or not config.everywhere)                    # other strides round otherwise
    Moving(unet, module)(xt, t, cond).square().sum().backward()
    moved = {name.split(".", 2)[2] for name, p in module.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {"attention.out.weight", "attention.out.bias", "mlp.2.weight", "mlp.2.bias"}
    assert all(p.grad is None for p in unet.parameters()) and checksum(unet.state_dict()) == before
    assert sum(p.numel() for p in module.parameters()) < 0.35 * 688_772


class Timeless(MotionModule):
    def positions(self, when, side, counts):
        return super().positions(0 * when, side, counts)


@pytest.mark.parametrize("everywhere", [True, False])
def test_without_positions_in_time_the_order_of_the_frames_is_unknown(unet, everywhere):
    (xt, t, cond), order = question(), torch.tensor([3, 0, 4, 1, 2])
    for cls, equal in ((Timeless, True), (MotionModule, False)):
        denoise = Moving(unet, module_that_speaks(unet, cls, everywhere=everywhere))
        apart = (denoise(xt[:, order], t, cond) - denoise(xt, t, cond)[:, order]).abs().max()
        assert (apart < 1e-4) == equal
    other = denoise(xt[[1, 2, 0]], t[[1, 2, 0]], cond[[1, 2, 0]])
    torch.testing.assert_close(other, denoise(xt, t, cond)[[1, 2, 0]], atol=1e-4, rtol=1e-4)     # clips stay apart


def test_a_plain_sum_holds_nothing_of_position_and_motion_together(unet):
    counts = motion_counts([*range(7), None])
    for told, largest in ((False, 1e-6), (True, 10.0)):
        torch.manual_seed(2)
        table = MotionModule(unet, MotionConfig(told=told)).positions(times(), 4, counts)      # (8, 128, 64)
        mixed = table - table[:, :1] - table[:1] + table[:1, :1]
        assert (mixed.abs().max() < 1e-6) == (not told) and mixed.abs().max() < largest


def test_windows_are_averaged_where_they_overlap():
    x = torch.arange(2 * 11.0).view(2, 11, 1, 1, 1)
    seen = []

    def denoise(xt, t, cond):
        seen.append(xt[0, 0].item())
        return xt - xt[:, :1]                                    # each window counts from its own first frame

    found = in_windows(denoise, 4, 2)(x, None, None)[0].flatten()
    assert seen == [0, 2, 4, 6, 7]
    wanted = [[frame - start for start in (0, 2, 4, 6, 7) if start <= frame < start + 4] for frame in range(11)]
    torch.testing.assert_close(found, torch.tensor([sum(values) / len(values) for values in wanted]))
    assert torch.equal(in_windows(lambda xt, t, cond: xt, 11, 3)(x, None), x)
    with pytest.raises(ValueError, match="a film of 11 frames is shorter than a window of 12"):
        in_windows(denoise, 12, 3)(x, None)
    with pytest.raises(ValueError, match="the overlap of windows"):
        in_windows(denoise, 4, 4)


def test_a_watermark_is_seen_where_it_is_and_only_there(clips):
    assert has_watermark(watermarked(clips.frames)).all() and not has_watermark(clips.frames).any()
    dark = watermarked(-torch.ones(1, 3, 32, 32))
    assert ((dark + 1).sum() / 2).item() == 3 * 36


def test_hops_go_up_twice_and_stay_in_the_middle():
    up = hops(2)[0, :, 3]
    assert up.tolist() == [-2, 1, 2, 1, -2, 1, 2, 1] and (hops(2)[:, :, :3] == 0).all()


@pytest.fixture(scope="module")
def machine(trained):
    return text2image.load(trained)


def test_a_motion_module_is_trained_kept_loaded_and_draws(machine, captioned, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDIFF_BUDGET", "fast")
    before = checksum(machine.unet.state_dict())
    data = video.lessons(captioned, machine, n=14)
    recipe = video.recipe(machine, data, steps=2, batch=3)
    for _ in train(recipe, tmp_path / "motion.safetensors"):
        pass
    module = video.load(tmp_path / "motion.safetensors", machine)
    films = [video.draw(["a red seven turning left", "a two"], [1, 2], machine, one, steps=2)
             for one in (recipe.model, module)]
    assert torch.equal(*films) and films[0].shape == (2, FRAMES, 3, 32, 32)
    assert checksum(machine.unet.state_dict()) == before
    assert (tmp_path / "motion.safetensors").stat().st_size < 1_200_000
    alone = video.draw(["a two"], [2], machine, module, steps=2)
    torch.testing.assert_close(alone, films[0][1:], atol=1e-3, rtol=0)                 # its own noise, in any batch
    with pytest.raises(ValueError, match="one seed per caption"):
        video.draw(["a two"], [1, 2], machine, module)


def test_adapters_change_nothing_at_strength_zero(machine, captioned, monkeypatch):
    monkeypatch.setenv("MINIDIFF_BUDGET", "fast")
    module = module_that_speaks(machine.unet)
    lora = video.motion_lora(machine, module, video.bouncing(captioned, machine, 6), steps=2, batch=3)
    adapter = video.domain_adapter(machine, video.lessons(captioned, machine, n=7, look=watermarked), steps=2, batch=5)
    for recipe in (lora, adapter):
        for _ in train(recipe):
            pass
    (xt, t, cond), plain = question(FRAMES), Moving(machine.unet, module)
    for strength, equal in ((0.0, True), (1.0, False)):
        strong = Moving(machine.unet, video.at_strength(lora.model, strength))
        marked = video.adapted(machine, adapter.model, strength).unet
        assert torch.equal(strong(xt, t, cond), plain(xt, t, cond)) == equal
        assert torch.equal(marked(xt[:, 0], t, cond[:, :-1]), machine.unet(xt[:, 0], t, cond[:, :-1])) == equal


def test_a_film_is_written_frame_by_frame_and_played_by_a_page(clips, tmp_path):
    for kind in ("gif", "png"):
        show.save_film(clips.frames[:2], tmp_path / f"film.{kind}", zoom=2, rate=10)
        with Image.open(tmp_path / f"film.{kind}") as film:
            assert film.n_frames == FRAMES and film.size == (128, 64) and film.info["duration"] == 100
            film.seek(5)
            page = torch.tensor(np.asarray(film.convert("RGB")))[::2, ::2].int()
        wanted = (255 * (torch.cat(list(clips.frames[:2, 5]), 2) + 1) / 2).permute(1, 2, 0)
        assert (page - wanted).abs().max() < (2 if kind == "png" else 40)
    page = show.player(clips.frames[:2], ["a <red> seven", "a two"])._repr_html_()
    assert page.count("data:image/png;base64,") == 2 and "&lt;red&gt; seven" in page and "<script" not in page
    with pytest.raises(ValueError, match=r"a film is a \.gif or a \.png file"):
        show.save_film(clips.frames[:1], tmp_path / "film.mp4")


def test_the_command_draws_what_the_kept_module_draws_and_refuses_before_it_trains(trained, machine, tmp_path, capsys):
    for words, message in ((["a growing red seven"], "the motion stands at the end"),
                           (["a red sevven growing"], "Nearest known: seven"),
                           (["a two growing", "-o", str(tmp_path / "film.mp4")], "expected a .gif, or a .png")):
        assert main(["film", *words, "--folder", str(trained)]) == 1 and message in capsys.readouterr().err
    captions = ["a red seven turning left", "a two"]
    assert main(["film", *captions, "-o", str(tmp_path / "film.png"), "--folder", str(trained), "--seed", "3"]) == 0
    films = video.draw(captions, [3, 3], machine, video.load(trained / "motion.safetensors", machine))
    show.save_film(films, tmp_path / "same.png")
    with Image.open(tmp_path / "film.png") as one, Image.open(tmp_path / "same.png") as other:
        assert one.n_frames == other.n_frames == FRAMES
        one.seek(FRAMES - 1)
        other.seek(FRAMES - 1)
        assert np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).max() <= 1
