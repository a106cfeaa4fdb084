"""What each chapter must reach, as it was asked before it was built, beside what its studies reached:

    make goals

One line for each goal.  Of several seeds the worst one counts.  A star marks a goal that is missed, or whose number no
study keeps; a missed goal stays in the table, and its chapter says why.  A new chapter adds its lines at the end.
"""

from math import fsum, log2
from pathlib import Path
from typing import NamedTuple

from minidiff.data import CLOUDS
from minidiff.tools import study

HERE = Path(__file__).parent
RACE = "../../tests/bench/race"                                  # kept by `make bench`, beside the studies


class Goal(NamedTuple):
    """chapter, what is measured, `>=` or `<=`, the number asked for, the study that keeps it (None: none does), and
    key(kept JSON) -> its numbers, one for each seed."""

    chapter: object
    what: str
    sign: str
    asked: float
    study: str | None = None
    key: object = None


def number(*path, times=1):
    """A key: what stands at a path in the results; `...` is every run of a list."""
    def at(part, path):
        if not path:
            return [times * part]
        parts = part if path[0] is ... else [part[path[0]]]
        return [n for one in parts for n in at(one, path[1:])]

    return lambda kept: at(kept.get("results", kept), path)


def percent(*path):
    """A key: the same for a share, in percent."""
    return number(*path, times=100)


def less(one, other):
    """A key: one number of each run minus another, such as a share that was lost."""
    return lambda kept: [a - b for a, b in zip(one(kept), other(kept), strict=True)]


def over(one, other):
    """A key: one number of each run divided by another, such as a distance by its floor."""
    return lambda kept: [a / b for a, b in zip(one(kept), other(kept), strict=True)]


def closed(*measure):
    """A key: of each run, how much of the way from skewed to balanced the synthesized readers go, in percent."""
    def mean(run, way):
        return sum(found[way][measure[0]] for found in run["sets"]) / len(run["sets"])

    return lambda kept: [100 * (mean(run, "synthesized") - mean(run, "skewed"))
                         / (mean(run, "balanced") - mean(run, "skewed")) for run in kept["results"]]


def worst_cell(kept):
    """A key: of each run, the worst cell of the table of any to any, in percent."""
    return [100 * min(share for row in run["table"].values() for share in row) for run in kept["results"]]


def distance(name):
    """Of a cloud, each run: drawn to real points over real to real ones."""
    return lambda kept: [fsum(run["w2"]) / fsum(kept["results"][name]["real"]) for run in kept["results"][name]["runs"]]


def lost_by_autoencoder(what):
    """Of a reader, each run: percent right about the originals less percent right about what was decoded."""
    return lambda kept: [100 * (kept["results"]["originals"][what] - run[what]) for run in kept["results"]["runs"]]


def order(step):
    """Of round trips by inversion, each run: how often the error halves where 80 steps become 160."""
    def key(kept):
        errors = [{row["steps"]: row["error"] for row in run["found"] if (row["step"], row["guidance"]) == (step, 1)}
                  for run in kept["results"]["round trips"]]
        return [log2(error[80] / error[160]) for error in errors]

    return key


# Where in the results of a study its runs are.
GPT = ("right", ...)
ONE = (..., "1 calls")
VIT = ("ViT, patches of 7 x 7", "runs", ...)
CNN = ("CNN", "runs", ...)
CLIP = ("several right, all steps", ...)
UNET = ("runs", ..., "ways")
DRAWN = (..., "accuracy")
LORA = ("orange", "attention, rank 4, old drawings", ...)
FULL = ("orange", "all weights, old drawings", ...)
UNTAUGHT = ("orange", "an untrained vector", ...)
SHOWN = ("shown", "all")
STEERED = ("control", ...)
EDITED = ("editor", ...)
FILMED = (..., "films")

