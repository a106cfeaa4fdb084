"""Chapter 8, on `08_new_words.ipynb`: one vector, thin matrices, what is forgotten, and bugs of real adapters."""

import math

import torch
from torch.nn import functional as F

from minidiff.exercises.form import Exercise, randn, there_and_back


def adapted(scale=lambda alpha, rank: alpha / rank, change=lambda A, B: B @ A, base=1):
    """Somebody's LoRA, with their scale and their change of the weight."""
    def answer(x, W, A, B, alpha):
        return base * x @ W.T + scale(alpha, len(A)) * x @ change(A, B).T

    return answer


def lora_cases():
    return [(randn(801 + i, batch, wide), randn(802 + i, out, wide), randn(803 + i, rank, wide),
             randn(804 + i, out, rank), alpha)
            for i, (batch, wide, out, rank, alpha) in enumerate(((5, 7, 7, 3, 6.0), (2, 11, 11, 5, 1.0)))]


def first_gradients(down=lambda g, x, A, B: B.T @ g.T @ x, up=lambda g, x, A, B: g.T @ (x @ A.T)):
    """Somebody's gradients of A and B, where y = W x + B A x and g is the gradient of y."""
    def answer(g, x, A, B):
        return torch.cat([down(g, x, A, B).flatten(), up(g, x, A, B).flatten()])

    return answer


def handed_over(answer, g, x, A, B):
    """Both gradients of an answer, as one row of numbers."""
    found = answer(g, x, A, B)
    return torch.cat([part.flatten() for part in found]) if isinstance(found, tuple) else found


def gradient_cases():
    return [(randn(811 + i, batch, out), randn(812 + i, batch, wide), randn(813 + i, rank, wide),
             randn(814 + i, out, rank)) for i, (batch, wide, out, rank) in enumerate(((5, 7, 3, 2), (1, 3, 11, 2)))]


def truncated(values=lambda S, r: S[:r], left=lambda U, r: U[:, :r], right=lambda V, r: V[:r]):
    """Somebody's best matrix of rank r, by the singular value decomposition."""
    def answer(change, r):
        U, S, V = torch.linalg.svd(change, full_matrices=False)
        return left(U, r) * values(S, r) @ right(V, r)

    return answer


def change_cases():
    return [(randn(821, 7, 5), 2), (randn(822, 5, 11), 3), (randn(823, 3, 3), 1)]


def convolved(kernel=lambda A: A, mix=lambda B: B[:, :, None, None]):
    """Somebody's LoRA of a convolution: A looks with the kernel, B mixes what it found."""
    def answer(x, W, A, B):
        return F.conv2d(x, W, padding=1) + F.conv2d(F.conv2d(x, kernel(A), padding=1), mix(B))

    return answer


def conv_cases():
    return [(randn(831, 2, 3, 7, 7), randn(832, 5, 3, 3, 3), randn(833, 2, 3, 3, 3), randn(834, 5, 2)),
            (randn(835, 3, 5, 5, 5), randn(836, 5, 5, 3, 3), randn(837, 3, 5, 3, 3), randn(838, 5, 3))]


def merging(there=1, back=-1, order=lambda A, B: B @ A):
    """Somebody's merge and unmerge."""
    return (lambda W, A, B, s: W + there * s * order(A, B), lambda W, A, B, s: W + back * s * order(A, B))


def merge_cases():
    return [(randn(841, 7, 7), randn(842, 2, 7), randn(843, 7, 2), 0.8), (randn(844, 5, 5), randn(845, 3, 5),
                                                                        randn(846, 5, 3), -1.5)]


def put_to_use(W, A, B, merged):
    """Runs each time the model is put to use.  W (out, in) is the weight in use, A and B the thin ones; merged:
    whether this has run before -> the weight in use (out, in)"""
    return W + B @ A


def merged_once(when=lambda merged: not merged, add=1):
    """Somebody's way to put a LoRA to use."""
    return lambda W, A, B, merged: W + add * B @ A if when(merged) else W


def use_cases():
    return [(randn(851, 5, 5), randn(852, 2, 5), randn(853, 5, 2), merged) for merged in (False, True)]


