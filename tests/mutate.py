"""How sharp are the exercise checks?  Small random changes of the right answers, and how many of them are rejected.

    python tests/mutate.py                for each exercise of the kinds code and bug: a table, and what survived

A mutant is the package's own function with one small change: another sign, operation, constant (an axis, too), order
of operands or comparison, a root or a logarithm left out.  A mutant that a check calls right is either equivalent to
the original (listed below by hand, with the reason), or shows that the check is too mild.
"""

import argparse
import ast
import copy
import inspect
import random
import re
import sys
import textwrap

import torch

from minidiff.data import is_true_of, lean_of, moments, stroke_width
from minidiff.diffusion import (
    WEIGHTS,
    Schedule,
    add_noise,
    clipped,
    component_logits,
    ddim_step,
    ddpm_step,
    denoising_loss,
    guided,
    heun_step,
    inpainting,
    log_density,
    sample,
    spaced_levels,
)
from minidiff.evaluation import accuracy, diversity, frechet_distance, ink_of, psnr, recall_at
from minidiff.exercises.checker import all_exercises, grade
from minidiff.models import (
    Attention,
    Autoencoder,
    Block,
    Clip,
    UNet,
    attend,
    attention_weights,
    contrastive_loss,
    kl_to_normal,
    next_token_probs,
    next_word_loss,
    sigmoid_loss,
    time_embedding,
)
from minidiff.pipelines import language
from minidiff.training import EMA

TARGETS = {                                                      # which functions make the right answer
    "1.2": [add_noise], "1.5": [log_density, component_logits], "1.6": [EMA.update],
    "1.7": [ddpm_step], "1.8": [Schedule.linear.__func__],
    "2.2": [attention_weights, attend],
    "2.4": [Attention.forward, Attention.split, attention_weights],
    "2.5": [Attention.forward, Attention.split, attention_weights],
    "2.6": [Block.forward], "2.7": [next_word_loss], "2.8": [next_token_probs],
    "3.2": [Clip.logits], "3.3": [contrastive_loss], "3.4": [sigmoid_loss],
    "3.5": [contrastive_loss], "3.6": [is_true_of], "3.7": [recall_at],
    "4.2": [time_embedding], "4.3": [UNet.encode, UNet.decode],
    "4.5": [denoising_loss, WEIGHTS["min-snr"]],
    "4.6": [clipped], "4.7": [inpainting, add_noise],
    "4.8": [sample, ddim_step, spaced_levels], "4.10": [frechet_distance],
    "5.2": [psnr], "5.3": [stroke_width], "5.4": [lean_of, moments],
    "5.6": [Autoencoder.loss, kl_to_normal],
    "6.2": [guided], "6.3": [guided], "6.4": [accuracy],
    "6.6": [add_noise, ddim_step, spaced_levels], "6.7": [diversity, ink_of],
    "6.9": [language.upsample, next_token_probs, is_true_of],
    "6.11": [heun_step]}

RULES = [                                                        # what may be lost anywhere in a line, and why
    (r"\.(item|tolist|float|double)\(\)|\.to\(\w+\)", "another number format is allowed"),
    (r"\.clamp(_min)?\([^()]*\)", "nothing is cut off here"),
    (r"-(?=1\b)", "of two axes 1 is the last"),
]

