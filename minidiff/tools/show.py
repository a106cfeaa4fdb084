"""Tensors to figures.  Every function here returns a matplotlib Figure and knows no model."""

import base64
import html
import inspect
import io
import math
import textwrap
from pathlib import Path

import matplotlib.figure
import numpy as np
import torch
from matplotlib.ticker import LogLocator
from PIL import Image

from minidiff.tools.checks import check, check_shape, check_whole
from minidiff.tools.files import atomic_write

PIXELS = 150                                                     # an inch, of a figure that is kept as a file
DATA, NOISE, MODEL = "#2b6cb0", "#888888", "#dd7711"             # blue, gray, orange, in the whole book
CURVES = (MODEL, DATA, "#7a3db8", "#1a9a1a", "#c02050")
WORD_COLORS = {"red": "#d62020", "green": "#1a9a1a", "blue": "#2050d0", "yellow": "#b09000", "cyan": "#0a9a9a",
               "magenta": "#c020b0", "white": "#555555"}


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure that a notebook shows as the last line of a cell, as a PNG of 256 colors (half the bytes)."""

    def _repr_png_(self):
        drawn, small = io.BytesIO(), io.BytesIO()
        self.savefig(drawn, format="png", dpi=80)
        Image.open(drawn).convert("RGB").quantize(256, kmeans=2).save(small, "PNG", optimize=True)
        return small.getvalue()


def to_image(picture):
    """A picture (C, H, W) in [-1, 1] -> (H, W, 3) in [0, 1] for imshow; one channel counts as gray."""
    check_shape("a picture", picture, "C", "H", "W")
    return ((picture.detach().float().cpu() + 1) / 2).clamp(0, 1).expand(3, -1, -1).permute(1, 2, 0).numpy()


def bare(ax):
    """An axis without ticks and frame."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def colored_caption(caption):
    """The color in which a caption is written: that of its color word."""
    return next((WORD_COLORS[word] for word in caption.split() if word in WORD_COLORS), "#222222")


def _stamp(ax, picture, caption="", fontsize=9):
    """One picture on its axis, its caption below in the color that it names."""
    bare(ax).imshow(to_image(picture), interpolation="nearest")
    ax.set_xlabel(textwrap.fill(caption, 16), fontsize=fontsize, color=colored_caption(caption))


