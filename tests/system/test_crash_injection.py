"""Every call to the file system fails once, or is the last before a kill: the old or the new content stands."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dollhouse.errors import StorageError
from dollhouse.system.atomic_io import atomic_folder, remove_unfinished, write_text, write_texts

CALLS = ((os, "fsync"), *((Path, name) for name in ("touch", "mkdir", "write_text", "replace", "rename", "unlink")))


def write_file(folder: Path, text: str) -> None:
    write_text(folder / "file", text)


def write_folder(folder: Path, text: str) -> None:
    with atomic_folder(folder / "model", replace=True) as unfinished:
        for name in ("config", "weights"):
            (unfinished / name).write_text(text)


def write_report(folder: Path, text: str) -> None:
    write_texts(folder, dict.fromkeys(("rows", "page", "mark"), text))


def content(folder: Path) -> dict[str, str]:
    """What a reader of the folder finds; a report without its mark, or no model yet, is nothing."""
    paths = [path for path in folder.rglob("*") if path.is_file() and ".unfinished" not in str(path)]
    found = {str(path.relative_to(folder)): path.read_text() for path in paths if ".old-" not in str(path)}
    return {} if "rows" in found and "mark" not in found else found


@pytest.mark.parametrize("stop", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("write", [write_file, write_folder, write_report], ids=lambda write: write.__name__)
def test_old_or_new_wherever_writing_stops(
    write: Callable[[Path, str], None], stop: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an interrupt nothing more is called, as after a kill; then the same call completes."""
    calls, last = 0, 10**9

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def counts(*arguments: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls == last or (calls > last and isinstance(stop, KeyboardInterrupt)):
                raise stop
            return call(*arguments, **options)

        return counts

    for owner, name in CALLS:
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    stops = 0
    while True:
        folder, last = tmp_path / str(stops), 10**9
        folder.mkdir()
        write(folder, "old")
        old = content(folder)
        calls, last = 0, stops + 1
        with contextlib.suppress(StorageError, KeyboardInterrupt):
            write(folder, "new")
        completed, last = calls < last, 10**9
        new = dict.fromkeys(old, "new")
        assert content(folder) in ((new,) if completed else (old, new, {}))
        write(folder, "new")
        remove_unfinished(folder)
        assert content(folder) == new
        assert not list(folder.glob(".*"))
        if completed:
            break
        stops += 1
    assert stops >= 4
