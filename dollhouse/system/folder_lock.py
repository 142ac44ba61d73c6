"""A lock of a folder that a command writes, with who holds it; the system frees it when the process ends."""

from __future__ import annotations

import inspect
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from filelock import FileLock, Timeout

from dollhouse.errors import StorageError
from dollhouse.system.atomic_io import remove_unfinished, write_text
from dollhouse.system.read_files import read_object
from dollhouse.system.secrets import mask

P = ParamSpec("P")
R = TypeVar("R")
LOCK, HOLDER = ".writer.lock", ".writer.json"
PATIENCE = 1.0  #: seconds to wait for a process that is about to end


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Create a folder and hold its lock; first remove what a killed holder left unfinished in it and one level below.

    Raises StorageError where another process holds the lock, and where the folder cannot be made.
    """
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise StorageError(f"{folder}: {_holder(folder)} writes there; wait, or choose another folder") from None
    except OSError as error:
        raise StorageError(f"cannot make the folder {folder} ({error.strerror or error}); choose another") from error
    try:
        inner = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
        for path in [folder, *(path for path in inner if not (path / LOCK).exists())]:
            remove_unfinished(path)
        command = mask(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        about = {"host": socket.gethostname(), "pid": os.getpid(), "command": command, "since": since}
        write_text(folder / HOLDER, json.dumps(about))
        yield
    finally:
        for name in (HOLDER, LOCK):  # while it is held, so that no other process's file is removed
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
        lock.release()


def locks_out(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function to hold the lock of its argument ``out``, a folder, unless that is None."""
    signature = inspect.signature(function)

    @wraps(function)
    def locked(*args: P.args, **kwargs: P.kwargs) -> R:
        out = signature.bind(*args, **kwargs).arguments.get("out")
        if out is None:
            return function(*args, **kwargs)
        with locked_folder(Path(out)):
            return function(*args, **kwargs)

    return locked


def _holder(folder: Path) -> str:
    try:
        about = read_object(folder / HOLDER, StorageError)
        return "process {pid} on {host} (`{command}`, since {since})".format(**about)
    except (StorageError, KeyError):
        return "another process"
