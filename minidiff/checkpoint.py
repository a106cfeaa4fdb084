"""Checkpoints: tensors and their description in one file, whole or not at all."""

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file


class CheckpointError(RuntimeError):
    """A checkpoint is damaged or belongs to other settings; the message says which file, and what to do."""


def save_checkpoint(path, tensors, about):
    """Write tensors and a JSON description `about` to one file, whole or not at all.

    The file is safetensors with a checksum of every byte of every tensor; it is written beside its place and
    then moved there, so that a crash leaves the old file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    draft = path.with_suffix(f".{os.getpid()}.part")
    try:
        save_file(tensors, draft, {"about": json.dumps(about), "sha256": _checksum(tensors)})
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} could not be written ({error}). Is the disk full? "
                              "What was there before is untouched") from error
    finally:
        draft.unlink(missing_ok=True)


def load_checkpoint(path):
    """Read what `save_checkpoint` wrote -> tensors, about; a damaged file is a CheckpointError."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: `python -m minidiff train` makes it")
    try:
        with safe_open(path, "pt") as file:
            about, found = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
        if about["sha256"] != _checksum(found):
            raise ValueError("its checksum does not fit its contents")
        return found, json.loads(about["about"])
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged ({error}). Delete it and train again: "
                              "`python -m minidiff train` redoes only what is missing") from error


def load_weights(path, build):
    """The finished model in `path`: `build(config dict)` makes it, the checkpoint fills it -> model, about."""
    tensors, about = load_checkpoint(path)
    if about.get("step") != about["settings"]["steps"]:
        raise CheckpointError(f"{path} holds a training that stopped at step {about.get('step')} of "
                              f"{about['settings']['steps']}; `python -m minidiff train` finishes it")
    model = build(about["settings"]["config"])
    model.load_state_dict({name.removeprefix("model."): t for name, t in tensors.items()})
    return model.eval().requires_grad_(False), about


def _checksum(tensors):
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].dtype}{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
