"""Bad input at every door: what came, what was expected and the usual reason are said, and nothing goes on in silence.

A door is where something enters from a person: captions, files, settings, the command line, pictures that are given to
a reader; and where torch would go on with wrong numbers: shapes that are stretched to fit, levels and rows that do not
exist.  Inside the formulas torch's own errors are good enough.  Each case is a mistake that somebody makes: (what is
done, what the message must say, the kind of error where it is no plain ValueError).
"""

import math
import re
import shlex
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

import minidiff
from minidiff.__main__ import main
from minidiff.data import (
    CaptionedDigits,
    CaptionError,
    LabeledDigits,
    Mixture,
    captioned_digits,
    cloud,
    grammar,
    is_held_out,
    parse,
    render_styles,
    sentence,
    tint,
    to_pictures,
    tokenize,
)
from minidiff.data.rendering import distance_to
from minidiff.diffusion import (
    Schedule,
    add_noise,
    ddim_step,
    ddpm_step,
    denoising_loss,
    from_eps,
    heun_step,
    karras_levels,
    sample,
    spaced_levels,
    to_eps,
)
from minidiff.evaluation import (
    accuracy,
    bits_of,
    coverage,
    diversity,
    frechet_distance,
    frechet_with_floor,
    ink_of,
    psnr,
    read,
    read_lean,
    read_stroke,
    read_zero_shot,
    reading_table,
    recall_at,
    wasserstein,
    wilson,
)
from minidiff.exercises import __main__ as exercises
from minidiff.exercises.checker import Result, grade
from minidiff.exercises.differences import difference
from minidiff.models import (
    Autoencoder,
    AutoencoderConfig,
    Classifier,
    Clip,
    PointConfig,
    TinyGPT,
    UNet,
    UNetConfig,
    ViT,
    ViTConfig,
    contrastive_loss,
    next_token_probs,
    sigmoid_loss,
    to_patches,
)
from minidiff.pipelines import autoencoder, classifier, clip, denoiser, digits, language, report, text2image, toy
from minidiff.tools import autocast, generator_for, noise_for, seed_all, show, show_attention, show_plane, study
from minidiff.training import EMA, CheckpointError, Muon, Recipe, load_checkpoint, run, save_checkpoint

TEN = Schedule.cosine(10)
X, T = torch.zeros(3, 2), torch.tensor([1, 5, 10])
PICTURES = -torch.ones(3, 3, 32, 32)                             # black
BYTES, NAN = torch.full((3, 3, 32, 32), 255.0), torch.full((3, 3, 32, 32), math.nan)
GRAY, HALF = -torch.ones(3, 1, 32, 32), torch.rand(3, 1, 32, 32)  # HALF lies in [0, 1]
SEVEN, LABELS = torch.tensor([[7, 0, 2, 0]]), torch.tensor([1, 5, 7])
DICE = torch.Generator().manual_seed(0)


def zero(xt, t, cond=None):
    """A denoiser that finds no noise."""
    return torch.zeros_like(xt)


def line(**settings):
    """A recipe that could train in no time."""
    return Recipe(**{"name": "line", "make_model": lambda: torch.nn.Linear(2, 1), "config": PointConfig(), "steps": 3,
                     "batch": 5, "loss_of": lambda model, dice: model(torch.ones(5, 2)).mean(), "lr": 0.1} | settings)


def captioned(labels=LABELS):
    return CaptionedDigits(torch.zeros(3, 3, 3, 32, 32, dtype=torch.uint8), labels)


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
    return bits_of(zero, torch.tensor([[x0]]), TEN, levels, torch.full((128, 256), 1 / 256), DICE)


