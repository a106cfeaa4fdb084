"""Bad input at every door: what came, what was expected, and the usual reason are said, and nothing goes on in silence.

Each case is a mistake that somebody makes: (the function, what is done to it, the error, what the message must say).
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
    Mixture,
    caption_index,
    caption_shares,
    clean,
    cloud,
    detokenize,
    distance_to,
    drop_words,
    grammar,
    is_held_out,
    is_true_of,
    jitter,
    lean_of,
    moments,
    named_mixture,
    next_word_entropy,
    parse,
    render_styles,
    sentence,
    shift,
    stroke_width,
    tint,
    to_pictures,
    tokenize,
)
from minidiff.diffusion import (
    Schedule,
    add_noise,
    annealed_langevin,
    ddim_step,
    ddpm_step,
    denoising_loss,
    drop_condition,
    exact_denoiser,
    from_eps,
    guided,
    heun_step,
    inpainting,
    karras_levels,
    langevin_step,
    log_density,
    sample,
    sample_levels,
    spaced_by_snr,
    spaced_levels,
    to_eps,
)
from minidiff.evaluation import (
    accuracy,
    bits_of,
    coverage,
    diversity,
    floor_and_excess,
    frechet_distance,
    frechet_with_floor,
    ink_of,
    nearest,
    psnr,
    read_color,
    read_lean,
    read_stroke,
    read_zero_shot,
    reading_table,
    recall_at,
    wasserstein,
    wilson,
)
from minidiff.exercises import Result, difference, judge, main
from minidiff.models import (
    Attention,
    Autoencoder,
    AutoencoderConfig,
    Block,
    Classifier,
    ClassifierConfig,
    Clip,
    ClipConfig,
    DiT,
    DiTConfig,
    PointConfig,
    PointDenoiser,
    ResBlock,
    TextConfig,
    TextEncoder,
    TinyGPT,
    UNet,
    UNetConfig,
    ViT,
    ViTConfig,
    attend,
    attention_weights,
    contrastive_loss,
    end_state,
    next_token_probs,
    sigmoid_loss,
    time_embedding,
    to_patches,
)
from minidiff.pipelines import autoencoder, classifier, clip, denoiser, digits, language, report, text2image, toy
from minidiff.tools import autocast, generator_for, noise_for, seed_all, show, show_attention, show_plane, study
from minidiff.training import (
    EMA,
    CheckpointError,
    Muon,
    Recipe,
    load_checkpoint,
    lr_at,
    orthogonalize,
    save_checkpoint,
    train,
)

TEN = Schedule.cosine(10)
X, T = torch.zeros(3, 2), torch.tensor([1, 5, 10])
PICTURES = -torch.ones(3, 3, 32, 32)                             # black
BYTES, NAN = torch.full((3, 3, 32, 32), 255.0), torch.full((3, 3, 32, 32), math.nan)
GRAY, HALF = -torch.ones(3, 1, 32, 32), torch.rand(3, 1, 32, 32)  # HALF lies in [0, 1]
SEVEN = torch.tensor([[7, 0, 2, 0]])
UNSAID = torch.tensor([[7, -1, 2, 0]])
DICE = torch.Generator().manual_seed(0)
MOONS = named_mixture("two moons")
LABELS = torch.tensor([1, 5, 7])


def zero(xt, t, cond=None):
    """A denoiser that finds no noise."""
    return torch.zeros_like(xt)


def line(**settings):
    """A recipe that could train in no time."""
    model = torch.nn.Linear(2, 1)
    return Recipe(**{"name": "line", "model": model, "config": PointConfig(), "steps": 3, "batch": 5,
                           "loss_of": lambda model, dice: model(torch.ones(5, 2)).mean(), "lr": 0.1} | settings)


def captioned(labels=LABELS):
    return CaptionedDigits(torch.zeros(3, 3, 3, 32, 32, dtype=torch.uint8), labels)


def parts():
    torch.manual_seed(0)
    made = Clip(), Autoencoder(), UNet(), Classifier()
    return text2image.Pipeline(*(part.eval() for part in made))


PARTS = parts()


def draw(said=("a red seven",), seeds=(3,), **settings):
    return text2image.draw(list(said), list(seeds), PARTS, **{"steps": 2} | settings)


def walk(xt=X, steps=2, schedule=TEN, **settings):
    return list(sample(zero, xt, schedule, steps, **settings))


def seen(x, context=None, **sizes):
    return Attention(**{"width": 12, "heads": 3} | sizes)(x, context)


def forms(**fields):
    return UNet(UNetConfig(**fields))


E, C = ValueError, CaptionError
CASES = [
    # captions
    ("captions.parse unknown", lambda: parse("a purple seven"), C, "unknown word 'purple'.*Known words"),
    ("captions.parse order", lambda: parse("a seven red"), C, "not of the form"),
    ("captions.parse no string", lambda: parse(7), C, "a caption is a string, not int"),
    ("captions.parse bytes", lambda: parse(b"a red seven"), C, "string, not bytes"),
    ("captions.parse unicode", lambda: parse("a rouge \u8d64 seven"), C, "unknown word"),
    ("captions.parse 10 kB", lambda: parse("a seven red" + " !" * 5_000), C, "not of the form"),
    ("captions.clean long", lambda: clean("a " * 5_000), C, "has 5000 words, at most 8"),
    ("captions.clean long word", lambda: clean("x" * 10_000), C, "unknown word"),
    ("captions.tokenize string", lambda: tokenize("a red seven"), C, r"list of captions; .*\['a red seven'\]"),
    ("captions.tokenize None", lambda: tokenize(None), C, "list of captions"),
    ("captions.tokenize number", lambda: tokenize([7]), C, "string, not int"),
    ("captions.sentence three", lambda: sentence([7, 0, 2]), E, r"integers \(..., 4\), digit, color, stroke"),
    ("captions.sentence below", lambda: sentence([-2, 0, 0, 0]), E, r"counted from 0.*got \[-2, 0, 0, 0\]"),
    ("captions.sentence above", lambda: sentence([10, 0, 0, 0]), E, "each below 10, 7, 3, 3"),
    ("captions.sentence float", lambda: sentence([7.9, 0, 0, 0]), E, "expected integers.*float32"),
    ("captions.sentence text", lambda: sentence("abcd"), E, "digit, color, stroke, lean.*got 'abcd'"),
    ("captions.detokenize below", lambda: detokenize(torch.tensor([[1, -1, 2]])), E, r"0 to 28, got -1\.\.2"),
    ("captions.detokenize above", lambda: detokenize(torch.tensor([[1, 29]])), E, r"0 to 28, got 1\.\.29"),
    ("captions.detokenize float", lambda: detokenize(torch.ones(1, 3)), E, "integers.*tokenize"),
    ("captions.detokenize row", lambda: detokenize(torch.tensor([1, 2])), E, r"\(B, L\), got a tensor \(2,\)"),
    ("captions.is_held_out unsaid", lambda: is_held_out(UNSAID), E, "no word unsaid"),
    ("captions.is_held_out digit", lambda: is_held_out(torch.tensor([7])), E, r"integers \(..., 4\)"),
    ("captions.drop_words percent", lambda: drop_words(SEVEN, 10, DICE), E,
     "from 0 to 1, got 10: it is a share"),
    ("captions.drop_words NaN", lambda: drop_words(SEVEN, math.nan, DICE), E, "p must be a finite number"),
    ("captions.is_true_of one", lambda: is_true_of(SEVEN[0], SEVEN), E, r"said must be a tensor \(M, 4\)"),
    ("captions.is_true_of other", lambda: is_true_of(SEVEN, SEVEN[0]), E, r"attributes .*\(B, 4\)"),
    ("captions.caption_index", lambda: caption_index(torch.tensor([[10, 0, 0, 0]])), E, "counted from 0"),
    ("captions.caption_shares", lambda: caption_shares(1.5), E, "from 0 to 1"),
    ("captions.grammar", lambda: grammar(-0.1), E, "from 0 to 1"),
    ("captions.next_word_entropy", lambda: next_word_entropy(torch.ones(3, 10).long(), torch.ones(3)), E,
     "sum to 1.*the sum 3: counts"),
    ("captions.next_word_entropy many",
     lambda: next_word_entropy(torch.ones(3, 10).long(), torch.ones(2) / 2), E,
     "3 things, 2 shares"),
    # clip
    ("clip.Clip widths", lambda: Clip(ClipConfig(widths=(32, 0, 96))), E, "widths .*at least 1, got 0"),
    ("clip.Clip heads", lambda: Clip(ClipConfig(text=TextConfig(64, 7))), E, "64 .*7 heads"),
    ("clip.Clip bytes", lambda: PARTS.clip.embed_pictures(BYTES), E, r"in \[-1, 1\], got values up to 255: bytes"),
    ("clip.Clip NaN", lambda: PARTS.clip.embed_pictures(NAN), E, "NaN in pictures"),
    ("clip.Clip uint8", lambda: PARTS.clip.embed_pictures(BYTES.byte()), E, "float tensors.*uint8.*Divide by 127.5"),
    ("clip.Clip gray", lambda: PARTS.clip.embed_pictures(GRAY), E, r"\(B, 3, 32, 32\), got a tensor \(3, 1, 32, 32\)"),
    ("clip.Clip size", lambda: PARTS.clip.embed_pictures(PICTURES[..., :28, :28]), E, r"\(B, 3, 32, 32\)"),
    ("clip.Clip tokens", lambda: PARTS.clip.embed_tokens(torch.tensor([[1, 3, 15]])), E, "without <end>"),
    ("clip.Clip captions", lambda: PARTS.clip.embed_captions("a red seven"), C, "list of captions"),
    ("clip.read", lambda: read_zero_shot(PARTS.clip, BYTES), E, "bytes in 0..255"),
    ("clip.contrastive_loss", lambda: contrastive_loss(torch.zeros(4, 4), torch.ones(4, 1)), E,
     r"one shape, got logits \(4, 4\), positive \(4, 1\)"),
    ("clip.contrastive_loss alone", lambda: contrastive_loss(torch.zeros(2, 2), torch.zeros(2, 2).bool()), E,
     "at least one true partner"),
    ("clip.sigmoid_loss", lambda: sigmoid_loss(torch.zeros(4, 4), torch.ones(1, 4).bool(), 0.0), E, "one shape"),
    ("clip.shift", lambda: shift(PICTURES, -1, DICE), E, "pixels .*at least 0, got -1"),
    ("clip.shift one", lambda: shift(PICTURES[0], 2, DICE), E, r"\(B, C, H, W\), got a tensor \(3, 32, 32\)"),
    ("clip.recall_at 0", lambda: recall_at(0, torch.eye(3), torch.eye(3).bool()), E, "k .*at least 1, got 0"),
    ("clip.recall_at NaN", lambda: recall_at(1, torch.eye(3) * math.nan, torch.eye(3).bool()), E,
     "NaN in the sim"),
    ("clip.recall_at shape", lambda: recall_at(1, torch.eye(3), torch.ones(3, 5).bool()), E, "one shape"),
    ("clip.recipe steps", lambda: clip.recipe(captioned(), steps=0), E, "steps .*at least 1, got 0"),
    # autoencoder
    ("autoencoder.Autoencoder blocks", lambda: Autoencoder(AutoencoderConfig(blocks=(1, 1))), E,
     "one number of blocks for each width"),
    ("autoencoder.Autoencoder none", lambda: Autoencoder(AutoencoderConfig((), ())), E,
     "widths must be a tuple with an entry for each size"),
    ("autoencoder.Autoencoder kl", lambda: Autoencoder(AutoencoderConfig(kl_weight=-1)), E,
     "kl_weight .*at least 0, got -1"),
    ("autoencoder.encode bytes", lambda: PARTS.autoencoder.encode(BYTES), E, "bytes in 0..255"),
    ("autoencoder.encode NaN", lambda: PARTS.autoencoder.encode(NAN), E, "NaN in pictures"),
    ("autoencoder.encode size", lambda: PARTS.autoencoder.encode(PICTURES[..., :30]), E, "multiples of 8"),
    ("autoencoder.decode shape", lambda: PARTS.autoencoder.decode(PICTURES), E,
     r"latents must be a tensor \(B, 4, H, W\)"),
    ("autoencoder.decode NaN", lambda: PARTS.autoencoder.decode(torch.full((1, 4, 4, 4), math.nan)), E,
     "NaN.*guidance"),
    ("autoencoder.loss", lambda: PARTS.autoencoder.loss(GRAY, DICE), E, r"\(B, 3, H, W\)"),
    ("autoencoder.measure_latents", lambda: PARTS.autoencoder.measure_latents(PICTURES[:0]), E,
     "number of pictures .*at least 1"),
    ("autoencoder.psnr", lambda: psnr(PICTURES, PICTURES[:1]), E,
     "pictures and others must have one shape"),
    ("autoencoder.psnr bytes", lambda: psnr(BYTES, BYTES), E, "bytes in 0..255"),
    ("autoencoder.recipe batch", lambda: autoencoder.recipe(captioned(), batch=0), E, "batch .*at least 1, got 0"),
    # unet
    ("unet.UNet predicts", lambda: forms(predicts="noise"), E, "one of eps, x0, v, score.*'noise'"),
    ("unet.UNet attention", lambda: forms(widths=(16, 32)), E, r"yes or no for each width; got 'v', \(16, 32\)"),
    ("unet.UNet heads", lambda: forms(widths=(62,)), E, "width 62 cannot be split into 4 heads"),
    ("unet.UNet channels", lambda: forms(channels=0), E, r"UNetConfig.channels .*at least 1, got 0"),
    ("unet.UNet levels", lambda: forms(levels=0), E, "UNetConfig.levels"),
    ("unet.UNet width", lambda: forms(widths=(64.0,)), E, r"widths\[0\] must be a whole number.*got 64.0"),
    ("unet.UNet blocks", lambda: forms(blocks=-1), E, "blocks .*at least 0, got -1"),
    ("unet.UNet shape", lambda: PARTS.unet(PICTURES, T, None), E, r"takes \(B, 4, H, W\).*got \(3, 3, 32, 32\)"),
    ("unet.UNet cond", lambda: PARTS.unet(torch.zeros(3, 4, 4, 4), T, torch.zeros(3, 64)), E,
     r"condition \(3, L, 64\)"),
    ("unet.UNet cond of one", lambda: PARTS.unet(torch.zeros(3, 4, 4, 4), T, torch.zeros(1, 10, 64)), E,
     r"\(3, L, 64\)"),
    ("unet.UNet level", lambda: PARTS.unet(torch.zeros(1, 4, 4, 4), T[:1] + 1000, torch.zeros(1, 10, 64)), E,
     "0 .* 1000"),
    ("unet.UNet level as int", lambda: PARTS.unet(torch.zeros(1, 4, 4, 4), 5, torch.zeros(1, 10, 64)), E, "got an int"),
    ("unet.recipe", lambda: denoiser.recipe(torch.zeros(5, 4, 4, 4), None, None), E, "needs `conds`, and got none"),
    ("unet.recipe bytes", lambda: denoiser.recipe(torch.zeros(5, 4, 4, 4).byte(), None, None), E, "float tensor.*uint8"),
    ("unet.digit_states", lambda: digits.digit_states(torch.tensor([10])), E, r"digits: .*each below 10.*got \[10\]"),
    ("unet.digits_recipe [0, 1]", lambda: digits.recipe(HALF, LABELS), E,
     r"\[0, 1\]\? Multiply by 2 and subtract 1"),
    ("unet.digits_recipe bytes", lambda: digits.recipe(BYTES[:, :1], LABELS), E, "bytes in 0..255"),
    ("unet.digits_recipe labels", lambda: digits.recipe(GRAY, LABELS[:2]), E, "3 pictures, 2 labels"),
    ("unet.load", lambda: denoiser.load("nowhere/unet.safetensors"), FileNotFoundError, "minidiff train"),
    # dit
    ("dit.DiT heads", lambda: DiT(DiTConfig(width=130)), E, "130 cannot be split into 4"),
    ("dit.DiT predicts", lambda: DiT(DiTConfig(predicts="mean")), E, "'mean': expected one of eps"),
    ("dit.DiT size", lambda: DiT(DiTConfig(size=0)), E, "DiTConfig.size"),
    ("dit.DiT shape", lambda: DiT()(torch.zeros(1, 4, 8, 8), T[:1], torch.zeros(1, 2, 64)), E, "4 x 4 places"),
    ("dit.DiT cond", lambda: DiT()(torch.zeros(1, 4, 4, 4), T[:1], torch.zeros(1, 64)), E,
     r"condition \(1, L, 64\)"),
    # schedule
    ("schedule.Schedule list", lambda: Schedule([1.0, 0.5]), E,
     "alpha_bar must be a float tensor, got a list"),
    ("schedule.Schedule NaN", lambda: Schedule(torch.tensor([1.0, math.nan])), E, "fall strictly"),
    ("schedule.Schedule.cosine 0", lambda: Schedule.cosine(0), E, "levels .*at least 1, got 0"),
    ("schedule.Schedule.cosine half", lambda: Schedule.cosine(2.5), E,
     "levels must be a whole number.*got 2.5"),
    ("schedule.Schedule.cosine many", lambda: Schedule.cosine(10**6), E, "alpha_bar must .*fall strictly"),
    ("schedule.Schedule.linear", lambda: Schedule.linear(-3), E, "levels .*at least 1, got -3"),
    ("schedule.Schedule.linear NaN", lambda: Schedule.linear(5, math.nan), E, "alpha_bar"),
    ("schedule.Schedule.at mask", lambda: TEN.at(torch.ones(3, dtype=torch.uint8), X), E, "3 integer levels.*uint8"),
    ("schedule.Schedule.at bool", lambda: TEN.at(T > 1, X), E, "integer levels.*got a tensor .3,. of bool"),
    ("schedule.Schedule.at number", lambda: TEN.at(5, X), E, "one a picture, in a tensor; got an int"),
    ("schedule.Schedule.at whole x", lambda: TEN.at(T, X.long()), E, "must be a float tensor, got .*int64"),
    ("schedule.Schedule.at below", lambda: TEN.at(T - 2, X), E, r"from 0 \(clean\) to 10 \(noise\); got -1\.\.8"),
    ("schedule.add_noise one eps", lambda: add_noise(X, T, X[0], TEN), E, r"x0 \(3, 2\), eps \(2,\)"),
    ("schedule.add_noise bytes", lambda: add_noise(BYTES.byte(), T, BYTES, TEN), E, "float tensor"),
    ("schedule.to_eps kind", lambda: to_eps(X, X, T, TEN, "noise"), E, "one of eps, x0, v, score"),
    ("schedule.to_eps shape", lambda: to_eps(X[:, :1], X, T, TEN, "v"), E, "prediction and xt .*one shape"),
    ("schedule.to_eps level 0", lambda: to_eps(X, X, T - 1, TEN, "x0"), E,
     "level 0 is clean.*divides by zero"),
    ("schedule.from_eps shape", lambda: from_eps(X[:1], X, T, TEN, "v"), E, "eps and xt .*one shape"),
    ("schedule.from_eps level 0", lambda: from_eps(X, X, T - 1, TEN, "score"), E, "level 0 is clean"),
    # samplers
    ("samplers.sample steps 0", lambda: walk(steps=0), E, "steps .*at least 1, got 0"),
    ("samplers.sample steps -1", lambda: walk(steps=-1), E, "steps .*got -1"),
    ("samplers.sample steps 2.5", lambda: walk(steps=2.5), E, "steps must be a whole number"),
    ("samplers.sample steps 11", lambda: walk(steps=11), E, "the 10 levels.*got 11 steps"),
    ("samplers.sample NaN", lambda: walk(X * math.nan), E, "NaN in the noise xt"),
    ("samplers.sample whole", lambda: walk(X.long()), E, "float tensor.*int64"),
    ("samplers.sample no seeds", lambda: walk(step=ddpm_step), E, "3 `seeds`, one integer a picture"),
    ("samplers.sample one seed", lambda: walk(step=ddpm_step, seeds=[5]), E, r"give 3 `seeds`.*\[5\]"),
    ("samplers.sample start", lambda: walk(start=11), E, "got 2 steps from level 11"),
    ("samplers.ddim_step up", lambda: ddim_step(zero, X, 3, 5, TEN), E, "t > s >= 0; got t = 3 and s = 5"),
    ("samplers.ddim_step below", lambda: ddim_step(zero, X, 3, -1, TEN), E, "got t = 3 and s = -1"),
    ("samplers.ddim_step eta", lambda: ddim_step(zero, X, 3, 1, TEN, eta=-1), E, "eta .*at least 0, got -1"),
    ("samplers.ddpm_step same", lambda: ddpm_step(zero, X, 3, 3, TEN), E, "a level t down to a lower one"),
    ("samplers.heun_step below", lambda: heun_step(zero, X, 3, -1, TEN), E, "t > s >= 0"),
    ("samplers.heun_step above", lambda: heun_step(zero, X, 11, 1, TEN), E, "10 >= t"),
    ("samplers.langevin_step", lambda: langevin_step(zero, X, 3, TEN, -0.1), E, "size .*at least 0, got -0.1"),
    ("samplers.annealed_langevin", lambda: list(annealed_langevin(zero, X, TEN, [3], 0, DICE)), E, "steps"),
    ("samplers.annealed_langevin 0", lambda: list(annealed_langevin(zero, X, TEN, [0], 1, DICE)), E,
     "level 0"),
    ("samplers.guided inf", lambda: guided(zero, X[:1], math.inf), E,
     "guidance must be a finite number, got inf"),
    ("samplers.guided text", lambda: guided(zero, X[:1], "3"), E, "guidance must be a finite number, got '3'"),
    ("samplers.guided no cond", lambda: guided(zero, X[:1], 2)(X, T, None), E, "guidance needs `cond`"),
    ("samplers.inpainting again", lambda: inpainting(zero, X, X > 0, again=0), E, "again .*at least 1"),
    ("samplers.inpainting mask", lambda: inpainting(zero, X, X), E,
     "True and False.*got a tensor .*`mask > 0.5`"),
    ("samplers.spaced_levels", lambda: spaced_levels(TEN, 3, start=2.0), E, "first level must be a whole"),
    ("samplers.crowded_levels", lambda: karras_levels(TEN, 0), E, "steps .*at least 1, got 0"),
    ("samplers.crowded_levels ends", lambda: karras_levels(TEN, 3, lowest=-1), E, "0 < lowest < highest"),
    # objectives
    ("objectives.denoising_loss weight", lambda: denoising_loss(zero, X, T, X, TEN, weight="w"), E,
     "min-snr"),
    ("objectives.denoising_loss eps", lambda: denoising_loss(zero, X, T, X[:1], TEN), E, "x0 and eps"),
    ("objectives.denoising_loss net", lambda: denoising_loss(lambda x, t, c: x[:, :1], X, T, X, TEN), E,
     r"guess \(3, 1\), eps \(3, 2\)"),
    ("objectives.draw_levels n", lambda: sample_levels(0, TEN, DICE), E, "at least 1, got 0"),
    ("objectives.draw_levels NaN", lambda: sample_levels(3, TEN, DICE, math.nan), E,
     "middle must be a finite"),
    ("objectives.draw_levels width", lambda: sample_levels(3, TEN, DICE, 0.0, -1.0), E, "width .*at least 0"),
    ("objectives.draw_levels none", lambda: sample_levels(3, TEN, None), E, "needs `generator`"),
    ("objectives.drop_condition p", lambda: drop_condition(X, X[:1], 10, DICE), E, "it is a share"),
    ("objectives.drop_condition null", lambda: drop_condition(X, torch.zeros(1, 3), 0.1, DICE), E,
     r"\(1, 3\)"),
    # attention, blocks, transformer, vit
    ("attention.attention_weights", lambda: attention_weights(X, torch.zeros(3, 5)), E, "one width"),
    ("attention.attention_weights mask", lambda: attention_weights(X, X, torch.ones(3, 3)), E,
     "True and False"),
    ("attention.attend blind", lambda: attend(X, X, X, torch.tensor([[True] * 3] * 2 + [[False] * 3])), E,
     "hides everything from some query"),
    ("attention.attend", lambda: attend(X, X, X, torch.ones(3, 3).long()), E, "mask is .*bool"),
    ("attention.Attention heads 0", lambda: Attention(12, 0), E, "heads .*at least 1, got 0"),
    ("attention.Attention uneven", lambda: Attention(12, 5), E, "12 cannot be split into 5 heads"),
    ("attention.Attention rank", lambda: seen(torch.zeros(5, 12), heads=1), E, r"\(B, P, 12\), got a tensor \(5, 12\)"),
    ("attention.Attention width", lambda: seen(torch.zeros(1, 5, 10)), E, r"\(B, P, 12\)"),
    ("attention.Attention context", lambda: seen(torch.zeros(1, 5, 12), torch.zeros(1, 5, 7)), E,
     r"context .*\(B, L, 12\)"),
    ("blocks.time_embedding odd", lambda: time_embedding(T, 7), E, "even"),
    ("blocks.time_embedding 0", lambda: time_embedding(T, 0), E, "width .*at least 1, got 0"),
    ("blocks.time_embedding column", lambda: time_embedding(T[:, None], 8), E, r"t must be a tensor \(B,\)"),
    ("blocks.time_embedding period", lambda: time_embedding(T, 8, 0), E, "max_period must be above 0"),
    ("blocks.ResBlock deaf", lambda: ResBlock(3, 5)(PICTURES, torch.zeros(3, 7)), E,
     "not told the time, and got"),
    ("blocks.ResBlock no time", lambda: ResBlock(3, 5, 7)(PICTURES), E, "is told the time, and got none"),
    ("blocks.ResBlock channels", lambda: ResBlock(5, 5)(PICTURES), E, r"\(B, 5, H, W\)"),
    ("transformer.Block deaf", lambda: Block(12, 3)(torch.zeros(1, 5, 12), torch.zeros(1, 2, 7)), E,
     r"without `context_width` and cannot hear \(1, 2, 7\)"),
    ("transformer.Block alone", lambda: Block(12, 3, 7)(torch.zeros(1, 5, 12)), E, "got none"),
    ("transformer.TextEncoder id", lambda: TextEncoder()(torch.tensor([[1, 99]])), E, "0 to 28"),
    ("transformer.TextEncoder length", lambda: TextEncoder()(torch.ones(1, 11).long()), E, "at most 10"),
    ("transformer.TextEncoder depth", lambda: TextEncoder(TextConfig(depth=-1)), E, "depth"),
    ("transformer.end_state", lambda: end_state(torch.zeros(1, 3, 5), torch.ones(1, 3).long()), E, "<end>"),
    ("transformer.TinyGPT float", lambda: TinyGPT()(torch.ones(1, 3)), E, "integers"),
    ("transformer.next_word_shares 0", lambda: next_token_probs(X, 0), E, "above 0, got 0"),
    ("transformer.next_word_shares k", lambda: next_token_probs(X, top_k=0), E,
     "top_k .*at least 1, got 0"),
    ("transformer.continue_caption", lambda: language.generate(TinyGPT(), "a", 0, DICE), E,
     "n must"),
    ("transformer.upsample", lambda: language.upsample(TinyGPT(), "a seven", DICE), C,
     "list of captions"),
    ("transformer.gpt_recipe", lambda: language.recipe(torch.ones(3, 10).long(), torch.ones(3)), E, "sum to 1"),
    ("vit.to_patches", lambda: to_patches(PICTURES, 5), E, "multiples of 5"),
    ("vit.to_patches 0", lambda: to_patches(PICTURES, 0), E, "size .*at least 1"),
    ("vit.ViT patch", lambda: ViT(ViTConfig(patch=8)), E, "patches of 8 do not fill a picture of 28 x 28"),
    ("vit.ViT size", lambda: ViT()(GRAY), E, r"\(B, 1, 28, 28\), got a tensor \(3, 1, 32, 32\)"),
    ("vit.recipe labels", lambda: classifier.digits_recipe(ViT(), GRAY, LABELS[:2]), E, "3 pictures, 2 labels"),
    ("vit.recipe [0, 1]", lambda: classifier.digits_recipe(ViT(), HALF, LABELS), E, r"pictures in \[0, 1\]\?"),
    ("vit.recipe label", lambda: classifier.digits_recipe(ViT(), GRAY, LABELS + 5), E, "each below 10"),
    # metrics
    ("metrics.ink_of bytes", lambda: ink_of(BYTES), E, "bytes in 0..255"),
    ("metrics.ink_of NaN", lambda: ink_of(NAN), E, "NaN in pictures"),
    ("metrics.ink_of one", lambda: ink_of(PICTURES[0]), E, r"\(B, C, H, W\), got a tensor \(3, 32, 32\)"),
    ("metrics.read_color gray", lambda: read_color(GRAY), E, r"with a color .*\(B, 3, H, W\)"),
    ("metrics.read_stroke bytes", lambda: read_stroke(BYTES), E, "bytes"),
    ("metrics.read_lean NaN", lambda: read_lean(NAN), E, "NaN"),
    ("metrics.Judge size", lambda: PARTS.classifier(PICTURES[..., :28, :28]), E, r"\(B, C, 32, 32\)"),
    ("metrics.Judge NaN", lambda: PARTS.classifier.read(NAN), E, "NaN in pictures"),
    ("metrics.Judge widths", lambda: Classifier(ClassifierConfig((32, 64))), E, "halved 3 times"),
    ("metrics.jitter", lambda: jitter(PICTURES[0], DICE), E, r"\(B, C, H, W\)"),
    ("metrics.accuracy one", lambda: accuracy(SEVEN.expand(3, 4), SEVEN), E,
     "read and asked must have one shape"),
    ("metrics.accuracy none", lambda: accuracy(SEVEN[:0], SEVEN[:0]), E, "of at least one"),
    ("metrics.wilson NaN", lambda: wilson(0.5, math.nan), E, "needs n >= 1"),
    ("metrics.frechet_distance NaN", lambda: frechet_distance(X * math.nan, X), E, "NaN in the features"),
    ("metrics.frechet_distance width", lambda: frechet_distance(X, torch.zeros(3, 5)), E, r"\(M, 2\)"),
    ("metrics.frechet_distance rank", lambda: frechet_distance(PICTURES, PICTURES), E, r"\(N, D\)"),
    ("metrics.frechet_with_floor", lambda: frechet_with_floor(X, X, groups=T[:2]), E, "groups"),
    ("metrics.nearest count", lambda: nearest(X, X[:1]), E, "count .*from 1 to 1, got 2"),
    ("metrics.nearest shape", lambda: nearest(PICTURES, GRAY), E, r"others .*\(N, 3, 32, 32\)"),
    ("metrics.spread", lambda: diversity(PICTURES, SEVEN), E, r"attributes must be a tensor \(3, 4\)"),
    # text2image and report
    ("text2image.draw words", lambda: draw(["a red sevn"]), C, "Nearest known: seven"),
    ("text2image.draw seeds", lambda: draw(seeds=[1, 2]), E, "1 captions and 2 seeds"),
    ("text2image.draw float seed", lambda: draw(seeds=[1.5]), E, "a seed must be a whole number, got 1.5"),
    ("text2image.draw none", lambda: draw([], []), E, "no seeds"),
    ("text2image.draw string", lambda: text2image.draw("a red seven", [1], PARTS), C, "list of captions"),
    ("text2image.draw NaN", lambda: draw(guidance=math.nan), E, "guidance must be a finite number, got nan"),
    ("text2image.denoising steps", lambda: list(text2image.denoising(["a digit"], [0], PARTS, steps=0)), E, "steps"),
    ("text2image.load", lambda: text2image.load("nowhere"), FileNotFoundError, "nowhere.judge.*minidiff train"),
    ("text2image.latents_of", lambda: text2image.latents_of(captioned(), PARTS.autoencoder, 0), E,
     "n .*at least 1, got 0"),
    ("text2image.unet_recipe", lambda: text2image.unet_recipe(captioned(), PARTS.clip, PARTS.autoencoder,
                                                              encoded=(PICTURES, SEVEN)), E, "3 latents, 1 attributes"),
    ("report.draw_all", lambda: report.draw_all(torch.tensor([[7, 9, 0, 0]]), PARTS), E, r"got \[7, 9, 0, 0\]"),
    ("report.draw_all batch", lambda: report.draw_all(SEVEN, PARTS, batch=0), E, "batch .*at least 1"),
    ("report.score", lambda: report.score(PARTS, captioned(), captioned(), n=0), E, "n .*at least 2, got 0"),
    ("report.trained_budget", lambda: report.trained_budget("nowhere"), FileNotFoundError, "minidiff train"),
    # dressing and data
    ("dressing.shapes [0, 1]", lambda: render_styles(HALF), E,
     r"digits lie in \[-1, 1\].*in \[0, 1\]\? Multiply by 2"),
    ("dressing.shapes color", lambda: render_styles(PICTURES), E, r"\(B, 1, 32, 32\), got a tensor \(3, 3, 32, 32\)"),
    ("dressing.moments bytes", lambda: moments(BYTES[:, 0].byte()), E,
     "float tensor in .0, 1., got torch.uint8"),
    ("dressing.moments rank", lambda: moments(GRAY + 1), E, r"\(N, H, W\)"),
    ("dressing.lean_of", lambda: lean_of(GRAY[:, 0]), E, r"pictures in \[-1, 1\].*ink_of"),
    ("dressing.stroke_width", lambda: stroke_width(NAN[:, 0]), E, "from nan to nan"),
    ("dressing.stroke_width scale", lambda: stroke_width(HALF[:, 0], 0), E, "scale .*at least 1"),
    ("dressing.distance_to mask", lambda: distance_to(HALF[:, 0]), E, "True and False"),
    ("dressing.distance_to rank", lambda: distance_to(HALF[0, 0] > 0), E,
     r"mask must be a tensor \(N, H, W\)"),
    ("dressing.distance_to reach", lambda: distance_to(HALF[:, 0] > 0, 2.5), E, "reach must be a whole"),
    ("dressing.tint float", lambda: tint(HALF[:, 0], T), E, "uint8 in 0..255, got torch.float32"),
    ("dressing.tint unsaid", lambda: tint(HALF[:, 0].byte(), torch.tensor([-1, 0, 1])), E, r"got \[-1\]"),
    ("dressing.CaptionedDigits labels", lambda: captioned(LABELS[:2]), E, "3 pictures, 2 labels"),
    ("dressing.CaptionedDigits label", lambda: captioned(LABELS + 5), E, "labels: .*each below 10"),
    ("dressing.CaptionedDigits.dress", lambda: captioned().render(torch.tensor([0]), UNSAID), E, "no word unsaid"),
    ("dressing.CaptionedDigits.dress row", lambda: captioned().render(torch.tensor([-1]), SEVEN), E, "rows: .*none below 0"),
    ("dressing.CaptionedDigits.rows_for", lambda: captioned().rows_for(torch.tensor([2]), DICE), E,
     r"only the digits \[1, 5, 7\]"),
    ("dressing.CaptionedDigits.sample", lambda: captioned().sample(-1, DICE), E, "size .*at least 1, got -1"),
    ("data.to_pictures [0, 1]", lambda: to_pictures(HALF[:, 0]), E, r"bytes in 0..255, got .*Already in \[0, 1\]"),
    ("data.to_pictures [-1, 1]", lambda: to_pictures(GRAY[:, 0]), E, "got -1 to -1"),
    ("data.to_pictures rank", lambda: to_pictures(torch.zeros(5, 1, 28, 28)), E, r"\(N, H, W\)"),
    # clouds, toy, likelihood
    ("clouds.named_mixture", lambda: named_mixture("cumulus"), E, "two moons"),
    ("clouds.cloud", lambda: cloud("ring", 0), E, "n .*at least 1, got 0"),
    ("clouds.Mixture NaN spread", lambda: Mixture(X, math.nan), E, "spread of at least 0.*got spread nan"),
    ("clouds.Mixture NaN weight", lambda: Mixture(X, 1.0, torch.full((3,), math.nan)), E, "sum to 1"),
    ("clouds.Mixture NaN mean", lambda: Mixture(X * math.nan), E, "finite means"),
    ("clouds.Mixture none", lambda: Mixture(X[:0]), E, "number of means .*at least 1"),
    ("clouds.exact_denoiser", lambda: exact_denoiser(MOONS, TEN)(torch.zeros(3, 5), T), E,
     r"are \(2,\), got xt"),
    ("clouds.log_density", lambda: log_density(Mixture(X), X, T - 1, TEN), E, "level 0"),
    ("clouds.wasserstein", lambda: wasserstein(X, X[:2]), E, "equally many"),
    ("clouds.wasserstein none", lambda: wasserstein(X[:0], X[:0]), E, r"got \(0, 2\)"),
    ("clouds.wasserstein NaN", lambda: wasserstein(X, X * math.nan), E, "NaN in other"),
    ("clouds.coverage none", lambda: coverage(X[:0], MOONS), E, "got 0 points"),
    ("clouds.coverage reach", lambda: coverage(X, MOONS, reach=-1), E, "reach .*at least 0"),
    ("clouds.coverage points", lambda: coverage(X, Mixture(X)), E, "a spread; got .*spread 0"),
    ("toy.PointDenoiser", lambda: PointDenoiser(PointConfig(width=0)), E, "PointConfig.width"),
    ("toy.PointDenoiser space", lambda: PointDenoiser()(torch.zeros(3, 3), T), E, r"xt must be a tensor \(B, 2\)"),
    ("toy.recipe", lambda: toy.recipe(torch.zeros(5, 3)), E, r"points must be a tensor \(N, 2\)"),
    ("toy.recipe steps", lambda: toy.recipe(X, steps=0), E, "steps .*at least 1, got 0"),
    ("toy.floor_and_excess", lambda: floor_and_excess(zero, MOONS, TEN, [5], weight="w"), E, "expected one of eps"),
    ("likelihood.spaced_by_snr", lambda: spaced_by_snr(TEN, 5, first=0), E, "first .*from 1 to 10, got 0"),
    ("likelihood.spaced_by_snr 0", lambda: spaced_by_snr(TEN, 0), E, "count .*at least 1"),
    ("likelihood.reading_table NaN", lambda: reading_table(zero, NAN, TEN, 1, DICE), E, "256 bytes"),
    ("likelihood.reading_table [0, 1]", lambda: reading_table(zero, HALF, TEN, 1, DICE), E, r"in \[0, 1\]"),
    ("likelihood.bits_of", lambda: bits_of(zero, GRAY, TEN, [1, 10], X, DICE), E, r"table .*\(128, 256\)"),
    ("likelihood.bits_of levels", lambda: bits_of(zero, GRAY, TEN, [], torch.ones(128, 256), DICE), E,
     "rise"),
    # train, optimizer, checkpoint, runtime, study
    ("train.Recipe steps", lambda: line(steps=0), E, "steps of a training .*at least 1, got 0"),
    ("train.Recipe batch", lambda: line(batch=2.5), E, "batch .*whole number"),
    ("train.Recipe lr", lambda: line(lr=-0.1), E, "learning rate .*at least 0, got -0.1"),
    ("train.Recipe decay", lambda: line(decay="exponential"), E, "'exponential': expected cosine or linear"),
    ("train.Recipe warmup", lambda: line(warmup=100), E, "warmup .*from 0 to 1"),
    ("train.Recipe ema", lambda: line(ema=1.5), E, "ema .*from 0 to 1"),
    ("train.Recipe replace", lambda: replace(line(), weight_decay=math.nan), E, "weight_decay must be a finite number"),
    ("train.EMA", lambda: EMA(torch.nn.Linear(2, 1), -1), E, "decay .*from 0 to 1"),
    ("train.lr_at", lambda: lr_at(4, line()), E, "step .*from 0 to 3, got 4"),
    ("train.train save_every", lambda: list(train(line(), save_every=math.nan)), E, "save_every"),
    ("train.train loss", lambda: list(train(line(loss_of=lambda model, dice: model(X)))), E,
     r"is `.mean\(\)` missing"),
    ("train.train number", lambda: list(train(line(loss_of=lambda model, dice: 3.0))), E, "got a float"),
    ("train.train NaN", lambda: list(train(line(loss_of=lambda model, dice: model(X * math.nan).mean()))),
     FloatingPointError, "the loss is nan.*Usual reasons"),
    ("optimizer.Muon lr", lambda: Muon([torch.nn.Parameter(X)], lr=-1), E, "learning rate .*got -1"),
    ("optimizer.Muon momentum", lambda: Muon([torch.nn.Parameter(X)], 0.1, momentum=2), E, "momentum"),
    ("optimizer.orthogonalize", lambda: orthogonalize(X), E, r"\(rows, columns\), got a tensor \(2,\)"),
    ("checkpoint.save_checkpoint", lambda: save_checkpoint("x", {"step": 3}, {}), E, "'step' is an int"),
    ("checkpoint.save_checkpoint file", lambda: save_checkpoint(f"{__file__}/x", {"a": X}, {}),
     CheckpointError, "could not be written"),
    ("checkpoint.load_checkpoint", lambda: load_checkpoint("nowhere"), FileNotFoundError, "minidiff train"),
    ("checkpoint.load_checkpoint folder", lambda: load_checkpoint("."), CheckpointError,
     "damaged"),
    ("runtime.seed_all", lambda: seed_all(1.5), E, "the seed must be a whole number.*got 1.5"),
    ("runtime.seed_all big", lambda: seed_all(10**30), E, "the seed must be a whole number from"),
    ("runtime.generator_for", lambda: generator_for("0"), E, "a seed must be a whole number, got '0'"),
    ("runtime.noise_for one", lambda: noise_for(7, (2,)), E, "list of integers, one a picture; got an int"),
    ("runtime.noise_for floats", lambda: noise_for(torch.tensor([1.5]), (2,)), E,
     "a seed must be a whole number"),
    ("runtime.noise_for none", lambda: noise_for([], (2,)), E, "no seeds"),
    ("runtime.autocast", lambda: autocast("gpu"), RuntimeError, "cpu, cuda"),
    ("study.load", lambda: study.load("toy_none"), FileNotFoundError, "studies/toy_none.py"),
    # pictures of things
    ("show.to_image", lambda: show.to_image(PICTURES), E, r"a picture must be a tensor \(C, H, W\)"),
    ("show.grid none", lambda: show.grid(PICTURES[:0]), E, "number of pictures .*at least 1, got 0"),
    ("show.grid columns", lambda: show.grid(PICTURES, columns=0), E, "columns .*at least 1, got 0"),
    ("show.grid captions", lambda: show.grid(PICTURES, ["one", "two"]), E, "3 pictures take as many captions"),
    ("show.curve", lambda: show.curve([]), E, "how many values there are"),
    ("show.points titles", lambda: show_plane.points([X, X], ["one"]), E, "2 planes, 1 titles"),
    ("show.points colors", lambda: show_plane.points([X, X], ["one", "two"], ["red"]), E, "2 clouds, 1 colors"),
    ("show.landscapes", lambda: show_plane.landscapes([torch.zeros(9)], []), E, "1 planes, 0 titles"),
    ("show.lines", lambda: show.lines([0], {str(i): [1] for i in range(6)}, "x", "y"), E,
     "curves .*from 0 to 5, got 6"),
    ("looks.tables none", lambda: show_attention.heatmaps([]), E, "number of tables"),
    ("looks.tables rank", lambda: show_attention.heatmaps([T]), E, r"a table must be a tensor \(P, L\)"),
    ("looks.tables titles", lambda: show_attention.heatmaps([X, X], titles=["one"]), E, "2 tables, 1 titles"),
    ("looks.over_pictures", lambda: show_attention.over_pictures(GRAY, torch.zeros(2, 1, 4, 4), ["x"]), E, r"\(3, 1, n, n\)"),
    ("looks.scatter", lambda: show_attention.scatter([{}, {}], ["one"]), E, "2 groups, 1 titles"),
    ("looks.hover", lambda: show_attention.hover(["a", "seven"], {"head 1": torch.eye(3)}), E, r"head 1 .*\(2, 2\)"),
]
NO_DOOR = {"__main__", "__init__", "inputs", "keeping", "checks", "differences", "judging"}                # see below


@pytest.mark.parametrize("name, mistake, error, says", CASES, ids=[case[0] for case in CASES])
def test_bad_input_is_refused_in_words(name, mistake, error, says):
    with pytest.raises(error, match=says) as refused:
        mistake()
    assert len(str(refused.value)) < 700


def test_every_file_of_the_package_has_its_cases():
    modules = {path.stem for path in Path(minidiff.__file__).parent.glob("*.py")}
    named = {name.split(".")[0] for name, *_ in CASES}
    assert modules - NO_DOOR == named and len({name for name, *_ in CASES}) == len(CASES)


@pytest.mark.parametrize("answer", [None, 7, "x", X, lambda: 1 / 0, [], math.nan])
@pytest.mark.parametrize("id", ["1.2", "9.9", 4.1, None, [1], "x" * 10_000])
def test_the_judge_of_exercises_raises_nothing(id, answer):
    result = judge(id, answer)
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
    noise = noise_for(torch.tensor([2**40, 3]), (2,))
    assert torch.equal(noise[1:], noise_for(range(3, 4), (2,))) and noise.isfinite().all()
    assert ink_of(torch.randn(1, 3, 32, 32, dtype=torch.float64).mT).shape == (1, 32, 32)
    pictures = text2image.draw([""], [0], PARTS, guidance=-1, steps=1)
    assert PARTS.classifier.read(pictures).shape == (1, 4) and PARTS.clip.embed_pictures(pictures).shape == (1, 64)
    assert psnr(pictures, pictures).item() == math.inf
    assert sentence(torch.tensor([7, -1, -1, -1], dtype=torch.int8)) == "a seven"
    assert karras_levels(TEN, 1) == [10, 0] and len(list(train(line(lr=0.0), save_every=math.inf))) == 3


def test_a_language_in_which_nothing_is_left_out_has_an_entropy():
    """Texts that are never said used to make it NaN."""
    ids, shares = grammar(0.0)
    entropy = next_word_entropy(ids, shares).sum().item()
    assert entropy == pytest.approx(math.log(630), abs=1e-9)


def test_as_many_latents_are_encoded_as_were_asked_for():
    latents, said = text2image.latents_of(captioned(), PARTS.autoencoder, 7)
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
    ("draw 'a red sevn'", "unknown word 'sevn'.*Nearest known: seven"), ("draw 'a red seven' --n 0", "--n must be at"),
    ("draw 'a red seven' --n 999999999", "at most 2,000"), ("draw a red seven", "in quotes"),
    ("draw 'a red seven' --steps 0", "steps .*at least 1, got 0"), ("draw 'a red seven' --steps 1001", "1001 steps"),
    ("draw 'a red seven' --steps -3", "steps .*got -3"), ("draw 'a red seven' --guidance nan", "finite .*got nan"),
    ("draw 'a red seven' --guidance inf", "finite number, got inf"), ("draw 'a red seven' -o here", ".png"),
    ("draw 'a red seven' --n 1 --steps 1 -o /dev/null/x.png", "File exists|directory"),
    ("draw '\u8d64 seven'", "unknown word"), ("draw 'a\nred\nsevn'", "unknown word"),
    ("draw 'a red seven' --folder nowhere", "nowhere.judge.safetensors is missing"),
    ("draw 'a red seven' --folder 'no\nwhere'", "is missing"), ("score --n 19", "at least 20, got 19"),
    ("score --n -1", "at least 20"), ("score --n 20 --guidance nan", "finite number"),
    ("score --n 20 --steps 0", "steps"), ("score --folder /dev/null", "missing|directory"),
    ("train --seed 99999999999999999999999", "the seed must be"),
    ("train --folder /dev/null/x", "could not be written"),
]


@pytest.mark.parametrize("command, says", COMMANDS)
def test_commands_refuse_in_one_line_with_status_1(untrained, monkeypatch, tmp_path, capsys, command, says):
    monkeypatch.setenv("MINIDIFF_BUDGET", "fast")                # main may change it: put back afterwards
    monkeypatch.chdir(tmp_path)
    dressed = torch.zeros(450, 3, 3, 32, 32, dtype=torch.uint8)  # what `shapes` would take two seconds for
    monkeypatch.setattr(text2image, "shapes", lambda pictures: dressed[:len(pictures)])
    words = shlex.split(command)
    assert main(words if "--folder" in words else [*words, "--folder", str(untrained)]) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith("minidiff: ") and len(said.splitlines()) == 1
    assert re.search(says, said)


@pytest.mark.parametrize("command", ["", "paint", "draw --n many", "draw --steps 2.5", "draw --guidance much",
                                     "train --n 3", "train --budget huge", "train --save-every soon", "score x",
                                     "draw --seed 1e3"])
def test_commands_that_cannot_be_read_have_status_2(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main(command.split())
    assert stop.value.code == 2 and "usage: python -m minidiff" in capsys.readouterr().err


def test_a_checkpoint_of_another_part_is_named(untrained, tmp_path):
    for name, says in (("unet", "another kind"), ("dressed", "another kind.*settings")):
        path = tmp_path / f"{name}.safetensors"
        if name == "unet":
            path.write_bytes((untrained / "clip.safetensors").read_bytes())
        else:
            save_checkpoint(path, {"train": X}, {"dressed": "abc"})
        with pytest.raises(CheckpointError, match=says):
            denoiser.load(path)


@pytest.mark.parametrize("words, says", [
    (["--hints", "9.9"], "no exercise '9.9'. Nearest"), (["nowhere.py"], "nowhere.py cannot be run: FileNotFoundError"),
    (["--template", "-o", __file__], "exists already; nothing was written"),
    (["--template", "-o", "/dev/null/x"], "/dev/null/x could not be written"),
])
def test_the_checks_of_exercises_refuse_with_status_1(capsys, words, says):
    assert main(words) == 1
    said = capsys.readouterr()
    assert re.search(says, said.out + said.err) and "Traceback" not in said.err
