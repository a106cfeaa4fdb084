"""The exercise checker: right answers pass in any style, named mistakes get their sentences, nothing is raised."""

import importlib
import io
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from minidiff.data import COLORS, DIGITS, LEANS, STROKES, all_combinations, detokenize, parse, sentence, tokenize
from minidiff.exercises import (
    KINDS,
    Result,
    all_exercises,
    answers,
    check,
    difference,
    exercise_code,
    exercise_markdown,
    judge,
    main,
    template,
    tried,
)

EVERY = all_exercises()
FUNCTIONS = [e for e in EVERY.values() if e.kind in ("code", "bug", "pair")]
NOTEBOOKS = {path: ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]
             for path in Path(__file__).parents[1].glob("notebooks/*.ipynb")}
ANSWERS = {}                                                     # id -> right answers in another style


def ids(exercise):
    return exercise.id


def other(id):
    """Mark a function (or what it returns, for a pair) as another right answer to an exercise."""
    def keep(answer):
        ANSWERS.setdefault(id, []).append(answer() if EVERY[id].kind == "pair" else answer)
        return answer

    return keep


# ------------------------------------------------------------------ right answers, written as somebody else would


@other("1.2")
def noise_picture_by_picture(x0, t, eps, alpha_bar):
    out = torch.zeros_like(x0)
    for i in range(len(x0)):
        a = float(alpha_bar[int(t[i])])
        out[i] = math.sqrt(a) * x0[i] + math.sqrt(1 - a) * eps[i]
    return out


@other("1.2")
def noise_with_axes_turned(x0, t, eps, alpha_bar):
    a = alpha_bar[t].double()
    return (a**0.5 * x0.transpose(0, -1) + (1 - a) ** 0.5 * eps.transpose(0, -1)).transpose(0, -1)


@other("1.3")
def through_the_angle():
    def angle(t, schedule, like):
        return torch.arccos(schedule.at(t, like.double()).sqrt())

    def to_v(eps, xt, t, schedule):
        phi = angle(t, schedule, xt)
        x0 = (xt - phi.sin() * eps) / phi.cos()
        return phi.cos() * eps - phi.sin() * x0

    def back(v, xt, t, schedule):
        phi = angle(t, schedule, xt)
        return phi.sin() * xt + phi.cos() * v

    return to_v, back


@other("1.5")
def height_by_loops(means, std, xt, a):
    out = []
    for x, y in xt.tolist():
        v = a * std**2 + 1 - a
        heights = [math.exp(-((x - a**0.5 * mx) ** 2 + (y - a**0.5 * my) ** 2) / (2 * v)) / (2 * math.pi * v)
                   for mx, my in means.tolist()]
        out.append(math.log(sum(heights) / len(heights)))
    return torch.tensor(out)


@other("1.5")
def height_by_the_library(means, std, xt, a):
    spread = torch.full_like(means, (a * std**2 + 1 - a) ** 0.5)
    parts = torch.distributions.Independent(torch.distributions.Normal(a**0.5 * means, spread), 1)
    return torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(len(means))), parts).log_prob(xt)


@other("1.6")
def average_by_a_step(shadow, weights, updates, decay):
    n = updates + 1
    return torch.lerp(shadow.double(), weights.double(), max(1 - decay, 9 / (10 + n)))


@other("1.7")
def step_through_the_posterior(eps, xt, t, s, schedule, z):
    a_t, a_s = (schedule.alpha_bar[i].item() for i in (t, s))
    x0 = (xt - math.sqrt(1 - a_t) * eps) / math.sqrt(a_t)
    if s == 0:
        return x0
    precision = 1 / (1 - a_s) + (a_t / a_s) / (1 - a_t / a_s)    # Bayes: of xs given x0, and of xt given xs
    mean = (math.sqrt(a_s) * x0 / (1 - a_s) + math.sqrt(a_t / a_s) * xt / (1 - a_t / a_s)) / precision
    return mean + z / math.sqrt(precision)


@other("1.8")
def schedule_by_a_loop(levels):
    out = [1.0]
    for i in range(levels):
        out.append(out[-1] * (1 - 1000 / levels * (0.0001 + 0.0199 * i / (levels - 1))))
    return torch.tensor(out)


@other("2.2")
def listening_text_by_text(q, k, v, lengths):
    heard = []
    for i, n in enumerate(lengths.tolist()):
        shares = torch.exp(q[i] @ k[i, :n].T / q.shape[-1] ** 0.5)
        heard.append(shares @ v[i, :n] / shares.sum(1, keepdim=True))
    return torch.stack(heard)


@other("2.2")
def listening_by_the_library(q, k, v, lengths):
    mask = torch.arange(k.shape[1]).expand(len(k), 1, -1) < lengths.view(-1, 1, 1)
    return F.scaled_dot_product_attention(q, k, v, mask.expand(-1, q.shape[1], -1))


