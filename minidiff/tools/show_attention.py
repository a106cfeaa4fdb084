"""Who looks at whom, as pictures: tables of weights, lines between words, and looks over a digit."""

import html

import torch
from matplotlib.colors import LinearSegmentedColormap

from minidiff.tools.checks import check, check_shape
from minidiff.tools.show import CURVES, DATA, MODEL, Figure, bare, to_image

CELL = 0.42                                                      # inches, where a number must fit
SIGNED = LinearSegmentedColormap.from_list("signed", (MODEL, "white", DATA))


def _lists(labels, count):
    """Labels for each of `count` tables: one list serves all, None is no labels."""
    labels = labels if labels is not None else []
    return list(labels) if labels and not isinstance(labels[0], str) else [labels] * count


def heatmaps(matrices, rows=None, columns=None, titles=None, signed=False, numbers=True, cell=CELL, wrap=4):
    """Tables (P, L) side by side, a color a cell: from white to blue for shares in 0..1 (or what is larger), and
    from orange over white to blue for signed numbers.  Rows look, columns are looked at."""
    check(len(matrices) and len(titles or matrices) == len(matrices), "at least one table, and a title for each")
    for matrix in matrices:
        check_shape("a table", torch.as_tensor(matrix), "P", "L")
    count, across = len(matrices), min(wrap, len(matrices))
    rows, columns, titles = _lists(rows, count), _lists(columns, count), titles or [""] * count
    tall, wide = max(m.shape[0] for m in matrices), max(m.shape[1] for m in matrices)
    left = 0.2 + 0.08 * max((len(word) for words in rows for word in words), default=0)
    below = 0.2 + 0.08 * max((len(word) for words in columns for word in words), default=0)
    lines, down = max(title.count("\n") + bool(title) for title in titles), -(-count // across)
    figure = Figure(figsize=(across * (wide * cell + left), down * (tall * cell + below + 0.25 * lines)),
                    layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).flatten()
    for ax in axes:
        bare(ax)
    for ax, matrix, words, below_words, title in zip(axes, matrices, rows, columns, titles):
        matrix = torch.as_tensor(matrix).detach().float()
        top = matrix.abs().max().item() if signed else max(1.0, matrix.max().item())
        ax.imshow(matrix.numpy(), cmap=SIGNED if signed else "Blues", vmin=-top if signed else 0, vmax=top)
        ax.set_title(title, fontsize=9)
        if words:
            ax.set_yticks(range(len(words)), words, fontsize=8)
        if below_words:
            ax.set_xticks(range(len(below_words)), below_words, fontsize=8, rotation=90)
        ax.tick_params(length=0)
        if numbers:
            for i, row in enumerate(matrix.tolist()):
                for j, value in enumerate(row):
                    ax.text(j, i, f"{value:.2g}" if signed else f"{value:.2f}".removeprefix("0"), ha="center",
                            va="center", fontsize=7,
                            color="white" if (abs(value) if signed else value) > 0.6 * top else "#222222")
    return figure


def over_pictures(pictures, looks, titles, size=1.1):
    """Gray pictures (B, 1, H, W), and beside each its looks (B, K, n, n), orange where most is looked at; titles for
    the K columns."""
    looks = torch.as_tensor(looks).float()
    check_shape("looks", looks, len(pictures), len(titles), "n", "n")
    count, columns = len(pictures), looks.shape[1] + 1
    figure = Figure(figsize=(columns * size, count * size + 0.3), layout="constrained")
    axes = figure.subplots(count, columns, squeeze=False)
    for row, picture, maps in zip(axes, pictures, looks):
        image, (tall, wide) = to_image(picture), picture.shape[-2:]
        for ax, overlay in zip(row, [None, *maps]):
            bare(ax).imshow(image, interpolation="nearest", extent=[0, wide, tall, 0])
            if overlay is not None:
                share = (overlay / overlay.max()).numpy()
                ax.imshow(0 * share + 0.6, cmap="Oranges", vmin=0, vmax=1, alpha=0.85 * share,
                          extent=[0, wide, tall, 0], interpolation="nearest")
    for ax, title in zip(axes[0], ["", *titles]):
        ax.set_title(title, fontsize=8)
    return figure


def scatter(groups, titles, size=3.6):
    """Groups of points in one plane, planes side by side: a list of dicts name -> ((N, 2), color, marker); a star
    marks a single place, and its name stands beside it."""
    figure = Figure(figsize=(size * len(groups), size + 0.6), layout="constrained")
    for ax, group, title in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, titles, strict=True):
        for name, (points, color, marker) in group.items():
            place, size_of = marker == "*", {"*": 90, ".": 9}.get(marker, 14)
            ax.scatter(*points.T, s=size_of, color=color, marker=marker, linewidths=0, label=None if place else name)
            if place:
                ax.annotate(name, points[0].tolist(), xytext=(5, 3), textcoords="offset points", fontsize=7)
        bare(ax).set_title(title, fontsize=9)
        ax.legend(fontsize=7, frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 0), handletextpad=0.1,
                  markerscale=1.5)
    return figure


class hover:
    """Words on the left look at words on the right: point at a word, and see where it looks.  It needs no running
    kernel, only a browser.

    words: L strings, weights: a dict of panel title -> (L, L) whose rows sum to 1
    """

    def __init__(self, words, weights):
        for title, table in weights.items():
            check_shape(title, table, len(words), len(words))
        self.words, self.weights = [html.escape(word) for word in words], weights

    def _repr_html_(self):
        line, wide = 20, 190
        tall, panels = line * len(self.words) + 30, []
        for p, ((title, weights), color) in enumerate(zip(self.weights.items(), CURVES * len(self.weights))):
            parts = [f'<text x="95" y="12" text-anchor="middle" font-weight="bold">{html.escape(title)}</text>']
            for i, word in enumerate(self.words):
                y = line * i + 36
                looks = "".join(f'<line x1="72" y1="{y - 4}" x2="118" y2="{line * j + 32}" stroke="{color}" '
                                f'stroke-width="{6 * w:.1f}"/>' for j, w in enumerate(weights[i].tolist()) if w > 0.02)
                parts.append(f'<g class="looks"><rect x="0" y="{y - 15}" width="72" height="{line}" fill="white"/>'
                             f'<text x="70" y="{y}" text-anchor="end">{word}</text>{looks}</g>'
                             f'<text x="122" y="{y}">{word}</text>')
            panels.append(f'<g transform="translate({wide * (p % 4)},{(tall + 8) * (p // 4)})">{"".join(parts)}</g>')
        across, down = min(4, len(panels)), -(-len(panels) // 4)
        return ('<style>.looks line{opacity:.25} .looks:hover line{opacity:1} .looks:hover text{font-weight:bold} '
                f'.looks{{cursor:pointer}}</style><svg width="{wide * across}" height="{(tall + 8) * down}" '
                f'font-family="sans-serif" font-size="12">{"".join(panels)}</svg>')
