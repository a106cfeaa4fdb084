"""The commands of Part II: what is trained beside the machine the first time that it is asked for."""

import sys
from pathlib import Path

import torch
from tqdm import tqdm

from minidiff.data import (
    DIGITS,
    RATE,
    PictureError,
    files_in,
    load_captioned_digits,
    open_picture,
    open_sketch,
    parse_sound,
    split_motion,
    split_voice,
    to_waves,
    tokenize,
    understand,
)
from minidiff.pipelines import bridge, control, instruct, joint, personalize, sound, text2image, video
from minidiff.tools import atomic_write, show, show_sound
from minidiff.tools.checks import check, check_whole
from minidiff.training import train
from minidiff.training.loop import is_finished


def train_in_sight(recipe, path, save_every=15.0):
    """Train with a bar; what is trained already is left alone."""
    size = sum(p.numel() for p in recipe.model.parameters() if p.requires_grad)
    with tqdm(total=recipe.steps, desc=f"{recipe.name:12}{size / 1e6:5.2f}M", unit="step", mininterval=0.5) as bar:
        for state in train(recipe, path, save_every):
            bar.update(state.step - bar.n)
            bar.set_postfix(loss=f"{state.loss:.4f}", refresh=False)
        bar.update(recipe.steps - bar.n)


def figure_path(options, name):
    """Where a figure goes."""
    path = Path(options.output or Path(options.folder) / name)
    check(path.suffix in (".png", ".jpg", ".pdf", ".svg"), f"-o {path}: expected a .png, .jpg, .pdf or .svg file")
    return path


def keep_figure(figure, path):
    """Write a figure, and say where it is."""
    with atomic_write(path) as draft:
        figure.savefig(draft, format=path.suffix[1:], dpi=show.PIXELS)
    print(f"Drawn: {path}")


def run_teach(options):
    """Read what the pictures show, learn the word, draw with it."""
    parts, path = text2image.load(options.folder), Path(options.folder) / "words" / f"{options.word}.safetensors"
    pictures, captions = [], []
    for file, said in files_in(options.pictures):
        try:
            picture, did = open_picture(file)
        except PictureError as error:
            print(f"minidiff: {error}", file=sys.stderr)
            continue
        said = said or personalize.caption_of(parts, picture, options.word, options.like)
        print(f"{file}: {said}\n    {did}")
        pictures.append(picture)
        captions.append(said)
    check(pictures, f"there is no picture in {options.pictures} that can be used")
    known, _ = load_captioned_digits(parts.device)
    recipe = personalize.teach(parts, torch.cat(pictures).to(parts.device), captions, known, options.word, options.like,
                               options.seed)
    train_in_sight(recipe, path)
    article = "an" if options.word[0] in "aeiou" else "a"
    asked = [f"{article} {options.word} {digit}" for digit in DIGITS[1:9]]
    drawn = text2image.draw(asked, range(8), personalize.joined(parts, [(personalize.load(path, parts), 1.0)]),
                            personalize.GUIDANCE)
    with atomic_write(path.with_suffix(".png")) as draft:
        show.grid(drawn, asked, columns=4).savefig(draft, format="png", dpi=show.PIXELS)
    print(f"Taught: {path}, {path.stat().st_size / 1000:.0f} kB. Drawn with it: {path.with_suffix('.png')}\n"
          f'More: python -m minidiff draw --with {options.word} "{asked[6]}" --folder {options.folder}')


def beside(options, parts, pipeline, name, *more):
    """What a pipeline trains beside the machine, and `more` machines; the first time it is trained here."""
    path = Path(options.folder) / f"{name}.safetensors"
    if not is_finished(path):
        print(f"{path} is trained once, in one to three minutes", file=sys.stderr)
        known, _ = load_captioned_digits(parts.device)
        lessons = pipeline.lessons(known, parts, *more, seed=options.seed)
        train_in_sight(pipeline.recipe(parts, *more, lessons, options.seed), path)
    return pipeline.load(path, parts, *more)