EQUIVALENT = [                                                   # exercises, the changed line, why it is no error
    ("1.5", "offset = xt[:, None] - signal[:, :, None] * means", "points (B, 2) are flat already"),
    ("1.5", "means = mixture.means.to(xt)", "points (K, 2) are flat already"),
    ("1.5", "signal, noise = (curve for curve in schedule.at(t, like=xt))", "for points it is (B, 1) already"),
    ("1.5", "return logits.logsumexp(1) - offset.shape[-1] / 2 * (2 * math.pi * variance[:, -1]).log()", "one column"),
    ("1.5", "return logits.logsumexp(1) - 2 / offset.shape[-1] * (2 * math.pi * variance[:, 0]).log()", "2 / 2"),
    ("1.8", "return cls.keeping_variance(torch.cat([torch.ones(1), torch.cumprod(1 - beta, -1)]))", "one axis"),
    ("2.4 2.5", "return attend(q, k, v, mask).transpose(1, 2).flatten(2)", "the last mixing is the identity here"),
    ("2.4 2.5", "scores = q @ k.transpose(2, -1) / math.sqrt(q.shape[-1])", "with heads axis 2 is axis -2"),
    ("3.3 3.5", "return -(target * scores.log_softmax(1)).sum(0).mean()", "in a square it is the same sum"),
    ("3.5", "return -(target * scores.log_softmax(0)).sum(1).mean()", "one right each: both directions are exchanged"),
    *(("3.5", f"target = right {sums}", "one right each: the sums are 1") for sums in (
        "* right.sum(1, keepdim=True)", "/ right.sum(1, keepdim=False)", "/ right.sum(0, keepdim=True)")),
    ("4.3", "x = F.pixel_unshuffle(xt, self.config.patch)", "the first layer is the identity here"),
    ("4.3", "return F.pixel_shuffle(x.float(), self.config.patch)", "the last layer is the identity here"),
    *(("4.8 6.6", f"xs = signal_s * x0 + math.sqrt(noise_s ** 2 {part}) * eps", "fresh is 0 here")
      for part in ("- fresh * 2", "- fresh ** 1", "- fresh ** 3", "+ fresh ** 2")),
    ("5.3", "return 2 * big.sum((-2, -1)) / perimeter * scale", "the scale is 1 here"),
    *(("5.3", f"big = F.interpolate(ink[:, None], scale_factor=scale, mode='bilinear', {how}]", "scale 1, one channel")
      for how in ("align_corners=True)[:, 0", "align_corners=False)[:, -1")),
    ("5.4", "dy, dx = (y - cy[:, None], x + cx[:, None])", "dy is centered, so the covariance does not see it"),
    ("5.4", "cy, cx = ((rows * y).sum(-1) / mass, mass / (columns * x).sum(-1))", "dy is centered, that will do"),
    ("6.2 6.3", "if w == 0 or not loud.any():", "for w = 1 the formula gives the caption's answer, too"),
    ("6.2 6.3", "nothing = null", "it has this shape already"),
    *(("6.2 6.3", f"uncond, with_cond = denoise({first}, torch.cat([nothing, cond])).chunk(2)", "it looks at cond only")
      for first in ("torch, torch.cat([t, t])", "torch.cat([xt, xt]), torch")),
    ("6.3", "loud = t <= below", "guidance is on at all levels here"),
    *(("6.7", f"group = {key}", "each group has a number of its own all the same") for key in (
        "(attributes[:, 0] * SIZES[2] - attributes[:, 2]) * SIZES[3] + attributes[:, 3]",
        "(attributes[:, 0] * SIZES[1] + attributes[:, 2]) * SIZES[3] + attributes[:, 3]",
        "(attributes[:, 0] * SIZES[3] + attributes[:, 2]) * SIZES[3] + attributes[:, 3]",
        "(attributes[:, 0] * SIZES[2] + attributes[:, 2]) * SIZES[2] + attributes[:, 3]",
        "(attributes[:, 0] * SIZES[2] + attributes[:, 2]) * SIZES[3] - attributes[:, 3]")),
    *((ids, line, "it is squared") for ids, line in (
        ("1.5", "offset = signal[:, :, None] * means - xt.flatten(1)[:, None]"),
        ("4.5", "error = (eps - guess).square().flatten(1).mean(1)"),
        ("4.10", "gap = (b.mean(0) - a.mean(0)).square().sum()"),
        ("5.2", "return 10 * torch.log10(4 / (others - pictures).square().flatten(1).mean(1))"),
        ("5.3", "down = big[:, :-1, 1:] - big[:, 1:, 1:]"), ("5.3", "across = big[:, 1:, :-1] - big[:, 1:, 1:]"))),
]

UNUSED = [                                                       # exercises, a line in which no change can matter, why
    ("2.4 2.5", "scores = scores.masked_fill(~mask, -math.inf)", "never reached: there is no mask"),
    ("2.6", "x = x + self.cross(self.norm2(x), context)", "never reached: there is no context"),
    *(("4.7", line, "each step is taken once") for line in (
        "up = signal_t / signal_s", "added = math.sqrt(noise_t ** 2 - up ** 2 * noise_s ** 2)",
        "xt = up * xs + added * noise()", "if turn + 1 < again:")),
    *(("4.8 6.6", line, "eta is 0") for line in (
        "added = noise_t ** 2 - (signal_t / signal_s * noise_s) ** 2",
        "fresh = eta * noise_s / noise_t * math.sqrt(added)", "return xs + fresh * noise() if fresh else xs")),
    ("4.8", "levels, draws = (spacing(schedule, steps, start), itertools.count(1))", "no noise is drawn"),
    ("4.8", "return noise_for(seeds, xt.shape[1:], next(draws)).to(xt)", "no noise is drawn"),
    ("4.8", "yield (levels[0], xt)", "only the end of the walk is looked at"),
    ("6.3", "if w == 0:", "guidance is never 0 here"),
    ("6.9", "least = logits.topk(min(top_k, logits.shape[-1])).values[..., -1:]", "all words are allowed"),
    ("6.9", "logits = logits.masked_fill(logits < least, -torch.inf)", "all words are allowed"),
]

OPERATIONS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
              ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr}
COMPARISONS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}


def changes(node):
    """All small changes of one node of the syntax tree, as new nodes."""
    if isinstance(node, ast.BinOp):
        if type(node.op) in OPERATIONS:
            yield ast.BinOp(node.left, OPERATIONS[type(node.op)](), node.right)
        if isinstance(node.op, (ast.Sub, ast.Div, ast.Pow, ast.MatMult)):
            yield ast.BinOp(node.right, node.op, node.left)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Invert)):
        yield node.operand
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        yield ast.Compare(node.left, [COMPARISONS[type(node.ops[0])](), *node.ops[1:]], node.comparators)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        for step in (1, -1) if isinstance(node.value, int) else (1.0, -0.5):
            yield ast.Constant(node.value + step)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        of_self = isinstance(node.func.value, ast.Name) and node.func.value.id == "self"
        yield node.args[0] if of_self and node.args else node.func.value               # x.sqrt() and self.norm(x) -> x