def grid(pictures, captions=None, columns=8, size=1.3, title=None):
    """Pictures (B, C, H, W) in rows, each with its caption under it; or one caption for each row, under its first."""
    columns = min(check_whole("columns", columns), len(pictures))
    rows = -(-len(pictures) // columns)
    if captions and len(captions) == rows:
        captions = [caption if i == 0 else "" for caption in captions for i in range(columns)][:len(pictures)]
    check(not captions or len(captions) == len(pictures),
          f"{len(pictures)} pictures take as many captions, or one per row ({rows}); got {len(captions or [])}")
    tall = rows * size * (1.35 if captions else 1.05) + (0.35 if title else 0)
    figure = Figure(figsize=(columns * size, tall), layout="constrained")
    axes = [bare(ax) for ax in figure.subplots(rows, columns, squeeze=False).flatten()]
    for ax, picture, caption in zip(axes, pictures, captions or [""] * len(pictures)):
        _stamp(ax, picture, caption.removeprefix("a "), 6.5 * size)
    if title:
        figure.suptitle(title, fontsize=9 * size)
    return figure


def strip(frames, labels=None, size=1.2, title=None):
    """Frames in a row, a list of (C, H, W), from left to right in time, with a label under each."""
    return grid(torch.stack(list(frames)), labels if labels is None else [*map(str, labels)], len(frames), size, title)


def film_strips(films, captions, width=10):
    """Films (B, F, C, H, W), each a row of frames from left to right in time under its caption."""
    across, tall = films.shape[1], width / films.shape[1] + 0.3  # inches
    figure = Figure(figsize=(width, len(films) * tall))
    for row, (film, caption) in enumerate(zip(films, captions, strict=True)):
        top = 1 - row / len(films)
        for i, frame in enumerate(film):
            high = (tall - 0.3) / tall / len(films)
            ax = bare(figure.add_axes((i / across, top - 1 / len(films), 0.97 / across, 0.97 * high)))
            ax.imshow(to_image(frame), interpolation="nearest")
        figure.text(0, top - 0.25 / tall / len(films), caption.removeprefix("a "), fontsize=11, va="bottom",
                    color=colored_caption(caption), parse_math=False)
    return figure


def animate(films, file, kind, zoom, rate):
    """Films (B, F, C, H, W), side by side, into an open file or a path, as an animated GIF or PNG without end."""
    pages = [np.concatenate([to_image(film[frame]) for film in films], 1) for frame in range(films.shape[1])]
    pages = [Image.fromarray((255 * page).round().astype(np.uint8)) for page in pages]
    pages = [page.resize((zoom * page.width, zoom * page.height), Image.Resampling.NEAREST) for page in pages]
    pages[0].save(file, format=kind, save_all=True, append_images=pages[1:], duration=1000 // rate, loop=0)


def save_film(films, path, zoom=8, rate=8):
    """Write films (B, F, C, H, W), side by side, as an animated GIF or PNG of so many frames a second."""
    path = Path(path)
    check(path.suffix in (".gif", ".png"), f"{path}: a film is a .gif or a .png file")
    with atomic_write(path) as draft:
        animate(films, draft, path.suffix[1:].upper(), zoom, rate)


class Page:
    """HTML that a notebook shows."""

    def __init__(self, text):
        self.text = text

    def _repr_html_(self):
        return self.text


def player(films, captions, zoom=4, rate=8):
    """Films (B, F, C, H, W) that a page plays by itself: animated PNGs in its own text, without a kernel or a file."""
    cells = []
    for film, caption in zip(films, captions, strict=True):
        file, said = io.BytesIO(), html.escape(caption.removeprefix("a "))
        animate(film[None], file, "PNG", zoom, rate)
        data = base64.b64encode(file.getvalue()).decode()
        wide = zoom * film.shape[-1] + 16                        # pixels
        style = f"display:inline-block;vertical-align:top;width:{wide}px;margin:4px;text-align:center"
        cells.append(f'<figure style="{style}"><img alt="{said}" '
                     f'src="data:image/png;base64,{data}"><figcaption>{said}</figcaption></figure>')
    return Page("".join(cells))


def sheet(pictures, captions):
    """Many pictures (C n, 3, H, W), n for each of C captions, of which each is written once, above its own.

    All of them are one image, tiled by pillow: with an axis for each matplotlib needs a minute for a thousand.
    """
    check(len(captions) and len(pictures) % len(captions) == 0,
          f"{len(pictures)} pictures, {len(captions)} captions: as many for each, please")
    count, (height, width) = len(pictures) // len(captions), pictures.shape[-2:]
    zoom, columns, most = (6, 8, 1_650) if len(pictures) <= 64 else (2, 32, 2_200)         # pixels of the page
    columns, cell, above, edge = min(columns, count), (zoom * (width + 2), zoom * (height + 2)), 32, 12
    block = (max(columns * cell[0], 400), -(-count // columns) * cell[1] + above)          # a caption, its pictures
    across = max(1, min(len(captions), most // block[0]))
    page = Image.new("RGB", (across * block[0] + edge, -(-len(captions) // across) * block[1] + edge), "white")
    corners = [(i % across * block[0] + edge, i // across * block[1] + above) for i in range(len(captions))]
    for i, picture in enumerate(pictures):
        left, top = corners[i // count]
        row, column = divmod(i % count, columns)
        tile = Image.fromarray((255 * to_image(picture)).round().astype(np.uint8))
        page.paste(tile.resize((zoom * width, zoom * height), Image.Resampling.NEAREST),
                   (left + column * cell[0], top + row * cell[1]))
    figure = Figure(figsize=(page.width / PIXELS, page.height / PIXELS), dpi=PIXELS)
    ax = bare(figure.add_axes((0, 0, 1, 1)))
    ax.imshow(page, interpolation="nearest", aspect="auto")
    for caption, (left, top) in zip(captions, corners, strict=True):
        ax.text(left, top - 6, textwrap.shorten(caption, 45).removeprefix("a "), fontsize=9, va="bottom",
                color=colored_caption(caption), parse_math=False)
    return figure


def gallery(pictures, captions, film, levels, title):
    """One page: captioned pictures (B, 3, H, W) in rows of eight, below them a `film` (N, 3, H, W) and its levels."""
    columns, rows = 8, -(-len(pictures) // 8)
    figure = Figure(figsize=(11, 1.75 * rows + 1.5), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.75 * rows, 1.2])
    top.suptitle(title, fontsize=12)
    axes = [bare(ax) for ax in top.subplots(rows, columns, squeeze=False).flatten()]
    for ax, picture, caption in zip(axes, pictures, captions):
        _stamp(ax, picture, caption)
    bottom.suptitle(f"From noise to “{captions[0]}”: the latent decoded on the way", fontsize=11)
    for ax, frame, level in zip(bottom.subplots(1, len(film), squeeze=False)[0], film, levels):
        _stamp(ax, frame, f"level {level}")
    return figure


def curve(values, floor=None, label="loss", floor_label="the least possible", smooth=20):
    """A loss curve: every step pale, the running mean bold, the known floor dashed."""
    ax = (figure := Figure(figsize=(6, 3), layout="constrained")).subplots()
    values = torch.as_tensor(values)
    mean = values.unfold(0, min(smooth, len(values)), 1).mean(-1)
    ax.plot(values, color=MODEL, alpha=0.25, linewidth=0.8)
    ax.plot(torch.arange(len(mean)) + len(values) - len(mean), mean, color=MODEL, label=label)
    if floor is not None:
        ax.axhline(floor, color=NOISE, linestyle="--", label=floor_label)
    low, high = min(mean.min().item(), math.inf if floor is None else floor), mean.max().item()
    if high > 3 * low:
        ax.set_yscale("log")
    elif high > low:                                             # a small way down: look at it closely
        ax.set_ylim(low - 0.3 * (high - low), high + 0.1 * (high - low))
    ax.set(xlabel="step", ylabel=label)
    ax.legend(frameon=False)
    return figure


def lines(x, curves, xlabel, ylabel, log="", dashed=(), marks=None, size=(6, 3), colors=CURVES):
    """Named curves over x: name -> (N,), or fewer where one ends early; `log` names the logarithmic axes ("x", "y")."""
    figure, colors = Figure(figsize=size, layout="constrained"), iter(colors)
    ax = figure.subplots()
    for name, y in curves.items():
        style = dict(color=NOISE, linestyle="--") if name in dashed else dict(color=next(colors), marker=marks)
        ax.plot(x[:len(y)], y, label=name, **style)
    ax.set(xlabel=xlabel, ylabel=ylabel, **{f"{name}scale": "log" for name in log})
    if marks:                                                    # measured at a few places: name these
        ax.set_xticks(x, [f"{place:g}" for place in x])
        ax.set_xticks([], minor=True)
    if "y" in log and ax.get_ylim()[1] < 50 * ax.get_ylim()[0]:  # less than two decades: more than powers of ten
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.set_yticks([], minor=True)
    ax.legend(frameon=False, fontsize=8)
    return figure


def source(thing):
    """Print the live source of a function or class, of the package or of a notebook's cell."""
    try:
        print(inspect.getsource(thing).rstrip())
    except (OSError, TypeError):                                 # before Python 3.13 a class of a cell has no file
        methods = [part for part in vars(thing).values() if inspect.isfunction(part)] if inspect.isclass(thing) else []
        lines = inspect.findsource(methods[0])[0] if methods else []
        first = [i for i, line in enumerate(lines) if line.split("(")[0].strip(" :\n") == f"class {thing.__name__}"]
        check(first, f"{thing!r:.60} has no source that could be shown: it is no function or class written in Python")
        print("".join(inspect.getblock(lines[first[0]:])).rstrip())
