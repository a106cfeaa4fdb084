"""What the command line understands: its commands and their options, each with a line of help."""

import argparse
from pathlib import Path

from minidiff.data import MOTION_NAMES, PITCHES, SPEEDS
from minidiff.pipelines import personalize
from minidiff.pipelines.text2image import GUIDANCE, STEPS
from minidiff.tools import trained_folder
from minidiff.tools.runtime import BUDGETS


def parser():
    """All commands and their options, each with a help line."""
    top = argparse.ArgumentParser(
        prog="python -m minidiff", description="A miniature Stable Diffusion: train it, draw with it, measure it.",
        epilog="Start with `train`: one to four minutes on two CPU cores. It can be stopped with Ctrl-C at any "
               "moment; the same command goes on from what was kept.")
    commands = top.add_subparsers(dest="command", required=True,
                                  metavar="{train,draw,read,teach,control,edit,film,say,both,score}")

    def command(name, about):
        sub = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
        sub.add_argument("--folder", default=near(trained_folder()),
                         help="where the trained parts are kept (default: MINIDIFF_FOLDER, else %(default)s)")
        sub.add_argument("--device", help="cpu, cuda, cuda:1 or mps (default: MINIDIFF_DEVICE, else a GPU if any)")
        sub.add_argument("--seed", type=int, default=0, help="the randomness of this command (default: %(default)s)")
        return sub

    train = command("train", "train the classifier, CLIP, the autoencoder and the UNet, one after the other")
    training_options(train)
    draw = command("draw", "draw captions; without one, the gallery")
    draw.add_argument("captions", nargs="*", metavar="CAPTION",
                      help='such as "a thick red seven leaning left"; every word may be left out')
    draw.add_argument("--n", type=int, default=8, help="pictures per caption (default: %(default)s)")
    draw.add_argument("-o", "--output", metavar="FILE", help="the picture file (default: FOLDER/drawing.png)")
    draw.add_argument("--pictures", action="store_true", help="draw with what `train --pictures` left in the folder")
    look = command("read", "say what your own pictures show, each of one digit, in any color and on any ground")
    look.add_argument("files", nargs="+", metavar="FILE", help="a PNG or JPEG, drawn, scanned or photographed")
    teach = command("teach", "teach the machine a new word, from a few pictures of your own of what it means")
    teach.add_argument("word", metavar="WORD", help="such as orange")
    teach.add_argument("--pictures", metavar="FOLDER", required=True, help="pictures of one digit each; what they show "
                       "is read from them, or said in a captions.csv (file,caption)")
    teach.add_argument("--like", choices=tuple(personalize.BOOK), default="color", help="what the word is: a "
                       "color, or a style of stroke (default: %(default)s)")
    steering_options(command)
    score = command("score", "draw many captions, read them back, write FOLDER/report.json and print a table")
    score.add_argument("-o", "--output", metavar="FILE", help="where the report goes (default: FOLDER/report.json)")
    score.add_argument("--n", type=int, help="how many captions (default: 1,000 in the small budget)")
    for sub in (draw, score):
        drawing_options(sub)
    return top


def steering_options(command):
    """The commands that draw along a sketch, that change a picture, that draw films, and that speak."""
    steer = command("control", "draw captions along a sketch, such as a digit scribbled in a paint program")
    steer.add_argument("captions", nargs="+", metavar="CAPTION", help='such as "a thick red seven"')
    steer.add_argument("--hint", metavar="FILE", required=True, help="a PNG or JPEG of one digit, on a light or a dark "
                       "ground and of any size; it is thinned to a line")
    steer.add_argument("--strength", type=float, default=1.0, help="how much the sketch is followed; 0 is not at all "
                       "(default: %(default)s)")
    change = command("edit", "change a picture as a sentence says")
    change.add_argument("file", metavar="FILE", help="a PNG or JPEG of one digit")
    change.add_argument("instruction", metavar="SENTENCE", help='such as "make it blue", "make it thin and lean left"')
    move = command("film", "draw films of eight frames, of digits that turn, grow, shrink, move or keep still")
    move.add_argument("captions", nargs="+", metavar="CAPTION", help='such as "a thick red seven turning left"; the '
                      f"motion stands at the end: {', '.join(MOTION_NAMES)}")
    speak = command("say", "speak captions, in a voice that is synthetic")
    speak.add_argument("captions", nargs="+", metavar="CAPTION", help='such as "a high fast seven"; of the form a '
                       f"[{'|'.join(PITCHES)}] [{'|'.join(SPEEDS)}] <digit>")
    both = command("both", "draw and speak at once, so that picture and sound agree")
    both.add_argument("caption", nargs="?", default="", metavar="CAPTION", help='such as "a high fast red seven"; '
                      "without one the two agree on a digit by themselves")
    for sub, n, output in ((steer, 4, "controlled.png"), (change, 4, "edited.png"), (move, 1, "film.gif"),
                           (speak, 1, "sound.wav"), (both, 4, "both.png")):
        sub.add_argument("--n", type=int, default=n, help="how many drawings (default: %(default)s)")
        sub.add_argument("-o", "--output", metavar="FILE", help=f"the file (default: FOLDER/{output})")


def training_options(train):
    """What is trained, and how."""
    train.add_argument("--budget", choices=BUDGETS, help="fast: seconds, only to try the machinery; small: minutes on "
                       "two CPU cores; full: a GPU (default: MINIDIFF_BUDGET, else by what the machine has)")
    train.add_argument("--save-every", type=float, default=15.0, metavar="SECONDS",
                       help="how often the training is kept (default: %(default)s)")
    train.add_argument("--pictures", metavar="FOLDER", help="train on your own pictures instead: with a captions.csv "
                       "(file,caption), with sub-folders whose names are the captions, or without either")
    train.add_argument("--few", action="store_true", help="also train the student that draws in one call, or in a few "
                       "(a minute more)")


def drawing_options(sub):
    """How a command draws."""
    sub.add_argument("--guidance", type=float, help="0 ignores the caption, 1 is plain, more exaggerates (default: "
                     f"{GUIDANCE}, with a taught word {personalize.GUIDANCE})")
    sub.add_argument("--steps", type=int, default=STEPS, help="steps from noise to picture (default: %(default)s)")
    sub.add_argument("--with", dest="words", action="append", default=[], metavar="WORD[:STRENGTH]", help="draw with a "
                     "word that `teach` left, several if given again; 1 is as it was taught (default), 0.5 half of it")
    sub.add_argument("--calls", type=int, metavar="N", help="ask the student that `train --few` left so many times for "
                     "a picture: 1, or a few; without guidance, which it has learned")


def near(path):
    """A path as one says it: the rest of it, where it lies in the working directory."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
