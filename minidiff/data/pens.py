"""The pen: a scan shows a digit and not how it was written.  Strokes are found in the scan, and drawn again.

The pen begins at the topmost end and at each junction goes on as straight as it can; where nothing is left, it is
lifted and begins again at the topmost end that is left.  A stroke that would end above its beginning is drawn from the
other side, and what has no end, such as a zero, begins at its top, to the right or to the left by chance.

A place is one complex number here, x + iy with y downward: steps are added, and angles are read from products.
"""

from collections import Counter

import numpy as np
import torch
from torch.nn import functional as F

from minidiff.data.rendering import WIDTHS
from minidiff.data.skeletons import thin
from minidiff.tools.checks import check, check_number, check_pictures, check_shape, kind_of

POINTS, SIDE = 48, 32                                            # of a trajectory; of a picture
INK = 0.5                                                        # what counts as ink in a scan, of 0 to 1
SHORT = 3                                                        # places: no longer are spurs and bridges that go
LOOK = 4                                                         # so many places show which way a path goes
FAR = 100                                                        # pixels, to a line that was not drawn
STEPS = (1, 1j, -1, -1j, 1 + 1j, -1 + 1j, -1 - 1j, 1 - 1j)


def height(place):
    """What makes a place the topmost: its row, then its column."""
    return place.imag, place.real


def paths_of(skeleton):
    """A skeleton (H, W) -> the paths between its ends and junctions, lists of places.  A closed loop begins and ends at
    the same place; a dot is a path of one place.  A diagonal neighbor counts where no other way leads to it."""
    dots = {complex(x, y) for y, x in skeleton.nonzero().tolist()}
    near = {dot: [dot + step for step in STEPS if dot + step in dots and
                  not (step.real and step.imag and {dot + step.real, dot + 1j * step.imag} & dots)] for dot in dots}
    nodes = {place for place in near if len(near[place]) != 2}   # an end has one neighbor, a junction three or four
    paths, done = [], set()
    for start in sorted(near, key=lambda place: (place not in nodes, height(place))):
        if start in done:
            continue
        nodes.add(start)                                         # after all nodes come loops that met none
        paths += [[start]] * (not near[start])
        for step in near[start]:
            path = [start, step]
            while path[-1] not in nodes:
                path.append(next(place for place in near[path[-1]] if place != path[-2]))
            if (start, step) not in done:
                paths.append(path)
            done |= {(path[-1], path[-2]), *path[1:-1]}          # not again from its other end
    return paths


def cleaned(paths):
    """Paths without the marks of thinning, the shortest first: a spur off a junction goes, and two junctions that a
    short bridge joins become one half-way, so that a crossing is one place again."""
    while True:
        count = Counter(path[end] for path in paths for end in (0, -1))                # 1 an end, 3 or more a junction
        kinds = [sorted((count[path[0]], count[path[-1]])) for path in paths]
        short = [path for path, (least, most) in zip(paths, kinds) if least != 2 < most and len(path) <= SHORT]
        if not short:
            return paths
        gone = min(short, key=len)
        paths = [path for path in paths if path is not gone]
        if min(count[gone[0]], count[gone[-1]]) > 2:
            joint = dict.fromkeys(gone, (gone[0] + gone[-1]) / 2)
            paths = [[joint.get(path[0], path[0]), *path[1:-1], joint.get(path[-1], path[-1])] for path in paths]


