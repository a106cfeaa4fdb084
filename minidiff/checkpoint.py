"""Checkpoints: tensors and their description in one file, whole or not at all."""

import hashlib
import json
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from minidiff.inputs import kind_of
from minidiff.keeping import FileError, one_line, whole

LARGEST = 4096                                                   # number in a config: more is no miniature


class CheckpointError(FileError):
    """A checkpoint is damaged or belongs to other settings; the message says which file, and what to do."""


def save_checkpoint(path, tensors, about):
    """Write tensors and a JSON description `about` to one file, whole or not at all.

    The file is safetensors with a checksum of the description and of every byte of every tensor.
    """
    for name, t in tensors.items():
        if not torch.is_tensor(t):
            raise ValueError(f"a checkpoint keeps tensors; {name!r} is {kind_of(t)}, which belongs into `about`")
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    if not all(t.isfinite().all() for t in tensors.values()):
        raise FloatingPointError(f"{path} was not written: after step {about.get('step')} a number in it is not finite "
                                 "(too high a learning rate?). What was there before is untouched")
    about = json.dumps(about)
    with whole(path, CheckpointError) as draft:
        save_file(tensors, draft, {"about": about, "checksum": _checksum(tensors, about)})


def load_checkpoint(path):
    """Read what `save_checkpoint` wrote -> tensors, about; a damaged file is a CheckpointError."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: `python -m minidiff train` makes it")
    with blaming(path):
        with safe_open(path, "pt") as file:                      # copies: the file may be written to later
            kept, found = file.metadata() or {}, {name: file.get_tensor(name).clone() for name in file.keys()}
        if "checksum" in kept:
            good = kept["checksum"] == _checksum(found, kept["about"])
        else:
            good = kept["sha256"] == _checksum(found)            # files of older versions: of the tensors alone
        if not good:
            raise ValueError("its checksum does not fit its contents")
        about = json.loads(kept["about"])
        if not isinstance(about, dict):
            raise ValueError("its description is no dictionary")
        return found, about


def load_weights(path, build):
    """The finished model in `path`: `build(config dict)` makes it, the checkpoint fills it -> model, about."""
    tensors, about = load_checkpoint(path)
    with blaming(path):
        settings = about["settings"]
        if about["step"] != settings["steps"]:
            raise CheckpointError(f"{path} holds a training that stopped at step {about['step']} of "
                                  f"{settings['steps']}; `python -m minidiff train` finishes it")
        config = settings["config"]
        if len(json.dumps(config)) > 512 or max(_numbers(config), default=0) > LARGEST:
            raise ValueError("a number in its settings is absurd")
        with torch.device("meta"):                               # shapes without memory, for a first look
            plan = build(config)
        if unknown := set(config) - set(vars(plan.config)):
            raise ValueError(f"settings that are not known here: {', '.join(sorted(unknown))[:80]}")
        fits(tensors, {f"model.{name}": t for name, t in plan.state_dict().items()})
        model = build(config)
        model.load_state_dict({name.removeprefix("model."): t for name, t in tensors.items()})
    return model.eval().requires_grad_(False), about


def fits(found, wanted):
    """Refuse tensors whose names, shapes or number formats are not the wanted ones."""
    found, wanted = ({name: (t.shape, t.dtype) for name, t in some.items()} for some in (found, wanted))
    if other := sorted(name for name in found | wanted if found.get(name) != wanted.get(name)):
        raise ValueError(f"{len(other)} tensors are missing, unknown or of another shape, such as {other[0][:80]!r}")


@contextmanager
def blaming(path):
    """Whatever fails inside, fails because of the contents of this file: a CheckpointError that names it."""
    try:
        yield
    except CheckpointError:
        raise
    except PermissionError as error:
        raise CheckpointError(f"{path} may not be read here ({one_line(error)})") from error
    except Exception as error:       # safetensors, json and torch fail in many ways; each of them means the same to us
        raise CheckpointError(f"{path} is damaged or of another kind ({one_line(error)}). Delete it and train again: "
                              "`python -m minidiff train` redoes only what is missing") from error


def _numbers(thing):
    """All numbers in nested dictionaries and lists, as positive ones."""
    if isinstance(thing, (dict, list)):
        for part in thing.values() if isinstance(thing, dict) else thing:
            yield from _numbers(part)
    elif isinstance(thing, (int, float)):
        yield abs(thing)


def _checksum(tensors, about=""):
    digest = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].dtype}{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
