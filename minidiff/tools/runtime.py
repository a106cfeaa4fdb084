"""What depends on the machine and on chance: devices, number formats, seeds, and how much time we have."""

import builtins
import math
import os
import random
import re
import sys
import time
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path

import numpy as np
import torch

from minidiff.tools.checks import check, check_whole, kind_of
from minidiff.tools.files import one_line

BUDGETS = ("fast", "small", "full")
SEEDS = (-2**63, 2**63 - 1)                                      # the least and the greatest that torch takes
FULL = "out of memory|not enough memory|allocate memory|create a primitive"      # what torch says of a full device,
FAILED = r"CUDA|CUDNN|cuDNN|CUBLAS|NVIDIA|\bHIP\b|\bMPS\b"       # and of one that fails

ON_THE_CPU = "To compute on the CPU: MINIDIFF_DEVICE=cpu, or --device cpu at the command line"


class DeviceError(RuntimeError):
    """A device cannot be used; the message says in one line which, why, and what to do."""


@contextmanager
def seeded(seed):
    """While open, torch draws from this seed, so that a model begins with the same weights on every run; afterwards it
    goes on as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(check_whole("the seed", seed, *SEEDS))
        yield


def seed_all(seed):
    """Seed Python, numpy and torch: what follows is then the same on every run."""
    check_whole("the seed", seed, *SEEDS)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def generator_for(*numbers, device="cpu"):
    """A private random stream named by some integers, such as (seed, step): the same numbers, the same stream.

    >>> torch.rand(1, generator=generator_for(0, 7)) == torch.rand(1, generator=generator_for(0, 7))
    tensor([True])
    """
    numbers = [check_whole("a seed", n, *SEEDS) for n in numbers]
    above = [n >> 32 & 0xFFFFFFFF for n in numbers]              # what 32 bits cannot hold; a negative sign, too
    words = np.random.SeedSequence([n & 0xFFFFFFFF for n in numbers], spawn_key=above if any(above) else ())
    return torch.Generator(device).manual_seed(int(words.generate_state(1, np.uint64)[0]) >> 1)


def noise_for(seeds, shape, draw=0):
    """Standard normal noise with one private stream per picture, so picture 7 is the same alone or in a batch.

    seeds: B integers, shape: the shape of one picture -> (B, *shape).  `draw` numbers the draws of one
    picture: 0 is where sampling starts, a sampler that adds noise on the way asks for draws 1, 2, ...

    >>> bool((noise_for([3, 5], (2, 2))[1] == noise_for([5], (2, 2))[0]).all())
    True
    """
    check(hasattr(seeds, "__len__") and not isinstance(seeds, str) and len(seeds),
          f"seeds are a list of integers, one per picture and at least one; got {kind_of(seeds)}")
    return torch.stack([torch.randn(shape, generator=generator_for(s, draw), dtype=torch.float32, device="cpu")
                        for s in seeds])


@contextmanager
def float32():
    """While open, new tensors are float32, whatever `torch.set_default_dtype` said before."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def environment(**values):
    """While open, the environment has these variables, those that are None unchanged; afterwards it is as before."""
    before = {name: os.environ.get(name) for name, value in values.items() if value is not None}
    os.environ.update({name: values[name] for name in before})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})


def device_name():
    """The device that is asked for: MINIDIFF_DEVICE, else cuda where torch reports a GPU, else cpu."""
    return os.environ.get("MINIDIFF_DEVICE", "").lower() or ("cuda" if torch.cuda.is_available() else "cpu")


def pick_device(name=None):
    """The device to compute on: this one, else MINIDIFF_DEVICE (cpu, cuda, cuda:1, mps), else a GPU where there is one,
    else the CPU.  It is tried, since a GPU may be reported and not be usable: that is a DeviceError."""
    name = str(name or device_name()).lower()
    try:
        (torch.ones(1, device=name) + 1).item()
    except Exception as error:       # torch fails in many ways
        raise DeviceError(f"the device {name!r} cannot be used ({one_line(error)}). {ON_THE_CPU}") from error
    return torch.device(name)


