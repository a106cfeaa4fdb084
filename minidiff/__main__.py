"""The command line:  python -m minidiff train | draw | read | teach | control | edit | film | say | both | score"""

import sys
from pathlib import Path

import torch

from minidiff.beside import (
    figure_path,
    keep_figure,
    run_both,
    run_control,
    run_edit,
    run_film,
    run_say,
    run_teach,
    train_in_sight,
)
from minidiff.data import (
    CaptionError,
    PictureError,
    is_held_out,
    load_captioned_digits,
    load_folder,
    open_picture,
    sentence,
)
from minidiff.evaluation import read
from minidiff.options import parser
from minidiff.pipelines import (
    classifier,
    few_steps,
    own_pictures,
    personalize,
    report,
    text2image,
)
from minidiff.pipelines.text2image import GUIDANCE
from minidiff.tools import DeviceError, FileError, show, write_json
from minidiff.tools.checks import check, check_whole
from minidiff.tools.runtime import device_trouble, environment, pick_device, run_as_program

GALLERY = ((7, 0, 2, 0), (2, 4, 1, 1), (0, 3, 1, 1), (8, 5, 1, 2), (5, 1, 0, 0), (3, 6, 2, 1), (4, 2, 1, 2),
           (9, 0, 1, 0), (6, 1, 2, 0), (1, 3, 2, 2), (7, 4, 1, 1), (2, 5, 0, 0), (0, 2, 2, 2), (8, 6, 0, 0),
           (5, 3, 2, 0), (3, 4, 2, 0))                            # digit, color, stroke, lean


def run_train(options):
    """Train every stage, or on one's own pictures, each with a bar; finished stages are skipped."""
    own = load_folder(options.pictures) if options.pictures else None
    if own:
        print(own_pictures.about(own))
    for recipe in [own_pictures.recipe(own, options.seed, pick_device())] if own else stages(options):
        path = Path(options.folder) / f"{recipe.name}.safetensors"
        train_in_sight(recipe, path, options.save_every)
    if own:
        print(own_pictures.write_sheet(own, recipe.model, options.folder, options.seed))
    else:
        print(f"Trained. The parts are in {options.folder}/")


def stages(options):
    """The recipes of the whole machine, and of its student where it is asked for."""
    yield from text2image.recipes(options.seed)
    if options.few:
        parts = text2image.load(options.folder)
        yield few_steps.student_recipe(parts, load_captioned_digits(parts.device)[0], options.seed)


def machine(options):
    """The trained machine, or its student, and how it is to draw."""
    parts = text2image.load(options.folder)
    check(options.calls is None or not options.words, "--calls and --with: the student learned no new words")
    if options.words:
        parts = personalize.joined(parts, [with_strength(said, parts, options.folder) for said in options.words])
    if options.calls is None:
        guidance = personalize.GUIDANCE if options.words else GUIDANCE
        return parts, {"guidance": guidance if options.guidance is None else options.guidance, "steps": options.steps}
    check_whole("--calls", options.calls)
    return few_steps.load(Path(options.folder) / "student.safetensors", parts), few_steps.calls(options.calls)


def with_strength(said, parts, folder):
    """What `--with` names: the adapter of a word, and its strength."""
    word, _, strength = said.partition(":")
    try:
        return personalize.load(Path(folder) / "words" / f"{word}.safetensors", parts), float(strength or 1)
    except ValueError as error:
        raise ValueError(f"--with {said}: {error}; expected a taught word, such as orange or orange:0.8") from error


def run_draw(options):
    """Draw what is asked for, or the gallery."""
    check_whole("--n", options.n)
    check(options.n * len(options.captions) <= 2_000,
          f"--n {options.n} pictures per caption are too many for one figure: at most 2,000 altogether")
    check(len(options.captions) < 2 or options.pictures or any(" " in caption for caption in options.captions),
          f'several captions of one word each: did you mean "{" ".join(options.captions)}", in quotes?')
    path = figure_path(options, "drawing.png" if options.captions else "gallery.png")
    if options.pictures:
        figure = own_figure(options)
    elif not options.captions:
        figure = gallery(options)
    else:
        parts, drawing = machine(options)
        captions = [caption for caption in options.captions for _ in range(options.n)]
        seeds = [options.seed + i for i in range(options.n)] * len(options.captions)
        figure = show.sheet(text2image.draw(captions, seeds, parts, **drawing), options.captions)
    keep_figure(figure, path)