def load_changes(file):
    """file: a list of (A, B, alpha) for the layers of a network, whose ranks differ; alpha is None where the file does
    not say it, and then it is the rank.  Return what is added to each weight."""
    rank = len(file[0][0])
    return [(alpha or rank) / len(A) * B @ A for A, B, alpha in file]


def loaded(scale=lambda A, alpha, file: (alpha or len(A)) / len(A)):
    """Somebody's loader."""
    return lambda file: [scale(A, alpha, file) * B @ A for A, B, alpha in file]


def file_cases():
    return [([(randn(861, 2, 7), randn(862, 5, 2), None), (randn(863, 8, 7), randn(864, 11, 8), None),
              (randn(865, 4, 3), randn(866, 5, 4), 2.0)],)]


def answer_with_lora(x, W, A, B, kept, training):
    """x (N, in) -> (N, out).  kept (N, in): 0 for one in ten inputs of the LoRA, at random, 1 / 0.9 for the others;
    training: whether the model is being trained."""
    return x @ W.T + (x * kept) @ A.T @ B.T


def silenced(when=lambda training: training, scale=1.0, all_of_it=False):
    """Somebody's dropout."""
    def answer(x, W, A, B, kept, training):
        dropped = x * kept * scale if when(training) else x
        return (dropped if all_of_it else x) @ W.T + dropped @ A.T @ B.T

    return answer


def dropout_cases():
    kept = (randn(875, 11, 7) > -1.28) / 0.9
    return [(randn(871, 11, 7), randn(872, 5, 7), randn(873, 2, 7), randn(874, 5, 2), kept, training)
            for training in (True, False)]


def both_losses(old=1.0, new=1.0, past=lambda new, old: old):
    """Somebody's loss with prior preservation."""
    def answer(loss, new_batch, old_batch, weight):
        return new * loss(new_batch).mean() + old * weight * loss(past(new_batch, old_batch)).mean()

    return answer


def loss_cases():
    def loss(batch):
        return batch.square().mean(1)

    return [(loss, randn(881, 5, 3), randn(882, 11, 3), weight) for weight in (1.0, 0.3)]


def one_direction(inputs, wanted):
    """A way to reach the goal of 8.7: the best change of rank one, from the best change of any rank."""
    change = torch.linalg.lstsq(inputs, wanted).solution.T
    U, S, V = torch.linalg.svd(change)
    return S[0] * U[:, :1], V[:1]


def turned_by_one(answer):
    """Does a change of rank one do at least 95 % of what is wanted?"""
    inputs, left, right = randn(891, 101, 7), randn(892, 5, 2), randn(893, 2, 7)
    wanted = inputs @ (left * torch.tensor([5.0, 0.5]) @ right).T    # (N, 5): two directions, one of them faint
    found = answer(inputs.clone(), wanted.clone())
    if found is None:
        return None, ""
    B, A = found
    if tuple(B.shape) != (5, 1) or tuple(A.shape) != (1, 7):
        return False, f"B is {tuple(B.shape)} and A is {tuple(A.shape)}, expected (5, 1) and (1, 7)"
    rest = (wanted - inputs @ (B @ A).T).square().sum() / wanted.square().sum()
    return bool(rest < 0.05), f"12 numbers instead of 35 reach {1 - rest:.1%} of what was wanted (goal: 95 %)"