def run_control(options):
    """Draw captions along a sketch."""
    check_whole("--n", options.n)
    path, (sketch, did) = figure_path(options, "controlled.png"), open_sketch(options.hint)
    tokenize(options.captions)                                   # before anything is trained
    print(f"{options.hint}: {did}")
    parts = text2image.load(options.folder)
    net, line = beside(options, parts, control, "control"), 2 * sketch[:, None].expand(-1, 3, -1, -1).float() - 1
    sketches, seeds, pages = sketch.expand(options.n, -1, -1), range(options.seed, options.seed + options.n), []
    for caption in options.captions:
        drawn = control.draw([caption] * options.n, sketches, seeds, parts, net, strength=options.strength)
        pages += [line, drawn.cpu()]
    keep_figure(show.sheet(torch.cat(pages), options.captions), path)


def run_edit(options):
    """Change a picture as a sentence says."""
    check_whole("--n", options.n)
    path, (picture, did) = figure_path(options, "edited.png"), open_picture(options.file)
    understand(options.instruction)                              # before anything is trained
    print(f"{options.file}: {did}")
    parts = text2image.load(options.folder)
    editor, seeds = beside(options, parts, instruct, "editor"), range(options.seed, options.seed + options.n)
    changed = instruct.edit(picture.expand(options.n, -1, -1, -1), [options.instruction] * options.n, seeds, parts,
                            editor)
    keep_figure(show.sheet(torch.cat([picture, changed.cpu()]), [options.instruction]), path)


def run_film(options):
    """Draw films, side by side in one file."""
    check_whole("--n", options.n)
    path = Path(options.output or Path(options.folder) / "film.gif")
    check(path.suffix in (".gif", ".png"), f"-o {path}: expected a .gif, or a .png, which is animated, too")
    tokenize([split_motion(caption)[0] for caption in options.captions])               # before anything is trained
    parts = text2image.load(options.folder)
    module = beside(options, parts, video, "motion")
    captions = [caption for caption in options.captions for _ in range(options.n)]
    seeds = [options.seed + i for i in range(options.n)] * len(options.captions)
    show.save_film(video.draw(captions, seeds, parts, module), path)
    print(f"Drawn: {path}")


def speaking(options, parts):
    """The voice of a machine; the first time it is trained here."""
    folder = Path(options.folder)
    if not all(is_finished(folder / f"{name}.safetensors") for name in sound.STAGES):
        print(f"{folder} holds no voice yet; it is trained once, in one to three minutes", file=sys.stderr)
        for recipe in sound.recipes(parts, options.seed):
            train_in_sight(recipe, folder / f"{recipe.name}.safetensors")
    return sound.load(folder, parts)


def run_say(options):
    """Speak captions, one after the other in one file."""
    check_whole("--n", options.n)
    path = Path(options.output or Path(options.folder) / "sound.wav")
    check(path.suffix == ".wav", f"-o {path}: expected a .wav file")
    for caption in options.captions:                             # before anything is trained
        parse_sound(caption)
    parts = text2image.load(options.folder)
    voice = speaking(options, parts)
    captions = [caption for caption in options.captions for _ in range(options.n)]
    seeds = [options.seed + i for i in range(options.n)] * len(options.captions)
    show_sound.save_wav(sound.say(captions, seeds, parts, voice), path, RATE)
    print(f"Said: {path}")


def run_both(options):
    """Draw and speak at once: a figure, and beside it a file of sounds."""
    check_whole("--n", options.n)
    path, caption = figure_path(options, "both.png"), options.caption
    tokenize([split_voice(caption)[0]])                          # before anything is trained
    parts = text2image.load(options.folder)
    voice = speaking(options, parts)
    agreed = beside(options, parts, joint, "joint", voice)
    cond = torch.cat(bridge.told_by_captions(parts, [caption] * options.n), 1) if caption else joint.unsaid(
        parts, options.n)
    seeds = range(options.seed, options.seed + options.n)
    pictures, spectrograms = joint.draw(cond, seeds, parts, voice, agreed)
    waves = to_waves(spectrograms)
    show_sound.save_wav(waves, path.with_suffix(".wav"), RATE)
    keep_figure(show_sound.both(pictures, waves, spectrograms, RATE, caption), path)
    print(f"Said: {path.with_suffix('.wav')}")
