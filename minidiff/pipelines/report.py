"""How good is the whole machine?  Draw what it was asked for, read it back, and write down every number."""

import time
from pathlib import Path

import torch

from minidiff.data.captions import WORDS, all_combinations, is_held_out, sentence
from minidiff.evaluation.metrics import accuracy, diversity, frechet_distance, wilson
from minidiff.evaluation.readers import read
from minidiff.pipelines.text2image import GUIDANCE, STAGES, STEPS, draw
from minidiff.tools.checks import check_whole
from minidiff.tools.runtime import budget, budget_name, generator_for, peak_memory_mb, synchronize
from minidiff.tools.study import about_this_run
from minidiff.training.checkpoint import load_checkpoint


def draw_all(attributes, parts, first_seed=0, batch=250, **drawing):
    """Draw one picture for each row of attributes (N, 4) -> (N, 3, 32, 32).  drawing: of `draw`, guidance or steps."""
    captions = [sentence(row) for row in attributes.tolist()]
    seeds = range(first_seed, first_seed + len(captions))
    return torch.cat([draw(captions[i:i + batch], seeds[i:i + batch], parts, **drawing)
                      for i in range(0, len(captions), batch)])


def asked_for(captioned, n, seed):
    """What is asked of a machine of this seed: n trained combinations (n, 4), and the generator for more chance."""
    generator = generator_for(seed, 3, device=captioned.labels.device)
    return captioned.allowed[torch.randint(len(captioned.allowed), (n,), generator=generator,
                                           device=captioned.labels.device)], generator


def score(parts, train, val, n=None, seed=0, **drawing):
    """Everything that can be measured of the trained parts, as a dict.  drawing: of `draw`, guidance or steps.

    accuracy: n captions of trained combinations; held_out: the 63 combinations never trained on; floor: real
    validation digits read by the same readers; shuffled: the drawn pictures against other captions.
    """
    n = check_whole("n", budget(full=5_000, small=1_000, fast=60, given=n), 2)
    device, (asked, generator) = parts.device, asked_for(train, n, seed)
    every = all_combinations().to(device)
    unseen = every[is_held_out(every)].repeat(max(1, n // 126), 1)

    started = time.perf_counter()
    drawn = draw_all(asked, parts, 1_000_000 * seed, **drawing)
    synchronize(device)
    seconds_a_picture = (time.perf_counter() - started) / n
    drawn_unseen = draw_all(unseen, parts, 1_000_000 * seed + n, **drawing)

    start, pairs = train.start[asked[:, 0]], train.count[asked[:, 0]] // 2
    pair = ((train.rows_for(asked[:, 0], generator) - start) // 2).minimum(pairs - 1)
    real = train.render(start + 2 * pair, asked) # the even digits of a class are one crowd,
    other = train.render(start + 2 * pair + 1, asked)             # the odd ones the other
    real_val, val_asked = val.sample(n, generator)
    features = [parts.classifier.features(p).detach() for p in (drawn, real, other)]
    found = read(parts.classifier, drawn)
    shuffled = asked[torch.randperm(n, generator=generator, device=device)]
    return {
        "accuracy": accuracy(found, asked),
        "held_out": accuracy(read(parts.classifier, drawn_unseen), unseen),
        "floor": accuracy(read(parts.classifier, real_val), val_asked),
        "shuffled": accuracy(found, shuffled),
        "n": {"accuracy": n, "held_out": len(unseen), "floor": n, "shuffled": n},
        "frechet": frechet_distance(features[0], features[1]),
        "frechet_floor": frechet_distance(features[2], features[1]),
        "diversity": diversity(drawn, asked) / diversity(real, asked),
        "guidance": drawing.get("guidance", GUIDANCE), "steps": drawing.get("steps", STEPS), "seed": seed,
        "seconds_a_picture": seconds_a_picture,
    }


def trained_budget(folder):
    """The budget in which the parts in a folder were trained, which decides the digits they are measured on."""
    return load_checkpoint(Path(folder) / "unet.safetensors")[1].get("budget") or budget_name()


def about_training(folder):
    """Seconds, peak memory and settings of each trained stage, from its checkpoint."""
    abouts = {stage: load_checkpoint(Path(folder) / f"{stage}.safetensors")[1] for stage in STAGES}
    return {
        "seconds": {stage: about["seconds"] for stage, about in abouts.items()},
        "peak_memory_mb": max(peak_memory_mb(), *(about["peak_memory_mb"] for about in abouts.values())),
        "config": {stage: about["settings"] for stage, about in abouts.items()},
    } | about_this_run()


def table(report):
    """The report as text: a row for each crowd of captions, the 95 % interval of joint behind it."""
    names = {"accuracy": "trained combinations", "held_out": "held-out combinations",
             "floor": "real digits, same readers", "shuffled": "shuffled captions (chance)"}
    lines = [f"{'share right, %':28}" + "".join(f"{word:>8}" for word in (*WORDS, "joint")) + "   95 % of joint"]
    for key, name in names.items():
        n = report["n"][key]
        low, high = wilson(report[key]["joint"], n)
        lines.append(f"{name:28}" + "".join(f"{100 * report[key][word]:8.1f}" for word in (*WORDS, "joint"))
                     + f"   {100 * low:.1f} to {100 * high:.1f} (n = {n})")
    lines += ["", f"Frechet distance {report['frechet']:.2f} (real against real {report['frechet_floor']:.2f}, "
              f"n = {report['n']['accuracy']}; features of this folder's classifier: compare only within it)",
              f"diversity {report['diversity']:.2f} of the real digits'",
              f"guidance {report['guidance']:g}, {report['steps']} steps, "
              f"{1000 * report['seconds_a_picture']:.0f} ms a picture"]
    if "seconds" in report:
        stages = ", ".join(f"{stage} {value:.0f}" for stage, value in report["seconds"].items())
        lines.append(f"seconds of training: {stages}; {sum(report['seconds'].values()):.0f} altogether")
        lines.append(f"peak memory {report['peak_memory_mb']:.0f} MB")
    return "\n".join(lines)
