"""Checkpoints: tensors and their description in one file, whole or not at all, and never a program."""

import json
import typing
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch.overrides import TorchFunctionMode

from minidiff.tools.checks import check, kind_of
from minidiff.tools.files import FileError, atomic_write, checksum, one_line
from minidiff.tools.runtime import device_trouble, float32

LARGEST = 2**16                                                  # number in a config: more is no miniature


class CheckpointError(FileError):
    """A checkpoint cannot be used: it is damaged, unreadable, or of other settings; the message says which file, which
    of these, and what to do.  Only a file that was seen to be damaged is one to delete."""


def save_checkpoint(path, tensors, about):
    """Write tensors and a JSON description `about` to one file, with a checksum of both."""
    for name, t in tensors.items():
        check(torch.is_tensor(t), f"a checkpoint keeps tensors; {name!r} is {kind_of(t)}, which belongs into `about`")
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    if not all(t.isfinite().all() for t in tensors.values()):
        raise FloatingPointError(f"{path} was not written: after step {about.get('step')} a number in it is not finite "
                                 "(too high a learning rate?). What was there before is untouched")
    about = json.dumps(about)
    with atomic_write(path, CheckpointError, (OSError, SafetensorError)) as draft:
        draft.write_bytes(save(tensors, {"about": about, "checksum": checksum(about, tensors)}))


def read_about(path):
    """The description in a checkpoint, without its tensors and unchecked: for a quick first look, which may fail."""
    return json.loads(header_of(Path(path).read_bytes())["__metadata__"]["about"])


def load_checkpoint(path):
    """Read what `save_checkpoint` wrote -> tensors, about; what is damaged or unreadable is a CheckpointError."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: `python -m minidiff train` makes it")
    found, kept = read_file(path)
    if not kept.keys() & {"about", "checksum"}:
        raise CheckpointError(f"{path} was not written by minidiff. Move it elsewhere: `python -m minidiff train` "
                              "writes what belongs there")
    if "sha256" in kept:
        raise CheckpointError(f"{path} was written by an older minidiff, which did not seal descriptions. Move it "
                              "elsewhere and train again: `python -m minidiff train`")
    if kept.get("checksum") != checksum(kept.get("about", ""), found):
        raise damaged(path, "its checksum does not fit its contents")
    with fitting(path):
        return found, dict(json.loads(kept["about"]))


def load_model(path, model_class, config_class):
    """The finished model in a checkpoint -> model, about: `model_class(config)`, filled with the kept weights."""
    tensors, about = load_checkpoint(path)
    with fitting(path), float32():
        settings = about["settings"]
        if about["step"] != settings["steps"]:
            raise CheckpointError(f"{path} holds a training that stopped at step {about['step']} of "
                                  f"{settings['steps']}; `python -m minidiff train` finishes it")
        with torch.device("meta"), Unfilled():                   # shapes without memory: nothing absurd is allocated
            model = model_class(rebuild(config_class, settings["config"])).to(memory_format=torch.channels_last)
        wanted = model.state_dict()
        found = {name.removeprefix("model."): t for name, t in tensors.items()}
        check_fits(found, wanted)
        model.load_state_dict({name: t.to(memory_format=torch.channels_last) if t.ndim == 4 else t
                               for name, t in found.items()}, assign=True)
    return model.eval().requires_grad_(False), about


class Unfilled(TorchFunctionMode):
    """While open, first weights that have no memory are not filled: `0.02 * torch.randn(5, 7)` is only a shape.  To
    compute with what is not there torch would import eight hundred of its files, which takes longer than all else."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        tensors = [x for x in (*args, *(kwargs or {}).values()) if torch.is_tensor(x)]
        if getattr(function, "__name__", "") in ("normal_", "mul", "log") and [t.is_meta for t in tensors] == [True]:
            return tensors[0]
        return (torch.empty if function is torch.randn else function)(*args, **(kwargs or {}))


def rebuild(config_class, kept):
    """A config as its JSON keeps it -> the dataclass: lists become tuples, dicts the configs that they were."""
    kinds = typing.get_type_hints(config_class)
    other = sorted(set(kept) - set(kinds))
    check(not other, f"settings that are not known here: {', '.join(other)[:80]}")
    fields = {}
    for name, value in kept.items():
        numbers = value if isinstance(value, list) else [value]
        fields[name] = tuple(value) if isinstance(value, list) else value
        if isinstance(value, dict):
            fields[name] = rebuild(kinds[name], value)
        elif len(numbers) > 99 or any(isinstance(n, (int, float)) and not abs(n) <= LARGEST for n in numbers):
            raise ValueError(f"a number in its settings is absurd ({name})")
    return config_class(**fields)


def check_fits(found, wanted):
    """Refuse tensors whose names, shapes or number formats are not the wanted ones."""
    other = sorted(name for name in found | wanted
                   if name not in found or name not in wanted or found[name].shape != wanted[name].shape)
    check(not other, f"{len(other)} tensors are missing, unknown or of another shape: {', '.join(other)[:80]!r}")
    for name, t in found.items():
        check(t.dtype == wanted[name].dtype, f"{name} is {kind_of(t)}, and {str(wanted[name].dtype)[6:]} is expected")


def read_file(path):
    """A safetensors file -> tensors, metadata; it is called damaged only where its contents make no sense.

    It is opened here and not by safetensors, which calls each failure "no such file", makes files for one user only,
    and knows no names but in UTF-8.
    """
    try:
        content = path.read_bytes()
    except IsADirectoryError as error:
        raise CheckpointError(f"{path} is a folder, where a file belongs. Move it elsewhere: `python -m minidiff "
                              "train` makes the file") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read here ({one_line(error)})") from error
    if content.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is only the pointer that Git LFS keeps: `git lfs pull` gets the file")
    try:
        bytearray(2 * len(content))                              # safetensors panics where there is no room for that
        found = {name: t.clone() for name, t in load(content).items()}
        return found, header_of(content).get("__metadata__") or {}
    except Exception as error:       # safetensors and torch fail in many ways
        if device_trouble(error):
            raise
        raise damaged(path, one_line(error)) from error


def header_of(content):
    """What a safetensors file says of its contents: JSON, whose length stands in the first eight bytes."""
    return json.loads(content[8:8 + int.from_bytes(content[:8], "little")])


def damaged(path, why):
    """The error for a file that was seen to be damaged."""
    return CheckpointError(f"{path} is damaged or no checkpoint ({why}). Delete it and train again: `python -m "
                           "minidiff train` redoes only what is missing")


@contextmanager
def fitting(path):
    """Whatever fails inside is no damage: the file is whole, its checksum says so, and holds what is not known here."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:       # of its description anything may be missing
        if device_trouble(error):
            raise
        raise CheckpointError(f"{path} is whole, but does not fit ({one_line(error)}). Was it written by another "
                              "minidiff, or is it another part? Keep it, and use another folder") from error
