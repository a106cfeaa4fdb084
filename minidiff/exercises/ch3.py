"""Chapter 3, on `03_clip.ipynb`: a scale, arrows, three losses, what is true of what, search, captions, a space."""

import math
from types import SimpleNamespace

import torch
from torch.nn import functional as F

from minidiff.data.captions import SIZES, UNSAID, WORDS, all_combinations, is_true_of, parse, sentence
from minidiff.evaluation.metrics import recall_at
from minidiff.exercises.form import Exercise, randn
from minidiff.models.clip import Clip, contrastive_loss, sigmoid_loss


def clip_logits(pictures, captions, log_scale):
    """`Clip.logits` of arrows that are not yet of length one."""
    return Clip.logits(SimpleNamespace(log_scale=log_scale), F.normalize(pictures, dim=1), F.normalize(captions, dim=1))


def scaled(scale=lambda s: s.exp().clamp(max=100), norm=lambda x: F.normalize(x, dim=1)):
    """Somebody's logits."""
    return lambda pictures, captions, log_scale: scale(log_scale) * norm(pictures) @ norm(captions).T


def kinds_cases():
    """In the first batch both are in one order; in the second neither the order nor the numbers agree."""
    kind = torch.tensor([0, 3, 0, 1, 3, 0, 2])
    return [(randn(1, 7, 7), kind, kind),
            (3 * randn(2, 5, 5), torch.tensor([1, 1, 2, 2, 2]), torch.tensor([2, 1, 2, 2, 2]))]


def finding(one_way=lambda s, p: -((p / p.sum(1, keepdim=True)) * s.log_softmax(1)).sum(1).mean(), both=True):
    """Somebody's contrastive loss."""
    def answer(logits, seen, said):
        p = (seen[:, None] == said).float()
        return (one_way(logits, p) + one_way(logits.T, p)) / 2 if both else one_way(logits, p)

    return answer


def yes_or_no(sign=lambda p: torch.where(p, 1.0, -1.0), inside=lambda z, s, bias: z * (s + bias), mean=None):
    """Somebody's sigmoid loss."""
    def answer(logits, positive, bias):
        loss = -F.logsigmoid(inside(sign(positive), logits, bias))
        return loss.sum(1).mean() if mean is None else mean(loss, positive)

    return answer


def soft_loss(pictures, captions, temperature):
    """pictures, captions (B, D), of any length, pair i belongs together -> the contrastive loss, a number"""
    logits = captions @ pictures.T / temperature
    alike = (pictures @ pictures.T + captions @ captions.T) / 2
    targets = F.softmax(alike * temperature, dim=-1)             # what is alike should be found, too
    find_picture = F.cross_entropy(logits, targets)
    find_caption = F.cross_entropy(logits.T, targets.T)
    return (find_picture + find_caption) / 2


def mended(norm=lambda x: F.normalize(x, dim=1), targets=lambda p, c, t: torch.eye(len(p)), scale=lambda t: 1 / t):
    """Somebody's repair of it."""
    def answer(pictures, captions, temperature):
        p, c = norm(pictures), norm(captions)
        logits, wanted = scale(temperature) * c @ p.T, targets(p, c, temperature)
        return (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted.T)) / 2

    return answer


def soft_targets(p, c, t):
    return ((p @ p.T + c @ c.T) / 2 * t).softmax(-1)


SAID = [(7, 0, 2, 0), (0, 0, 0, 0), (-1, -1, -1, -1), (-1, 5, -1, 2), (9, -1, 1, -1), (0, 3, -1, 1), (-1, -1, 0, 0)]


def facts_case(seed, M, B):
    """Sentences, some words unsaid and some digits zero, and pictures of which some are true."""
    pictures = (randn(seed, B, 4).abs() * 2).long().clamp_max(2)
    said = pictures[torch.arange(M) % B].where(randn(seed + 1, M, 4) > 0, UNSAID)
    said[0], said[1, 0] = UNSAID, 2
    return said, pictures


