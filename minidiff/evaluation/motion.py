"""How a digit moves in a film, read from the film alone: each frame is laid over the first one."""

from dataclasses import dataclass

import torch

from minidiff.data.clips import MOTION_NAMES, MOTIONS, moved, poses
from minidiff.data.rendering import moments
from minidiff.evaluation.readers import ink_of, radius, read
from minidiff.tools.checks import check_shape

ANGLES = torch.arange(-66.0, 67.0, 3.0)                          # degrees that are tried
A_STEP = (6.0, 0.05, 1.0)                                        # of a motion per frame: degrees, log size, pixels


def center_of(ink):
    """The center of mass of ink (N, H, W), in pixels to the right of the middle and up: two tensors (N,)."""
    _, (down, right), _ = moments(ink)
    middle = (ink.shape[-1] - 1) / 2
    return right - middle, middle - down


def overlap(one, other):
    """Soft intersection over union of ink (N, H, W): the lesser over the greater of each pixel, summed -> (N,)."""
    return torch.minimum(one, other).sum((1, 2)) / torch.maximum(one, other).sum((1, 2)).clamp_min(1e-6)


@torch.no_grad()
def register(pictures, first):
    """How a digit must be moved from one crowd of pictures (N, C, 32, 32) to be seen in the other, pair by pair ->
    pose (N, 4) as in `poses`, and how well the two then overlap (N,).

    The place is the center of mass, the size the radius of the ink; the angle is the best of a grid, then of a parabola
    through it and its neighbors.
    """
    ink, start = ink_of(pictures), ink_of(first)
    right, up = center_of(ink)
    first_right, first_up = center_of(start)
    none = torch.zeros_like(right)
    size = (radius(pictures) / radius(first).clamp_min(0.1)).clamp(0.3, 3).log()
    start = moved(start, torch.stack([none, none, first_right, first_up], 1), back=True)         # in the middle

    def laid_over(angle):
        return overlap(moved(ink, torch.stack([none + angle, size, right, up], 1), back=True), start)

    scores = torch.stack([laid_over(angle) for angle in ANGLES.tolist()], 1)           # (N, 45)
    best = scores.argmax(1).clamp(1, len(ANGLES) - 2)
    below, at, above = (scores.gather(1, (best + i)[:, None])[:, 0] for i in (-1, 0, 1))
    beyond = (below - above) / (2 * (below - 2 * at + above)).clamp_max(-1e-6)
    angle = ANGLES.to(ink.device)[best] + 3 * beyond.clamp(-1, 1)
    return torch.stack([angle, size, right - first_right, up - first_up], 1), laid_over(angle)


@dataclass(frozen=True, eq=False)
class Read:
    """What was read from films: poses against the first frame (B, F - 1, 4), how well each frame, moved back, covers
    the first (B, F - 1), and the motions (B,), as places in MOTION_NAMES."""

    pose: torch.Tensor
    same: torch.Tensor
    motion: torch.Tensor


def read_motion(films):
    """Films (B, F, 3, 32, 32) -> what moves in them, and how."""
    check_shape("films", films, "B", "F", "C", 32, 32)
    count = films.shape[1] - 1
    pose, same = register(films[:, 1:].flatten(0, 1), films[:, :1].expand(-1, count, -1, -1, -1).flatten(0, 1))
    pose, same = pose.unflatten(0, (-1, count)), same.unflatten(0, (-1, count))
    since = torch.arange(1, count + 1, device=films.device)[None, :, None]             # frames
    speed = (pose[..., :3] * since).sum(1) / since.square().sum()                      # least squares (B, 3)
    known = torch.tensor([MOTIONS[name][:3] for name in MOTION_NAMES], device=films.device)
    step = torch.tensor(A_STEP, device=films.device)
    return Read(pose, same, torch.cdist(speed / step, known / step).argmin(1))


def second_difference(films):
    """How unevenly films (B, F, C, H, W) go: the mean size of x_(f+1) - 2 x_f + x_(f-1); zero where nothing moves."""
    return (films[:, 2:] - 2 * films[:, 1:-1] + films[:, :-2]).abs().mean().item()


@torch.no_grad()
def judge_films(films, said, motion, classifier):
    """Films (B, F, 3, 32, 32), attributes (B, 4) and motions (B,) that were asked for -> shares and means:

    right: films whose motion is the one asked for; identity: overlap of the frames with the first, moved back to it;
    caption: frames whose four words are right, moved back to the caption's pose; angle, size, place: mean error of the
    poses, in degrees, log size and pixels; second: see `second_difference`.
    """
    found, asked = read_motion(films), poses(motion)
    error = (found.pose - (asked - asked[:, :1])[:, 1:]).abs().mean((0, 1))
    every = films.flatten(0, 1) + 1                              # black is 0: what comes in from beyond the edge
    back = moved(every.flatten(0, 1), asked.flatten(0, 1).repeat_interleave(3, 0), back=True).view_as(every) - 1
    words = read(classifier, back.clamp(-1, 1)) == said.repeat_interleave(films.shape[1], 0)
    return {"right": (found.motion == motion).float().mean().item(), "identity": found.same.mean().item(),
            "caption": words.all(1).float().mean().item(), "angle": error[0].item(), "size": error[1].item(),
            "place": error[2].item(), "second": second_difference(films)}
