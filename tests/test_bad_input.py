"""Bad input at every door: what came, what was expected and the usual reason are said, and nothing goes on in silence.

A door is where something enters from a person: captions, files, settings, the command line, pictures that are given to
a reader; and where torch would go on with wrong numbers: shapes that are stretched to fit, levels and rows that do not
exist.  Inside the formulas torch's own errors are good enough.
"""

import math
import re
import shlex
from dataclasses import asdict, replace  # noqa: F401 (some names stand in DOORS only)
from pathlib import Path

import pytest
import torch

import minidiff
from minidiff import data, diffusion, evaluation, models, pipelines, tools, training
from minidiff.__main__ import main
from minidiff.data import LabeledDigits, captioned_digits, rendering, sentence  # noqa: F401
from minidiff.diffusion import Schedule, add_noise, from_eps, karras_levels, sample
from minidiff.evaluation import ink_of, read
from minidiff.exercises import __main__ as exercises
from minidiff.exercises.checker import Result, grade
from minidiff.exercises.differences import difference
from minidiff.models import Autoencoder, Classifier, Clip, PointConfig, UNet, ViT, ViTConfig
from minidiff.pipelines import classifier, clip, denoiser, digits, language, report, text2image, toy  # noqa: F401
from minidiff.training import CheckpointError, Recipe, run, save_checkpoint

TEN = Schedule.cosine(10)
X, T = torch.zeros(3, 2), torch.tensor([1, 5, 10])
PICTURES = -torch.ones(3, 3, 32, 32)                             # black
BYTES, NAN = torch.full((3, 3, 32, 32), 255.0), torch.full((3, 3, 32, 32), math.nan)
GRAY, HALF = -torch.ones(3, 1, 32, 32), torch.rand(3, 1, 32, 32)  # HALF lies in [0, 1]
SEVEN, LABELS = torch.tensor([[7, 0, 2, 0]]), torch.tensor([1, 5, 7])
LATENTS, WORDS = torch.zeros(3, 4, 4, 4), torch.zeros(3, 10, 64)
DICE = torch.Generator().manual_seed(0)


def zero(xt, t, cond=None):
    """A denoiser that finds no noise."""
    return torch.zeros_like(xt)


def line(**settings):
    """A recipe that could train in no time."""
    return Recipe(**{"name": "line", "make_model": lambda: torch.nn.Linear(2, 1), "config": PointConfig(), "steps": 3,
                     "batch": 5, "loss_of": lambda model, dice: model(torch.ones(5, 2)).mean(), "lr": 0.1} | settings)


def captioned(labels=LABELS):
    return data.CaptionedDigits(torch.zeros(3, 3, 3, 32, 32, dtype=torch.uint8), labels)


def untrained_parts():
    torch.manual_seed(0)
    made = Clip(), Autoencoder(), UNet(), Classifier()
    return text2image.Pipeline(*(part.eval() for part in made))


PARTS = untrained_parts()


def draw(said=("a red seven",), seeds=(3,), **settings):
    return text2image.draw(list(said), list(seeds), PARTS, **{"steps": 2} | settings)


def walk(xt=X, steps=2, **settings):
    return list(sample(zero, xt, TEN, steps, **settings))


def likelihood(x0, levels):
    return evaluation.bits_of(zero, torch.tensor([[x0]]), TEN, levels, torch.full((128, 256), 1 / 256), DICE)


