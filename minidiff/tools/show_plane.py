"""Points, densities and fields on a plane, as figures."""

import torch

from minidiff.tools.checks import check
from minidiff.tools.show import DATA, MODEL, NOISE, Figure, bare


def _planes(count, titles, limit, size, columns=None):
    """Empty planes in rows, each with its title -> figure, axes."""
    check(len(titles) == count, f"one title for each plane: got {len(titles)} titles for {count}")
    rows, lines = -(-count // (columns or count)), max((title.count("\n") + bool(title) for title in titles), default=0)
    figure = Figure(figsize=(size * (columns or count), rows * (size + 0.27 * lines)), layout="constrained")
    axes = figure.subplots(rows, columns or count, squeeze=False).flatten()
    for ax, title in zip(axes, titles):
        bare(ax).set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        ax.set_title(title, fontsize=9)
    return figure, axes


def points(clouds, titles, colors=None, limit=2.5, size=2.2, columns=None):
    """Point clouds (N, 2) side by side on the same plane; blue is data, gray noise, orange what a model made."""
    figure, axes = _planes(len(clouds), list(titles), limit, size, columns)
    for ax, cloud, color in zip(axes[:len(clouds)], clouds, colors or [DATA] * len(clouds), strict=True):
        ax.scatter(*cloud.T, s=2, alpha=0.5, linewidths=0, color=color)
    return figure


def pictures_at(pictures, places, height, limit=3.0, size=6, width=0.42):
    """Gray pictures (B, 1, H, W) as small stamps at their places (B, 2) on a landscape (n * n,); a picture whose
    place is taken is left out."""
    (figure, (ax,)), taken = _planes(1, [""], limit, size), places[:0]
    _landscape(ax, height, limit)
    for picture, place in zip(pictures, places):
        if bool((place.abs() > limit - width / 2).any()) or bool(((taken - place).abs().amax(1) < 0.8 * width).any()):
            continue
        taken = torch.cat([taken, place[None]])
        ink, (x, y) = ((picture[0] + 1) / 2).clamp(0, 1).numpy(), place.tolist()
        ax.imshow(0 * ink, alpha=ink, cmap="gray", extent=[x - width / 2, x + width / 2, y - width / 2, y + width / 2])
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit))
    return figure


def plane(limit=2.5, n=100):
    """A square net of points (n * n, 2) over the plane, on which a density or a field is computed to be drawn."""
    return torch.cartesian_prod(torch.linspace(-limit, limit, n), torch.linspace(-limit, limit, n))


def _landscape(ax, height, limit):
    ax.imshow(height.view(2 * [round(len(height) ** 0.5)]).T, origin="lower", extent=[-limit, limit] * 2, cmap="Blues",
              interpolation="bilinear", vmin=0, vmax=1.4 * height.max())


def landscapes(heights, titles, arrows=None, trajectories=None, limit=2.5, size=2.4):
    """Functions on the plane as landscapes, darker where higher; each (n * n,), computed on `plane(limit, n)`.

    arrows: as many fields (m * m, 2), computed on `plane(limit, m)`, drawn with one length, unless they nearly vanish:
    the direction is what they show.  trajectories: as many sets of them (T, B, 2), from the gray dot to the orange
    one."""
    figure, axes = _planes(len(heights), list(titles), limit, size)
    for i, (ax, height) in enumerate(zip(axes, heights)):
        _landscape(ax, height, limit)
        if arrows is not None:
            m = round(len(arrows[i]) ** 0.5)
            length = arrows[i].norm(dim=1, keepdim=True)
            arrow = arrows[i] / length.clamp_min(0.1 * length.median())
            ax.quiver(*plane(limit, m).T, *arrow.T, color=MODEL, angles="xy", scale=1.25 * m, width=0.006)
        if trajectories is not None:
            ax.plot(*trajectories[i].permute(2, 0, 1).numpy(), color=MODEL, alpha=0.6, linewidth=0.7)
            for end, color in ((0, NOISE), (-1, MODEL)):
                ax.scatter(*trajectories[i][end].T, s=22, color=color, edgecolors="white", linewidths=0.7, zorder=3)
    return figure


def paths(times, places, titles, size=(2.9, 2.6)):
    """Walks on a line, side by side: times (T,) from left to right, each of places (T, B) with a line per walker, from
    the gray dots to the orange ones."""
    figure = Figure(figsize=(size[0] * len(places), size[1]), layout="constrained")
    axes = figure.subplots(1, len(places), squeeze=False, sharey=True)[0]
    for ax, place, title in zip(axes, places, titles, strict=True):
        ax.plot(times, place, color=MODEL, alpha=0.6, linewidth=0.9)
        for end, color in ((0, NOISE), (-1, MODEL)):
            ax.scatter([times[end]] * place.shape[1], place[end], s=16, color=color, zorder=3)
        ax.set(xlim=(max(times) + 0.04, min(times) - 0.04), xlabel="share of noise, τ")
        ax.set_title(title, fontsize=10)
    axes[0].set_ylabel("place")
    return figure