def device_trouble(error):
    """What an error of torch says of the device, in one line: that it is full, or that it fails; else an empty text."""
    known = isinstance(error, (RuntimeError, AssertionError, MemoryError))
    if isinstance(error, MemoryError) or known and re.search(FULL, str(error)):
        other = f". {ON_THE_CPU}" if re.search(FAILED, str(error)) else ""
        return f"the memory is full ({one_line(error)}). Close what else uses it, or ask for less at once{other}"
    if known and re.search(FAILED, str(error)):
        return f"the device fails ({one_line(error)}). Start again. {ON_THE_CPU}"
    return ""


def fast_bf16(device):
    """Whether convolutions run faster in bf16 than in float32 here: measured on a CPU, asked of a GPU.

    A CPU may announce bf16 and be slower in it, a GPU before 2020 (capability below 8) only imitates it.
    MINIDIFF_BF16=0 or 1 decides instead.
    """
    choice = os.environ.get("MINIDIFF_BF16")
    check(choice in (None, "0", "1"), f"MINIDIFF_BF16={choice!r}: expected 0 or 1")
    if choice is not None:
        return choice == "1"
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.device(device).type == "cpu" and _measured_bf16()


@cache
def _measured_bf16():
    """A convolution there and back in both formats, in turn, the best of five each: a tenth of a second, once."""
    best = {False: math.inf, True: math.inf}
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        layer = torch.nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
        x = torch.randn(128, 64, 8, 8).to(memory_format=torch.channels_last).requires_grad_()
        for bf16 in (False, True) * 6:
            started = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                layer(x).sum().backward()
            best[bf16] = min(best[bf16], time.perf_counter() - started)
    return best[True] < best[False]


def autocast(device, bf16=None):
    """A context in which matrix products and convolutions run in bf16: where that is faster here, if not said."""
    bf16 = fast_bf16(device) if bf16 is None else bf16
    return torch.autocast(torch.device(device).type, torch.bfloat16) if bf16 else nullcontext()


def synchronize(device):
    """Wait until the device has done all that it was given, before a clock is read."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def budget_name():
    """`fast` (seconds, for tests), `small` (minutes on two CPU cores) or `full` (a GPU), from MINIDIFF_BUDGET."""
    name = os.environ.get("MINIDIFF_BUDGET") or ("full" if device_name().startswith("cuda") else "small")
    check(name in BUDGETS, f"MINIDIFF_BUDGET={name!r}: expected one of {', '.join(BUDGETS)}")
    return name


def budget(full, small, fast, given=None):
    """Choose one of three values by the budget in force; one that is given, 0 included, is taken before them.

    >>> os.environ["MINIDIFF_BUDGET"] = "fast"; budget(full=60_000, small=4_500, fast=400)
    400
    """
    return given if given is not None else {"full": full, "small": small, "fast": fast}[budget_name()]


def checkout():
    """The repository in which this package lies, or else the working directory; None where there is none."""
    for place in (Path(__file__).resolve(), Path.cwd() / "here"):
        for folder in place.parents:
            if (folder / "pyproject.toml").exists() and (folder / "notebooks" / "studies").is_dir():
                return folder
    return None


def trained_folder():
    """Where `python -m minidiff train` leaves the parts, wherever one stands: MINIDIFF_FOLDER, else `runs` in the
    repository, else, where only the package was installed, `runs` in the working directory."""
    return Path(os.environ.get("MINIDIFF_FOLDER") or (checkout() or Path()) / "runs").expanduser()


def runs_folder():
    """Where a notebook keeps what it trains: in `trained_folder`.  A budget is never mixed with another one: `small`
    has that folder itself, `full` and `fast` one of their own in it."""
    return trained_folder() / budget("full", ".", "fast")


def run_as_program(main):
    """Run a command line to its end, in a terminal or by `%run -m` in a kernel, which is not ended with it."""
    if hasattr(sys.stdout, "reconfigure"):                       # a terminal that knows no √ is told "?"
        sys.stdout.reconfigure(errors="replace")
    status = 0
    try:
        status = main()
    except SystemExit as stop:                                   # of argparse, which has said why
        status = stop.code
    if not hasattr(builtins, "__IPYTHON__"):
        sys.exit(status)


def peak_memory_mb():
    """The most memory this process has held so far, in MB (0 where the system does not tell)."""
    try:
        import resource
    except ImportError:                                          # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)
