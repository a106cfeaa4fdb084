"""Tensors to figures.  Every function here returns a matplotlib Figure and knows no model."""

import inspect
import io
import textwrap

import matplotlib.figure
import torch

DATA, NOISE, MODEL = "#2b6cb0", "#888888", "#dd7711"             # blue, gray, orange, in the whole book
WORD_COLORS = {"red": "#d62020", "green": "#1a9a1a", "blue": "#2050d0", "yellow": "#b09000", "cyan": "#0a9a9a",
               "magenta": "#c020b0", "white": "#555555"}


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure that a notebook shows as the last line of a cell, whatever backend is in use."""

    def _repr_png_(self):
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=80)
        return file.getvalue()


def to_image(picture):
    """A picture (C, H, W) in [-1, 1] -> (H, W, 3) in [0, 1] for imshow; one channel counts as gray."""
    picture = ((picture.detach().float().cpu() + 1) / 2).clamp(0, 1)
    return picture.expand(3, -1, -1).permute(1, 2, 0).numpy()


def bare(ax):
    """An axis without ticks and frame."""
    ax.set(xticks=[], yticks=[])
    for side in ax.spines.values():
        side.set_visible(False)
    return ax


def colored_caption(caption):
    """The color in which a caption is written: that of its color word."""
    return next((WORD_COLORS[word] for word in caption.split() if word in WORD_COLORS), "#222222")


def grid(pictures, captions=None, columns=8, size=1.3, title=None):
    """Pictures (B, C, H, W) in rows, each with its caption under it."""
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    tall = size * (1.35 if captions else 1.05)
    figure = Figure(figsize=(columns * size, rows * tall + (0.35 if title else 0)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for ax in axes:
        bare(ax)
    for i, (ax, picture) in enumerate(zip(axes, pictures)):
        ax.imshow(to_image(picture), interpolation="nearest")
        if captions:
            ax.set_xlabel(textwrap.fill(captions[i].removeprefix("a "), 16), fontsize=6.5 * size,
                          color=colored_caption(captions[i]))
    if title:
        figure.suptitle(title, fontsize=9 * size)
    return figure


def strip(frames, labels=None, size=1.2, title=None):
    """Frames in a row, a list of (C, H, W), from left to right in time, with a label under each."""
    return grid(torch.stack(list(frames)), columns=len(frames), size=size, title=title,
                captions=[str(label) for label in labels] if labels is not None else None)


def gallery(pictures, captions, film, levels, title):
    """The result on one page: captioned pictures (B, 3, H, W) in rows of eight, and below them one `film`
    (N, 3, H, W) of a picture on its way out of the noise, labelled by level."""
    columns, rows = 8, -(-len(pictures) // 8)
    figure = Figure(figsize=(11, 1.75 * rows + 1.5), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.75 * rows, 1.2])
    top.suptitle(title, fontsize=12)
    axes = top.subplots(rows, columns, squeeze=False).flatten()
    for ax in axes:
        bare(ax)
    for ax, picture, caption in zip(axes, pictures, captions):
        ax.imshow(to_image(picture), interpolation="nearest")
        ax.set_xlabel(textwrap.fill(caption, 16), fontsize=9, color=colored_caption(caption))
    bottom.suptitle(f"From noise to “{captions[0]}”: the latent decoded on the way", fontsize=11)
    for ax, frame, level in zip(bottom.subplots(1, len(film), squeeze=False)[0], film, levels):
        bare(ax).imshow(to_image(frame), interpolation="nearest")
        ax.set_xlabel(f"level {level}", fontsize=9)
    return figure


def curve(values, floor=None, label="loss", floor_label="the least possible", smooth=20):
    """A loss curve: every step pale, the running mean bold, the known floor dashed."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    ax = figure.subplots()
    values = torch.as_tensor(values)
    mean = values.unfold(0, min(smooth, len(values)), 1).mean(-1)
    ax.plot(values, color=MODEL, alpha=0.25, linewidth=0.8)
    ax.plot(torch.arange(len(mean)) + len(values) - len(mean), mean, color=MODEL, label=label)
    if floor is not None:
        ax.axhline(floor, color=NOISE, linestyle="--", label=floor_label)
    ax.set(xlabel="step", ylabel=label, yscale="log")
    ax.legend(frameon=False)
    return figure


def points(clouds, titles, limit=2.5, size=2.2):
    """Point clouds (N, 2) side by side on the same plane."""
    figure = Figure(figsize=(size * len(clouds), size * 1.15), layout="constrained")
    for ax, cloud, title in zip(figure.subplots(1, len(clouds), squeeze=False)[0], clouds, titles):
        bare(ax).scatter(*cloud.T, s=2, alpha=0.5, linewidths=0, color=DATA)
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        ax.set_title(title, fontsize=9)
    return figure


def source(thing):
    """Print the live source of a function or class of the package."""
    print(inspect.getsource(thing).rstrip())
