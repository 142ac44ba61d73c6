"""Writing files and folders so that each is complete or absent, wherever writing or the machine stops."""

from __future__ import annotations

import contextlib
import filecmp
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

from dollhouse.errors import StorageError

ADVICE = "free some space or choose another folder"
DAY = 86400.0  #: seconds; nothing is written for as long as that
_UNFINISHED = ".unfinished-"  #: and 16 hex digits, since process ids repeat between containers


@contextlib.contextmanager
def atomic_path(path: Path, advice: str = ADVICE) -> Iterator[Path]:
    """Yield a new empty file beside ``path`` that replaces ``path`` when the block ends without an error.

    At every moment ``path`` is absent, the old file or the complete new one. Several processes may write at once: the
    last to finish wins. Raises StorageError, ending in ``advice``, where the system refuses to write.
    """
    temporary = _random_name(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(path.parent, DAY)
        temporary.touch(exist_ok=False)  # O_EXCL: never through a file or link that someone laid there
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except Exception as error:
        if not _is_refused_write(error):
            raise
        raise StorageError(f"cannot write {path} ({_reason(error)}); {advice}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(folder: Path, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``folder`` when the block ends without an error.

    Args:
        replace: where ``folder`` exists, leave it if it holds the new files already; else rename it to
            ``<name>.old-1`` (or -2, ...), which is printed. False: it must not exist, or be empty.

    Raises:
        StorageError: the system refuses to write, or ``folder`` holds files.
    """
    holder = _random_name(folder.parent)
    try:
        holder.mkdir(parents=True)
        remove_unfinished(folder.parent, DAY)
        unfinished = holder / folder.name
        unfinished.mkdir()
        yield unfinished
        for path in [*unfinished.rglob("*"), unfinished]:
            sync(path)
        if replace and folder.exists():
            if _holds(folder, unfinished):
                return
            kept = next(path for n in count(1) if not (path := folder.with_name(f"{folder.name}.old-{n}")).exists())
            folder.rename(kept)
            print(f"{folder} existed with other content, which is now in {kept}", file=sys.stderr)
        unfinished.rename(folder)
        sync(folder.parent)
    except Exception as error:
        if not _is_refused_write(error):
            raise
        raise StorageError(f"cannot write {folder} ({_reason(error)}); {ADVICE}") from error
    finally:
        shutil.rmtree(holder, ignore_errors=True)


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder in ``parent`` that is removed afterwards, by a later writer if this one is killed.

    For libraries that make temporary files of their own beside the file that they write.
    """
    folder = _random_name(parent)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_text(path: Path, text: str, advice: str = ADVICE) -> None:
    """Write a UTF-8 text file atomically. Raises StorageError as :func:`atomic_path` does."""
    with atomic_path(path, advice) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_texts(folder: Path, texts: Mapping[str, str | None]) -> None:
    """Write text files that belong together, or remove those whose text is None.

    The last one is absent while the others are of two versions.
    """
    with contextlib.ExitStack() as stack:
        for name, text in reversed(list(texts.items())):  # the stack renames in the other order
            if text is not None:
                stack.enter_context(atomic_path(folder / name)).write_text(text, encoding="utf-8")
        for name in [*(name for name, text in texts.items() if text is None), list(texts)[-1]]:
            stack.callback((folder / name).unlink, missing_ok=True)


def remove_unfinished(folder: Path, age: float = 0.0) -> None:
    """Remove what killed writers left directly in ``folder`` at least ``age`` seconds ago.

    Call it only where no other process writes there, or none for as long as that.
    """
    for path in folder.glob(f"{_UNFINISHED}{'[0-9a-f]' * 16}"):
        with contextlib.suppress(OSError):
            if age and time.time() - path.lstat().st_mtime < age:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk; Windows has no such call for folders."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _random_name(parent: Path) -> Path:
    return parent / f"{_UNFINISHED}{secrets.token_hex(8)}"


def _holds(folder: Path, unfinished: Path) -> bool:
    """Return whether ``folder`` holds equal copies of all files of ``unfinished``."""
    names = [str(path.relative_to(unfinished)) for path in unfinished.rglob("*") if path.is_file()]
    return len(filecmp.cmpfiles(folder, unfinished, names, shallow=False)[0]) == len(names)


def _is_refused_write(error: Exception) -> bool:
    """Return whether the system refused to write; safetensors and tokenizers raise errors of their own for it."""
    return isinstance(error, OSError) or "(os error " in str(error) or type(error).__name__ == "SafetensorError"


def _reason(error: Exception) -> object:
    return (error.strerror if isinstance(error, OSError) else None) or error
