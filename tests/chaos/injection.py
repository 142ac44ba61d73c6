"""Make the n-th file operation below a folder fail with an error, or keep what a crash at each would leave."""

from __future__ import annotations

import builtins
import errno
import io
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

Tree = dict[str, tuple[int, bytes | None]]  #: mode and content by path; no content for folders
_ERRORS = {"fsync": errno.EIO, "rename": errno.EIO, "remove": errno.EIO}  # others: ENOSPC


class Injection:
    """Counts the operations that change files below ``folder``; ``install`` patches the calling process for good.

    Patched are the functions that all Python code writes with (``os``, ``open``), and the two libraries that write by
    themselves: safetensors and torch. Of a write that fails, half arrives.

    Args:
        report: file that receives the operation that failed.
        fail_at: number of the operation that fails, from 1.
    """

    def __init__(self, folder: Path, report: Path, fail_at: int = 0) -> None:
        self.folder, self.report, self.fail_at = f"{folder.resolve()}{os.sep}", report, fail_at
        self.count = 0
        self._open, self._os_open = io.open, os.open

    def fails(self, operation: str, path: Any) -> bool:
        """Count an operation; return whether it is to fail."""
        try:
            name = os.path.join(os.getcwd(), os.fsdecode(path))
        except TypeError:
            return False
        if not f"{name}{os.sep}".startswith(self.folder):
            return False
        self.count += 1
        return self._chosen(f"{operation} {name.removeprefix(self.folder)}")

    def _chosen(self, place: str) -> bool:
        if self.count == self.fail_at:
            self.report.write_text(place)
        return self.count == self.fail_at

    def stop(self, operation: str, path: Any, error: Callable[[str], Exception] | None = None) -> None:
        """Raise the error of the operation."""
        number = _ERRORS.get(operation, errno.ENOSPC)
        raise error(os.strerror(number)) if error else OSError(number, os.strerror(number), os.fsdecode(path))

    def install(self) -> None:
        """Patch the functions that write."""
        kinds = {"rename": ["rename", "replace"], "mkdir": ["mkdir"], "remove": ["unlink", "remove", "rmdir"]}
        for operation, name in [(operation, name) for operation, names in kinds.items() for name in names]:
            setattr(os, name, self._wrapped(getattr(os, name), operation))
        os.fsync = self._wrapped(os.fsync, "fsync", lambda handle: os.readlink(f"/proc/self/fd/{_number(handle)}"))
        os.open = self._open_handle  # type: ignore[assignment]
        io.open = builtins.open = self._open_file  # type: ignore[assignment]
        serialize = safetensors.torch.serialize_file
        safetensors.torch.serialize_file = self._library(serialize, 1, safetensors.SafetensorError)
        torch.save = self._library(torch.save, 1, lambda text: RuntimeError(f"PytorchStreamWriter failed: {text}"))

    def _wrapped(self, function: Any, operation: str, path_of: Callable[[Any], Any] = lambda path: path) -> Any:
        def patched(path: Any, *rest: Any, **settings: Any) -> Any:
            place = path_of(path)
            if (parent := settings.get("dir_fd")) is not None:
                place = os.path.join(os.readlink(f"/proc/self/fd/{parent}"), os.fsdecode(path))
            if self.fails(operation, place):
                self.stop(operation, place)
            return function(path, *rest, **settings)

        return patched

    def _open_handle(self, path: Any, flags: int, *rest: Any, **settings: Any) -> int:
        changes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if changes and settings.get("dir_fd") is None and self.fails("open", path):
            self.stop("open", path)
        return self._os_open(path, flags, *rest, **settings)

    def _open_file(self, path: Any, mode: str = "r", buffering: int = -1, *rest: Any, **settings: Any) -> Any:
        if isinstance(path, int) or not set(mode) & set("wax+") or not self._is_below(path):
            return self._open(path, mode, buffering, *rest, **settings)
        if self.fails("open", path):
            self.stop("open", path)
        raw = _File(path, mode.replace("b", "").replace("t", ""))
        raw.injection = self
        if "b" in mode and buffering == 0:
            return raw
        buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffer if "b" in mode else io.TextIOWrapper(buffer, *rest, **settings)

    def _is_below(self, path: Any) -> bool:
        return os.path.join(os.getcwd(), os.fsdecode(path)).startswith(self.folder)

    def _library(self, function: Any, position: int, error: Callable[[str], Exception]) -> Any:
        def patched(*arguments: Any, **settings: Any) -> Any:
            path = arguments[position]
            fails = isinstance(path, str | os.PathLike) and self.fails("write", path)
            result = function(*arguments, **settings)
            if fails:
                content = Path(path).read_bytes()
                os.truncate(path, len(content) // 2)
                self.stop("write", path, error)
                with self._open(path, "r+b") as file:
                    file.write(content)
            return result

        return patched


class Recording(Injection):
    """Pickles what a crash at each operation would leave, (place, tree) by (place, tree), to ``report``."""

    def _chosen(self, place: str) -> bool:
        self._place = place
        return True

    def stop(self, operation: str, path: Any, error: Callable[[str], Exception] | None = None) -> None:
        """Keep the files as they are now."""
        with self._open(self.report, "ab") as file:
            pickle.dump((self._place, read_tree(Path(self.folder))), file)


def read_tree(folder: Path) -> Tree:
    """Return all files and folders below a folder."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mode & 0o777, None if path.is_dir() else path.read_bytes())
        for path in sorted(folder.rglob("*"))
    }


def write_tree(folder: Path, tree: Tree) -> None:
    """Make a folder hold these files and folders and no others."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, (mode, content) in tree.items():  # a folder comes before what it holds
        if content is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content)
            (folder / name).chmod(mode)


class _File(io.FileIO):
    injection: Injection

    def write(self, data: Any) -> int:
        if not self.injection.fails("write", self.name):
            return super().write(data)
        half = super().write(bytes(data)[: len(data) // 2])
        self.injection.stop("write", self.name)
        return half + super().write(bytes(data)[half:])


def _number(handle: Any) -> int:
    return handle if isinstance(handle, int) else handle.fileno()