DOORS = r"""
data: parse("a purple seven") -> CaptionError: unknown word 'purple'.*Known words
data: parse("a seven red") -> CaptionError: not of the form
data: parse("a red blue seven") -> CaptionError: not of the form
data: parse("") -> CaptionError: not of the form
data: parse("a seven red" + " !" * 5_000) -> CaptionError: not of the form
data: parse(b"a red seven") -> CaptionError: a caption is a string, not bytes
data: tokenize(["a thick red sevn"]) -> CaptionError: Nearest known: seven
data: tokenize(["a 7"]) -> CaptionError: Nearest known: seven
data: tokenize(["a rouge \u8d64 seven"]) -> CaptionError: unknown word
data: tokenize(["a <end> seven"]) -> CaptionError: unknown word '<end>'
data: tokenize(["a " * 5_000]) -> CaptionError: has 5000 words, at most 8
data: tokenize(["x" * 10_000]) -> CaptionError: unknown word
data: tokenize("a red seven") -> CaptionError: list of captions; .*\['a red seven'\]
data: tokenize([7]) -> CaptionError: string, not int
data: sentence([7, 0, 2]) -> integers \(..., 4\), digit, color, stroke
data: sentence([-2, 0, 0, 0]) -> from -1 \(unsaid\).*got \[\[-2, 0, 0, 0\]\]
data: sentence("abcd") -> digit, color, stroke, lean
data: is_held_out((7, -1, 0, 0)) -> from 0 to below
data: is_held_out(torch.tensor([[1, 1, 1, 1], [0, 7, 0, 0]])) -> to below 10, 7, 3, 3; got \[\[0, 7, 0, 0\]\]
data: grammar(1.5) -> from 0 to 1
data: render_styles(HALF) -> digits lie in \[-1, 1\].*in \[0, 1\]\? Multiply by 2
data: render_styles(PICTURES) -> \(B, 1, 32, 32\)
data: rendering.distance_to(X[None] > 0, reach=11) -> reach .*from 1 to 10, got 11
data: tint(X[None], T[:1]) -> uint8 in 0..255
data: captioned(LABELS[:2]) -> ink must be a tensor \(2, 3, 3, 32, 32\)
data: captioned(LABELS + 5) -> labels: from 0 to below 10; got \[\[10\]\]
data: captioned().render(torch.tensor([0]), torch.tensor([[7, -1, 2, 0]])) -> from 0 to below 10, 7, 3, 3
data: captioned().render(torch.tensor([-1]), SEVEN) -> rows: from 0 to below 3; got \[\[-1\]\]
data: captioned().render(torch.tensor([1, 2]), SEVEN) -> as many rows as attributes, got 2 and 1
data: captioned().rows_for(torch.tensor([2]), DICE) -> only the digits \[1, 5, 7\]
data: LabeledDigits(HALF, LABELS) -> pictures in \[0, 1\]\?
data: LabeledDigits(GRAY, LABELS[:2]) -> 3 pictures take as many labels
data: to_pictures(HALF[:, 0]) -> bytes in 0..255, got .*Already in \[0, 1\]
data: to_pictures(GRAY[:, 0]) -> got -1 to -1
data: cloud("cumulus", 5) -> no cloud is called 'cumulus'; there are: two moons
data: Mixture(X, math.nan) -> a std of at least 0
data: Mixture(X * math.nan) -> finite means
data: Mixture(X, 1.0, torch.full((3,), math.nan)) -> weights that sum to 1
data: Mixture(X, 0.1, torch.tensor([0.5, 0.6, -0.1])) -> weights that sum to 1
data: Mixture(X, 0.1, torch.tensor([0.5, 0.5])) -> one for each of the 3 means
diffusion: Schedule.cosine(2.5) -> levels must be a whole number of at least 1, got 2.5
diffusion: add_noise(X, T, X[0], TEN) -> one shape, got x0 \(3, 2\), eps \(2,\)
diffusion: to_eps(X, X, T, TEN, "noise") -> one of eps, x0, v, velocity, score
diffusion: to_eps(X[:, :1], X, T, TEN, "v") -> prediction and xt .*one shape
diffusion: from_eps(X[:1], X, T, TEN, "v") -> prediction and xt .*one shape
diffusion: walk(steps=0) -> steps .*at least 1, got 0
diffusion: walk(steps=2.5) -> steps must be a whole number
diffusion: walk(steps=11) -> got 11
diffusion: walk(X * math.nan) -> NaN
diffusion: walk(None) -> xt must be .*floats.*got None
diffusion: walk(step=ddpm_step) -> give 3 `seeds`, one integer per picture
diffusion: walk(step=ddpm_step, seeds=[5]) -> give 3 `seeds`.*\[5\]
diffusion: walk(start=11) -> first level .*from 1 to 10, got 11
diffusion: ddim_step(zero, X, 3, -1, TEN) -> from 0 to 10; got 3 and -1
diffusion: ddpm_step(zero, X, -1, 3, TEN) -> from 0 to 10; got -1 and 3
diffusion: heun_step(zero, X, 11, 3, TEN) -> from 0 to 10; got 11 and 3
diffusion: denoising_loss(zero, X, T, X, TEN, weight="w") -> one of eps, v, velocity, x0, min-snr
diffusion: denoising_loss(zero, X, T, X[:1], TEN) -> x0 and eps
diffusion: denoising_loss(lambda x, t, c: x[:, :1], X, T, X, TEN) -> guess \(3, 1\), eps \(3, 2\)
models: PARTS.clip.embed_pictures(BYTES) -> in \[-1, 1\], got 255 to 255. Bytes in 0..255\? Divide by 127.5
models: PARTS.clip.embed_pictures(BYTES.byte()) -> float tensors.*uint8.*Divide by 127.5
models: PARTS.clip.embed_pictures(NAN) -> NaN
models: PARTS.clip.embed_pictures(GRAY) -> \(B, 3, 32, 32\), got a tensor \(3, 1, 32, 32\)
models: PARTS.clip.embed_tokens(torch.tensor([[1, 3, 15]])) -> without <end>
models: PARTS.clip.embed_captions("a red seven") -> CaptionError: list of captions
models: contrastive_loss(torch.zeros(4, 4), torch.ones(4, 1)) -> got logits \(4, 4\), positive \(4, 1\)
models: sigmoid_loss(torch.zeros(4, 4), torch.ones(1, 4).bool(), 0.0) -> one shape
models: Autoencoder(AutoencoderConfig(blocks=(1, 1))) -> shorter
models: PARTS.autoencoder.encode(BYTES) -> Bytes in 0..255
models: PARTS.autoencoder.encode(NAN) -> NaN
models: PARTS.autoencoder.encode(PICTURES[..., :30]) -> multiples of 8
models: PARTS.autoencoder.decode(torch.full((1, 4, 4, 4), math.nan)) -> NaN.*guidance
models: UNet(UNetConfig(widths=(16, 32))) -> shorter
models: UNet(UNetConfig(levels=0)) -> levels
models: UNet(UNetConfig(attention=(False,), middle=False)) -> would not hear its condition
models: PARTS.unet(LATENTS, T) -> takes conditions of width 64, got None
models: UNet(UNetConfig(cond_width=None))(LATENTS, T, WORDS) -> width None, got \(3, 10, 64\)
models: PARTS.unet(LATENTS, T + 991, WORDS) -> 0 .* 1000
models: next_token_probs(X, 0) -> above 0, got 0
models: to_patches(PICTURES, 5) -> multiples of 5
models: PARTS.classifier(PICTURES[..., :28, :28]) -> \(B, 1 or 3, 32, 32\), got a tensor \(3, 3, 28, 28\)
evaluation: ink_of(BYTES) -> Bytes in 0..255
evaluation: ink_of(PICTURES.byte()) -> float tensors
evaluation: ink_of(PICTURES[0]) -> \(B, C, H, W\), got a tensor \(3, 32, 32\)
evaluation: read_lean(NAN) -> NaN
evaluation: read(PARTS.classifier, NAN) -> NaN
evaluation: read_zero_shot(PARTS.clip, BYTES) -> Bytes in 0..255
evaluation: accuracy(SEVEN.expand(3, 4), SEVEN) -> read and asked must have one shape
evaluation: wilson(0.5, math.nan) -> needs n >= 1
evaluation: wilson(1.2, 10) -> 0 <= share <= 1
evaluation: frechet_distance(X * math.nan, X) -> NaN or infinity in the features
evaluation: frechet_distance(X[:1], X) -> two features on each side, got 1 and 3
evaluation: frechet_with_floor(X[:1], torch.zeros(4, 2)) -> 1 features against halves of 2 .*small crowd
evaluation: diversity(PICTURES, SEVEN) -> attributes must be a tensor \(3, 4\)
evaluation: diversity(PICTURES[:1], SEVEN) -> nothing to compare
evaluation: psnr(PICTURES, PICTURES[:1]) -> pictures and others must have one shape
evaluation: recall_at(1, torch.eye(3), torch.ones(3, 5).bool()) -> one shape
evaluation: recall_at(1, torch.eye(3), torch.zeros(3, 3).bool()) -> without any true match
evaluation: wasserstein(X, X[:2]) -> one shape, got one \(3, 2\), other \(2, 2\)
evaluation: wasserstein(X, X * math.nan) -> NaN
evaluation: coverage(X, Mixture(X)) -> a std above 0
evaluation: reading_table(zero, HALF, TEN, 1, DICE) -> 256 bytes.*in \[0, 1\]
evaluation: likelihood(0.0, [1, 10]) -> 256 bytes
evaluation: likelihood(127.0, [1, 10]) -> 256 bytes
evaluation: likelihood(1.0, [10, 1]) -> rise
evaluation: likelihood(1.0, [0, 10]) -> rise
evaluation: likelihood(1.0, [1, 5]) -> to 10
pipelines: toy.recipe(X, steps=0) -> steps .*at least 1, got 0
pipelines: clip.recipe(captioned(), batch=0) -> batch .*at least 1, got 0
pipelines: classifier.recipe(captioned(), lr=-1) -> learning rate .*got -1
pipelines: toy.recipe(torch.zeros(5, 3)) -> points must be a tensor \(N, 2\)
pipelines: denoiser.recipe(LATENTS, None, None) -> needs `conds` and `null`
pipelines: denoiser.recipe(LATENTS.byte(), None, None) -> \(N, C, H, W\), got .*uint8
pipelines: denoiser.recipe(BYTES, None, None, config=UNetConfig(cond_width=None)) -> up to 255: bytes
pipelines: digits.recipe(GRAY, LABELS, drop=10) -> drop .*from 0 to 1, got 10
pipelines: digits.digit_states(torch.tensor([10])) -> digits: from 0 to below 10; got \[\[10\]\]
pipelines: digits.digit_states(torch.tensor([-1])) -> got \[\[-1\]\]
pipelines: digits.recipe(HALF, LABELS) -> \[0, 1\]\? Multiply by 2 and subtract 1
pipelines: digits.recipe(BYTES[:, :1], LABELS) -> Bytes in 0..255
pipelines: digits.recipe(GRAY, LABELS[:2]) -> as many labels as pictures, got 2 and 3
pipelines: language.recipe(torch.ones(3, 10).long(), torch.ones(3)) -> got 3 texts, 3 shares, sum 3
pipelines: language.generate(TinyGPT(), "a", 0, DICE) -> n must .*got 0
pipelines: language.generate(TinyGPT(), "a sevn", 1, DICE) -> CaptionError: unknown word
pipelines: language.upsample(TinyGPT(), "a seven", DICE) -> CaptionError: list of captions
pipelines: draw(["a red sevn"]) -> CaptionError: Nearest known: seven
pipelines: text2image.draw("a red seven", [1], PARTS) -> CaptionError: list of captions
pipelines: draw(seeds=[1, 2]) -> 1 captions and 2 seeds
pipelines: draw(seeds=[1.5]) -> a seed must be a whole number .*got 1.5
pipelines: draw([], []) -> at least one; got a list of 0
pipelines: draw(guidance=math.nan) -> guidance must be a finite number .*got nan
pipelines: draw(guidance="3") -> guidance must be a finite number .*got '3'
pipelines: draw(steps=0) -> steps .*got 0
pipelines: text2image.unet_recipe(captioned(), PARTS.clip, None, encoded=(PICTURES, SEVEN)) -> 3 latents, 1 attributes
pipelines: text2image.load("nowhere") -> FileNotFoundError: nowhere.classifier.*minidiff train
pipelines: report.draw_all(torch.tensor([[7, 9, 0, 0]]), PARTS) -> got \[\[7, 9, 0, 0\]\]
pipelines: report.score(PARTS, captioned(), captioned(), n=0) -> n .*at least 2, got 0
pipelines: report.trained_budget("nowhere") -> FileNotFoundError: minidiff train
training: line(steps=0) -> steps of a training .*at least 1, got 0
training: line(batch=2.5) -> batch .*whole
training: line(decay="exponential") -> 'exponential': expected cosine or linear
training: line(warmup=100) -> warmup .*from 0 to 1
training: replace(line(), weight_decay=math.nan) -> weight_decay must be a finite number
training: run(line(ema=1.5)) -> decay .*from 0 to 1
training: run(line(seed=1.5)) -> seed must be a whole number
training: run(line(), save_every=math.nan) -> save_every
training: run(line(loss_of=lambda model, dice: model(X))) -> is `.mean\(\)` missing
training: run(line(loss_of=lambda model, dice: 3.0)) -> got a float
training: run(line(loss_of=lambda model, dice: model(X * math.nan).mean())) -> FloatingPointError: the loss is nan
training: Muon([torch.nn.Parameter(X)], 0.1, momentum=2) -> momentum
training: save_checkpoint("x", {"step": 3}, {}) -> 'step' is an int
training: save_checkpoint(f"{__file__}/x", {"a": X}, {}) -> CheckpointError: could not be written
training: load_checkpoint("nowhere") -> FileNotFoundError: minidiff train
training: load_checkpoint(".") -> CheckpointError: is a folder, where a file belongs
tools: seed_all(1.5) -> the seed must be a whole .*got 1.5
tools: generator_for("0") -> a seed must be a whole number .*got '0'
tools: generator_for(2**63) -> a seed must be a whole number
tools: noise_for(7, (2,)) -> list of integers, one per picture .*got an int
tools: noise_for(torch.tensor([1.5]), (2,)) -> a seed must be a whole number
tools: study.load("toy_none") -> FileNotFoundError: studies/toy_none.py
tools: show.to_image(PICTURES) -> a picture must be a tensor \(C, H, W\)
tools: show.grid(PICTURES, columns=0) -> columns .*at least 1, got 0
tools: show.grid(PICTURES, ["one", "two"]) -> 3 pictures take as many captions, or one per row \(1\); got 2
tools: show_plane.points([X, X], ["one"]) -> got 1 titles for 2
tools: show_attention.heatmaps([]) -> at least one table
tools: show_attention.heatmaps([T]) -> a table must be a tensor \(P, L\)
tools: show_attention.heatmaps([X, X], titles=["one"]) -> a title for each
tools: show_attention.over_pictures(GRAY, torch.zeros(2, 1, 4, 4), ["x"]) -> \(3, 1, n, n\)
tools: show_attention.hover(["a", "seven"], {"head 1": torch.eye(3)}) -> head 1 .*\(2, 2\)
"""
CASES = [re.fullmatch(r"(\w+): (.+) -> (?:(\w+Error): )?(.+)", case).groups() for case in DOORS.strip().splitlines()]
ROOMS = (tools, data, diffusion, models, evaluation, training, pipelines)


