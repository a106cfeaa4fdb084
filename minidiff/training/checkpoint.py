"""Checkpoints: tensors and their description in one file, whole or not at all, and never a program."""

import json
import typing
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from minidiff.tools.checks import check, kind_of
from minidiff.tools.files import FileError, atomic_write, checksum, one_line

LARGEST = 2**16                                                  # number in a config: more is no miniature


class CheckpointError(FileError):
    """A checkpoint is damaged or belongs to other settings; the message says which file, and what to do."""


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
        save_file(tensors, draft, {"about": about, "checksum": checksum(about, tensors)})


def read_about(path):
    """The description in a checkpoint, without its tensors and unchecked: for a quick first look."""
    with blaming(path), safe_open(path, "pt") as file:
        return json.loads((file.metadata() or {})["about"])


def load_checkpoint(path):
    """Read what `save_checkpoint` wrote -> tensors, about; a damaged file is a CheckpointError."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: `python -m minidiff train` makes it")
    with blaming(path):
        with safe_open(path, "pt") as file:                      # copies: the file may be written to later
            kept, found = file.metadata() or {}, {name: file.get_tensor(name).clone() for name in file.keys()}
        check(kept["checksum"] == checksum(kept["about"], found), "its checksum does not fit its contents")
        return found, dict(json.loads(kept["about"]))


def load_model(path, model_class, config_class):
    """The finished model in a checkpoint -> model, about: `model_class(config)`, filled with the kept weights."""
    tensors, about = load_checkpoint(path)
    with blaming(path):
        settings = about["settings"]
        if about["step"] != settings["steps"]:
            raise CheckpointError(f"{path} holds a training that stopped at step {about['step']} of "
                                  f"{settings['steps']}; `python -m minidiff train` finishes it")
        with torch.device("meta"):                               # shapes without memory: nothing absurd is allocated
            model = model_class(rebuild(config_class, settings["config"])).to(memory_format=torch.channels_last)
        wanted = model.state_dict()
        found = {name.removeprefix("model."): t for name, t in tensors.items()}
        check_fits(found, wanted)
        model.load_state_dict({name: torch.empty_like(wanted[name], device="cpu").copy_(t)
                               for name, t in found.items()}, assign=True)
    return model.eval().requires_grad_(False), about


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
    found, wanted = ({name: (t.shape, t.dtype) for name, t in some.items()} for some in (found, wanted))
    other = sorted(name for name in found | wanted if found.get(name) != wanted.get(name))
    check(not other, f"{len(other)} tensors are missing, unknown or of another shape: {', '.join(other)[:80]!r}")


@contextmanager
def blaming(path):
    """Whatever fails inside, fails because of the contents of this file: a CheckpointError that names it."""
    try:
        yield
    except (CheckpointError, MemoryError):
        raise
    except PermissionError as error:
        raise CheckpointError(f"{path} may not be read here ({one_line(error)})") from error
    except Exception as error:       # safetensors, json and torch fail in many ways; each of them means the same to us
        raise CheckpointError(f"{path} is damaged or of another kind ({one_line(error)}). Delete it and train again: "
                              "`python -m minidiff train` redoes only what is missing") from error
