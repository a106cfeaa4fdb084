"""ControlNet and the editor as the commands train them, on three machines, alone and with all threads: seconds and
numbers, and what chapter 9 must reach."""

import sys
import time

import torch
from common import DEVICE, SEEDS, machine, parameters, save_rows
from control_ways import Judged
from editor_ways import STEPS, Asked

from minidiff.data import edited, load_captioned_digits, sentence, understand
from minidiff.evaluation import read
from minidiff.models import Controlled
from minidiff.pipelines import control, instruct
from minidiff.tools import budget, generator_for, study
from minidiff.tools.files import checksum
from minidiff.training import run

WISHES = ("make it red", "make it thin", "make it lean left", "make it blue and thick", "make it upright and green",
          "make it white", "make it thick", "make it yellow and lean right")
COUNT, TRAINED = budget(400, 400, 4), budget(None, None, 3)


def trained(make):
    """A recipe, trained -> its model, and what it took: seconds for the lessons, seconds of training, numbers."""
    start = time.perf_counter()
    recipe = make()
    middle = time.perf_counter()
    model = run(recipe).eval().requires_grad_(False)
    return model, {"lessons, seconds": middle - start, "seconds": time.perf_counter() - middle}


@torch.no_grad()
def change_before(parts, judged):
    """The largest change of a prediction by a ControlNet that has not learned yet."""
    hints = judged.data.sketches[:3, None].float()
    xt, cond = torch.randn(3, 4, 4, 4, generator=generator_for(1)), parts.clip.text_states(judged.captions[:3])
    worst = 0.0
    for level in (1, 300, 700, 1000):
        t = torch.full((3,), level)
        net = control.new_control(parts, control.ControlConfig())
        change = Controlled(parts.unet, (net, hints, 1.0))(xt, t, cond) - parts.unet(xt, t, cond)
        worst = max(worst, change.abs().max().item())
    return worst


def sketch_page(parts, net, judged):
    """The title of the first notebook: sketches, and three drawings along each."""
    sketches = judged.data.sketches[:8]
    rows = [2 * sketches[:, None].float().repeat(1, 3, 1, 1) - 1]
    for i in range(3):
        said = judged.data.said[:8].clone()
        said[:, 1], said[:, 2] = (said[:, 1] + 2 * i) % 7, (said[:, 2] + i) % 3
        seeds = range(8 * i, 8 * i + 8)
        rows.append(control.draw([sentence(row) for row in said], sketches, seeds, parts, net, steps=STEPS))
    return rows


def edit_page(parts, editor, unseen):
    """The title of the second notebook: digits, their edits, and the exact answers."""
    pictures, rows = generator_for(99), []
    said = unseen.allowed[torch.randint(len(unseen.allowed), (8,), generator=pictures)]
    scans, changes = unseen.rows_for(said[:, 0], pictures), torch.stack([understand(wish) for wish in WISHES])
    rows = [unseen.render(scans, said), unseen.render(scans, edited(said, changes))]
    return [rows[0], instruct.edit(rows[0], WISHES, range(8), parts, editor, steps=STEPS), rows[1]]


def main(path=None):
    known, unseen = load_captioned_digits(DEVICE)
    results = {"control": [], "editor": []}
    for seed in SEEDS:
        parts = machine(seed)
        before = checksum(parts.unet.state_dict())
        judged = Judged(parts, unseen, seed, COUNT)
        net, took = trained(lambda: control.recipe(parts, control.lessons(known, parts, seed), seed, steps=TRAINED))
        seeds = range(1_000_000 * seed, 1_000_000 * seed + COUNT)
        drawn = control.draw(judged.captions, judged.data.sketches, seeds, parts, net, steps=STEPS)
        results["control"].append({"seed": seed, **took, "numbers": parameters(net), **judged.of(drawn),
                                   "change before": change_before(parts, judged),
                                   "base untouched": checksum(parts.unet.state_dict()) == before})
        editor, took = trained(lambda: instruct.recipe(parts, instruct.lessons(known, parts, seed), seed,
                                                       steps=TRAINED))
        asked = {kind: Asked(parts, unseen, kind, seed, COUNT) for kind in ("changes", "held out", "digits")}
        results["editor"].append({"seed": seed, **took, "numbers": parameters(editor),
                                  **{kind: asks.judged(asks.edited_by(editor)) for kind, asks in asked.items()}})
        print(results["control"][-1], results["editor"][-1], sep="\n", flush=True)
        if seed == 0 and budget(True, True, False):
            folder = study.Path(__file__).parent
            save_rows(sketch_page(parts, net, judged), ["sketch", *[""] * 3], folder / "steering.png")
            save_rows(edit_page(parts, editor, unseen), ["given", "edited", "exact answer"], folder / "editing.png")
            print(WISHES, read(parts.classifier, drawn[:8]).tolist())
    study.keep(__file__, {"drawings": len(judged.captions), "edits": len(asked["changes"].given)}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
