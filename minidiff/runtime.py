"""What depends on the machine and on chance: devices, number formats, seeds, and how much time we have."""

import math
import os
import random
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch

from minidiff.inputs import check_whole, kind_of

BUDGETS = ("fast", "small", "full")


def seed_all(seed):
    """Seed Python, numpy and torch: the initial weights of a model are then the same on every run."""
    seed = check_whole("the seed", seed, -2**63, 2**64 - 1)        # what torch takes
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def generator_for(*numbers, device="cpu"):
    """A private random stream named by some integers, such as (seed, step): the same numbers, the same stream.

    >>> torch.rand(1, generator=generator_for(0, 7)) == torch.rand(1, generator=generator_for(0, 7))
    tensor([True])
    """
    numbers = [check_whole("a seed", n, -math.inf) % 2**32 for n in numbers]
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1
    return torch.Generator(device).manual_seed(seed)


def noise_for(seeds, shape, draw=0):
    """Standard normal noise with one private stream per picture, so picture 7 is the same alone or in a batch.

    seeds: B integers, shape: the shape of one picture -> (B, *shape).  `draw` numbers the draws of one
    picture: 0 is where sampling starts, a sampler that adds noise on the way asks for draws 1, 2, ...

    >>> bool((noise_for([3, 5], (2, 2))[1] == noise_for([5], (2, 2))[0]).all())
    True
    """
    if not hasattr(seeds, "__len__") or isinstance(seeds, str):
        raise ValueError(f"seeds are a list of integers, one a picture; got {kind_of(seeds)}")
    if not len(seeds):
        raise ValueError("no seeds: noise needs at least one picture")
    return torch.stack([torch.randn(shape, generator=generator_for(s, draw)) for s in seeds])


def pick_device():
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_fast_bf16(device):
    """Whether bf16 arithmetic is faster than float32 here: GPUs since 2020, CPUs with AMX or AVX512-BF16.

    MINIDIFF_BF16=0 or 1 overrides what the machine says.
    """
    if (choice := os.environ.get("MINIDIFF_BF16")) is not None:
        if choice not in ("0", "1"):
            raise ValueError(f"MINIDIFF_BF16={choice!r}: expected 0 or 1")
        return choice == "1"
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported()
    return getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()   # an older torch cannot tell: bool() is False


def autocast(device):
    """A context in which matrix products and convolutions run in bf16 where that is faster here."""
    device = torch.device(device)
    return torch.autocast(device.type, torch.bfloat16) if has_fast_bf16(device) else nullcontext()


def budget_name():
    """`fast` (seconds, for tests), `small` (minutes on two CPU cores) or `full` (a GPU), from MINIDIFF_BUDGET."""
    name = os.environ.get("MINIDIFF_BUDGET") or ("full" if torch.cuda.is_available() else "small")
    if name not in BUDGETS:
        raise ValueError(f"MINIDIFF_BUDGET={name!r}: expected one of {', '.join(BUDGETS)}")
    return name


def budget(full, small, fast, given=None):
    """Choose one of three values by the budget in force; one that is given, 0 included, is taken before them.

    >>> os.environ["MINIDIFF_BUDGET"] = "fast"; budget(full=60_000, small=4_500, fast=400)
    400
    """
    return given if given is not None else {"full": full, "small": small, "fast": fast}[budget_name()]


def runs_folder():
    """Where a notebook keeps what it trains: `runs` beside its folder, or MINIDIFF_FOLDER; a budget is never mixed
    with another one: `small` has the folder itself, `full` and `fast` one of their own in it.
    """
    return Path(os.environ.get("MINIDIFF_FOLDER", "../runs")) / budget("full", ".", "fast")


def peak_memory_mb():
    """The most memory this process has held so far, in MB (0 where the system does not tell)."""
    try:
        import resource
    except ImportError:                                          # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)
