"""Keeping what was made: files written whole or not at all, one training at a time, and signals that wait."""

import glob
import os
import signal
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

try:
    import fcntl
except ImportError:                                              # Windows
    import msvcrt
    fcntl = None


class FileError(RuntimeError):
    """A file cannot be read or written; the message says in one line which, why, and what to do."""


@contextmanager
def whole(path, error_class=FileError):
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
    except (OSError, SafetensorError) as error:
        raise error_class(f"{path} could not be written ({one_line(error)}). Is the disk full, the file too large, "
                          "or the folder read-only? What was there before is untouched") from error
    finally:
        with suppress(OSError):
            draft.unlink()


def one_line(error):
    """What an exception says, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


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


_turns = {}                                                      # path -> [the open lock file] of its newest training


@contextmanager
def one_training(path):
    """While open, no other process trains into `path`: a second one is refused, and told the number of the first.

    Gives a function that says whether this is still the newest training of that path in this process: where a cell
    of a notebook failed and is run again, the newer one takes over.  The lock belongs to the system, which frees it
    when the process ends, in whatever way; the hidden file beside the checkpoint carries it, and the number.
    """
    if path is None:
        yield lambda: True
        return
    key = Path(path).resolve()
    turn = _turns[key] = [_turns[key][0] if key in _turns else _locked(Path(path))]
    try:
        yield lambda: _turns.get(key) is turn
    finally:
        if _turns.get(key) is turn:
            del _turns[key]
            with suppress(OSError):                              # Windows keeps open files
                os.unlink(turn[0].name)
            turn[0].close()


def _locked(path):
    """The open and locked lock file of a path, with the number of this process in it."""
    lock = path.with_name(f".{path.name}.lock").absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(lock, "a+")
    except OSError as error:
        raise FileError(f"{path} cannot be trained there ({one_line(error)}). Give another --folder") from error
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            file.seek(100)                                       # behind the number, which others must be able to read
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        who = file.read(100).strip() or "another process"
        file.close()
        raise FileError(f"{path} is being trained by {who}. Wait until that is done, stop it, "
                        "or give another --folder") from None
    except OSError:                                              # some network folders know no locks:
        pass                                                     # better trained without than not at all
    if os.fstat(file.fileno()).st_nlink == 0:                    # its last holder removed it just now: once more
        file.close()
        return _locked(path)
    file.truncate(0)
    file.write(f"process {os.getpid()}\n")
    file.flush()
    return file


@contextmanager
def signals_wait():
    """While open, SIGINT and SIGTERM wait for the end of the step: they fill a list, which the loop looks at."""
    stop = []
    if threading.current_thread() is not threading.main_thread():
        yield stop                                               # signals reach the main thread only
        return
    names = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(name, lambda number, frame: stop.append(number)) for name in names]
    try:
        yield stop
    finally:
        for name, handler in zip(names, before):
            signal.signal(name, handler)
