"""Files that are written whole or not at all, by one training at a time, and what they say of themselves."""

import glob
import hashlib
import json
import os
import re
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from filelock import FileLock, Timeout


class FileError(RuntimeError):
    """A file cannot be read or written; the message says in one line which, why, and what to do."""


def one_line(error):
    """What an exception says, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


@contextmanager
def atomic_write(path, error_class=FileError, failures=(OSError,)):
    """Write a file whole or not at all: gives a draft beside it, which takes its place once the block has ended well.

    Whatever happens before, full disk or `kill -9`, what was there stays; a draft that a killed process left is
    removed the next time that the file is written.
    """
    path = Path(path)
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
            if not _runs(old.suffixes[-2][1:]):
                old.unlink()
        yield draft
        with open(draft, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    except failures as error:
        raise error_class(f"{path} could not be written ({one_line(error)}). Is the disk full, the file too large, "
                          "or the folder read-only? What was there before is untouched") from error
    finally:
        with suppress(OSError):
            draft.unlink()


def _runs(pid):
    """Whether there is a process of this number, as far as can be found out without disturbing it."""
    if os.name != "posix" or not pid.isdecimal():                # on Windows such a question would end it
        return True
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:                                      # it runs, and belongs to somebody else
        pass
    return True


def checksum(*parts):
    """The sha256 of texts, tensors and dicts of tensors: equal only where every name, shape and byte is equal."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, dict):
            part = checksum(*(piece for name in sorted(part) for piece in (name, part[name])))
        if torch.is_tensor(part):
            digest.update(f"{part.dtype}{tuple(part.shape)}".encode())
            part = part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()


def write_json(content, path):
    """Write JSON, whole or not at all; a list of numbers takes one line."""
    text = json.dumps(content, indent=1)
    text = re.sub(r"\[[-\d.eE+,\s]+\]", lambda numbers: " ".join(numbers.group().split()), text)
    with atomic_write(path) as draft:
        draft.write_text(text + "\n", encoding="utf-8")


def read_json(path, repair):
    """The dict in a JSON file, in UTF-8, 16 or 32; one that is no JSON is an error that says how to repair it."""
    try:
        found = json.loads(Path(path).read_bytes())
    except IsADirectoryError as error:
        raise FileError(f"{path} is a folder, where a file belongs. Move it elsewhere. {repair}") from error
    except OSError as error:
        raise FileError(f"{path} cannot be read here ({one_line(error)})") from error
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} is damaged: it is no JSON ({one_line(error)}). {repair}") from error
    if not isinstance(found, dict):
        raise FileError(f"{path} holds a {type(found).__name__}, where a dict is expected: is it another file?")
    return found


_turns = {}                                                      # path -> [its lock], of the newest training there


@contextmanager
def one_training(path):
    """While open, no other process trains into `path`; a second one is refused.

    Gives a function that says whether this is still the newest training of that path in this process: where a cell
    of a notebook failed and is run again, the newer one takes over.
    """
    if path is None:
        yield lambda: True
        return
    key = Path(path).resolve()
    turn = _turns[key] = [_turns[key][0] if key in _turns else locked(Path(path))]
    try:
        yield lambda: _turns.get(key) is turn
    finally:
        if _turns.get(key) is turn:
            del _turns[key]
            with suppress(OSError):                              # Windows keeps open files
                os.unlink(turn[0].lock_file)
            turn[0].release()


def locked(path):
    """The acquired lock of a path, a hidden file beside it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock").absolute(), timeout=0, thread_local=False)
        lock.acquire()
    except Timeout:
        raise FileError(f"{path} is being trained by another process. Wait until that is done, stop it, "
                        "or give another folder") from None
    except OSError as error:
        raise FileError(f"{path} cannot be trained there ({one_line(error)}). Give another folder") from error
    return lock