@pytest.mark.parametrize("room, mistake, error, says", CASES, ids=[mistake[:70] for _, mistake, *_ in CASES])
def test_bad_input_is_refused_in_words(room, mistake, error, says):
    names = {name: thing for part in ROOMS for name, thing in vars(part).items()} | globals()
    with pytest.raises(eval(error or "ValueError", names), match=says) as refused:
        eval(mistake, names)
    assert len(str(refused.value)) < 700


def test_every_room_has_its_cases():
    rooms = {path.parent.name for path in Path(minidiff.__file__).parent.glob("*/__init__.py")}
    assert rooms - {"exercises"} == {room for room, *_ in CASES}  # they have their own cases below


@pytest.mark.parametrize("id", ["1.2", "77.7", 4.1, None, [1], "x" * 10_000])
def test_the_checker_of_exercises_raises_nothing(id):
    for answer in (None, 7, "x", X, lambda: 1 / 0, [], math.nan):
        result = grade(id, answer)
        assert not result and 0 < len(result.message) < 1_500


def test_pictures_of_a_wrong_answer_are_shown_whatever_is_in_them():
    for yours in (BYTES, NAN, PICTURES * math.inf):
        figure = Result("1.2", False, True, "", pictures=(PICTURES, yours)).figure()
        assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("got", [None, "x", 7, X.long(), X[:1], X * math.nan, X + math.inf, [X], {}, torch.eye])
