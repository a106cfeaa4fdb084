"""The exercise checker: right answers pass in any style, named mistakes get their sentences, nothing is raised."""

import cmath
import importlib
import io
import itertools
import json
import math
import operator
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence
from torch.nn import functional as F

from minidiff import exercises
from minidiff.data import COLORS, DIGITS, LEANS, STROKES, all_combinations, detokenize, parse, sentence, tokenize
from minidiff.exercises import case, check, exercise_code, exercise_markdown
from minidiff.exercises.__main__ import __doc__ as usage
from minidiff.exercises.__main__ import main, template
from minidiff.exercises.checker import Result, all_exercises, grade, tried
from minidiff.exercises.differences import difference
from minidiff.exercises.form import KINDS, randn

EVERY = all_exercises()
FUNCTIONS = [e for e in EVERY.values() if e.kind in ("code", "bug", "pair")]
NOTEBOOKS = {path.name: ["".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
             for path in Path(__file__).parents[1].glob("notebooks/*.ipynb")}


def ids(exercise):
    return exercise.id


# ------------------------------------------------------------------ right answers, written as somebody else would


def measured(seen):
    flat = seen.transpose(0, 1).flatten(1).double()
    return flat.mean(1).view(-1, 1, 1), torch.tensor([row.std() for row in flat]).view(-1, 1, 1)


EVERY_CAPTION = torch.cartesian_prod(*(torch.arange(-1, size) for size in (10, 7, 3, 3)))
ANSWERS = {                                                      # id -> a right answer in another style
    "1.2": lambda x0, t, eps, alpha_bar: torch.stack(
        [math.sqrt(a) * x + math.sqrt(1 - a) * e for x, e, a in zip(x0, eps, alpha_bar[t].tolist())]),
    "1.5": lambda means, std, xt, a: MixtureSameFamily(
        Categorical(torch.ones(len(means))),
        Independent(Normal(a**0.5 * means, (a * std**2 + 1 - a) ** 0.5), 1)).log_prob(xt),
    "1.6": lambda shadow, weights, updates, decay: torch.lerp(
        shadow.double(), weights.double(), max(1 - decay, 9 / (11 + updates))),
    "1.8": lambda levels: torch.tensor([1.0, *itertools.accumulate(
        (1 - 1000 / levels * (0.0001 + 0.0199 * i / (levels - 1)) for i in range(levels)), operator.mul)]),
    "2.2": lambda q, k, v, lengths: F.scaled_dot_product_attention(
        q, k, v, (torch.arange(k.shape[1]) < lengths.view(-1, 1, 1)).expand(-1, q.shape[1], -1)),
    "2.3": (lambda x, heads: torch.stack(x.chunk(heads, -1), 1), lambda y, heads: torch.cat(y.unbind(1), -1)),
    "2.4": lambda places, caption, to_q, to_k, to_v, heads: torch.cat(
        [F.scaled_dot_product_attention(*head) for head in zip(*(
            (x @ w).double().chunk(heads, -1) for x, w in ((places, to_q), (caption, to_k), (caption, to_v))))], -1),
    "2.5": lambda x, *tables: F.scaled_dot_product_attention(
        *((x @ w).unflatten(-1, (tables[3], -1)).movedim(2, 1) for w in tables[:3])).movedim(1, 2).flatten(2),
    "2.6": lambda x, attention, mlp, norm1, norm2: torch.stack([y := attention(norm1(x)) + x, mlp(norm2(y))]).sum(0),
    "2.7": lambda logits, ids: torch.tensor(
        [[math.log(sum(map(math.exp, row))) - row[word] if word else 0.0 for row, word in zip(table, words[1:])]
         for table, words in zip(logits.tolist(), ids.tolist())]),
    "2.8": lambda logits, temperature, top_k: (logits.double() / temperature).where(
        logits.argsort(-1, descending=True).argsort(-1) < top_k, -math.inf).softmax(-1),
    "3.2": lambda pictures, captions, log_scale: (
        min(math.exp(float(log_scale)), 100.0) * F.cosine_similarity(pictures[:, None], captions[None], dim=-1)),
    "3.3": lambda logits, seen, said: sum(
        F.cross_entropy(table, F.normalize((one[:, None] == two).float(), p=1, dim=1)) / 2
        for table, one, two in ((logits, seen, said), (logits.T, said, seen))),
    "3.4": lambda logits, positive, bias: F.binary_cross_entropy_with_logits(
        logits + bias, positive.double(), reduction="sum") / len(logits),
    "3.5": lambda pictures, captions, t: sum(
        F.cross_entropy(F.cosine_similarity(a[:, None], b[None], dim=-1) / t, torch.arange(len(a))) / 2
        for a, b in ((pictures, captions), (captions, pictures))),
    "3.6": lambda said, pictures: torch.tensor(
        [[all(word in (-1, fact) for word, fact in zip(caption, picture)) for caption in said.tolist()]
         for picture in pictures.tolist()]),
    "3.7": lambda k, similarity, true: (
        (similarity > similarity.masked_fill(~true, -math.inf).amax(1, keepdim=True)).sum(1) < k).double().mean(),
    "4.2": lambda t, width: torch.tensor(
        [[turn(level / 10_000 ** (2 * i / width)) for turn in (math.cos, math.sin) for i in range(width // 2)]
         for level in t.tolist()]),
    "4.4": (lambda x: F.unfold(x, 2, stride=2).view(len(x), -1, x.shape[2] // 2, x.shape[3] // 2),
            lambda y: F.fold(y.flatten(2), (2 * y.shape[2], 2 * y.shape[3]), 2, stride=2)),
    "4.5": lambda guess, eps, t, schedule: torch.stack(
        [min(a / (1 - a), 5) * (1 - a) / a * F.mse_loss(one, other)       # the error of the noise as that of x0
         for one, other, a in zip(guess.double(), eps.double(), schedule.alpha_bar[t].tolist())]),
    "4.6": lambda eps, xt, t, schedule: (                        # where x0 would be -1 and 1, told as noise
        lambda signal, noise: eps.clamp((xt - signal) / noise, (xt + signal) / noise))(*schedule.at(t, xt)),
    "4.7": lambda xs, known, mask, t, s, schedule, z: (
        mask.double() * (schedule.signal[s] * known + schedule.noise[s] * z) + (1 - mask.double()) * xs),
    "5.2": lambda pictures, others: torch.tensor(
        [-20 * math.log10(math.sqrt(float(F.mse_loss(x, y))) / 2) for x, y in zip(pictures, others)]),
    "5.3": lambda ink: 2 * ink.sum((1, 2)) / torch.hypot(ink.diff(dim=1)[:, :, 1:], ink.diff(dim=2)[:, 1:]).sum((1, 2)),
    "5.5": (lambda z, seen: (z - measured(seen)[0]) / measured(seen)[1],
            lambda z, seen: torch.addcmul(measured(seen)[0].float(), z.float(), measured(seen)[1].float())),
    "6.2": lambda nothing, told, w, t, below: torch.lerp(
        nothing.double(), told.double(), float(0 if w == 0 else w if t < below else 1)),
    "6.3": lambda out, w, channels: torch.cat([torch.cat(
        [(1 - w) * out.chunk(2)[1][:, :channels] + w * out.chunk(2)[0][:, :channels], half[:, channels:]], 1)
        for half in out.chunk(2)]),
    "6.4": lambda read, asked: torch.tensor(
        [[*hits, all(hits)] for hits in (read == asked).tolist()]).double().mean(0),
    "6.5": (lambda said: torch.stack([(EVERY_CAPTION == row).all(1).nonzero()[0, 0] for row in said]),
            lambda number: torch.stack([number // 128, number // 16 % 8, number // 4 % 4, number % 4], 1) - 1),
    "6.7": lambda pictures, attributes: torch.stack(
        [(p.amax(0) - q.amax(0)).square().mean().sqrt() / 2
         for (p, a), (q, b) in itertools.combinations(zip(pictures, attributes), 2)
         if (a == b)[[0, 2, 3]].all()]).mean(),
    "7.1": lambda x0, eps, angle: torch.stack(                   # a quarter of a turn ahead
        [math.cos(phi + math.pi / 2) * x + math.sin(phi + math.pi / 2) * e
         for x, e, phi in zip(x0, eps, angle.tolist())]),
    "7.2": lambda eps, xt, t, s, schedule: (
        schedule.signal[s] / schedule.signal[t] * (xt - schedule.noise[t] * eps) + schedule.noise[s] * eps),
    "7.5": lambda predict, x0, eps, tau: torch.stack(
        [F.mse_loss(u, e - x) for u, x, e in zip(predict(torch.stack(
            [torch.lerp(x, e, share) for x, e, share in zip(x0, eps, tau)]), tau), x0, eps)]),
    "7.7": (lambda x, t, schedule: x * (lambda signal, noise: 1 / signal / (1 + noise / signal))(*schedule.at(t, x)),
            lambda y, t, schedule: torch.stack([sum(schedule.curves[i]) * p for i, p in zip(t.tolist(), y)])),
    "7.6": lambda velocity, x, steps: [x := x - velocity(x, 1 - i / steps) / steps for i in range(steps)][-1],
    "7.4": lambda z, data: data.sort().values[(z[:, None] > z).sum(1)],
    "7.12": lambda v, xt, t, schedule: torch.stack(              # turned back by its own angle
        [x * math.cos(phi) - p * math.sin(phi) for p, x, phi in zip(v, xt, torch.atan2(
            schedule.noise, schedule.signal)[t].tolist())]),
    "7.10": lambda predict, noise, x0, tau, generator: F.mse_loss(
        predict(torch.stack([torch.lerp(x, e, share) for x, e, share in zip(x0, noise, tau)]),
                tau.view(-1, *[1] * (x0.ndim - 1))), noise - x0),
    "7.11": lambda xs, xt, t, s, schedule: (lambda k_t, k_s: (   # a straight line in y = x / signal over k
        (k_t * xs / schedule.curves[s][0] - k_s * xt / schedule.curves[t][0]) / (k_t - k_s)))(
        *(schedule.curves[level][1] / schedule.curves[level][0] for level in (t, s))),
    "7.14": lambda student, null, w, xt, t, cond: torch.cat(
        [student(xt[i:i + 1], t[i:i + 1], cond[i:i + 1]) for i in range(len(xt))]),
    "8.2": lambda x, W, A, B, alpha: F.linear(x, W + alpha / A.shape[0] * torch.einsum("or,ri->oi", B, A)),
    "8.4": lambda g, x, A, B: torch.func.grad(                   # by torch itself
        lambda both: (g * (x @ both[0].T @ both[1].T)).sum())((A, B)),
    "8.5": lambda change, r: change @ torch.linalg.svd(change)[2][:r].T @ torch.linalg.svd(change)[2][:r],
    "8.6": lambda x, W, A, B: F.conv2d(x, W + torch.einsum("or,rihw->oihw", B, A), padding=1),
    "8.8": lambda loss, new, old, weight: loss(new).sum() / len(new) + loss(old).sum() / len(old) * weight,
    "8.9": (lambda W, A, B, s: torch.addmm(W, B, A, alpha=s), lambda W, A, B, s: torch.addmm(W, B, A, alpha=-s)),
    "8.10": lambda W, A, B, merged: torch.addmm(W, B, A, alpha=0 if merged else 1),
    "8.11": lambda file: [torch.einsum("or,ri->oi", B, A) * (1 if alpha is None else alpha / B.shape[1])
                         for A, B, alpha in file],
    "8.12": lambda x, W, A, B, kept, training: F.linear(x, W) + F.linear(x * kept if training else x, B @ A),
    "9.2": lambda pictures, others: torch.tensor(
        [float(torch.minimum(a, b).sum() / torch.maximum(a, b).sum()) for a, b in zip(
            *(((some.amax(1) + 1) / 2 > 0.5).double() for some in (pictures, others)))]),
    "9.6": lambda g, x, W, b: torch.autograd.functional.vjp(      # by torch itself
        lambda W, b, x: F.linear(x, W, b), (W, b, x), g)[1],
    "9.7": lambda parts, controls, strengths: [
        torch.tensordot(torch.tensor([1.0, *strengths]), torch.stack(maps), 1) for maps in zip(parts, *controls)],
    "9.9": lambda A, B: (torch.zeros_like(A), B),                # the first one zero, instead of the last
    "9.10": lambda attributes, changes: torch.tensor(
        [[old if new < 0 else new for old, new in zip(*rows)] for rows in zip(attributes.tolist(), changes.tolist())]),
    "9.11": lambda chance: tuple(                                # by the number of the interval
        torch.isin(torch.bucketize(chance, torch.tensor([0.05, 0.10, 0.15]), right=True), torch.tensor(parts))
        for parts in ((0, 1), (1, 2))),
    "9.13": lambda denoise, xt, t, cond, source, null, blank, s_image, s_text: sum(   # three shares that sum to 1
        share * denoise(xt.double(), t, *both) for share, both in (
            (1 - s_image, (torch.cat([null] * len(xt)), torch.cat([blank] * len(xt)))),
            (s_image - s_text, (torch.cat([null] * len(xt)), source)), (s_text, (cond, source)))),
    "9.14": lambda xt, source, mean, std: torch.cat(
        [xt, F.batch_norm(source.double(), mean.flatten().double(), std.flatten().double() ** 2, eps=0.0)], 1),
    "9.15": lambda before, after, unseen, blank: tuple(
        torch.stack(rows) for rows in zip(*((blank[0] if gone else one, two)
                                            for one, two, gone in zip(before, after, unseen.tolist())))),
    "9.16": (lambda x, eps, s, t, schedule: torch.lerp(          # straight in y = x / signal over k = noise / signal
        x / schedule.signal[s], x / schedule.signal[s] + eps,
        schedule.noise[t] / schedule.signal[t] - schedule.noise[s] / schedule.signal[s]) * schedule.signal[t],
             lambda x, eps, s, t, schedule: torch.stack(
        [schedule.curves[s][0] / schedule.curves[t][0] * (p - schedule.curves[t][1] * e) + schedule.curves[s][1] * e
         for p, e in zip(x.double(), eps)])),
    "9.18": lambda before, after, said_before, said_after: torch.stack(
        [(a - b) @ (d - c) / torch.dist(a, b) / torch.dist(c, d)
         for b, a, c, d in zip(before.double(), after.double(), said_before.double(), said_after.double())]),
    "10.1": lambda points, speed, when: torch.stack([            # by the exponential of a matrix
        points @ torch.linalg.matrix_exp(moment * (speed[1] * torch.eye(2) + math.radians(speed[0]) * torch.tensor(
            [[0.0, 1.0], [-1.0, 0.0]]))) + moment * speed[2:] for moment in when.tolist()]),
    "10.2": lambda angles, scores: torch.stack(                  # the zero of the slope, on a line through two slopes
        [angles[i] + (angles[1] - angles[0]) * (0.5 - (row[i + 1] - row[i]) / row.diff(n=2)[i - 1])
         for row in scores.double() for i in (int(row.argmax()),)]),
    "10.3": (lambda x, frames, shape: torch.stack(
        [clip[:, :, row, column] for clip in x.split(frames) for row in range(shape[2]) for column in range(shape[3])]),
             lambda y, frames, shape: torch.cat(
        [F.fold(clip.permute(1, 2, 0), shape[2:], 1) for clip in y.split(shape[2] * shape[3])])),
    "10.5": lambda x, frames: torch.cat([clip + sum(clip.double()) / frames for clip in x.split(frames)]),
    "10.6": lambda f: torch.einsum("pq,mn,qnd->pmd", *(          # each axis minus its first member
        torch.eye(size) - F.one_hot(torch.zeros(size).long(), size) for size in f.shape[:2]), f),
    "10.8": lambda z, W, own, A, B, alpha, training: F.linear(
        z, torch.addmm(W, B, A) if training else torch.addmm(own, B, A, alpha=alpha)),
    "10.9": lambda films: torch.stack(
        [F.l1_loss((before + after) / 2, frame) * 2 for before, frame, after in zip(
            *(films.double().unbind(1)[first:] for first in range(3)))]).mean(),
    "10.11": lambda films: torch.tensor(
        [sum(float(torch.minimum(film[i], film[0]).sum() / torch.maximum(film[i], film[0]).sum()) for film in films)
         / len(films) for i in range(films.shape[1])]),
    "11.3": lambda frame: torch.tensor(                          # each frequency is turned back to stand still
        [abs(sum(x * cmath.exp(-2j * math.pi * k * n / len(frame)) for n, x in enumerate(frame.tolist())))
         for k in range(len(frame) // 2 + 1)]),
    "11.4": (lambda hertz: 2595 / math.log(10) * torch.log1p(hertz.double() / 700),
             lambda mels: 700 * torch.expm1(mels * math.log(10) / 2595)),
    "11.5": lambda power: torch.stack(                           # no decibel anywhere: a millionth of the loudest
        [(p / p.max()).clamp_min(1e-6).log() / math.log(1e3) + 1 for p in power.double() + 1e-20]),
    "11.7": lambda magnitude, phases, there, back: torch.polar(
        torch.ones_like(magnitude), there(back(torch.polar(magnitude, phases.angle()))).angle()),
    "11.8": lambda frame, rate, lowest, highest: rate / max(     # down from the longest shift
        (torch.dot(frame[k:], frame[:-k]).item() / (len(frame) - k), k)
        for k in range(len(frame) - 1, 0, -1) if lowest <= rate / k <= highest)[1],
    "11.9": lambda queries, keys, states, sharpness: torch.einsum(           # squared distance: 2 - 2 cos
        "mle,bm->ble", states, (-sharpness / 2 * (queries[:, None] - keys).square().sum(2)).softmax(1)),
    "11.11": (lambda noise, rho: noise @ torch.linalg.cholesky(torch.tensor([[1, rho], [rho, 1]])).T,
              lambda pairs, rho: torch.linalg.solve_triangular(
        torch.linalg.cholesky(torch.tensor([[1, rho], [rho, 1]])), pairs.T, upper=False).T),
    "11.12": lambda xt, yt, rho, a, b: (                         # first what yt says, then what is new in xt
        b * rho * yt + a * (1 - (b * rho)**2) / (1 - (a * b * rho)**2) * (xt - a * b * rho * yt)),
    "11.13": lambda picture, sound, tell_picture, tell_sound, listen_picture, listen_sound: tuple(
        listen(x, tell(other)) for listen, x, tell, other in (
            (listen_picture, picture, tell_sound, sound), (listen_sound, sound, tell_picture, picture))),
    "11.14": lambda kinds, count, chance: torch.stack(           # in a table of which kind each sound is
        [rows[int(share * len(rows))] for kind, share in zip(kinds, chance)
         for rows in ((torch.arange(len(count)).repeat_interleave(count) == kind).nonzero()[:, 0],)]),
    "13.2": lambda cond, uncond, w: F.normalize(                 # how much more common, once more for each w above 1
        cond.double() * (cond.double() / uncond) ** (w - 1), p=1, dim=0),
    "13.4": lambda right, group, count: min(
        sum(mine) / len(mine) for kind in range(count) if (mine := right[group == kind].tolist())),
    "13.5": lambda digits, colors: torch.tensor(                 # the chance of a color, and what it should be
        [1 / 7 / float((colors[digits == digit] == color).double().mean())
         for digit, color in zip(digits.tolist(), colors.tolist())]),
    "13.6": (lambda shares, weights: (shares.double().log() + weights.log()).softmax(-1),
             lambda skewed, weights: F.normalize(skewed.double() / weights, p=1, dim=-1)),
    "13.7": lambda answers: sum(len(set(column)) > 1 for column in answers.T.tolist()) / answers.shape[1],
}


def other(id):
    """Mark a function (or what it returns, for a pair) as another right answer to an exercise."""
    def keep(answer):
        ANSWERS[id] = answer() if EVERY[id].kind == "pair" else answer
        return answer

    return keep


@other("1.3")
def through_the_angle():
    def angle(t, schedule, like):
        return torch.atan2(*reversed(schedule.at(t, like.double())))

    def to_v(eps, xt, t, schedule):
        phi = angle(t, schedule, xt)
        return phi.cos() * eps - phi.sin() * (xt - phi.sin() * eps) / phi.cos()

    return to_v, lambda v, xt, t, schedule: angle(t, schedule, xt).sin() * xt + angle(t, schedule, xt).cos() * v


@other("1.7")
def step_through_the_posterior(eps, xt, t, s, schedule, z):
    a_t, a_s = (schedule.alpha_bar[i].item() for i in (t, s))
    x0 = (xt - math.sqrt(1 - a_t) * eps) / math.sqrt(a_t)
    if s == 0:
        return x0
    precision = 1 / (1 - a_s) + (a_t / a_s) / (1 - a_t / a_s)    # Bayes: of xs given x0, and of xt given xs
    mean = (math.sqrt(a_s) * x0 / (1 - a_s) + math.sqrt(a_t / a_s) * xt / (1 - a_t / a_s)) / precision
    return mean + z / math.sqrt(precision)


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


@other("4.3")
def the_u_from_inside(x, downs, middle, ups):
    if not downs:
        return ups[0](torch.cat([middle(x), x], 1))
    deeper = the_u_from_inside(downs[0](x), downs[1:], middle, ups[:-1])
    return ups[-1](torch.cat([deeper, x], 1))


@other("4.8")
def walk_by_angles(denoise, x, schedule, steps):
    angles = schedule.alpha_bar.sqrt().arccos()
    levels = [int(torch.tensor(schedule.levels * (1 - i / steps)).round()) for i in range(steps + 1)]
    for here, there in zip(levels[:-1], levels[1:]):
        eps = denoise(x, torch.tensor([here] * len(x)))
        x = (x - angles[here].sin() * eps) * (angles[there].cos() / angles[here].cos()) + angles[there].sin() * eps
    return x


@other("4.10")
def distance_through_the_singular_values(a, b):
    def centered(x):
        return (x - x.mean(0)) / (len(x) - 1) ** 0.5

    a_c, b_c = centered(a), centered(b)                          # trace of the root: singular values of the product
    cross = torch.linalg.svdvals(a_c @ b_c.T).sum()
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + (a_c**2).sum() + (b_c**2).sum() - 2 * cross


@other("5.4")
def lean_as_a_regression(ink):
    out = []
    for picture in ink.double():
        rows, mass = torch.arange(len(picture)).double(), picture.sum(1)
        place = (picture * torch.arange(picture.shape[1])).sum(1) / mass               # the center of each row
        mean = (mass * rows).sum() / mass.sum()
        out.append(-(mass * (rows - mean) * place).sum() / (mass * (rows - mean) ** 2).sum())
    return torch.stack(out)


@other("5.6")
def loss_by_distributions(pictures, mean, logvar, decode, weight, seed):
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed))
    cloud = Normal(mean, logvar.exp().sqrt())
    kl = kl_divergence(cloud, Normal(0.0, 1.0))
    return F.mse_loss(decode(cloud.mean + cloud.stddev * noise), pictures) + weight * kl.mean()


@other("6.6")
def from_a_picture_written_out(denoise, z, level, steps, schedule, noise):
    a = schedule.alpha_bar
    x, t = a[level].sqrt() * z + (1 - a[level]).sqrt() * noise, level
    for i in range(1, steps + 1):
        s = int(torch.tensor(level - level * i / steps).round())
        eps = denoise(x.float(), torch.full((len(z),), t))
        x, t = a[s].sqrt() / a[t].sqrt() * (x - (1 - a[t]).sqrt() * eps) + (1 - a[s]).sqrt() * eps, s
    return x


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
    (signal_t, noise_t), (signal_s, noise_s) = schedule.curves[t], schedule.curves[s]

    def ddim(eps):
        return signal_s * (xt.double() - noise_t * eps) / signal_t + noise_s * eps

    here = denoise(xt, torch.tensor([t] * len(xt)))
    if s == 0:
        return ddim(here)
    return (ddim(here) + ddim(denoise(ddim(here).float(), torch.tensor([s] * len(xt))))) / 2


@other("9.3")
def around_with_a_loop(mask):
    out = torch.zeros(mask.shape, dtype=torch.int64)
    circle = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0)]
    points = {tuple(p) for p in mask.nonzero().tolist()}
    for n, y, x in itertools.product(*map(range, mask.shape)):
        seen = [(n, y + dy, x + dx) in points for dy, dx in circle]
        out[n, y, x] = sum(b > a for a, b in itertools.pairwise(seen))
    return out


@other("9.8")
def guided_at_once(denoise, xt, t, cond, null, hint, w, both):
    if not both:
        return torch.lerp(denoise(xt, t, null, None), denoise(xt, t, cond, hint), w)
    alone, told = denoise(*(torch.cat(two) for two in ((xt, xt), (t, t), (null, cond), (hint, hint)))).chunk(2)
    return (1 - w) * alone + w * told


@other("10.10")
def each_frame_asks_its_windows(denoise, xt, size, overlap):
    windows, start = {}, 0
    while start + size < xt.shape[1]:
        windows[start], start = denoise(xt[:, start:start + size]), start + size - overlap
    windows[xt.shape[1] - size] = denoise(xt[:, -size:])
    return torch.stack([torch.stack([window[:, i - start] for start, window in windows.items()
                                     if start <= i < start + size]).double().mean(0) for i in range(xt.shape[1])], 1)


@other("11.6")
def sample_by_sample(pieces, window, hop):
    B, T, N = pieces.shape
    wave = torch.zeros(B, (T - 1) * hop + N, dtype=torch.float64)
    for i in range(wave.shape[1]):
        there = [(t, i - t * hop) for t in range(T) if 0 <= i - t * hop < N]
        weight = sum(window[n].item() ** 2 for _, n in there)
        if weight >= 1e-8:
            wave[:, i] = sum(pieces[:, t, n] * window[n].item() for t, n in there) / weight
    return wave


# ------------------------------------------------------------------ the exercises


def test_there_are_enough_of_every_kind():
    chapters = {e.chapter: [other for other in EVERY.values() if other.chapter == e.chapter] for e in EVERY.values()}
    assert list(chapters) == [*"123456789", "10", "11", "13"] and len(EVERY) >= 62
    for chapter, mine in chapters.items():
        assert [e.id for e in mine] == [f"{chapter}.{i + 1}" for i in range(len(mine))] and len(mine) >= 8
        assert {e.kind for e in mine} == set(KINDS) and sum(len(e.mistakes) for e in mine) >= 20


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


@pytest.mark.parametrize("name", sorted(path.stem for path in Path(exercises.__file__).parent.glob("ch[0-9]*.py")))
def test_exercises_stand_in_the_notebook_that_their_file_names_word_for_word(name):
    chapter = importlib.import_module(f"minidiff.exercises.{name}")
    for exercise in chapter.EXERCISES:
        text, code = exercise_markdown(exercise.id), exercise_code(exercise.id)
        pages = [page for page, cells in NOTEBOOKS.items()
                 if any(text in said and asked == code for said, asked in zip(cells, cells[1:]))]
        assert pages == re.findall(r"`(\w+\.ipynb)`", chapter.__doc__), exercise.id
    (page,) = pages                                              # one file for each notebook: nothing else stands there
    asked = re.findall(r'^check\("([\d.]+)"', "\n".join(NOTEBOOKS[page]), re.MULTILINE)
    assert asked == [exercise.id for exercise in chapter.EXERCISES]


@pytest.mark.parametrize("exercise", EVERY.values(), ids=ids)
def test_the_reference_passes(exercise):
    result = grade(exercise.id, exercise.reference() if exercise.kind == "number" else exercise.reference)
    assert result.passed and result.attempted and result and result.mistake is None
    assert result.message.startswith(f"{exercise.id} right") and exercise.reason in result.message


@pytest.mark.parametrize("exercise", EVERY.values(), ids=ids)
def test_the_stub_is_not_attempted_yet(exercise, capsys):
    names = {"math": math, "torch": torch, "nn": nn, "F": F, "check": check}
    exec(exercise_code(exercise.id), names)                      # what stands in the notebook's cell
    assert capsys.readouterr().out.startswith(f"{exercise.id} not attempted yet")
    exec(exercise.stub, names)                                   # and in the template
    result = grade(exercise.id, eval(exercise.given, names))
    assert not result and not result.attempted


@pytest.mark.parametrize("exercise, says", [(e, says) for e in EVERY.values() for says in e.mistakes],
                         ids=lambda x: x[:30] if isinstance(x, str) else x.id)
def test_a_named_mistake_gets_its_own_sentence(exercise, says):
    result = grade(exercise.id, exercise.mistakes[says])
    assert not result.passed and result.attempted
    assert result.mistake == says and says in result.message


@pytest.mark.parametrize("exercise", FUNCTIONS, ids=ids)
def test_a_right_answer_in_another_style_passes(exercise):
    assert exercise.id in ANSWERS, "write a right answer in another style above"
    result = grade(exercise.id, ANSWERS[exercise.id])
    assert result.passed, result.message


@pytest.mark.parametrize("exercise", [e for e in FUNCTIONS if e.kind != "pair"], ids=ids)
def test_float64_passes_and_half_a_percent_more_does_not(exercise):
    def in_double(*case):
        value = exercise.reference(*case)
        return value.double() if torch.is_tensor(value) and value.is_floating_point() else value

    assert grade(exercise.id, in_double)
    truth = exercise.reference(*exercise.cases()[0])
    if not isinstance(truth, list) and torch.as_tensor(truth).is_floating_point():
        assert not grade(exercise.id, lambda *case: exercise.reference(*case) * 1.005 + 1e-3)


@pytest.mark.parametrize("exercise", FUNCTIONS, ids=ids)
def test_cases_are_the_same_at_each_call_and_share_nothing(exercise):
    before = tried(exercise, exercise.reference)[0]
    for value in exercise.cases()[0]:
        if torch.is_tensor(value) and value.numel():
            value.zero_()
    assert difference(before, tried(exercise, exercise.reference)[0], 0) == ""


# ------------------------------------------------------------------ answers that go wrong in every way


def too_deep(*case):
    return too_deep(*case)


BAD = [0.5, True, "a string", [], (), {}, object(), math.nan, math.inf, torch.zeros(3), torch.tensor(math.nan), int,
       lambda: 1, lambda x: x, lambda *case: {}["no such thing"], lambda *case: sys.exit(3), too_deep,
       lambda *case: "text", lambda *case: case, lambda *case: math.nan, len, nn.Linear(2, 2),
       lambda *case: torch.zeros(2, 3, 5), lambda *case: torch.tensor(math.nan), lambda *case: object(),
       lambda *case: torch.full((5, 3), math.nan), lambda *case: torch.zeros(5, 3, dtype=torch.complex64),
       (None, None), (too_deep, too_deep), (lambda *case: case[0], lambda *case: "text"), [lambda *case: None]]


@pytest.mark.parametrize("exercise", EVERY.values(), ids=ids)
def test_whatever_is_answered_nothing_is_raised(exercise):
    for bad in BAD:
        result = grade(exercise.id, bad)
        assert isinstance(result, Result) and not result.passed and result.message.startswith(f"{exercise.id} not")
        assert "\n" not in result.message


@pytest.mark.parametrize("exercise", [e for e in FUNCTIONS if e.kind != "pair"], ids=ids)
def test_an_answer_that_changes_its_arguments_is_told_so(exercise):
    def spoils(*case):
        right = exercise.reference(*case)
        for value in case:
            if torch.is_tensor(value):
                value.add_(1) if value.dtype != torch.bool else value.logical_not_()
        return right

    if any(torch.is_tensor(value) for value in exercise.cases()[0]):
        result = grade(exercise.id, spoils)
        assert not result and "in place" in result.message
    assert grade(exercise.id, exercise.reference)                # and nothing of it is left


def test_a_schedule_or_a_list_that_is_changed_in_place_is_noticed_too():
    def bends(eps, xt, t, s, schedule, z):
        right = EVERY["1.7"].reference(eps, xt, t, s, schedule, z)
        schedule.signal[5] = 0.5
        return right

    def takes_out(score, captions):
        return EVERY["6.9"].reference(score, [captions.pop(0), *captions])

    assert "in place" in grade("1.7", bends).message and "in place" in grade("6.9", takes_out).message


def my_add_noise(x0, t, eps, alpha_bar):
    return x0 + alpha_bar[t] * eps                               # shapes that do not fit


def test_an_error_names_the_line_of_the_learners_code():
    message = grade("1.2", my_add_noise).message
    line = my_add_noise.__code__.co_firstlineno + 1
    assert "RuntimeError" in message and f"In line {line}: return x0 + alpha_bar[t] * eps" in message
    message = grade("1.2", lambda x0: x0).message
    assert "TypeError" in message and "positional argument" in message
    assert message.endswith("It is called as my_add_noise(x0, t, eps, alpha_bar).")


def test_what_is_wrong_is_said_in_order():
    def answer(change):
        return grade("1.2", lambda *case: change(EVERY["1.2"].reference(*case))).message

    assert "expected a tensor (5, 1, 32, 32) of float32, got a list of 5; `torch.t" in answer(lambda x: x.tolist())
    assert "expected the shape (5, 1, 32, 32), got the shape (1, 32, 32)" in answer(lambda x: x[0])
    assert "expected floating-point numbers, got integers (int64); integers lose" in answer(lambda x: x.long())
    assert "there is NaN, no number, at [0, " in answer(lambda x: x.where(x < 1, math.nan))
    assert "there is an infinite number at [0, " in answer(lambda x: x.where(x < 1, math.inf))

    def one_off(x):
        if len(x) == 5:
            x[2, 0, 3, 4] += 1.5
        return x

    target = EVERY["1.2"].reference(*EVERY["1.2"].cases()[0])[2, 0, 3, 4].item()
    assert f"the largest error is 1.5 at [2, 0, 3, 4]: expected {target:.5g}" in answer(one_off)
    assert "in case 1 of 3" in answer(one_off)


@pytest.mark.parametrize("expected, got, says", [
    (1.5, torch.tensor(1.5), ""), (torch.tensor(1.5), 1.5, ""), (1.5, 1.5, ""), (2.0, 2, ""), ((1, 2), [1, 2], ""),
    ({"a": "x"}, {"a": "x"}, ""), (torch.zeros(0, 3), torch.zeros(0, 3), ""), (math.inf, math.inf, ""),
    (math.nan, math.nan, ""), (2.0, 2.00029, ""),
    (2.0, torch.tensor(2.00031, dtype=torch.float64), "the largest error is 0.00031: expected 2, got 2.0003"),
    (-math.inf, math.inf, "the largest error is inf: expected -inf, got inf"),
    (torch.tensor(1.0), torch.ones(2), "expected a single number, got the shape (2,)"),
    (torch.tensor([True]), torch.tensor([1]), "expected True and False, got integers (int64)"),
    (torch.tensor(1.0), torch.tensor(1j), "expected floating-point numbers, got complex numbers (complex64); "
                                          "`eigvals` are complex by type only: take `.real`"),
    (torch.tensor([1e4, 1.0]), torch.tensor([1e4 + 0.9, 1.5]), "the largest error is 0.5 at [1]: expected 1, got 1.5"),
    ((1, 2), (1, 3), "at [1]: the largest error is 1: expected 2, got 3"),
    ({"a": (1, 2)}, {"a": (1, 3)}, "a: at [1]: the largest error is 1: expected 2, got 3"),
    ((1, 2), (1, 2, 3), "expected a tuple of 2, got a tuple of 3"), ((1, 2), None, "expected a tuple of 2, got None"),
    ({"a": 1}, {"b": 1}, "expected the parts a, got b"), ("a seven", "seven", "expected 'a seven', got 'seven'"),
    (1.0, math.nan, "there is NaN, no number: usual reasons are 0 / 0, the root or logarithm of a negative number, or "
                    "a softmax where everything is -inf"),
    (1.0, -math.inf, "there is an infinite number: usual reasons are a division by zero or the logarithm of zero")])
def test_differences(expected, got, says):
    assert difference(expected, got) == says


def test_a_case_can_be_tried_by_hand():
    x0, t, eps, alpha_bar = case("1.2", 3)
    assert x0.shape == (3, 2) and t.tolist() == [10, 1, 4]
    x0.zero_()
    assert case("1.2", 3)[0].abs().min() > 0


@pytest.mark.parametrize("id, number, hint", [("1.2", 9, "3 cases"), ("1.2", 0, "counted from 1"),
                                              ("1.1", 1, "no cases"), ("77.7", 1, "Nearest")])
def test_a_case_that_is_not_there_is_named(id, number, hint):
    with pytest.raises(ValueError, match=hint):
        case(id, number)


def test_an_unknown_exercise_names_the_nearest(capsys):
    assert not check("1.22", my_add_noise)
    assert "There is no exercise '1.22'. Nearest: 1.2" in capsys.readouterr().out
    assert not check(None, None) and not check(["x"], 3) and "Nearest" in capsys.readouterr().out
    assert check(1.4, EVERY["1.4"].reference())
    assert "in quotes" in grade(4.10, EVERY["4.10"].reference).message and grade("4.1", EVERY["4.1"].reference())


def test_a_predicted_number_may_come_in_any_form_and_is_not_given_away():
    right = EVERY["3.1"].reference()
    for form in (right, torch.tensor(right), torch.tensor([[right]]), round(right, 2)):
        assert grade("3.1", form)
    for wrong in (3.0, 100.0, math.nan):
        assert f"{right:.2f}"[:3] not in grade("3.1", wrong).message
    assert "too small" in grade("3.1", 3.0).message and "too large" in grade("3.1", 100).message


def test_half_of_a_pair_is_not_attempted_and_the_identity_pair_fails():
    forward, inverse = EVERY["1.3"].reference
    assert not grade("1.3", (forward, lambda *case: None)).attempted
    assert not grade("1.3", (lambda *case: None, inverse)).attempted
    assert "closes every round trip" in grade("1.3", (lambda x, *rest: x, lambda x, *rest: x)).mistake
    assert "two functions" in grade("1.3", forward).message
    wrong = grade("1.3", (forward, lambda v, *rest: forward(v, *rest)))
    assert not wrong and "the round trip" in wrong.message


def test_of_a_pair_a_single_mistaken_half_is_named():
    right, says = EVERY["1.3"].reference, "√ᾱ and √(1−ᾱ) are swapped."
    there, back = EVERY["1.3"].mistakes[says]
    assert grade("1.3", (there, right[1])).mistake == grade("1.3", (right[0], back)).mistake == says
    assert grade("1.3", (lambda eps, *rest: eps.tanh(), right[1])).mistake is None     # wrong, and like no mistake


def test_a_forgotten_return_is_told_from_a_stub():
    def adds(x0, t, eps, alpha_bar):
        a = alpha_bar[t].view(-1, *[1] * (x0.ndim - 1))
        a.sqrt() * x0 + (1 - a).sqrt() * eps

    def walks(denoise, x, schedule):
        x = x + denoise(x, torch.full((len(x),), 1000))

    for id, answer in (("1.2", adds), ("1.9", walks)):
        result = grade(id, answer)
        assert result.attempted and not result and "is `return` missing" in result.message


@pytest.mark.parametrize("exercise", [e for e in EVERY.values() if e.kind == "bug"], ids=ids)
def test_a_bug_mended_by_nothing_is_not_attempted(exercise):
    result = grade(exercise.id, exercise.broken)
    assert not result.attempted and "still does what the broken function does" in result.message


def test_pictures_come_as_target_yours_and_difference():
    figure = grade("1.2", next(iter(EVERY["1.2"].mistakes.values()))).figure()
    assert [ax.get_xlabel() for ax in figure.axes[::5]] == ["target", "yours", "yours - target"]
    assert len(figure.axes) == 15
    assert grade("1.2", lambda *case: torch.zeros(2)).figure() is None and grade("1.7", None).figure() is None
    figure.savefig(io.BytesIO())


def test_open_goals_say_what_was_measured():
    def greedy(denoise, x, schedule):
        for _ in range(30):
            denoise(x, torch.full((len(x),), 500))
        return x

    assert "30 questions of at most 20" in grade("1.9", greedy).message

    def places(n):                                               # a 1 for each place: right, and as wide as long
        return 99 * torch.eye(n).roll(1, 0), torch.eye(n)

    assert "d = 29, the goal is 2; each place gives at least 100.0%" in grade("2.9", places).message
    kinds = ((10, 0), (7, 10), (3, 17), (3, 20))
    words = [F.one_hot(torch.arange(size), 23).float().roll(start, 1) for size, start in kinds]
    pictures = sum(w[column] for w, column in zip(words, all_combinations().T))
    assert "D = 23, the goal is 8 (7 is possible); 100.0% of the words are read right; the arrows have" in (
        grade("3.9", lambda: (pictures / 2, words)).message)
    assert "the arrows do not all have length one" in grade("3.9", lambda: (pictures, words)).message

    assert "lies 0.00 from a real one" in grade("4.11", lambda real: real).message
    assert "503 pictures the codes must be (503, 3)" in grade("5.9", (lambda p: p.flatten(1), lambda c: c)).message
    blind = grade("5.9", (lambda p: torch.zeros(503, 3), lambda codes: torch.zeros(503, 1, 32, 32)))
    assert not blind and "6.1 dB with three numbers, the goal is 30" in blind.message
    plain, loud = (grade("6.10", lambda nothing, told, t, w=w: nothing + w * (told - nothing)) for w in (1, 3))
    assert "91.0% as asked" in plain.message and "gets 10.7%" in loud.message and not plain and not loud

    def too_fast(rate, samples):                                 # the phase is no integral
        time = torch.arange(samples) / samples
        return (2 * math.pi * (150 + 150 * time) * time * samples / rate).sin()

    assert "the pitch is 180, 240, 300, 360, 420 Hz" in grade("11.2", too_fast).message
    assert "got a tensor (5,) of float32" in grade("11.2", lambda rate, samples: torch.ones(5)).message

    near, back = grade("11.15", lambda keys: keys), grade("11.15", lambda keys: keys.flip(0))
    assert "100% of the captions find their sounds" in near.message and "is 1.000 (the goal" in near.message
    assert "0% of the sounds find their captions" in back.message and not near and not back
    assert not grade("11.15", lambda keys: F.normalize(randn(1, 10, 16), dim=1))
    for wrong, says in ((lambda keys: keys / 5, "do not all have length one"), (lambda keys: 1, "got an int"),
                        (lambda keys: keys / 0, "of finite numbers"), (lambda keys: keys.T, "got a tensor (16, 10)")):
        assert says in grade("11.15", wrong).message


# ------------------------------------------------------------------ the command line


def test_the_template_is_python_and_nothing_in_it_is_attempted(tmp_path, capsys):
    file = tmp_path / "mine.py"
    assert main(["--template", "-o", str(file)]) == 0
    assert f"python -m minidiff.exercises {file.name}" in file.read_text(encoding="utf-8")
    capsys.readouterr()
    assert main([str(file)]) == 0
    table = capsys.readouterr().out
    for chapter, count in Counter(e.chapter for e in EVERY.values()).items():
        assert f"chapter {chapter}: 0 of {count} right" in table
    assert all(f"  {e.id} " in table for e in EVERY.values()) and "not yet" not in table
    before = file.read_bytes()
    assert main(["--template", "-o", str(file)]) == 1            # never over somebody's answers
    assert file.read_bytes() == before and "nothing was written" in capsys.readouterr().err
    assert main(["--template"]) == 0 and capsys.readouterr().out == template() + "\n"


def test_the_table_says_what_passes(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text("import torch\nanswer_1_4 = 1.0\nanswer_3_1 = 7.74\ndef answer_3_6(said, pictures):\n"
                    "    return torch.stack([((said == p) | (said == -1)).all(1) for p in pictures])\n",
                    encoding="utf-8")
    assert main([str(file)]) == 0
    table = capsys.readouterr().out
    assert "chapter 1: 1 of" in table and "chapter 3: 2 of" in table and table.count(" right\n") >= 3
    file.write_text("answer_1_4 = 3\ndef answer_2_6(x, *parts):\n    return x.nothing\nanswer_1_1 = 'b'\n",
                    encoding="utf-8")
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
    file.write_text(text, encoding="utf-8")
    assert main([str(file)]) == 1
    said = capsys.readouterr()
    assert says in said.err and said.err.count("\n") == 1 and said.out == ""


def test_a_missing_file_hints_and_help(tmp_path, capsys):
    assert main([str(tmp_path / "none.py")]) == 1
    assert "FileNotFoundError" in capsys.readouterr().err
    assert main(["--hints", "1.2"]) == 0 and capsys.readouterr().out.count("\n") == 3
    assert main(["--hints", "1.2", "2"]) == 0 and capsys.readouterr().out == f"2. {EVERY['1.2'].hints[1]}\n"
    assert main(["--hints", "1.2", "4"]) == 1 and "no '4'" in capsys.readouterr().out
    assert main(["--hints", "77.7"]) == 1 and "Nearest" in capsys.readouterr().out
    assert main([]) == 1 and "usage" in capsys.readouterr().out


def test_it_runs_as_a_program(tmp_path):
    (tmp_path / "mine.py").write_text("answer_1_1 = 0.4\n", encoding="utf-8")
    paths = [os.environ["PYTHONPATH"], str(Path(__file__).parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"}
    ran = subprocess.run([sys.executable, "-m", "minidiff.exercises", "mine.py"], cwd=tmp_path, env=environment,
                         capture_output=True, encoding="utf-8")
    assert ran.returncode == 1 and "1.1   *   Two portions" in ran.stdout and "That is ᾱ" in ran.stdout, ran.stderr
    assert ran.stderr == "" and usage.count("python -m minidiff.exercises") == 4