def search_cases():
    """Many true answers; one alone for each question, at a known rank; fewer pictures than questions."""
    one = torch.zeros(5, 17, dtype=torch.bool)
    one[range(5), randn(8, 5, 17).argsort(1, descending=True)[range(5), [0, 3, 6, 6, 11]]] = True
    return [*((k, randn(5, 11, 17), randn(6, 11, 17) > 0.7) for k in (1, 3)), (7, randn(8, 5, 17), one),
            (2, randn(7, 5, 3), torch.eye(5, 3, dtype=torch.bool).roll(1, 0) | torch.tensor([True, False, False]))]


def found(good=lambda true, k: true[:, :k].any(1), axis=1, falling=True):
    """Somebody's recall: what is true, in the order of their ranking, and when they count it as found."""
    def answer(k, similarity, true):
        return good(true.gather(axis, similarity.argsort(axis, descending=falling)), k).float().mean().item()

    return answer


def both_ways(pair, row):
    """How a pair of caption functions is tried: the sentence, and the attributes that are read from the true one."""
    said, read = pair[0](list(row)), pair[1](sentence(row))
    return None if said is None or read is None else {"the sentence": said, "the attributes": tuple(read)}


def speaking(order="stroke color digit lean", unsaid=lambda a: a == UNSAID, dull=()):
    """Somebody's `sentence`."""
    def answer(row):
        said = {"digit": "digit"} | {kind: words[a] for (kind, words), a in zip(WORDS.items(), row)
                                     if not unsaid(a) and words[a] not in dull}
        return " ".join(["a", *(said[kind] for kind in order.split() if kind in said)])

    return answer


def hearing(missing=UNSAID):
    """Somebody's `parse`."""
    return lambda caption: tuple(next((i for i, word in enumerate(words) if word in caption), missing)
                                 for words in WORDS.values())


def one_space(make):
    """Whether all 630 arrows are read right by the arrows of the words, with at most eight numbers each."""
    if (made := make()) is None:
        return None, ""
    pictures, words = made
    if len(pictures) != 630 or [len(w) for w in words] != list(SIZES):
        return False, f"630 pictures and {SIZES} words are asked for, got {len(pictures)} and {[len(w) for w in words]}"
    lengths = torch.cat([pictures, *words]).norm(dim=1)
    read = torch.stack([(pictures @ w.T).argmax(1) for w in words], 1)
    right, D = (read == all_combinations()).float().mean().item(), pictures.shape[1]
    one = bool((lengths - 1).abs().max() < 1e-4)
    return right == 1 and one and D <= 8, (f"D = {D}, the goal is 8 (7 is possible); {right:.1%} of the words are read "
                                           f"right; the arrows {'have' if one else 'do not all have'} length one")


def circles():
    """Each kind of word on a circle of its own: two numbers for digits, two for colors, strokes and leans."""
    angles = [2 * math.pi * torch.arange(size) / size for size in SIZES]
    words = [torch.zeros(size, 8) for size in SIZES]
    for i, (angle, arrows) in enumerate(zip(angles, words)):
        arrows[:, 2 * i], arrows[:, 2 * i + 1] = angle.cos(), angle.sin()
    return sum(w[column] for w, column in zip(words, all_combinations().T)) / 2, words