def test_a_difference_is_said_whatever_is_compared(got):
    assert isinstance(difference(X, got), str) and difference(X, got)


def test_what_is_right_is_not_refused():
    """One picture, double precision, views with gaps, large values, integers of numpy and torch."""
    wide = torch.randn(64, 3, 1, dtype=torch.float64).mT[:, ::2]                       # not contiguous
    noisy = add_noise(wide, torch.full((64,), 5), wide, TEN)
    assert noisy.dtype == torch.float64 and noisy.shape == wide.shape
    assert (from_eps(X + 1e30, X, T, TEN, "score") < -1e29).all()
    assert [level for level, _ in walk(X[:1] + 1e6, steps=torch.tensor(2))] == [10, 5, 0]
    assert walk(X[:1], steps=T.numpy()[0])[-1][1].shape == (1, 2)
    assert ink_of(torch.randn(1, 3, 32, 32, dtype=torch.float64).mT).shape == (1, 32, 32)
    pictures = text2image.draw([""], [0], PARTS, guidance=-1, steps=1)
    assert read(PARTS.classifier, pictures).shape == (1, 4) and PARTS.clip.embed_pictures(pictures).shape == (1, 64)
    assert sentence(torch.tensor([7, -1, -1, -1], dtype=torch.int8)) == "a seven"
    assert karras_levels(TEN, 1) == [10, 0] and run(line(lr=0.0), save_every=math.inf).weight.shape == (1, 2)
    data = LabeledDigits(GRAY[..., 2:-2, 2:-2], LABELS)
    assert classifier.recipe(data, network=ViT, config=ViTConfig()).model(data.pictures).shape == (3, 10)
    latents, said = text2image.latents_of(captioned(), PARTS.autoencoder, 7)           # as many as were asked for
    assert latents.shape == (7, 4, 4, 4) and said.shape == (7, 4)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A folder with parts that never learned: enough to get past the door."""
    folder = tmp_path_factory.mktemp("untrained")
    for stage in text2image.STAGES:
        part = getattr(PARTS, stage)
        about = {"settings": {"steps": 1, "config": asdict(part.config)}, "step": 1, "seconds": 1, "peak_memory_mb": 1}
        save_checkpoint(folder / f"{stage}.safetensors",
                        {f"model.{name}": t for name, t in part.state_dict().items()}, about)
    return folder


COMMANDS = [
    ("draw 'a red sevn'", "unknown word 'sevn'.*Nearest known: seven"), ("draw 'a red seven' --n 0", "--n must be"),
    ("draw 'a red seven' --n 999999999", "at most 2,000"), ("draw a red seven", "in quotes"),
    ("draw 'a red seven' --steps 0", "steps .*at least 1, got 0"), ("draw 'a red seven' --steps 1001", "got 1001"),
    ("draw 'a red seven' --steps -3", "steps .*got -3"), ("draw 'a red seven' --guidance nan", "finite .*got nan"),
    ("draw 'a red seven' --guidance inf", "finite number .*got inf"), ("draw 'a red seven' -o here", ".png"),
    ("draw 'a red seven' --n 1 --steps 1 -o /dev/null/x.png", "File exists|directory"),
    ("draw '\u8d64 seven'", "unknown word"), ("draw 'a\nred\nsevn'", "unknown word"),
    ("draw 'a red seven' --folder nowhere", "nowhere.classifier.safetensors is missing"),
    ("draw 'a red seven' --folder 'no\nwhere'", "is missing"), ("score --n 19", "at least 20, got 19"),
    ("score --n -1", "at least 20"), ("score --n 20 --guidance nan", "finite number"),
    ("score --n 20 --steps 0", "steps"), ("score --folder /dev/null", "missing|directory"),
    ("train --seed 99999999999999999999999", "seed must be"),
    ("train --folder /dev/null/x", "cannot be trained there"),
]


@pytest.mark.parametrize("command, says", COMMANDS)
def test_commands_refuse_in_one_line_with_status_1(untrained, monkeypatch, tmp_path, capsys, command, says):
    monkeypatch.setenv("MINIDIFF_BUDGET", "fast")                # main may change it: put back afterwards
    monkeypatch.chdir(tmp_path)
    ink = torch.zeros(450, 3, 3, 32, 32, dtype=torch.uint8)      # what rendering would take two seconds for
    monkeypatch.setattr(captioned_digits, "render_styles", lambda pictures: ink[:len(pictures)])
    words = shlex.split(command)
    assert main(words if "--folder" in words else [*words, "--folder", str(untrained)]) == 1
    *bar, said = capsys.readouterr().err.strip().split("\n")
    assert said.startswith("minidiff: ") and re.search(says, said)
    assert all(words[0] == "train" and "step/s" in line for line in bar)


@pytest.mark.parametrize("command", ["", "paint", "draw --n many", "draw --steps 2.5", "draw --guidance much",
                                     "train --n 3", "train --budget huge", "train --save-every soon", "score x",
                                     "draw --seed 1e3"])
def test_commands_that_cannot_be_read_have_status_2(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main(command.split())
    assert stop.value.code == 2 and "usage: python -m minidiff" in capsys.readouterr().err


def test_a_checkpoint_of_another_part_is_named(untrained, tmp_path):
    save_checkpoint(tmp_path / "other.safetensors", {"train": X}, {"data": "abc"})
    for path in (untrained / "clip.safetensors", tmp_path / "other.safetensors"):
        with pytest.raises(CheckpointError, match=f"{path.name} is whole, but does not fit"):
            denoiser.load(path)


@pytest.mark.parametrize("words, says", [
    (["--hints", "77.7"], "no exercise '77.7'. Nearest"),
    (["nowhere.py"], "nowhere.py cannot be run: FileNotFoundError"),
    (["--template", "-o", __file__], "exists already; nothing was written"),
    (["--template", "-o", "/dev/null/x"], "/dev/null/x could not be written"),
])
def test_the_commands_of_exercises_refuse_with_status_1(capsys, words, says):
    assert exercises.main(words) == 1
    said = capsys.readouterr()
    assert re.search(says, said.out + said.err) and "Traceback" not in said.err