@other("2.3")
def heads_by_slices():
    def cut(x, heads):
        d = x.shape[-1] // heads
        return torch.stack([x[..., d * i:d * (i + 1)] for i in range(heads)], 1)

    def together(y, heads):
        return torch.cat([y[:, i] for i in range(heads)], -1)

    return cut, together


@other("2.4")
def cross_head_by_head(places, caption, to_q, to_k, to_v, heads):
    out = []
    asked = ((places, to_q), (caption, to_k), (caption, to_v))
    for q, k, v in zip(*((x @ w).double().chunk(heads, -1) for x, w in asked)):
        out.append(F.scaled_dot_product_attention(q, k, v))
    return torch.cat(out, -1)


@other("2.5")
def heads_by_the_library(x, to_q, to_k, to_v, heads):
    q, k, v = ((x @ w).unflatten(-1, (heads, -1)).movedim(2, 1) for w in (to_q, to_k, to_v))
    return F.scaled_dot_product_attention(q, k, v).movedim(1, 2).flatten(2)


@other("2.6")
def block_in_place_of_sums(x, attention, mlp, norm1, norm2):
    x = torch.add(attention(norm1(x)), x)
    return torch.stack([x, mlp(norm2(x))]).sum(0)


@other("2.7")
def surprise_by_loops(logits, ids):
    out = torch.zeros(len(ids), ids.shape[1] - 1)
    for b in range(len(ids)):
        for i in range(ids.shape[1] - 1):
            if (word := int(ids[b, i + 1])) != 0:
                out[b, i] = math.log(sum(math.exp(x) for x in logits[b, i].tolist())) - logits[b, i, word]
    return out


@other("2.8")
def shares_row_by_row(logits, temperature, top_k):
    out = torch.zeros(logits.shape, dtype=torch.float64)
    for row, given in zip(out, logits.tolist()):
        best = sorted(range(len(given)), key=lambda i: -given[i])[:top_k]
        powers = {i: math.exp(given[i] / temperature) for i in best}
        for i in best:
            row[i] = powers[i] / sum(powers.values())
    return out


@other("3.2")
def cosines_by_the_library(pictures, captions, log_scale):
    return min(math.exp(float(log_scale)), 100.0) * F.cosine_similarity(pictures[:, None], captions[None], dim=-1)


@other("3.3")
def loss_by_loops(logits, seen, said):
    total, n = 0.0, len(seen)
    for table, one, two in ((logits, seen, said), (logits.T, said, seen)):
        for i in range(n):
            right = [j for j in range(n) if one[i] == two[j]]
            total += sum(torch.logsumexp(table[i], 0) - table[i, j] for j in right) / len(right) / (2 * n)
    return total


@other("3.4")
def yes_or_no_by_the_library(logits, positive, bias):
    return F.binary_cross_entropy_with_logits(logits + bias, positive.double(), reduction="sum") / len(logits)


@other("3.5")
def loss_in_two_lines(pictures, captions, temperature):
    p, c = (x / x.norm(dim=1, keepdim=True) for x in (pictures, captions))
    logits, right = p @ c.T / temperature, torch.arange(len(p))
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


@other("3.6")
def truth_by_loops(said, pictures):
    return torch.tensor([[all(word in (-1, fact) for word, fact in zip(caption, picture))
                          for caption in said.tolist()] for picture in pictures.tolist()])


@other("3.7")
def recall_by_ranks(k, similarity, true):
    best_true = similarity.masked_fill(~true, -math.inf).amax(1, keepdim=True)
    return ((similarity > best_true).sum(1) < k).double().mean()


@other("3.8")
def captions_by_hand():
    def say(attributes):
        digit, color, stroke, lean = attributes
        words = ["a", *STROKES[stroke:stroke + 1] * (stroke > -1), *COLORS[color:color + 1] * (color > -1),
                 DIGITS[digit] if digit > -1 else "digit", *LEANS[lean:lean + 1] * (lean > -1)]
        return " ".join(words)

    def read(caption):
        out = [-1, -1, -1, -1]
        for word in caption.replace("leaning ", "leaning_").split():
            for i, kind in enumerate((DIGITS, COLORS, STROKES, LEANS)):
                if word.replace("_", " ") in kind:
                    out[i] = kind.index(word.replace("_", " "))
        return out

    return say, read