DOORS = {
    "data": [
        (lambda: parse("a purple seven"), "unknown word 'purple'.*Known words", CaptionError),
        *((lambda said=said: parse(said), "not of the form", CaptionError) for said in (
            "a seven red", "a red blue seven", "red seven", "", "a red seven leaning", "a red seven seven",
            "a seven red" + " !" * 5_000)),
        (lambda: parse(7), "a caption is a string, not int", CaptionError),
        (lambda: parse(b"a red seven"), "string, not bytes", CaptionError),
        (lambda: parse("a rouge \u8d64 seven"), "unknown word", CaptionError),
        (lambda: tokenize(["a thick red sevn"]), "Nearest known: seven", CaptionError),
        (lambda: tokenize(["a niné"]), "Nearest known: nine", CaptionError),
        (lambda: tokenize(["a 7"]), "Nearest known: seven", CaptionError),
        (lambda: tokenize(["a <end> seven"]), "unknown word '<end>'", CaptionError),
        (lambda: tokenize(["a " * 5_000]), "has 5000 words, at most 8", CaptionError),
        (lambda: tokenize(["x" * 10_000]), "unknown word", CaptionError),
        (lambda: tokenize("a red seven"), r"list of captions; .*\['a red seven'\]", CaptionError),
        (lambda: tokenize(None), "list of captions", CaptionError),
        (lambda: tokenize([7]), "string, not int", CaptionError),
        (lambda: sentence([7, 0, 2]), r"integers \(..., 4\), digit, color, stroke"),
        (lambda: sentence([-2, 0, 0, 0]), r"from -1 \(unsaid\).*got \[\[-2, 0, 0, 0\]\]"),
        (lambda: sentence([10, 0, 0, 0]), "to below 10, 7, 3, 3"),
        (lambda: sentence([7.9, 0, 0, 0]), "expected integers.*float32"),
        (lambda: sentence("abcd"), "digit, color, stroke, lean"),
        (lambda: is_held_out((7, -1, 0, 0)), "from 0 to below"),
        (lambda: is_held_out(torch.tensor([[1, 1, 1, 1], [0, 7, 0, 0]])), r"got \[\[0, 7, 0, 0\]\]"),
        (lambda: is_held_out(torch.tensor([7])), r"integers \(..., 4\)"),
        (lambda: grammar(1.5), "from 0 to 1"), (lambda: grammar(-0.1), "from 0 to 1"),
        (lambda: render_styles(HALF), r"digits lie in \[-1, 1\].*in \[0, 1\]\? Multiply by 2"),
        (lambda: render_styles(PICTURES), r"\(B, 1, 32, 32\)"),
        (lambda: distance_to(X[None] > 0, reach=11), "reach .*from 1 to 10, got 11"),
        (lambda: tint(X[None], T[:1]), "uint8 in 0..255"),
        (lambda: captioned(LABELS[:2]), r"ink must be a tensor \(2, 3, 3, 32, 32\)"),
        (lambda: captioned(LABELS + 5), r"labels: from 0 to below 10; got \[\[10\]\]"),
        (lambda: captioned().render(torch.tensor([0]), torch.tensor([[7, -1, 2, 0]])), "from 0 to below 10, 7, 3, 3"),
        (lambda: captioned().render(torch.tensor([-1]), SEVEN), r"rows: from 0 to below 3; got \[\[-1\]\]"),
        (lambda: captioned().render(torch.tensor([1, 2]), SEVEN), "as many rows as attributes, got 2 and 1"),
        (lambda: captioned().rows_for(torch.tensor([2]), DICE), r"only the digits \[1, 5, 7\]"),
        (lambda: LabeledDigits(HALF, LABELS), r"pictures in \[0, 1\]\?"),
        (lambda: LabeledDigits(GRAY, LABELS[:2]), "3 pictures take as many labels"),
        (lambda: to_pictures(HALF[:, 0]), r"bytes in 0..255, got .*Already in \[0, 1\]"),
        (lambda: to_pictures(GRAY[:, 0]), "got -1 to -1"),
        (lambda: to_pictures(torch.zeros(5, 1, 28, 28)), r"\(N, H, W\)"),
        (lambda: cloud("cumulus", 5), "no cloud is called 'cumulus'; there are: two moons"),
        *((lambda mixture=mixture: Mixture(*mixture), "finite means, a std of at least 0, and weights that sum to 1")
          for mixture in ((X, math.nan), (X, -0.1), (X * math.nan,), (X, 1.0, torch.full((3,), math.nan)),
                          (X, 0.1, torch.tensor([0.5, 0.6, -0.1])), (X, 0.1, torch.tensor([0.5, 0.5])))),
    ],
    "diffusion": [                                               # levels: see test_schedule.py
        (lambda: Schedule.cosine(0), "levels .*at least 1, got 0"),
        (lambda: Schedule.cosine(2.5), "levels must be a whole number.*got 2.5"),
        (lambda: Schedule.cosine(10**6), "signal must .*fall"),
        (lambda: add_noise(X, T, X[0], TEN), r"one shape, got x0 \(3, 2\), eps \(2,\)"),
        (lambda: to_eps(X, X, T, TEN, "noise"), "one of eps, x0, v, score"),
        (lambda: to_eps(X[:, :1], X, T, TEN, "v"), "prediction and xt .*one shape"),
        (lambda: from_eps(X[:1], X, T, TEN, "v"), "eps and xt .*one shape"),
        (lambda: walk(steps=0), "steps .*from 1 to 10, got 0"), (lambda: walk(steps=-1), "steps .*got -1"),
        (lambda: walk(steps=2.5), "steps must be a whole number"), (lambda: walk(steps=11), "got 11"),
        (lambda: walk(X * math.nan), "NaN"), (lambda: walk(None), "xt must be a tensor"),
        (lambda: walk(step=ddpm_step), "give 3 `seeds`, one integer per picture"),
        (lambda: walk(step=ddpm_step, seeds=[5]), r"give 3 `seeds`.*\[5\]"),
        (lambda: walk(start=11), "first level .*from 1 to 10, got 11"),
        (lambda: spaced_levels(TEN, 3, start=2.0), "first level must be a whole"),
        *((lambda step=step, t=t, s=s: step(zero, X, t, s, TEN), f"from 0 to 10; got {t} and {s}")
          for step in (ddim_step, ddpm_step, heun_step) for t, s in ((3, -1), (-1, 3), (3, 3), (11, 1))),
        (lambda: denoising_loss(zero, X, T, X, TEN, weight="w"), "one of eps, v, x0, min-snr"),
        (lambda: denoising_loss(zero, X, T, X[:1], TEN), "x0 and eps"),
        (lambda: denoising_loss(lambda x, t, c: x[:, :1], X, T, X, TEN), r"guess \(3, 1\), eps \(3, 2\)"),
    ],
    "models": [
        (lambda: PARTS.clip.embed_pictures(BYTES), r"in \[-1, 1\], got 255 to 255. Bytes in 0..255\? Divide by 127.5"),
        (lambda: PARTS.clip.embed_pictures(BYTES.byte()), "float tensors.*uint8.*Divide by 127.5"),
        (lambda: PARTS.clip.embed_pictures(NAN), "NaN"),
        (lambda: PARTS.clip.embed_pictures(GRAY), r"\(B, 3, 32, 32\), got a tensor \(3, 1, 32, 32\)"),
        (lambda: PARTS.clip.embed_pictures(PICTURES[..., :28, :28]), r"\(B, 3, 32, 32\)"),
        (lambda: PARTS.clip.embed_tokens(torch.tensor([[1, 3, 15]])), "without <end>"),
        (lambda: PARTS.clip.embed_captions("a red seven"), "list of captions", CaptionError),
        (lambda: contrastive_loss(torch.zeros(4, 4), torch.ones(4, 1)), r"got logits \(4, 4\), positive \(4, 1\)"),
        (lambda: sigmoid_loss(torch.zeros(4, 4), torch.ones(1, 4).bool(), 0.0), "one shape"),
        (lambda: Autoencoder(AutoencoderConfig(blocks=(1, 1))), "shorter"),
        (lambda: PARTS.autoencoder.encode(BYTES), "Bytes in 0..255"),
        (lambda: PARTS.autoencoder.encode(NAN), "NaN"),
        (lambda: PARTS.autoencoder.encode(PICTURES[..., :30]), "multiples of 8"),
        (lambda: PARTS.autoencoder.decode(torch.full((1, 4, 4, 4), math.nan)), "NaN.*guidance"),
        (lambda: UNet(UNetConfig(widths=(16, 32))), "shorter"),
        (lambda: UNet(UNetConfig(levels=0)), "levels"),
        (lambda: UNet(UNetConfig(attention=(False,), middle=False)), "would not hear its condition"),
        (lambda: PARTS.unet(torch.zeros(3, 4, 4, 4), T), "takes conditions of width 64, got None"),
        (lambda: UNet(UNetConfig(cond_width=None))(torch.zeros(3, 4, 4, 4), T, X), r"width None, got \(3, 2\)"),
        (lambda: PARTS.unet(torch.zeros(1, 4, 4, 4), T[:1] + 1000, torch.zeros(1, 10, 64)), "0 .* 1000"),
        (lambda: next_token_probs(X, 0), "above 0, got 0"),
        (lambda: to_patches(PICTURES, 5), "multiples of 5"),
        (lambda: ViT()(GRAY), "multiples of 7"),
        (lambda: PARTS.classifier(PICTURES[..., :28, :28]), r"\(B, 1 or 3, 32, 32\), got a tensor \(3, 3, 28, 28\)"),
    ],
    "evaluation": [
        (lambda: ink_of(BYTES), "Bytes in 0..255"), (lambda: ink_of(NAN), "NaN"),
        (lambda: ink_of(PICTURES.byte()), "float tensors"),
        (lambda: ink_of(PICTURES[0]), r"\(B, C, H, W\), got a tensor \(3, 32, 32\)"),
        (lambda: read_stroke(BYTES), "Bytes"), (lambda: read_lean(NAN), "NaN"),
        (lambda: read(PARTS.classifier, NAN), "NaN"), (lambda: read_zero_shot(PARTS.clip, BYTES), "Bytes in 0..255"),
        (lambda: accuracy(SEVEN.expand(3, 4), SEVEN), "read and asked must have one shape"),
        (lambda: wilson(0.5, math.nan), "needs n >= 1"), (lambda: wilson(1.2, 10), "0 <= share <= 1"),
        (lambda: frechet_distance(X * math.nan, X), "NaN or infinity in the features"),
        (lambda: frechet_distance(X[:1], X), "two features on each side, got 1 and 3"),
        (lambda: frechet_with_floor(X[:1], torch.zeros(4, 2)), "1 features against halves of 2 .*small crowd"),
        (lambda: diversity(PICTURES, SEVEN), r"attributes must be a tensor \(3, 4\)"),
        (lambda: diversity(PICTURES[:1], SEVEN), "nothing to compare"),
        (lambda: psnr(PICTURES, PICTURES[:1]), "pictures and others must have one shape"),
        (lambda: recall_at(1, torch.eye(3), torch.ones(3, 5).bool()), "one shape"),
        (lambda: recall_at(1, torch.eye(3), torch.zeros(3, 3).bool()), "without any true match"),
        (lambda: wasserstein(X, X[:2]), r"one shape, got one \(3, 2\), other \(2, 2\)"),
        (lambda: wasserstein(X, X * math.nan), "NaN"),
        (lambda: coverage(X, Mixture(X)), "a std above 0"),
        (lambda: reading_table(zero, NAN, TEN, 1, DICE), "256 bytes"),
        (lambda: reading_table(zero, HALF, TEN, 1, DICE), r"in \[0, 1\]"),
        (lambda: likelihood(0.0, [1, 10]), "256 bytes"), (lambda: likelihood(127.0, [1, 10]), "256 bytes"),
        (lambda: likelihood(1.0, [10, 1]), "rise"), (lambda: likelihood(1.0, [0, 10]), "rise"),
        (lambda: likelihood(1.0, [1, 5]), "to 10"),
    ],
    "pipelines": [
        *((lambda make=make, key=key: make(**{key: 0}), f"{key} .*at least 1, got 0") for key in ("steps", "batch")
          for make in (lambda **some: toy.recipe(X, **some), lambda **some: clip.recipe(captioned(), **some),
                       lambda **some: classifier.recipe(captioned(), **some),
                       lambda **some: autoencoder.recipe(captioned(), **some),
                       lambda **some: language.recipe(*grammar(0.3), **some),
                       lambda **some: digits.recipe(GRAY, LABELS, **some))),
        (lambda: toy.recipe(torch.zeros(5, 3)), r"points must be a tensor \(N, 2\)"),
        (lambda: denoiser.recipe(torch.zeros(5, 4, 4, 4), None, None), "needs `conds` and `null`"),
        (lambda: denoiser.recipe(torch.zeros(5, 4, 4, 4).byte(), None, None), r"\(N, C, H, W\), got .*uint8"),
        (lambda: denoiser.recipe(BYTES, None, None, config=UNetConfig(cond_width=None)), "up to 255: bytes"),
        (lambda: digits.recipe(GRAY, LABELS, drop=10), "drop .*from 0 to 1, got 10"),
        (lambda: digits.digit_states(torch.tensor([10])), r"digits: from 0 to below 10; got \[\[10\]\]"),
        (lambda: digits.digit_states(torch.tensor([-1])), r"got \[\[-1\]\]"),
        (lambda: digits.recipe(HALF, LABELS), r"\[0, 1\]\? Multiply by 2 and subtract 1"),
        (lambda: digits.recipe(BYTES[:, :1], LABELS), "Bytes in 0..255"),
        (lambda: digits.recipe(GRAY, LABELS[:2]), "as many labels as pictures, got 2 and 3"),
        (lambda: language.recipe(torch.ones(3, 10).long(), torch.ones(3)), "got 3 texts, 3 shares, sum 3"),
        (lambda: language.generate(TinyGPT(), "a", 0, DICE), "n must .*got 0"),
        (lambda: language.generate(TinyGPT(), "a sevn", 1, DICE), "unknown word", CaptionError),
        (lambda: language.upsample(TinyGPT(), "a seven", DICE), "list of captions", CaptionError),
        (lambda: draw(["a red sevn"]), "Nearest known: seven", CaptionError),
        (lambda: text2image.draw("a red seven", [1], PARTS), "list of captions", CaptionError),
        (lambda: draw(seeds=[1, 2]), "1 captions and 2 seeds"),
        (lambda: draw(seeds=[1.5]), "a seed must be a whole number .*got 1.5"),
        (lambda: draw([], []), "at least one; got a list of 0"),
        (lambda: draw(guidance=math.nan), "guidance must be a finite number .*got nan"),
        (lambda: draw(guidance="3"), "guidance must be a finite number .*got '3'"),
        (lambda: draw(steps=0), "steps .*got 0"),
        (lambda: text2image.unet_recipe(captioned(), PARTS.clip, PARTS.autoencoder, encoded=(PICTURES, SEVEN)),
         "3 latents, 1 attributes"),
        (lambda: text2image.load("nowhere"), "nowhere.classifier.*minidiff train", FileNotFoundError),
        (lambda: denoiser.load("nowhere/unet.safetensors"), "minidiff train", FileNotFoundError),
        (lambda: report.draw_all(torch.tensor([[7, 9, 0, 0]]), PARTS), r"got \[\[7, 9, 0, 0\]\]"),
        (lambda: report.score(PARTS, captioned(), captioned(), n=0), "n .*at least 2, got 0"),
        (lambda: report.trained_budget("nowhere"), "minidiff train", FileNotFoundError),
    ],
    "training": [
        (lambda: line(steps=0), "steps of a training .*at least 1, got 0"), (lambda: line(batch=2.5), "batch .*whole"),
        (lambda: line(lr=-0.1), "learning rate .*at least 0, got -0.1"),
        (lambda: line(decay="exponential"), "'exponential': expected cosine or linear"),
        (lambda: line(warmup=100), "warmup .*from 0 to 1"), (lambda: run(line(ema=1.5)), "decay .*from 0 to 1"),
        (lambda: replace(line(), weight_decay=math.nan), "weight_decay must be a finite number"),
        (lambda: EMA(torch.nn.Linear(2, 1), -1), "decay .*from 0 to 1"),
        (lambda: run(line(seed=1.5)), "seed must be a whole number"),
        (lambda: run(line(), save_every=math.nan), "save_every"),
        (lambda: run(line(loss_of=lambda model, dice: model(X))), r"is `.mean\(\)` missing"),
        (lambda: run(line(loss_of=lambda model, dice: 3.0)), "got a float"),
        (lambda: run(line(loss_of=lambda model, dice: model(X * math.nan).mean())), "the loss is nan.*Usual reasons",
         FloatingPointError),
        (lambda: Muon([torch.nn.Parameter(X)], lr=-1), "learning rate .*got -1"),
        (lambda: Muon([torch.nn.Parameter(X)], 0.1, momentum=2), "momentum"),
        (lambda: save_checkpoint("x", {"step": 3}, {}), "'step' is an int"),
        (lambda: save_checkpoint(f"{__file__}/x", {"a": X}, {}), "could not be written", CheckpointError),
        (lambda: load_checkpoint("nowhere"), "minidiff train", FileNotFoundError),
        (lambda: load_checkpoint("."), "damaged", CheckpointError),
    ],
    "tools": [
        (lambda: seed_all(1.5), "the seed must be a whole .*got 1.5"), (lambda: seed_all(10**30), "the seed must"),
        (lambda: generator_for("0"), "a seed must be a whole number .*got '0'"),
        (lambda: generator_for(2**63), "a seed must be a whole number"),
        (lambda: noise_for(7, (2,)), "list of integers, one per picture .*got an int"),
        (lambda: noise_for(torch.tensor([1.5]), (2,)), "a seed must be a whole number"),
        (lambda: noise_for([], (2,)), "at least one; got a list of 0"),
        (lambda: autocast("gpu"), "cpu, cuda", RuntimeError),
        (lambda: study.load("toy_none"), "studies/toy_none.py", FileNotFoundError),
        (lambda: show.to_image(PICTURES), r"a picture must be a tensor \(C, H, W\)"),
        (lambda: show.grid(PICTURES, columns=0), "columns .*at least 1, got 0"),
        (lambda: show.grid(PICTURES, ["one", "two"]), r"3 pictures take as many captions, or one per row \(1\); got 2"),
        (lambda: show_plane.points([X, X], ["one"]), "got 1 titles for 2"),
        (lambda: show_plane.landscapes([torch.zeros(9)], []), "got 0 titles for 1"),
        (lambda: show_attention.heatmaps([]), "at least one table"),
        (lambda: show_attention.heatmaps([T]), r"a table must be a tensor \(P, L\)"),
        (lambda: show_attention.heatmaps([X, X], titles=["one"]), "a title for each"),
        (lambda: show_attention.over_pictures(GRAY, torch.zeros(2, 1, 4, 4), ["x"]), r"\(3, 1, n, n\)"),
        (lambda: show_attention.hover(["a", "seven"], {"head 1": torch.eye(3)}), r"head 1 .*\(2, 2\)"),
    ],
}
CASES = [(*case, ValueError)[:3] for cases in DOORS.values() for case in cases]
NAMES = [f"{room} {number}" for room, cases in DOORS.items() for number in range(len(cases))]