EXERCISES = [
    Exercise(
        "8.1", "The smallest adapter", "number", stars=1, minutes=5,
        reference=lambda: 64,
        prompt="A machine learns the word \"orange\" by textual inversion. Its text tower has states of width 64, its "
               "captions have 10 tokens. The training takes 450 steps with batches of 64. How many numbers does the "
               "file of the new word hold?",
        reason="One vector of the embedding, 64 numbers. Nothing else has been changed.",
        hints=("What is learned, and what is frozen?", "The vector is one row in the table of words that all captions "
               "share.", "The table has one row per word."),
        mistakes={"A word has one vector, wherever in the caption it stands.": 640,
                  "The pictures of a batch share the vector.": 4096,
                  "The steps change the same vector again and again.": 450 * 64}),
    Exercise(
        "8.2", "LoRA", "code", stars=1, minutes=15, reference=adapted(), cases=lora_cases,
        prompt="Write what an adapted layer computes: y = W x + α/r · B A x, for a batch of inputs.",
        signature="my_lora(x, W, A, B, alpha)",
        shapes="x (N, in), W (out, in), A (r, in), B (out, r), alpha a number -> (N, out)",
        hints=("The inputs are rows, so W x is `x @ W.T`.", "r is `len(A)`.",
               "`x @ W.T + alpha / len(A) * x @ A.T @ B.T`"),
        mistakes={
            "α is not divided by the rank.": adapted(lambda alpha, rank: alpha),
            "α/r is missing.": adapted(lambda alpha, rank: 1),
            "α/r is upside down.": adapted(lambda alpha, rank: rank / alpha),
            "The frozen weight is missing: LoRA is added to its answer.": adapted(base=0),
            "Your change is transposed: A comes first, then B.": adapted(change=lambda A, B: (B @ A).T),
            "You divided by the square root of the rank. That is rsLoRA, a later proposal.":
                adapted(lambda alpha, rank: alpha / math.sqrt(rank))}),
    Exercise(
        "8.3", "What a LoRA saves", "number", stars=1, minutes=5,
        reference=lambda: 100 * 4 * (64 + 64) / (64 * 64),
        prompt="A Linear from 64 to 64 has 4,096 weights. How many numbers does a LoRA of rank 4 train, in percent of "
               "these?",
        reason="4 · (64 + 64) = 512 numbers, 12.5 %. The share of the whole machine is much smaller, because most of "
               "its layers get none, and because convolutions are larger.",
        hints=("A is 4 × 64.", "B is 64 × 4.", "(256 + 256) / 4096"),
        mistakes={"That is one of the two matrices.": 6.25, "That is rank 8.": 25,
                  "That is rank 1.": 3.125,
                  "That is the share itself; the question asks for percent.": 0.125,
                  "That is how many numbers they are, and not their share.": 512}),
    Exercise(
        "8.4", "Who moves first?", "code", stars=2, minutes=20, reference=first_gradients(), cases=gradient_cases,
        run=handed_over,
        prompt="The layer says y = W x + B A x, and g is the gradient of the loss with respect to y, one row per "
               "input. Return the gradients of A and of B. Then look at your formulas: which of them is zero while B "
               "is zero?",
        signature="my_gradients(g, x, A, B)",
        shapes="g (N, out), x (N, in), A (r, in), B (out, r) -> a tuple: gradient of A (r, in), gradient of B (out, r)",
        hints=("The gradient of the whole change, as if it were one matrix, is `g.T @ x`, (out, in).",
               "y changes by B dA x, and by dB A x.", "`B.T @ g.T @ x, g.T @ (x @ A.T)`"),
        mistakes={
            "A's gradient needs B and g, but you used only A and x.":
                first_gradients(down=lambda g, x, A, B: A @ x.T @ x),
            "B's gradient is g times A x, because dB is multiplied by A x.":
                first_gradients(up=lambda g, x, A, B: g.T @ (x @ x.T @ x @ A.T)),
            "A's gradient has the wrong sign.": first_gradients(down=lambda g, x, A, B: -B.T @ g.T @ x),
            "You gave B's gradient first; A's is asked for first.":
                lambda g, x, A, B: torch.cat([(g.T @ (x @ A.T)).flatten(), (B.T @ g.T @ x).flatten()]),
            "B's gradient has the wrong sign.": first_gradients(up=lambda g, x, A, B: -g.T @ (x @ A.T)),
            "You took the mean over the inputs, but their gradients add up.":
                first_gradients(lambda g, x, A, B: B.T @ g.T @ x / len(x), lambda g, x, A, B: g.T @ (x @ A.T) / len(x))
        }),
    Exercise(
        "8.5", "How low is low?", "code", stars=2, minutes=20, reference=truncated(), cases=change_cases,
        prompt="A full training has changed a weight by ΔW. Return the matrix of rank r that is nearest to it.",
        signature="my_nearest(change, r)", shapes="change (out, in), r an integer >= 1 -> (out, in)",
        hints=("`U, S, V = torch.linalg.svd(change, full_matrices=False)`; `V` has the right singular vectors as rows.",
               "Keep the r largest singular values, which come first.", "`U[:, :r] * S[:r] @ V[:r]`"),
        mistakes={
            "You kept the smallest singular values instead of the largest.":
                truncated(lambda S, r: S[-r:], lambda U, r: U[:, -r:], lambda V, r: V[-r:]),
            "You kept only the r-th direction; all of the first r are wanted.":
                truncated(lambda S, r: S[r - 1:r], lambda U, r: U[:, r - 1:r], lambda V, r: V[r - 1:r]),
            "The singular values are missing.": truncated(lambda S, r: torch.ones(r)),
            "That is the matrix itself, whose rank is full.":
                truncated(lambda S, r: S, lambda U, r: U, lambda V, r: V),
            "You squared the singular values. The squares only tell you how much is kept.":
                truncated(lambda S, r: S[:r] ** 2)}),
    Exercise(
        "8.6", "A convolution, too", "code", stars=2, minutes=20, reference=convolved(), cases=conv_cases,
        prompt="Write LoRA for a convolution with a 3×3 kernel and padding 1: A looks at 3×3 places and finds r "
               "numbers, and B turns these r numbers into channels.",
        signature="my_conv_lora(x, W, A, B)",
        shapes="x (N, in, H, W), W (out, in, 3, 3), A (r, in, 3, 3), B (out, r) -> (N, out, H, W)",
        hints=("`F.conv2d(x, W, padding=1)` is what the frozen layer says.", "A is a small convolution of its own, B "
               "one with a kernel of 1×1.",
               "The frozen answer, plus `F.conv2d(F.conv2d(x, A, padding=1), B[:, :, None, None])`"),
        mistakes={
            "Your A looks at one place only, the middle of its kernel.":
                convolved(lambda A: F.pad(A[:, :, 1:2, 1:2], (1, 1, 1, 1))),
            "Your A looks at the mean of the nine places.":
                convolved(lambda A: A.mean((2, 3), keepdim=True).expand_as(A)),
            "Your kernel is flipped; torch's convolution does not flip.": convolved(lambda A: A.flip(2, 3)),
            "The change is subtracted.": convolved(mix=lambda B: -B[:, :, None, None]),
            "The change is counted twice.": convolved(mix=lambda B: 2 * B[:, :, None, None])}),
    Exercise(
        "8.7", "Twelve numbers", "open", stars=2, minutes=25, reference=one_direction, goal=turned_by_one,
        prompt="A layer of 35 weights should answer differently: for 101 inputs you are told how much its answers "
               "should change. Find a change of rank one, 12 numbers, that does at least 95 % of it. Training is "
               "allowed, but a formula exists.",
        signature="my_change(inputs, wanted)",
        shapes="inputs (N, 7), wanted (N, 5): how the answers should change -> a tuple, B (5, 1) and A (1, 7)",
        hints=("Which full matrix M has `inputs @ M.T` nearest to `wanted`? `torch.linalg.lstsq` finds it.",
               "Exercise 8.5 has the best matrix of rank one.", "`U, S, V = torch.linalg.svd(M)`; then "
               "`S[0] * U[:, :1], V[:1]`."),),
    Exercise(
        "8.8", "What an old caption costs", "code", stars=1, minutes=15, reference=both_losses(), cases=loss_cases,
        prompt="Write the loss with prior preservation: the mean loss of the pictures of the new word, and `weight` "
               "times the mean loss of the machine's own old drawings.",
        signature="my_loss(loss, new_batch, old_batch, weight)",
        shapes="loss(batch) -> (N,), a value per picture; two batches of different sizes, weight a number -> a number",
        hints=("Each batch has its own mean.", "Only the second mean is multiplied by `weight`.",
               "`loss(new_batch).mean() + weight * loss(old_batch).mean()`"),
        mistakes={
            "One mean over both batches gives the larger batch more influence.":
                lambda loss, new_batch, old_batch, weight: torch.cat(
                    [loss(new_batch), weight * loss(old_batch)]).mean(),
            "The weight belongs to the old drawings.":
                lambda loss, new_batch, old_batch, weight: weight * loss(new_batch).mean() + loss(old_batch).mean(),
            "The new pictures keep their whole weight: it is not shared between the two.":
                lambda loss, new_batch, old_batch, weight: (1 - weight) * loss(new_batch).mean()
                + weight * loss(old_batch).mean(),
            "The old drawings are missing, and will be forgotten.": both_losses(old=0),
            "The new pictures are missing, so nothing new is learned.": both_losses(new=0),
            "Your second term uses the new pictures again.": both_losses(past=lambda new, old: new)}),
    Exercise(
        "8.9", "In and out", "pair", stars=1, minutes=15, reference=merging(), cases=merge_cases, run=there_and_back,
        prompt="Write `merge`, which adds a LoRA to the weight with a strength, and `unmerge`, which takes it out "
               "again.",
        signature="merge(W, A, B, strength)\nunmerge(W, A, B, strength)",
        shapes="W (out, in), A (r, in), B (out, r), strength a number -> the new weight (out, in)\n"
               "the merged weight (out, in), and the same A, B, strength -> the old weight (out, in)",
        hints=("The change is `B @ A`.", "The strength multiplies it.",
               "`W + strength * B @ A`, and back with a minus."),
        mistakes={
            "The strength is missing.": (lambda W, A, B, s: W + B @ A, lambda W, A, B, s: W - B @ A),
            "Your merge subtracts.": merging(-1, 1),
            "Your unmerge adds the change once more.": merging(1, 1),
            "Your change is transposed.": merging(order=lambda A, B: (B @ A).T),
            "Your unmerge undoes only half.": merging(back=-0.5)}),
    Exercise(
        "8.10", "Find the bug: once more", "bug", stars=2, minutes=15, broken=put_to_use, reference=merged_once(),
        cases=use_cases,
        prompt="This LoRA merges itself when the model is put to use. The pictures get stranger each time somebody "
               "puts it to use. Fix it.",
        hints=("What happens when it runs a second time?", "`merged` says whether it has run.",
               "`if merged: return W` before anything else."),
        mistakes={
            "Now it never merges, so the LoRA has no effect at all.": merged_once(add=0),
            "It merges only if it is merged already.": merged_once(when=lambda merged: merged),
            "The second call takes the LoRA out again. That belongs in `train()`.":
                lambda W, A, B, merged: W - B @ A if merged else W + B @ A,
            "Adding half each time is too little the first time and too much the third time.":
                lambda W, A, B, merged: W + B @ A / 2}),
    Exercise(
        "8.11", "Find the bug: ranks of all sizes", "bug", stars=2, minutes=15, broken=load_changes, reference=loaded(),
        cases=file_cases,
        prompt="A file of LoRAs with different ranks loads without an error, but some layers hardly change. Fix the "
               "loader.",
        hints=("Which rank is in `rank`?", "The second layer has rank 8.", "Each layer has its own: `len(A)`."),
        mistakes={
            "Where the file gives α, you have to use it.": loaded(lambda A, alpha, file: 1),
            "Where the file does not give α, α equals the rank, so the scale is 1.":
                loaded(lambda A, alpha, file: (alpha or 1) / len(A)),
            "You divided by the largest rank.":
                loaded(lambda A, alpha, file: (alpha or len(A)) / max(len(one[0]) for one in file)),
            "α is not divided by the rank.": loaded(lambda A, alpha, file: alpha or 1)}),
    Exercise(
        "8.12", "Find the bug: trembling pictures", "bug", stars=1, minutes=10, broken=answer_with_lora,
        reference=silenced(), cases=dropout_cases,
        prompt="The same seed gives a different picture each time this LoRA is used. Fix it, but keep the dropout in "
               "training.",
        hints=("Where does chance enter?", "Is `training` used?", "`if training` before the dropout."),
        mistakes={
            "You turned it around: now there is dropout in use, but not in training.":
                silenced(lambda training: not training),
            "Now there is no dropout in training, either.": silenced(lambda training: False),
            "`kept` holds the factor 1 / 0.9 already.": silenced(scale=1 / 0.9),
            "The frozen layer must see all of its input, even in training.": silenced(all_of_it=True)}),
]
