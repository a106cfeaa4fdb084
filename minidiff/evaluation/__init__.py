"""Numbers about quality: is it what was asked for, and how far is it from the truth?"""

from minidiff.evaluation.clouds import coverage, floor_and_excess, wasserstein
from minidiff.evaluation.groups import by_group
from minidiff.evaluation.likelihood import bits_of, reading_table
from minidiff.evaluation.metrics import (
    accuracy,
    diversity,
    frechet_distance,
    frechet_with_floor,
    iou,
    nearest,
    psnr,
    recall_at,
    wilson,
)
from minidiff.evaluation.motion import judge_films, overlap, read_motion, register, second_difference
from minidiff.evaluation.readers import (
    ink_of,
    prompts,
    radius,
    read,
    read_color,
    read_lean,
    read_stroke,
    read_zero_shot,
)
from minidiff.evaluation.sounds import autocorrelation, lateness, read_pitch, read_sounds, read_times
from minidiff.evaluation.wishes import came_true