GOALS = [
    *(Goal(1, f"{name}: W2 over real to real", "<=", 1.15, "toy_wasserstein", distance(name)) for name in CLOUDS),
    *(Goal(1, f"{name}: loss above the floor, %", "<=", 2, "toy_wasserstein",
           over(percent(name, "runs", ..., "excess"), number(name, "runs", ..., "floor"))) for name in CLOUDS),
    *(Goal(1, f"{name}: seconds", "<=", 20, "toy_wasserstein", number(name, "runs", ..., "seconds"))
      for name in CLOUDS),
    Goal(2, "GPT: loss above the exact entropy, %", "<=", 1, "gpt_mistakes",                    # of captions said twice
         lambda kept: [100 * (loss / kept["config"]["floor"] - 1) for loss in number(*GPT, "loss")(kept)]),
    Goal(2, "GPT: captions that parse, %", ">=", 99.5, "gpt_mistakes", percent(*GPT, "valid")),
    Goal(2, "GPT: seconds", "<=", 30),
    Goal(2, "ViT: unseen digits read, %", ">=", 95, "vit_cnn", percent(*VIT, "accuracy")),
    Goal(2, "CNN: unseen digits read, %", ">=", 98, "vit_cnn", percent(*CNN, "accuracy")),
    Goal(2, "ViT: seconds", "<=", 60, "vit_cnn", number(*VIT, "seconds")),
    Goal(2, "CNN: seconds", "<=", 60, "vit_cnn", number(*CNN, "seconds")),
    Goal(3, "CLIP: digits from sentences, %", ">=", 98, "clip_losses", percent(*CLIP, "seen", "digit")),
    Goal(3, "CLIP: colors, %", ">=", 99.5, "clip_losses", percent(*CLIP, "seen", "color")),
    Goal(3, "CLIP: strokes, %", ">=", 95, "clip_losses", percent(*CLIP, "seen", "stroke")),
    Goal(3, "CLIP: leans, %", ">=", 95, "clip_losses", percent(*CLIP, "seen", "lean")),
    Goal(3, "CLIP: points lost on held-out combinations", "<=", 2, "clip_losses",
         less(percent(*CLIP, "seen", "joint"), percent(*CLIP, "held_out", "joint"))),
    Goal(3, "CLIP: seconds", "<=", 120, "clip_losses", number(*CLIP, "seconds")),
    Goal(3, "CLIP: a true picture first for a sentence, %", ">=", 95),
    Goal(4, "digits as asked, w = 1, %", ">=", 97, "digits_unet", percent(*UNET, "w = 1", "right")),
    Goal(4, "Frechet distance over its floor, w = 1", "<=", 3, "digits_unet",
         over(number(*UNET, "w = 1", "frechet"), number(*UNET, "w = 1", "floor"))),
    Goal(4, "digits as asked, w = 2, %", ">=", 99.5, "digits_unet", percent(*UNET, "w = 2", "right")),
    Goal(4, "points lost by learning from drawn digits", "<=", 1.5, "digits_unet",
         less(percent("runs", ..., "learned from real"), percent("runs", ..., "learned from generated"))),
    Goal(4, "seconds", "<=", 150, "digits_unet", number("runs", ..., "seconds")),
    Goal(5, "PSNR of unseen digits, dB", ">=", 33, "latent_seeds", number("runs", ..., "psnr")),
    Goal(5, "points lost by decoding: digit", "<=", 0.5, "latent_seeds", lost_by_autoencoder("digit")),
    Goal(5, "colors of what was decoded, %", ">=", 99.9, "latent_seeds", percent("runs", ..., "color")),
    Goal(5, "points lost by decoding: stroke", "<=", 1, "latent_seeds", lost_by_autoencoder("stroke")),
    Goal(5, "points lost by decoding: lean", "<=", 0.2, "latent_seeds", lost_by_autoencoder("lean")),
    Goal(5, "seconds", "<=", 120, "latent_seeds", number("runs", ..., "seconds")),
    Goal(6, "digits, %", ">=", 99, "text_seeds", percent(*DRAWN, "digit")),
    Goal(6, "colors, %", ">=", 99.8, "text_seeds", percent(*DRAWN, "color")),
    Goal(6, "strokes, %", ">=", 97, "text_seeds", percent(*DRAWN, "stroke")),
    Goal(6, "leans, %", ">=", 99.5, "text_seeds", percent(*DRAWN, "lean")),
    Goal(6, "all four, %", ">=", 96, "text_seeds", percent(*DRAWN, "joint")),
    Goal(6, "all four, held-out combinations, %", ">=", 93, "text_seeds", percent(..., "held_out", "joint")),
    Goal(6, "diversity, of the real digits'", ">=", 0.85, "text_seeds", number(..., "diversity")),
    Goal(6, "seconds", "<=", 150, "text_seeds", number(..., "seconds")),
    Goal(6, "seconds to draw one caption", "<=", 0.3, "text_seeds", number(..., "seconds for 1")),
    Goal(6, "seconds to draw 64 captions", "<=", 2, "text_seeds", number(..., "seconds for 64")),
    Goal("race", "seconds from nothing", "<=", 120, RACE, number("runs", ..., "seconds")),
    Goal("race", "digits, %", ">=", 99, RACE, number("runs", ..., "reached", "digit")),
    Goal("race", "colors, %", ">=", 99.8, RACE, number("runs", ..., "reached", "color")),
    Goal("race", "strokes, %", ">=", 97, RACE, number("runs", ..., "reached", "stroke")),
    Goal("race", "leans, %", ">=", 99.5, RACE, number("runs", ..., "reached", "lean")),
    Goal("race", "all four, %", ">=", 96, RACE, number("runs", ..., "reached", "joint")),
    Goal("race", "all four, held-out combinations, %", ">=", 93, RACE, number("runs", ..., "reached", "held out")),
    Goal("race", "diversity, of the real digits'", ">=", 0.85, RACE, number("runs", ..., "reached", "diversity")),
    Goal("race", "Frechet distance over its floor", "<=", 4, RACE, number("runs", ..., "reached", "Frechet / floor")),
    Goal(7, "one call: all four, %", ">=", 98.5, "few_student", percent(*ONE, "joint right")),
    Goal(7, "one call: all four, held-out combinations, %", ">=", 97, "few_student", percent(*ONE, "held out right")),
    Goal(7, "one call: Frechet distance over the 27 calls'", "<=", 1.05, "few_student",
         over(number(*ONE, "frechet"), number(..., "machine", "frechet"))),
    Goal(7, "one call: diversity over the 27 calls'", ">=", 1, "few_student",
         over(number(*ONE, "diversity"), number(..., "machine", "diversity"))),
    Goal(7, "one call: diversity, of the real digits'", ">=", 0.92, "few_student", number(*ONE, "diversity")),
    Goal(7, "pairs and student, seconds", "<=", 60, "few_student", number(..., "seconds")),
    Goal(7, "flow on a line: error of the map, of the spread", "<=", 0.02, "flow_line", number(..., "largest error")),
    Goal(7, "reflow on a line: how many times straighter", ">=", 3, "flow_line",
         over(number(..., "straightness"), number(..., "after reflow"))),
    *(Goal(7, f"flow matching: W2 of the {name} over its floor", "<=", 1.15, "flow_clouds", distance(name))
      for name in CLOUDS),
    Goal(8, "LoRA: gain on orange digits, % of a full training's", ">=", 95, "new_words",
         over(less(percent(*LORA, *SHOWN), percent(*UNTAUGHT, *SHOWN)),
              less(number(*FULL, *SHOWN), number(*UNTAUGHT, *SHOWN)))),
    Goal(8, "LoRA: its numbers, % of the UNet's", "<=", 2, "new_words", number(*LORA, "weights", times=100 / 688_772)),
    Goal(8, "LoRA: seconds", "<=", 20, "new_words", number(*LORA, "seconds")),
    Goal(8, "LoRA: points lost on old captions", "<=", 0.5, "new_words",
         less(percent("before", ..., "old"), percent(*LORA, "old"))),
    Goal(8, "LoRA: orange digits that were never shown, %", ">=", 90, "new_words", percent(*LORA, "hidden", "all")),
    Goal(8, "LoRA: merged less unmerged", "<=", 1e-5, "few_pictures",
         number("attention, rank 4", "500", ..., "merged less unmerged")),
    Goal(8, "read as outlined, with the decoder's adapter, %", ">=", 85, "new_styles",
         percent("ways", "UNet and decoder", ..., "drawn", "word")),
    Goal(8, "two adapters: both wishes true, %", ">=", 90, "new_styles", percent("two words", ..., "both")),
    Goal(9, "ControlNet: IoU with the digit in mind", ">=", 0.76, "steering", number(*STEERED, "iou")),
    Goal(9, "ControlNet: all four words, %", ">=", 97, "steering", percent(*STEERED, "all")),
    Goal(9, "ControlNet: seconds of training", "<=", 60, "steering", number(*STEERED, "seconds")),
    Goal(9, "ControlNet: its numbers, % of the UNet's", "<=", 65, "steering",
         number(*STEERED, "numbers", times=100 / 688_772)),
    Goal(9, "ControlNet: change before the first step", "<=", 0, "steering", number(*STEERED, "change before")),
    Goal(9, "editor: changed as asked, %", ">=", 98.5, "steering", percent(*EDITED, "changes", "changed")),
    Goal(9, "editor: the rest kept, %", ">=", 96, "steering", percent(*EDITED, "changes", "kept")),
    Goal(9, "editor: PSNR to the exact answer, dB", ">=", 26, "steering", number(*EDITED, "changes", "psnr")),
    Goal(9, "editor: right, held-out combinations as results, %", ">=", 95, "steering",
         percent(*EDITED, "held out", "both")),
    Goal(9, "editor: seconds of training", "<=", 60, "steering", number(*EDITED, "seconds")),
    Goal(9, "DDIM inversion: order of the round trip's error", ">=", 0.9, "editor_rivals", order("DDIM")),
    Goal(10, "films: motion right, %", ">=", 90, "motion", percent(*FILMED, "right")),
    Goal(10, "films: motion right, held-out pairs, %", ">=", 85, "motion", percent(..., "held out", "right")),
    Goal(10, "films: identity", ">=", 0.75, "motion", number(*FILMED, "identity")),
    Goal(10, "films: all four words in a frame, %", ">=", 93, "motion", percent(*FILMED, "caption")),
    Goal(10, "films: error of the angle, degrees", "<=", 4, "motion", number(*FILMED, "angle")),
    Goal(10, "films: second difference over the clips'", "<=", 1.5, "motion",
         over(number(*FILMED, "second"), number(..., "clips", "second"))),
    Goal(10, "motion module: its numbers, % of the UNet's", "<=", 35, "motion",
         number(..., "numbers", times=100 / 688_772)),
    Goal(10, "motion module: seconds of training", "<=", 150, "motion", number(..., "seconds")),
    Goal(10, "motion module: change before the first step", "<=", 0, "motion", number(..., "change before")),
    Goal(10, "a film of 8 frames, seconds", "<=", 0.5, "motion", number(..., "seconds a film")),
    Goal(10, "watermark at alpha 1, % of frames", ">=", 95, "motion_watermark", percent(..., "alpha 1", "marked")),
    Goal(10, "watermark at alpha 0, % of frames", "<=", 1, "motion_watermark", percent(..., "alpha 0", "marked")),
    Goal(11, "sounds of unseen speakers, digit read, %", ">=", 98, "sound", percent(..., "unseen", 0)),
    Goal(11, "drawn sounds: digit as asked, %", ">=", 95, "sound", percent(..., "drawn", 0)),
    Goal(11, "drawn sounds: pitch as asked, %", ">=", 95, "sound", percent(..., "drawn", 1)),
    Goal(11, "drawn sounds: speed as asked, %", ">=", 95, "sound", percent(..., "drawn", 2)),
    Goal(11, "a drawn sound, of 90 at once, seconds", "<=", 1 / 20, "sound", number(..., "seconds a sound")),
    Goal(11, "a synthesised sound, milliseconds", "<=", 5, "sound",
         number(..., "synthesis, seconds a sound", times=1000)),
    Goal(11, "bridge: picture finds a sound of its digit, %", ">=", 90, "any_to_any",
         percent(..., "captions", "picture finds sound")),
    Goal(11, "any to any: the worst of the 18 cells, %", ">=", 85, "any_to_any", worst_cell),
    Goal(11, "without a caption: digit seen = digit heard, %", ">=", 85, "joint", percent(..., "as it is", "agree")),
    Goal(11, "drawn together: frechet of pictures over apart", "<=", 1.2, "joint",
         over(number(..., "as it is", "frechet, pictures", 0), number(..., "apart", "frechet, pictures", 0))),
    Goal(11, "drawn together: frechet of sounds over apart", "<=", 1.2, "joint",
         over(number(..., "as it is", "frechet, sounds", 0), number(..., "apart", "frechet, sounds", 0))),
    Goal(11, "all new parts: seconds of training", "<=", 180, "any_to_any",
         lambda kept: [fsum(run["seconds"].values()) for run in kept["results"]]),
    Goal(13, "repair by drawings: worst group, way to balanced, %", ">=", 60, "repair", closed("worst group")),
    Goal(13, "the machine of skewed digits: seconds of training", "<=", 60, "skewed",
         number(..., "seconds of training")),
]


def worst(goal, folder=HERE):
    """The worst of the seeds, to four digits after the point; None where no study keeps it."""
    if goal.study is None:
        return None
    return round({">=": min, "<=": max}[goal.sign](goal.key(study.load(goal.study, folder))), 4)


def reached(goal, kept):
    """Whether the kept number is as good as was asked."""
    return kept is not None and (kept >= goal.asked if goal.sign == ">=" else kept <= goal.asked)


def table(goals, folder=HERE):
    """The goals as text, one line each, and how many are reached."""
    kept = [worst(goal, folder) for goal in goals]
    lines = [f"{'chapter':9}{'what':54}{'asked':>10}{'kept':>12}"]
    for goal, found in zip(goals, kept, strict=True):
        shown = "not kept" if found is None else f"{found:.2f}"
        asked = f"{goal.sign} {goal.asked:g}"
        lines.append(f"{goal.chapter!s:9}{goal.what:54}{asked:>10}{shown:>12}{'' if reached(goal, found) else ' *'}")
    return "\n".join([*lines, f"{sum(map(reached, goals, kept))} of {len(goals)} goals are reached"])


if __name__ == "__main__":
    print(table(GOALS))