@other("4.2")
def hands_one_by_one(t, width):
    out = torch.zeros(len(t), width, dtype=torch.float64)
    for b, level in enumerate(t.tolist()):
        for i in range(width // 2):
            angle = level / 10_000 ** (2 * i / width)
            out[b, i], out[b, i + width // 2] = math.cos(angle), math.sin(angle)
    return out


@other("4.3")
def the_u_from_inside(x, downs, middle, ups):
    if not downs:
        return ups[0](torch.cat([middle(x), x], 1))
    deeper = the_u_from_inside(downs[0](x), downs[1:], middle, ups[:-1])
    return ups[-1](torch.cat([deeper, x], 1))


@other("4.4")
def folding_by_slices():
    def fold(x):
        corners = [x[..., row::2, column::2] for row in (0, 1) for column in (0, 1)]
        return torch.stack(corners, 2).flatten(1, 2)

    def unfold(y):
        x = y.new_zeros(len(y), y.shape[1] // 4, 2 * y.shape[2], 2 * y.shape[3])
        for i in range(4):
            x[..., i // 2::2, i % 2::2] = y[:, i::4]
        return x

    return fold, unfold


@other("4.5")
def error_of_the_picture(guess, eps, t, schedule):
    out = []
    for one, other_one, level in zip(guess.double(), eps.double(), t.tolist()):
        a = schedule.alpha_bar[level].item()
        wrong = ((1 - a) / a) ** 0.5 * (one - other_one)         # of x0
        out.append(min(a / (1 - a), 5) * (wrong**2).mean())
    return torch.stack(out)


@other("4.6")
def noise_of_the_cut_picture(eps, xt, t, schedule):
    out = eps.double()
    for i, level in enumerate(t.tolist()):
        a = schedule.alpha_bar[level].double()
        x0 = torch.minimum(torch.maximum((xt[i] - (1 - a).sqrt() * eps[i]) / a.sqrt(), -torch.ones(())), torch.ones(()))
        out[i] = (xt[i] - a.sqrt() * x0) / (1 - a).sqrt()
    return out


@other("4.7")
def known_by_mixing(xs, known, mask, t, s, schedule, z):
    a, share = float(schedule.alpha_bar[s]), mask.double()
    return share * (a**0.5 * known + (1 - a) ** 0.5 * z) + (1 - share) * xs


@other("4.8")
def walk_by_angles(denoise, x, schedule, steps):
    angles, levels = schedule.alpha_bar.double().sqrt().arccos(), []
    for i in range(steps + 1):
        levels.append(int(torch.tensor(schedule.levels * (1 - i / steps)).round()))
    for here, there in zip(levels[:-1], levels[1:]):
        eps = denoise(x, torch.tensor([here] * len(x)))
        x = (x - angles[here].sin() * eps) * (angles[there].cos() / angles[here].cos()) + angles[there].sin() * eps
        x = x.float()
    return x


@other("4.10")
def distance_through_the_singular_values(a, b):
    def centered(x):
        return (x - x.mean(0)) / (len(x) - 1) ** 0.5

    a_c, b_c = centered(a), centered(b)                          # trace of the root: singular values of the product
    cross = torch.linalg.svdvals(a_c @ b_c.T).sum()
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + (a_c**2).sum() + (b_c**2).sum() - 2 * cross


@other("5.2")
def decibels_by_a_loop(pictures, others):
    return torch.tensor([-20 * math.log10(math.sqrt(float(F.mse_loss(x, y))) / 2) for x, y in zip(pictures, others)])


@other("5.3")
def strokes_pixel_by_pixel(ink):
    out = []
    for picture in ink.tolist():
        edge = sum(math.hypot(row[x] - above[x], row[x] - row[x - 1])
                   for above, row in zip(picture, picture[1:]) for x in range(1, len(row)))
        out.append(2 * sum(map(sum, picture)) / edge)
    return torch.tensor(out)


@other("5.4")
def lean_as_a_regression(ink):
    out = []
    for picture in ink.double():
        rows = torch.arange(len(picture)).double()
        mass = picture.sum(1)
        place = (picture * torch.arange(picture.shape[1])).sum(1) / mass               # the center of each row
        mean = (mass * rows).sum() / mass.sum()
        slope = (mass * (rows - mean) * place).sum() / (mass * (rows - mean) ** 2).sum()
        out.append(-slope)
    return torch.stack(out)


@other("5.5")
def standing_by_the_library():
    def measured(seen):
        flat = seen.transpose(0, 1).flatten(1).double()
        return flat.mean(1).view(-1, 1, 1), torch.tensor([row.std() for row in flat]).view(-1, 1, 1)

    return (lambda z, seen: (z - measured(seen)[0]) / measured(seen)[1],
            lambda z, seen: torch.addcmul(measured(seen)[0].float(), z.float(), measured(seen)[1].float()))


@other("5.6")
def loss_by_distributions(pictures, mean, logvar, decode, weight, seed):
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed))
    cloud = torch.distributions.Normal(mean, logvar.exp().sqrt())
    kl = torch.distributions.kl_divergence(cloud, torch.distributions.Normal(0.0, 1.0))
    return F.mse_loss(decode(cloud.mean + cloud.stddev * noise), pictures) + weight * kl.mean()


@other("6.2")
def guidance_as_a_mixture(nothing, told, w, t, below):
    w = 0 if w == 0 else w if t < below else 1
    return torch.lerp(nothing.double(), told.double(), float(w))


@other("6.3")
def guidance_in_place_of_a_copy(out, w, channels):
    told, nothing = out.double().chunk(2)
    louder = (1 - w) * nothing + w * told
    return torch.cat([torch.cat([louder[:, :channels], half[:, channels:]], 1) for half in (told, nothing)])


@other("6.4")
def scores_by_counting(read, asked):
    counts = [0] * 5
    for one, two in zip(read.tolist(), asked.tolist()):
        hits = [a == b for a, b in zip(one, two)]
        counts = [count + hit for count, hit in zip(counts, [*hits, all(hits)])]
    return torch.tensor(counts) / len(read)


@other("6.5")
def numbers_by_looking_up():
    every = torch.cartesian_prod(*(torch.arange(-1, size) for size in (10, 7, 3, 3)))
    return (lambda said: torch.stack([(every == row).all(1).nonzero()[0, 0] for row in said]),
            lambda number: torch.stack([number // 128, number // 16 % 8, number // 4 % 4, number % 4], 1) - 1)


@other("6.6")
def from_a_picture_written_out(denoise, z, level, steps, schedule, noise):
    a = schedule.alpha_bar.double()
    x, t = a[level].sqrt() * z + (1 - a[level]).sqrt() * noise, level
    for i in range(1, steps + 1):
        s = int(torch.tensor(level - level * i / steps).round())
        eps = denoise(x.float(), torch.full((len(z),), t))
        x, t = a[s].sqrt() / a[t].sqrt() * (x - (1 - a[t]).sqrt() * eps) + (1 - a[s]).sqrt() * eps, s
    return x


@other("6.7")
def diversity_by_pairs(pictures, attributes):
    ink, kinds, found = (pictures.max(1).values + 1) / 2, attributes[:, [0, 2, 3]].tolist(), []
    for i in range(len(ink)):
        for j in range(i):
            if kinds[i] == kinds[j]:
                found.append(math.sqrt(((ink[i] - ink[j]) ** 2).mean()))
    return sum(found) / len(found)


@other("6.9")
def longer_caption_by_caption(score, captions):
    out = []
    for caption in captions:
        asked = parse(caption)
        rows = [r for r in all_combinations().tolist() if all(a in (-1, b) for a, b in zip(asked, r))]
        texts = tokenize([sentence(r) for r in rows])
        for i in range(1, texts.shape[1]):
            likes = score(texts[:1, :i])[0, -1]
            best = max(set(texts[:, i].tolist()), key=lambda word: likes[word])
            texts = texts[texts[:, i] == best]
        out += detokenize(texts)
    return out


@other("6.11")
def a_step_with_the_picture_in_mind(denoise, xt, t, s, schedule):
    a, b = schedule.alpha_bar[t].item(), schedule.alpha_bar[s].item()

    def ddim(eps):
        return b**0.5 * (xt.double() - (1 - a) ** 0.5 * eps) / a**0.5 + (1 - b) ** 0.5 * eps

    here = denoise(xt, torch.tensor([t] * len(xt)))
    if s == 0:
        return ddim(here)
    return (ddim(here) + ddim(denoise(ddim(here).float(), torch.tensor([s] * len(xt))))) / 2


# ------------------------------------------------------------------ the exercises


def test_there_are_enough_of_every_kind():
    chapters = Counter(e.id.split(".")[0] for e in EVERY.values())
    assert all(count >= 8 for count in chapters.values()) and set(chapters) == set("123456")
    assert len(EVERY) >= 48 and sum(len(e.mistakes) for e in EVERY.values()) >= 100
    for chapter in chapters:
        mine = [e for e in EVERY.values() if e.id.split(".")[0] == chapter]
        assert {e.kind for e in mine} == set(KINDS)
        assert sum(len(e.mistakes) for e in mine) >= 20
        assert [e.id for e in mine] == [f"{chapter}.{i + 1}" for i in range(len(mine))]


@pytest.mark.parametrize("exercise", EVERY.values(), ids=ids)
def test_an_exercise_is_complete(exercise):
    assert exercise.kind in KINDS and exercise.stars in (1, 2, 3) and exercise.minutes >= 5
    assert len(exercise.hints) == 3 and all(exercise.hints) and exercise.title and exercise.prompt
    assert exercise.kind != "code" or len(exercise.mistakes) >= 3
    assert (exercise.broken is not None) == (exercise.kind == "bug")
    assert exercise.kind != "number" or exercise.reason
    assert exercise.kind in ("number", "open") or len(exercise.cases()) >= 1
    text = exercise_markdown(exercise.id)
    assert exercise.prompt in text and text.count("<details>") == text.count("</details>") == 3
    assert all(hint in text for hint in exercise.hints) and "★" * exercise.stars in text
    compile(exercise_code(exercise.id), exercise.id, "exec")


@pytest.mark.parametrize("name", sorted(path.stem for path in Path(exercises.__file__).parent.glob("ch*.py")))
def test_exercises_stand_in_the_notebook_that_their_file_names_word_for_word(name):
    chapter = importlib.import_module(f"minidiff.exercises.{name}")
    for exercise in chapter.EXERCISES:
        text, code = exercise_markdown(exercise.id), exercise_code(exercise.id)
        pages = [path.name for path, cells in NOTEBOOKS.items()
                 if any(text in said and asked == code for said, asked in zip(cells, cells[1:]))]
        assert pages == re.findall(r"`(\w+\.ipynb)`", chapter.__doc__)


@pytest.mark.parametrize("exercise", EVERY.values(), ids=ids)
def test_the_reference_passes(exercise):
    result = judge(exercise.id, exercise.reference() if exercise.kind == "number" else exercise.reference)
    assert result.passed and result.attempted and result and result.mistake is None
    assert result.message.startswith(f"{exercise.id} right") and exercise.reason in result.message


@pytest.mark.parametrize("exercise", EVERY.values(), ids=ids)
def test_the_stub_is_not_attempted_yet(exercise, capsys):
    names = {"math": math, "torch": torch, "nn": nn, "F": F, "check": check}
    exec(exercise_code(exercise.id), names)                      # what stands in the notebook's cell
    assert capsys.readouterr().out.startswith(f"{exercise.id} not attempted yet")
    exec(exercise.stub, names)                                   # and in the template
    result = judge(exercise.id, eval(exercise.given, names))
    assert not result and not result.attempted


@pytest.mark.parametrize("exercise, says", [(e, says) for e in EVERY.values() for says in e.mistakes],
                         ids=lambda x: x[:30] if isinstance(x, str) else x.id)
def test_a_named_mistake_gets_its_own_sentence(exercise, says):
    result = judge(exercise.id, exercise.mistakes[says])
    assert not result.passed and result.attempted
    assert result.mistake == says and says in result.message


@pytest.mark.parametrize("exercise", FUNCTIONS, ids=ids)
def test_right_answers_in_another_style_pass(exercise):
    assert exercise.id in ANSWERS, "write a right answer in another style above"
    for answer in ANSWERS[exercise.id]:
        result = judge(exercise.id, answer)
        assert result.passed, result.message


def in_double(value):
    """The same outcome, its floats in float64."""
    if isinstance(value, dict):
        return {key: in_double(part) for key, part in value.items()}
    return value.double() if torch.is_tensor(value) and value.is_floating_point() else value


@pytest.mark.parametrize("exercise", [e for e in FUNCTIONS if e.kind != "pair"], ids=ids)
def test_float64_passes_and_half_a_percent_more_does_not(exercise):
    assert judge(exercise.id, lambda *case: in_double(exercise.reference(*answers.case)))
    truth = exercise.reference(*exercise.cases()[0])
    if not isinstance(truth, list) and torch.as_tensor(truth).is_floating_point():
        assert not judge(exercise.id, lambda *case: exercise.reference(*answers.case) * 1.005 + 1e-3)


@pytest.mark.parametrize("exercise", FUNCTIONS, ids=ids)
def test_cases_are_the_same_at_each_call_and_share_nothing(exercise):
    one, two = tried(exercise, exercise.reference)[0], tried(exercise, exercise.reference)[0]
    assert difference(one, two, 0) == ""
    first = exercise.cases()[0]
    for value in first:
        if torch.is_tensor(value) and value.numel():
            value.zero_()
    assert difference(tried(exercise, exercise.reference)[0], two, 0) == ""


# ------------------------------------------------------------------ answers that go wrong in every way


def stops(*case):
    raise KeyError("no such thing")


def leaves(*case):
    sys.exit(3)


def too_deep(*case):
    return too_deep(*answers.case)


BAD = [0.5, True, "a string", [], (), {}, object(), math.nan, math.inf, torch.zeros(3), torch.tensor(math.nan), int,
       lambda: 1, lambda x: x, stops, leaves, too_deep, lambda *case: "text", lambda *case: answers.case,
       lambda *case: math.nan, len, nn.Linear(2, 2),
       lambda *case: torch.zeros(2, 3, 5), lambda *case: torch.tensor(math.nan), lambda *case: object(),
       lambda *case: torch.full((5, 3), math.nan), lambda *case: torch.zeros(5, 3, dtype=torch.complex64),
       (None, None), (stops, stops), (lambda *case: answers.case[0], lambda *case: "text"), [lambda *case: None]]


@pytest.mark.parametrize("exercise", EVERY.values(), ids=ids)
def test_whatever_is_answered_nothing_is_raised(exercise):
    for bad in BAD:
        result = judge(exercise.id, bad)
        assert isinstance(result, Result) and not result.passed and result.message.startswith(f"{exercise.id} not")
        assert "\n" not in result.message


@pytest.mark.parametrize("exercise", [e for e in FUNCTIONS if e.kind != "pair"], ids=ids)
def test_an_answer_that_changes_its_arguments_is_told_so(exercise):
    def spoils(*case):
        right = exercise.reference(*answers.case)
        for value in answers.case:
            if torch.is_tensor(value):
                value.add_(1) if value.dtype != torch.bool else value.logical_not_()
        return right

    if any(torch.is_tensor(value) for value in exercise.cases()[0]):
        result = judge(exercise.id, spoils)
        assert not result and "in place" in result.message
    assert judge(exercise.id, exercise.reference)                # and nothing of it is left


def test_a_schedule_that_is_changed_in_place_is_noticed_too():
    def spoils(eps, xt, t, s, schedule, z):
        right = EVERY["1.7"].reference(eps, xt, t, s, schedule, z)
        schedule.alpha_bar[5] = 0.5
        return right

    assert "in place" in judge("1.7", spoils).message


def my_add_noise(x0, t, eps, alpha_bar):
    return x0 + alpha_bar[t] * eps                               # shapes that do not fit


def test_an_error_names_the_line_of_the_learners_code():
    message = judge("1.2", my_add_noise).message
    line = my_add_noise.__code__.co_firstlineno + 1
    assert "RuntimeError" in message and f"In line {line}: return x0 + alpha_bar[t] * eps" in message
    message = judge("1.2", lambda x0: x0).message
    assert "TypeError" in message and "positional argument" in message
    assert message.endswith("It is called as my_add_noise(x0, t, eps, alpha_bar).")


def test_what_is_wrong_is_said_in_order():
    def answer(change):
        return judge("1.2", lambda *case: change(EVERY["1.2"].reference(*answers.case))).message

    assert "expected a tensor (5, 1, 32, 32) of float32, got a list of 5; `torch.t" in answer(lambda x: x.tolist())
    assert "expected the shape (5, 1, 32, 32), got the shape (1, 32, 32)" in answer(lambda x: x[0])
    assert "expected floating-point numbers, got integers (int64)" in answer(lambda x: x.long())
    assert "there is NaN, no number, at [0, " in answer(lambda x: x.where(x < 1, math.nan))
    assert "there is an infinite number at [0, " in answer(lambda x: x.where(x < 1, math.inf))

    def one_off(x):
        if len(x) == 5:
            x[2, 0, 3, 4] += 1.5
        return x

    target = EVERY["1.2"].reference(*EVERY["1.2"].cases()[0])[2, 0, 3, 4].item()
    assert f"the largest error is 1.5 at [2, 0, 3, 4]: expected {target:.5g}" in answer(one_off)
    assert "in case 1 of 3" in answer(one_off)


def test_a_case_can_be_tried_by_hand():
    x0, t, eps, alpha_bar = answers.case("1.2", 3)
    assert x0.shape == (3, 2) and t.tolist() == [10, 1, 4]
    x0.zero_()
    assert answers.case("1.2", 3)[0].abs().min() > 0


def test_differences():
    assert difference(torch.tensor(1.0), torch.ones(2)) == "expected a single number, got the shape (2,)"
    assert difference(1.5, torch.tensor(1.5)) == difference(torch.tensor(1.5), 1.5) == difference(1.5, 1.5) == ""
    assert difference(2.0, 2) == difference((1, 2), [1, 2]) == difference({"a": "x"}, {"a": "x"}) == ""
    assert difference(torch.zeros(0, 3), torch.zeros(0, 3)) == difference(math.inf, math.inf) == ""
    assert difference(torch.tensor([True]), torch.tensor([1])) == "expected True and False, got integers (int64)"
    assert difference((1, 2), (1, 3)) == "at [1]: the largest error is 1: expected 2, got 3"
    assert difference((1, 2), (1, 2, 3)) == "expected 2 parts, got 3 parts"
    assert difference({"a": 1}, {"b": 1}) == "expected the parts a, got the parts b"
    assert difference("a seven", "seven") == "expected 'a seven', got 'seven'"
    assert "NaN" in difference(1.0, math.nan) and "infinite" in difference(1.0, -math.inf)
    assert difference(math.nan, math.nan) == "" and difference(-math.inf, math.inf) != ""


def test_an_unknown_exercise_names_the_nearest(capsys):
    assert not check("1.22", my_add_noise)
    assert "There is no exercise '1.22'. Nearest: 1.2" in capsys.readouterr().out
    assert not check(None, None) and not check(["x"], 3) and "Nearest" in capsys.readouterr().out
    assert check(1.4, EVERY["1.4"].reference())
    assert "in quotes" in judge(4.10, EVERY["4.10"].reference).message and judge("4.1", EVERY["4.1"].reference())


def test_a_predicted_number_may_come_in_any_form_and_is_not_given_away(capsys):
    right = EVERY["3.1"].reference()
    for form in (right, torch.tensor(right), torch.tensor([[right]]), round(right, 2)):
        assert judge("3.1", form)
    for wrong in (3.0, 100.0, math.nan):
        assert f"{right:.2f}"[:3] not in judge("3.1", wrong).message
    assert "too small" in judge("3.1", 3.0).message and "too large" in judge("3.1", 100).message


def test_half_of_a_pair_is_not_attempted_and_the_identity_pair_fails():
    forward, inverse = EVERY["1.3"].reference
    assert not judge("1.3", (forward, lambda *case: None)).attempted
    assert not judge("1.3", (lambda *case: None, inverse)).attempted
    assert "closes every round trip" in judge("1.3", (lambda x, *rest: x, lambda x, *rest: x)).mistake
    assert "two functions" in judge("1.3", forward).message
    wrong = judge("1.3", (forward, lambda v, *rest: forward(v, *rest)))
    assert not wrong and "the round trip" in wrong.message


def test_a_bug_mended_by_nothing_is_not_attempted():
    for exercise in EVERY.values():
        if exercise.kind == "bug":
            result = judge(exercise.id, exercise.broken)
            assert not result.attempted and "still does what the broken function does" in result.message


def test_pictures_come_as_target_yours_and_difference():
    figure = judge("1.2", next(iter(EVERY["1.2"].mistakes.values()))).figure()
    assert [ax.get_xlabel() for ax in figure.axes[::5]] == ["target", "yours", "yours - target"]
    assert len(figure.axes) == 15
    assert judge("1.2", lambda *case: torch.zeros(2)).figure() is None and judge("1.7", None).figure() is None
    figure.savefig(io.BytesIO())


def test_open_goals_say_what_was_measured():
    def greedy(denoise, x, schedule):
        for _ in range(30):
            denoise(x, torch.full((len(x),), 500))
        return x

    assert "30 questions of at most 20" in judge("1.9", greedy).message

    def places(n):                                               # a 1 for each place: right, and as wide as long
        return 99 * torch.eye(n).roll(1, 0), torch.eye(n)

    assert "d = 29, the goal is 2; each place gives at least 100.0%" in judge("2.9", places).message
    kinds = ((10, 0), (7, 10), (3, 17), (3, 20))
    words = [F.one_hot(torch.arange(size), 23).float().roll(start, 1) for size, start in kinds]
    pictures = sum(w[column] for w, column in zip(words, all_combinations().T))
    assert "D = 23, the goal is 8 (7 is possible); 100.0% of the words are read right; the arrows have" in (
        judge("3.9", lambda: (pictures / 2, words)).message)
    assert "the arrows do not all have length one" in judge("3.9", lambda: (pictures, words)).message

    assert "lies 0.00 from a real one" in judge("4.11", lambda real: real).message
    assert "503 pictures the codes must be (503, 3)" in judge("5.9", (lambda p: p.flatten(1), lambda c: c)).message
    blind = judge("5.9", (lambda p: torch.zeros(503, 3), lambda codes: torch.zeros(503, 1, 32, 32)))
    assert not blind and "6.1 dB with three numbers, the goal is 30" in blind.message
    plain, loud = (judge("6.10", lambda nothing, told, t, w=w: nothing + w * (told - nothing)) for w in (1, 3))
    assert "91.0% as asked" in plain.message and "gets 10.7%" in loud.message and not plain and not loud


# ------------------------------------------------------------------ the command line


def test_the_template_is_python_and_nothing_in_it_is_attempted(tmp_path, capsys):
    file = tmp_path / "mine.py"
    assert main(["--template", "-o", str(file)]) == 0
    assert f"python -m minidiff.checks {file.name}" in file.read_text(encoding="utf-8")
    capsys.readouterr()
    assert main([str(file)]) == 0
    table = capsys.readouterr().out
    for chapter, count in Counter(e.id.split(".")[0] for e in EVERY.values()).items():
        assert f"chapter {chapter}: 0 of {count} right" in table
    assert all(f"  {e.id} " in table for e in EVERY.values()) and "not yet" not in table
    before = file.read_bytes()
    assert main(["--template", "-o", str(file)]) == 1            # never over somebody's answers
    assert file.read_bytes() == before and "nothing was written" in capsys.readouterr().err
    assert main(["--template"]) == 0 and capsys.readouterr().out == template() + "\n"


def test_the_table_says_what_passes(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text("import torch\nanswer_1_4 = 1.0\nanswer_3_1 = 7.74\ndef answer_3_6(said, pictures):\n"
                    "    return torch.stack([((said == p) | (said == -1)).all(1) for p in pictures])\n")
    assert main([str(file)]) == 0
    table = capsys.readouterr().out
    assert "chapter 1: 1 of" in table and "chapter 3: 2 of" in table and table.count(" right\n") >= 3
    file.write_text("answer_1_4 = 3\ndef answer_2_6(x, *parts):\n    return x.nothing\nanswer_1_1 = 'b'\n")
    assert main([str(file)]) == 1
    table = capsys.readouterr().out
    assert "not yet: That is one of the two points" in table
    assert "AttributeError" in table and "In line 3: return x.nothing" in table


@pytest.mark.parametrize("text, says", [
    ("x = 1\ny = x + nobody\n", "line 2: y = x + nobody: NameError: name 'nobody' is not defined"),
    ("def f(:\n    pass\n", "line 1: SyntaxError"), ("import sys\nsys.exit(0)\n", "line 2: sys.exit(0): SystemExit"),
    ("import no_such_module\n", "ModuleNotFoundError")])
def test_a_file_that_cannot_be_run_is_told_in_one_line(tmp_path, capsys, text, says):
    file = tmp_path / "mine.py"
    file.write_text(text)
    assert main([str(file)]) == 1
    said = capsys.readouterr()
    assert says in said.err and said.err.count("\n") == 1 and said.out == ""


def test_a_missing_file_hints_and_help(tmp_path, capsys):
    assert main([str(tmp_path / "none.py")]) == 1
    assert "FileNotFoundError" in capsys.readouterr().err
    assert main(["--hints", "1.2"]) == 0 and capsys.readouterr().out.count("\n") == 3
    assert main(["--hints", "1.2", "2"]) == 0 and capsys.readouterr().out == f"2. {EVERY['1.2'].hints[1]}\n"
    assert main(["--hints", "1.2", "4"]) == 1 and "no '4'" in capsys.readouterr().out
    assert main(["--hints", "9.9"]) == 1 and "Nearest" in capsys.readouterr().out
    assert main([]) == 1 and "usage" in capsys.readouterr().out


def test_it_runs_as_a_program(tmp_path):
    (tmp_path / "mine.py").write_text("answer_1_1 = 0.4\n")
    command = [sys.executable, "-m", "minidiff.checks", "mine.py"]
    paths = [os.environ["PYTHONPATH"], str(Path(__file__).parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 1 and "1.1  *   Two portions" in ran.stdout and "That is ᾱ" in ran.stdout, ran.stderr
    assert ran.stderr == "" and checks.__doc__.count("python -m minidiff.checks") == 4


def test_a_forgotten_return_is_told_from_a_stub():
    def adds(x0, t, eps, alpha_bar):
        a = alpha_bar[t].view(-1, *[1] * (x0.ndim - 1))
        a.sqrt() * x0 + (1 - a).sqrt() * eps

    def walks(denoise, x, schedule):
        x = x + denoise(x, torch.full((len(x),), 1000))

    for id, answer in (("1.2", adds), ("1.9", walks)):
        result = judge(id, answer)
        assert result.attempted and not result and "is `return` missing" in result.message
    assert not judge("1.3", (EVERY["1.3"].reference[0], lambda v, xt, t, schedule: None)).attempted


def test_of_a_pair_a_single_mistaken_half_is_named():
    right, says = EVERY["1.3"].reference, "√ᾱ and √(1−ᾱ) are swapped."
    there, back = EVERY["1.3"].mistakes[says]
    assert judge("1.3", (there, right[1])).mistake == judge("1.3", (right[0], back)).mistake == says
    assert judge("1.3", (lambda eps, *rest: eps.tanh(), right[1])).mistake is None     # wrong, and like no mistake


def test_what_eigenvalues_are_is_said_where_they_come():
    def complex_roots(a, b):
        S, T = a.T.cov(), b.T.cov()
        return (a.mean(0) - b.mean(0)).square().sum() + S.trace() + T.trace() - 2 * torch.linalg.eigvals(
            S @ T).sqrt().sum()

    assert "take `.real`" in judge("4.10", complex_roots).message


@pytest.mark.parametrize("id, number, hint", [("1.2", 9, "3 cases"), ("1.2", 0, "counted from 1"),
                                              ("1.1", 1, "no cases"), ("7.7", 1, "Nearest")])
def test_a_case_that_is_not_there_is_named(id, number, hint):
    with pytest.raises(ValueError, match=hint):
        answers.case(id, number)