def start_of(paths):
    """Where the pen begins, and the paths, one of them split there if it begins where no end is."""
    count = Counter(path[end] for path in paths for end in (0, -1))
    ends = [place for place in count if count[place] == 1]
    if ends:
        return min(ends, key=height), paths
    highest = min(paths, key=lambda path: min(map(height, path)))
    tops = [k for k, place in enumerate(highest) if place.imag == min(highest, key=height).imag]
    top = tops[len(tops) // 2]                                   # the middle of a flat top
    if 0 < top < len(highest) - 1:
        paths = [path for path in paths if path is not highest] + [highest[:top + 1], highest[top:]]
    return highest[top], paths


def strokes_of(skeleton, heading=1):
    """A skeleton (H, W) -> strokes, lists of places, in the order of the pen.  heading: what has no end begins to the
    right, clockwise (1), or to the left (-1).

    >>> strokes_of(torch.eye(3))
    [[0j, (1+1j), (2+2j)]]
    """
    check_shape("skeleton", skeleton, "H", "W")
    check(heading in (1, -1), f"heading is 1, clockwise, or -1, got {heading!r:.60}")
    paths, strokes = cleaned(paths_of(skeleton)), []
    while paths:
        start, paths = start_of(paths)
        stroke = [start]
        while ways := [way for path in paths for way in (path, path[::-1]) if way[0] == stroke[-1]]:
            came = stroke[-1] - stroke[-LOOK:][0] or heading
            goes = [way[:LOOK][-1] - way[0] or 1 for way in ways]
            straight = [(go * came.conjugate()).real / abs(go) for go in goes]         # |came| cos(turn)
            way = ways[straight.index(max(straight))]
            paths = [path for path in paths if path not in (way, way[::-1])]
            stroke += way[1:]
        strokes.append(stroke if stroke[-1].imag >= start.imag else stroke[::-1])
    return strokes


def spaced(strokes, points=POINTS):
    """Strokes in pixels -> places (points,) at nearly equal distances, and pen (points,), -1 where a stroke begins.
    The stairs of the pixels are smoothed: each place but the ends is averaged with its neighbors.

    >>> spaced([[0, 4], [4j, 2 + 4j]], 5)[0].tolist()
    [0j, (2+0j), (4+0j), 4j, (2+4j)]
    """
    strokes = [np.array(stroke, complex) for stroke in strokes]
    for stroke in strokes * 2:
        stroke[1:-1] = (stroke[:-2] + 2 * stroke[1:-1] + stroke[2:]) / 4
    lengths = np.array([np.abs(np.diff(stroke)).sum() for stroke in strokes])
    kept = np.sort(np.argsort(-lengths)[:points // 2])           # a scan in many pieces: the longest ones
    parts = np.ones(len(kept), int)                              # steps of each stroke
    for _ in range(points - 2 * len(kept)):
        parts[np.argmax(lengths[kept] / parts)] += 1             # one more where points are farthest apart
    places, pen = [], []
    for k, count in zip(kept, parts):
        far = np.append(0, np.abs(np.diff(strokes[k])).cumsum())
        places.append(np.interp(np.linspace(0, far[-1], count + 1), far, strokes[k]))
        pen += [-1.0] + [1.0] * count
    return np.concatenate(places), np.array(pen)


def middle_of(ink):
    """Where the ink (N, 32, 32) around each pixel has its middle, in 3 x 3 pixels -> places, an array (N, 32, 32)."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    ink = ink.clamp(0, 1) + 1e-6
    total, wx, wy = F.avg_pool2d(torch.stack([ink, ink * x, ink * y], 1), 3, 1, 1).unbind(1)
    return torch.complex(wx / total, wy / total).numpy()


def trace(pictures, generator):
    """Pictures (N, 1, 32, 32) in [-1, 1] -> trajectories (N, 48, 3) of a pen that may have written them: x and y with
    the edges of the picture at -1 and 1, y downward; pen, 1 where it is down on the way here and -1 where lifted."""
    check_pictures(pictures, 1, SIDE, SIDE)
    ink = (pictures[:, 0].detach().cpu() + 1) / 2
    skeletons, middles = thin(ink > INK), middle_of(ink)
    blank = (~skeletons.flatten(1).any(1)).nonzero().flatten().tolist()
    check(not blank, f"there is no ink to trace in pictures {blank[:5]}")
    headings = torch.randint(2, (len(ink),), generator=generator, device=generator.device) * 2 - 1
    out = []
    for skeleton, middle, heading in zip(skeletons, middles, headings.tolist()):
        strokes = strokes_of(skeleton, heading)
        places, pen = spaced([[middle[round(z.imag), round(z.real)] for z in stroke] for stroke in strokes])
        places = (places + 0.5 + 0.5j) * 2 / SIDE - 1 - 1j       # the middle of the first pixel is half a pixel in
        out.append(np.stack([places.real, places.imag, pen], -1))
    return torch.tensor(np.array(out), dtype=torch.float32, device=pictures.device).view(-1, POINTS, 3)


def pen_distance(trajectories):
    """Trajectories (N, P, 3) -> the distance of each pixel to the nearest line that the pen drew (N, 32, 32), in
    pixels, with a gradient in x and y.  On the line from a to a + d, t = (p - a) d / d^2, cut to 0..1, is nearest to p.
    """
    places = (trajectories[..., :2] + 1) * SIDE / 2 - 0.5        # in pixels, 0 the middle of the first
    a, d, up = places[:, :-1], places.diff(dim=1), trajectories[:, 1:, 2:] <= 0        # (N, P-1, 2 or 1)
    squared = d.square().sum(-1, keepdim=True).clamp_min(1e-6)                         # (N, P-1, 1)
    away = torch.arange(SIDE, device=a.device) - a[..., None]                          # p - a (N, P-1, 2, 32)
    x, y = (away * d[..., None] / squared[..., None]).unbind(2)
    xx, yy = away.square().unbind(2)
    along = y[..., :, None] + x[..., None, :]                    # t before it is cut (N, P-1, 32, 32)
    t = along.clamp(0, 1)
    far = (yy + up * FAR**2)[..., :, None] + xx[..., None, :] + squared[..., None] * t * (t - 2 * along)
    return far.amin(1).clamp_min(1e-6).sqrt()


def write(trajectories, width=WIDTHS[1]):
    """Trajectories (N, P, 3) -> pictures (N, 1, 32, 32) in [-1, 1]: what a pen of `width` pixels leaves where it is
    down, pen > 0, with soft edges.

    >>> line = torch.tensor([[[-0.5, 0.0, -1.0], [0.5, 0.0, 1.0]]])
    >>> write(line, width=2.0)[0, 0, 13:19, 16].tolist()         # rows 15 and 16 lie half a pixel from the line
    [-1.0, -1.0, 1.0, 1.0, -1.0, -1.0]
    """
    check_shape("trajectories", trajectories, "N", "P", 3)
    check_number("width", width, 0.1, SIDE)
    most = trajectories.detach().abs().max() if trajectories.numel() else torch.zeros(())
    check(trajectories.is_floating_point() and trajectories.shape[1] > 1 and bool(most < 10), "trajectories are two or "
          f"more floats x, y, pen in [-1, 1], got {kind_of(trajectories)}, up to {most:g}: pixels? NaN?")
    away = torch.cat([pen_distance(part) for part in trajectories.split(16)])          # small parts stay in the cache
    return ((width + 1) / 2 - away).clamp(0, 1)[:, None] * 2 - 1