def guards(tree):
    """The nodes that only refuse bad input, and the docstring, defaults and decorators: nothing to be checked there."""
    skipped = []
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and all(isinstance(line, ast.Raise) for line in node.body):
            skipped.append(node)
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("check"):
            skipped.append(node)
        if isinstance(node, ast.FunctionDef):
            skipped += [node.args, *node.decorator_list]
            if ast.get_docstring(node) is not None:
                skipped.append(node.body[0])
    return {id(inner) for node in skipped for inner in ast.walk(node)}


def swapped(tree, old, new):
    """The tree with one node exchanged."""
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
            elif isinstance(value, list) and any(item is old for item in value):
                setattr(parent, name, [new if item is old else item for item in value])
    return tree


def mutants(function):
    """All mutants of a function: (what changed, its code)."""
    source = textwrap.dedent(inspect.getsource(function))
    tree = ast.parse(f"{{{source}\n}}" if function.__name__ == "<lambda>" else source)          # one of a dict
    tree.body[0].decorator_list = []
    lines, skipped = ast.unparse(tree).splitlines(), guards(tree)
    for index, node in enumerate(ast.walk(tree)):
        if id(node) in skipped:
            continue
        for number in range(len(list(changes(node)))):
            other = copy.deepcopy(tree)
            mine = list(ast.walk(other))[index]
            swapped(other, mine, list(changes(mine))[number])
            fresh = ast.unparse(ast.fix_missing_locations(other)).splitlines()
            changed = [(a.strip(), b.strip()) for a, b in zip(lines, fresh) if a != b]
            if not changed:
                continue
            module = compile(other, f"<mutant of {function.__name__}>", "exec")
            code = next(c for c in module.co_consts if inspect.iscode(c) and c.co_name == function.__name__)
            yield f"{function.__name__}: {changed[0][0]}  ->  {changed[0][1]}", code


def answer_with(function, code, exercise):
    """The right answer, with one function's code exchanged while it is computed."""
    def answer(*case):
        right, function.__code__ = function.__code__, code
        try:
            return exercise.reference(*case)
        finally:
            function.__code__ = right

    return answer


def why_equivalent(id, change):
    """The reason by hand why a mutant is no error, or None."""
    old, new = change.split(": ", 1)[1].split("  ->  ")
    known = [why for pattern, why in RULES
             if re.sub(f"{pattern}|[()]", "", old) == re.sub(f"{pattern}|[()]", "", new)]
    known += [why for ids, line, why in EQUIVALENT if id in ids.split() and line == new]
    known += [why for ids, line, why in UNUSED if id in ids.split() and line == old]
    return next(iter(known), None)


def run(exercise, count, seed):
    """Try random mutants -> how many, how many were rejected, and those that survived."""
    every = [(inspect.unwrap(f), *mutant) for f in TARGETS[exercise.id] for mutant in mutants(inspect.unwrap(f))]
    chosen = random.Random(f"{seed} {exercise.id}").sample(every, min(count, len(every)))
    survivors = [change for function, change, code in chosen
                 if grade(exercise.id, answer_with(function, code, exercise)).passed]
    return len(chosen), len(every), survivors


def main(arguments=None):
    """Print the table -> 0 if at least 95 % of all mutants that are not equivalent were rejected."""
    parser = argparse.ArgumentParser(description="Mutate the right answers and see whether the checks notice.")
    parser.add_argument("--count", type=int, default=20, help="mutants an exercise (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("ids", nargs="*", help="only these exercises, such as 1.2")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    total = caught = same = 0
    print(f"{'exercise':42}{'possible':>9}{'tried':>7}{'equivalent':>12}{'rejected':>10}")
    for exercise in all_exercises().values():
        if exercise.kind not in ("code", "bug") or (options.ids and exercise.id not in options.ids):
            continue
        if exercise.id not in TARGETS:
            print(f"{exercise.id} is not in TARGETS")
            return 1
        tried, possible, survivors = run(exercise, options.count, options.seed)
        reasons = {change: why_equivalent(exercise.id, change) for change in survivors}
        known = [change for change in survivors if reasons[change]]
        rejected, real = tried - len(survivors), tried - len(known)
        total, caught, same = total + real, caught + rejected, same + len(known)
        print(f"{exercise.id + ' ' + exercise.title:42}{possible:9}{tried:7}{len(known):12}{rejected:6}/{real}")
        for change in survivors:
            print(f"      {'equivalent, ' + reasons[change] if reasons[change] else 'SURVIVED'}\n          {change}")
    print(f"rejected: {caught} of {total} ({caught / max(1, total):.1%}), and {same} equivalent ones")
    return 0 if caught >= 0.95 * total else 1


if __name__ == "__main__":
    sys.exit(main())