def gallery(options):
    """The gallery: sixteen captions and one film from noise to picture."""
    parts, drawing = machine(options)
    captions = [sentence(row) for row in GALLERY]
    seeds = [options.seed + i for i in range(len(captions))]
    pictures = text2image.draw(captions, seeds, parts, **drawing)
    film = list(text2image.denoising(captions[:1], seeds[:1], parts, **drawing))
    film = film[::-(-len(film) // 10)][:-1] + film[-1:]          # at most ten, the last one included
    frames = [parts.autoencoder.decode(z)[0] for _, z in film]
    new = is_held_out(torch.tensor(GALLERY)).tolist()
    marked = [caption + " *" * held_out for caption, held_out in zip(captions, new)]
    return show.gallery(pictures, marked, frames, [level for level, _ in film],
                        "Drawn from sentences by a miniature Stable Diffusion, trained from nothing\n"
                        "* a combination of words that it never saw in training")


def own_figure(options):
    """What the machine of `train --pictures` draws, some of each caption."""
    machine = own_pictures.load(Path(options.folder) / "own_pictures.safetensors", pick_device())
    captions = [caption for caption in options.captions or [""] for _ in range(options.n)]
    seeds = [options.seed + i for i in range(options.n)] * len(options.captions or [""])
    guidance = GUIDANCE if options.guidance is None else options.guidance
    pictures = own_pictures.draw(captions, seeds, machine, guidance, options.steps)
    return show.sheet(pictures, options.captions or [""])


def run_read(options):
    """Say what each picture shows and what was done to it; one that cannot be used is named, and the rest is read."""
    reader, unused = classifier.load(Path(options.folder) / "classifier.safetensors"), 0
    for file in options.files:
        try:
            picture, did = open_picture(file)
        except PictureError as error:
            print(f"minidiff: {error}", file=sys.stderr)
            unused += 1
            continue
        sure = reader(picture).softmax(1).max().item()
        print(f"{file}: {sentence(read(reader, picture)[0])} (the digit {sure:.0%} sure)\n    {did}")
    check(not unused, f"{unused} of {len(options.files)} could not be read")


def run_score(options):
    """Measure, write the report, print it."""
    check(options.n is None or options.n >= 20,
          f"--n must be at least 20, got {options.n}: fewer captions measure nothing")
    parts, drawing = machine(options)
    with environment(MINIDIFF_BUDGET=report.trained_budget(options.folder)):           # the same digits as in training
        train_digits, val_digits = load_captioned_digits(parts.device)
        result = report.score(parts, train_digits, val_digits, options.n, options.seed, **drawing)
        result |= report.about_training(options.folder)
    name = "report.json" if options.calls is None else "report_few.json"
    path = Path(options.output or Path(options.folder) / name)
    write_json(result, path)
    print(report.table(result) + f"\nwritten to {path}")


def main(arguments=None):
    """Run one command; a known mistake becomes one line on stderr and exit status 1, Ctrl-C status 130."""
    options = parser().parse_args(arguments)
    try:
        with environment(MINIDIFF_BUDGET=getattr(options, "budget", None), MINIDIFF_DEVICE=options.device):
            commands = {"train": run_train, "draw": run_draw, "read": run_read, "teach": run_teach,
                        "control": run_control, "edit": run_edit, "film": run_film, "say": run_say, "both": run_both,
                        "score": run_score}
            commands[options.command](options)
    except (CaptionError, DeviceError, FileError, OSError, FloatingPointError, ValueError) as error:
        print(f"minidiff: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except (AssertionError, MemoryError, RuntimeError) as error:
        if not device_trouble(error):
            raise
        print(f"minidiff: {device_trouble(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        kept = f" All but the last {options.save_every:g} seconds is kept; the same command goes on from there." if (
            options.command == "train") else ""
        print(f"\nminidiff: stopped.{kept}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    run_as_program(main)
