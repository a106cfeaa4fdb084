"""Clips: eight frames of a digit that turns, grows, shrinks, moves or keeps still, with captions that say so.

The caption describes the digit in the middle of the clip; a clip begins before that pose and ends beyond it."""

import difflib
import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from minidiff.data.captions import VOCABULARY, CaptionError
from minidiff.data.rendering import tint
from minidiff.tools.checks import check, check_rows, check_shape

FRAMES = 8
MOTIONS = {                                                      # per frame: degrees, log of the size, pixels to the
    "still": (0, 0, 0, 0),                                       # right, pixels up
    "turning left": (6, 0, 0, 0), "turning right": (-6, 0, 0, 0),                      # counterclockwise is left
    "growing": (0, 0.05, 0, 0), "shrinking": (0, -0.05, 0, 0),
    "moving left": (0, 0, -1, 0), "moving right": (0, 0, 1, 0),
}
MOTION_NAMES = tuple(MOTIONS)
MOTION_WORDS = ("still", "turning", "growing", "shrinking", "moving", "left", "right")
HOPS = (0, 3, 4, 3)                                              # pixels up, of a motion that no caption says


def times(frames=FRAMES):
    """When each frame is seen, counted from the middle of the clip: -3.5, -2.5, ... 3.5 for eight frames (F,)."""
    return torch.arange(frames) - (frames - 1) / 2


def poses(motion, when=None):
    """Motions (B,), places in MOTION_NAMES -> where the digit is in each frame (B, F, 4): degrees
    counterclockwise, log of the size, pixels to the right and up, all zero in the middle of the clip.  when (F,): the
    times of the frames.

    >>> poses(torch.tensor([1]))[0, :, 0].tolist()               # turning left: degrees
    [-21.0, -15.0, -9.0, -3.0, 3.0, 9.0, 15.0, 21.0]
    """
    check_rows("motion", motion[:, None], [len(MOTION_NAMES)], unsaid=False)
    when = times() if when is None else when
    speed = torch.tensor([MOTIONS[name] for name in MOTION_NAMES], dtype=torch.float32)[motion.cpu()]         # (B, 4)
    return (when[None, :, None] * speed[:, None]).to(motion.device)


def hops(count, frames=FRAMES):
    """Poses of `count` digits that bounce, two hops in eight frames, 2 pixels below the middle to 2 above (B, F, 4)."""
    up = torch.tensor(HOPS, dtype=torch.float32).repeat(frames // len(HOPS)) - 2
    return F.pad(up[:, None], (3, 0)).expand(count, -1, -1).clone()


def moved(ink, pose, back=False):
    """Ink (N, H, H) >= 0, turned, resized and shifted about the middle of the picture as pose (N, 4) says; or moved
    back from there."""
    turn, size, right, up = pose[..., None, None].unbind(1)      # (N, 1, 1) each
    turn, size, side = turn * math.pi / 180, size.exp(), ink.shape[-1]
    places = torch.arange(side, device=ink.device) - (side - 1) / 2
    y, x = places[:, None], places[None]                         # y points down
    if back:                                                     # where each pixel of the result looks
        from_x = size * (turn.cos() * x + turn.sin() * y) + right
        from_y = size * (turn.cos() * y - turn.sin() * x) - up
    else:
        from_x = (turn.cos() * (x - right) - turn.sin() * (y + up)) / size
        from_y = (turn.cos() * (y + up) + turn.sin() * (x - right)) / size
    grid = torch.stack([from_x, from_y], -1) * 2 / side
    return F.grid_sample(ink[:, None], grid, mode="bicubic", align_corners=False)[:, 0].clamp_min(0)


def frames_of(ink, color, pose):
    """Digits as bytes (B, 32, 32), colors (B,), poses (B, F, 4) -> clips (B, F, 3, 32, 32) in [-1, 1]."""
    check_shape("pose", pose, len(ink), "F", 4)
    count = pose.shape[1]
    every = ink.float().repeat_interleave(count, 0)              # (B F, 32, 32)
    frames = moved(every, pose.flatten(0, 1)).clamp_max(255).round().to(torch.uint8)
    return tint(frames, color.repeat_interleave(count)).unflatten(0, (-1, count))


def is_held_out_motion(digit, motion):
    """Which pairs of a digit and a motion (...) are never trained on: 7 of the 70, each motion with one digit.

    >>> is_held_out_motion(torch.tensor([5, 7]), torch.tensor([1, 1])).tolist()
    [True, False]
    """
    return digit == (3 * motion + 2) % 10


@dataclass(frozen=True, eq=False)
class Clips:
    """Clips (N, F, 3, 32, 32), the attributes of their digits (N, 4), their motions (N,) as places in MOTION_NAMES."""

    frames: torch.Tensor
    said: torch.Tensor
    motion: torch.Tensor


def sample_clips(captioned, n, generator, held_out=False):
    """n random clips of captioned digits: of the trained pairs of digit and motion, or of those that are held out."""
    device = captioned.labels.device
    said = captioned.allowed[torch.randint(len(captioned.allowed), (20 * n,), generator=generator, device=device)]
    motion = torch.randint(len(MOTION_NAMES), (20 * n,), generator=generator, device=device)
    fit = (is_held_out_motion(said[:, 0], motion) == held_out).nonzero()[:n, 0]
    check(len(fit) == n, f"too few such clips by chance: {len(fit)} of {n}; another seed, or more of them, please")
    said, motion = said[fit], motion[fit]
    rows = captioned.rows_for(said[:, 0], generator)
    ink = captioned.ink[rows, said[:, 2], said[:, 3]]
    return Clips(frames_of(ink, said[:, 1], poses(motion)), said, motion)


def split_motion(caption):
    """A caption of a clip -> the caption of its picture, and the motion: a place in MOTION_NAMES, or None if unsaid.

    >>> split_motion("a red seven leaning left turning right")
    ('a red seven leaning left', 2)
    >>> split_motion("a red seven")
    ('a red seven', None)
    """
    if not isinstance(caption, str):
        raise CaptionError(f"a caption is a string, not {type(caption).__name__}: {caption!r:.60}")
    words = " ".join(word.strip(".,;:!?\"'") for word in caption.lower().split())
    for place, name in enumerate(MOTION_NAMES):
        if words.endswith(f" {name}"):
            return words.removesuffix(f" {name}"), place
    new = [word for word in words.split() if word not in VOCABULARY]
    if any(difflib.get_close_matches(word, MOTION_WORDS, 1) for word in new):
        raise CaptionError(f"{caption[:80]!r}: the motion stands at the end, as one of {', '.join(MOTION_NAMES)}")
    return caption, None


def motion_counts(motion):
    """Motions, places in MOTION_NAMES or None, as counts of their words (B, 7); no motion is no word.

    >>> motion_counts([1, None]).tolist()
    [[0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
    """
    rows = [() if place is None else MOTION_NAMES[place].split() for place in motion]
    return torch.tensor([[float(word in words) for word in MOTION_WORDS] for words in rows])


MARK = slice(25, 31), slice(1, 7)                                # rows and columns of the watermark


def watermarked(pictures):
    """Pictures (..., 3, 32, 32) with a small white square in the lower left corner, as a station's logo."""
    pictures = pictures.clone()
    pictures[..., MARK[0], MARK[1]] = 1.0
    return pictures


def has_watermark(pictures):
    """Whether a square shines in that corner of pictures (..., 3, 32, 32): brighter there than a quarter -> (...)."""
    corner = pictures[..., MARK[0], MARK[1]].amax(-3)            # (..., 6, 6)
    return corner.mean((-2, -1)) > -0.5