EXERCISES = [
    Exercise(
        "3.1", "How sharp?", "number", stars=1, minutes=5, tolerance=0.02,
        reference=lambda: math.log(0.9 / 0.1 * 255),
        prompt="Of 256 captions one fits with the cosine 1, all others have 0. By which scale must the cosines be "
               "multiplied, so that the softmax gives 90 % to the one that fits? Two decimals.",
        hints=("With the scale s the right one has e^s, and each of the others e⁰ = 1.",
               "Solve e^s / (e^s + 255) = 0.9 for e^s: it is 9 · 255.", "The natural logarithm of 2,295."),
        reason="e^s must be nine times the 255 others together; the more captions in a batch, the larger the scale, "
               "but only as a logarithm.",
        mistakes={"That gives it half: e^s is then as much as the 255 others together, and it must be nine times that.":
                      math.log(255),
                  "That would do for a single rival; there are 255, each with e⁰ = 1.": math.log(9),
                  "You took the logarithm to the base 10; the softmax is made of powers of e.": math.log10(9 * 255)}),
    Exercise(
        "3.2", "From vectors to logits", "code", stars=1, minutes=10, reference=clip_logits,
        prompt="Two towers gave vectors of any length. Make arrows of them, take all cosines, and multiply them by the "
               "learned scale. CLIP learns the scale's *logarithm*, and never lets the scale be more than 100.",
        signature="my_logits(pictures, captions, log_scale)",
        shapes="pictures (B, D), captions (M, D), log_scale a tensor () -> (B, M)",
        cases=lambda: [(randn(1, 5, 11), randn(2, 7, 11), torch.tensor(2.3)),
                       (randn(3, 3, 2), randn(4, 5, 2), torch.tensor(5.0))],
        hints=("A cosine is the dot product of two arrows of length one.",
               "`F.normalize(pictures, dim=1)` makes each *row* one long.",
               "`log_scale.exp().clamp(max=100) * p @ c.T`."),
        mistakes={
            "The arrows do not have length one: without that it is no cosine, and long vectors win everything.":
                scaled(norm=lambda x: x),
            "Normalized along the wrong axis: each row, that is each picture, must have length one (`dim=1`).":
                scaled(norm=lambda x: F.normalize(x, dim=0)),
            "`log_scale` is a logarithm: the scale is its exponential.": scaled(lambda s: s),
            "Upside down: the scale multiplies (it is one divided by the temperature).": scaled(lambda s: (-s).exp()),
            "The scale may not be more than 100: `.clamp(max=100)`, after the exponential.":
                scaled(lambda s: s.exp())}),
    Exercise(
        "3.3", "Several may be right", "code", stars=2, minutes=20, cases=kinds_cases,
        reference=lambda logits, seen, said: contrastive_loss(logits, seen[:, None] == said),
        prompt="`seen[i]` is the kind of picture i, `said[j]` the kind that caption j names. They belong together "
               "where these are equal. Write the contrastive loss with several right ones, both ways.",
        signature="my_loss(logits, seen, said)",
        shapes="logits (B, B), seen, said (B,) integers -> a number, a tensor ()",
        hints=("`positive = seen[:, None] == said` is the table of what belongs together.",
               "Row by row: the mean of `logits.log_softmax(1)` over the right ones, with a minus sign.",
               "The same for `logits.T` with `positive.T`; then half of the sum of both."),
        mistakes={
            "Only the diagonal is right for you: equal kinds belong together, too, and you punish them.":
                finding(lambda s, p: -s.log_softmax(1).diagonal().mean()),
            "You summed over the right ones; take their mean, or kinds with many pictures count more.":
                finding(lambda s, p: -(p * s.log_softmax(1)).sum(1).mean()),
            "That is −log of the *sum* of the right shares, for which a single one found is enough; it is the mean of "
            "their −log.": finding(lambda s, p: -(p * s.softmax(1)).sum(1).log().mean()),
            "Only one direction: each caption must find its pictures, too; half of both.": finding(both=False),
            "Both directions are added; take half of the sum.":
                finding(lambda s, p: -2 * ((p / p.sum(1, keepdim=True)) * s.log_softmax(1)).sum(1).mean()),
            "The softmax goes down the columns while you sum along the rows: both must be the same axis.":
                finding(lambda s, p: -((p / p.sum(1, keepdim=True)) * s.log_softmax(0)).sum(1).mean())}),
    Exercise(
        "3.4", "Yes or no", "code", stars=2, minutes=10, reference=sigmoid_loss,
        prompt="SigLIP asks of each pair alone: do they belong together? The loss of a pair is −log sigmoid(z (logit + "
               "bias)), with z = +1 for yes and −1 for no. Sum along each row, then take the mean over the rows.",
        signature="my_sigmoid_loss(logits, positive, bias)",
        shapes="logits (B, M), positive (B, M) bool, bias a number -> a number, a tensor ()",
        cases=lambda: [(randn(5, 5, 7), randn(6, 5, 7) > 0.5, -3.0), (randn(7, 3, 2), randn(8, 3, 2) > 0, 0.7)],
        hints=("`torch.where(positive, 1.0, -1.0)` is z.", "`F.logsigmoid` is safer than the logarithm of a sigmoid.",
               "`-F.logsigmoid(z * (logits + bias)).sum(1).mean()`."),
        mistakes={
            "You took the mean over all pairs: sum along a row, and take the mean of the rows.":
                yes_or_no(mean=lambda loss, p: loss.mean()),
            "You summed over everything: take the mean over the rows.": yes_or_no(mean=lambda loss, p: loss.sum()),
            "The bias is missing: without it a new network says yes to half of all pairs.":
                yes_or_no(inside=lambda z, s, bias: z * s),
            "The bias is outside of the sign: z (logit + bias).": yes_or_no(inside=lambda z, s, bias: z * s + bias),
            "No is −1, not 0: with 0 a pair that does not belong together teaches nothing.":
                yes_or_no(lambda p: p.float()),
            "Yes and no are exchanged: z = +1 where they belong together.": yes_or_no(lambda p: 1 - 2 * p.float()),
            "Only the pairs that belong together count for you; the noes must be learned, too.":
                yes_or_no(mean=lambda loss, p: (loss * p).sum(1).mean())}),
    Exercise(
        "3.5", "Find the bugs: soft targets", "bug", stars=2, minutes=20, broken=soft_loss,
        prompt="A much-read CLIP had this loss (moein-shariatnia/OpenAI-CLIP, issues 16 and 27, mended in pull request "
               "28): all arrows became one. Two things are wrong with it. Mend both, for a batch in which caption i "
               "belongs to picture i, and to no other.",
        hints=("What is the loss if all pictures and all captions have the same vector, and it is a very long one?",
               "The targets must not come from the network itself: caption i, picture i. And a cosine needs length "
               "one.",
               "`F.normalize` both, and `targets = torch.arange(len(logits))`, in both directions."),
        reference=lambda pictures, captions, t: contrastive_loss(
            F.normalize(pictures, dim=1) @ F.normalize(captions, dim=1).T / t, torch.eye(len(pictures)).bool()),
        cases=lambda: [(randn(9, 7, 5), randn(10, 7, 5), 0.5), (2 * randn(11, 3, 2), randn(12, 3, 2), 1.3)],
        mistakes={
            "The arrows have length one now, but the network still makes its own targets.":
                mended(targets=soft_targets),
            "The targets are right now, but the arrows are of any length: long ones win.": mended(norm=lambda x: x),
            "Normalized along the wrong axis: each row must have length one.":
                mended(norm=lambda x: F.normalize(x, dim=0)),
            "A temperature divides: cold is sharp.": mended(scale=lambda t: t)}),
    Exercise(
        "3.6", "Nothing but the truth", "code", stars=1, minutes=10, reference=is_true_of,
        prompt="A caption is true of a picture if each word that it says is. Words that are not said (UNSAID, −1) are "
               "not false. Say it for all pairs at once. This is the table `positive` of the loss.",
        signature="my_is_true(said, pictures)",
        shapes="said (M, 4), pictures (B, 4), attributes as integers -> (B, M) bool",
        cases=lambda: [facts_case(1, 7, 5), facts_case(3, 3, 11)],
        hints=("`said[None]` is (1, M, 4), `pictures[:, None]` is (B, 1, 4): together all pairs.",
               "A word is all right if it is equal *or* unsaid.", "`((a == b) | (a == -1)).all(-1)`."),
        mistakes={
            "Silence is not a lie: where the caption says nothing (−1), it is true.":
                lambda said, pictures: (said[None] == pictures[:, None]).all(-1),
            "One true word is not enough: *all* that is said must be true.":
                lambda said, pictures: ((said[None] == pictures[:, None]) | (said[None] == UNSAID)).any(-1),
            "The table lies on its side: a row for each picture, a column for each caption, (B, M).":
                lambda said, pictures: is_true_of(said, pictures).T,
            "0 is a word (zero, red, thin, leaning left); unsaid is −1.":
                lambda said, pictures: ((said[None] == pictures[:, None]) | (said[None] <= 0)).all(-1),
            "You counted the words that are all right; the question is whether all of them are.":
                lambda said, pictures: ((said[None] == pictures[:, None]) | (said[None] == UNSAID)).sum(-1)}),
    Exercise(
        "3.7", "Among the first k", "code", stars=2, minutes=10, reference=recall_at, cases=search_cases,
        prompt="Recall at k: the share of questions (rows) for which at least one true answer is among the k most "
               "similar. Write it.",
        signature="my_recall(k, similarity, true)",
        shapes="k an integer, similarity (B, M), true (B, M) bool, one True in each row -> a number",
        hints=("`similarity.topk(k, dim=1).indices` says which k are the best of each row.",
               "`true.gather(1, best)` is (B, k): are they true?", "`.any(1).float().mean()`."),
        mistakes={
            "That is precision, the share of the first k that are true; one true answer is enough here.":
                found(lambda true, k: true[:, :k].float().mean(1)),
            "Not all of the first k need to be true; one is enough.": found(lambda true, k: true[:, :k].all(1)),
            "The ranking is upside down: the most similar come first.": found(falling=False),
            "Along the wrong axis: a row is a question, so the ranking goes along the row.":
                found(lambda true, k: true[:k].any(0), axis=0),
            "Only the very first counts for you; the first k do.": found(lambda true, k: true[:, 0]),
            "That is the share of all true answers that are found; here one for each question is enough.":
                found(lambda true, k: true[:, :k].sum(1) / true.sum(1))}),
    Exercise(
        "3.8", "Say it, read it", "pair", stars=2, minutes=20, run=both_ways, cases=lambda: [(row,) for row in SAID],
        prompt="Work in pairs: one turns four attributes (digit, color, stroke, lean; −1 is unsaid) into a caption, "
               "the other reads the caption. \"a thick red seven leaning left\" is [7, 0, 2, 0]; a digit that is not "
               "said is called \"digit\". The words are in `minidiff.data`: DIGITS, COLORS, STROKES, LEANS.",
        signature="my_sentence(attributes)\nmy_parse(caption)",
        shapes="four integers: digit, color, stroke, lean -> a string\na string -> four integers",
        hints=("The order in the sentence: a, stroke, color, digit, lean.",
               "`STROKES[-1]` is a word in Python: ask first whether a word is said.",
               "To read: for each kind, the place of the word that is in the caption, else −1."),
        reference=(sentence, parse),
        mistakes={
            "The order: a, stroke, color, digit, lean; \"a thick red seven\".":
                (speaking("color stroke digit lean"), parse),
            "`words[-1]` is the last word in Python, so that an unsaid digit became a nine. Ask for −1 first.":
                (speaking(unsaid=lambda a: False), parse),
            "0 counts as unsaid for you (`if attribute:`); it is a word: zero, red, thin, leaning left.":
                (speaking(unsaid=lambda a: a <= 0), parse),
            "*plain* and *upright* are words like the others: who leaves them out says nothing.":
                (speaking(dull=("plain", "upright")), parse),
            "The sentences are right; but what is not said must be read as −1, not as 0.": (sentence, hearing(0)),
            "The sentences are right; but what is not said must be read as −1, not as None.": (sentence, hearing(None)),
            "The sentences are right; but \"leaning left\" is two words, and `split` takes it apart.":
                (sentence, lambda text: (*parse(text)[:3], 1 if "upright" in text else UNSAID)),
            "What comes out is what went in: such a round trip always closes.":
                (lambda row: row, lambda text: text)}),
    Exercise(
        "3.9", "A space by hand", "open", stars=3, minutes=40, reference=circles, goal=one_space,
        prompt="CLIP has 64 numbers for an arrow. How few would do? Build arrows of length one for all 630 "
               "combinations (in the order of `all_combinations()`) and for the 10 + 7 + 3 + 3 words, such that for "
               "each kind the nearest word is the right one, everywhere. The goal: D = 8 at most.",
        signature="my_space()", shapes="-> pictures (630, D), and a list of words [(10, D), (7, D), (3, D), (3, D)]",
        hints=("Words of one kind must be told apart; words of different kinds may be at right angles.",
               "Two numbers are a circle, and on a circle as many words have room as you like.",
               "Each kind has two numbers of its own, with its words evenly on a circle. A picture is the sum of its "
               "four words, divided by 2, which has length one.")),
]