@pytest.mark.parametrize("mistake, says, error", CASES, ids=NAMES)
def test_bad_input_is_refused_in_words(mistake, says, error):
    with pytest.raises(error, match=says) as refused:
        mistake()
    assert len(str(refused.value)) < 700


def test_every_room_has_its_cases():
    rooms = {path.parent.name for path in Path(minidiff.__file__).parent.glob("*/__init__.py")}
    assert rooms - {"exercises"} == set(DOORS)                   # they have their own cases below


@pytest.mark.parametrize("id", ["1.2", "9.9", 4.1, None, [1], "x" * 10_000])
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
    ("draw 'a red seven' --steps 0", "steps .*from 1 to 1000, got 0"), ("draw 'a red seven' --steps 1001", "got 1001"),
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
        with pytest.raises(CheckpointError, match=f"{path.name} is damaged or of another kind"):
            denoiser.load(path)


@pytest.mark.parametrize("words, says", [
    (["--hints", "9.9"], "no exercise '9.9'. Nearest"), (["nowhere.py"], "nowhere.py cannot be run: FileNotFoundError"),
    (["--template", "-o", __file__], "exists already; nothing was written"),
    (["--template", "-o", "/dev/null/x"], "/dev/null/x could not be written"),
])
def test_the_commands_of_exercises_refuse_with_status_1(capsys, words, says):
    assert exercises.main(words) == 1
    said = capsys.readouterr()
    assert re.search(says, said.out + said.err) and "Traceback" not in said.err
