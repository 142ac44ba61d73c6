"""Atomic writing leaves the old file or the new file and nothing else, wherever it stops."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors import SafetensorError

from dollhouse.errors import StorageError
from dollhouse.system.atomic_io import atomic_path, write_text


def test_new_file_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    for text in ("first", "seconde né"):
        with atomic_path(path) as temporary:
            assert temporary.parent == tmp_path
            temporary.write_text(text, encoding="utf-8")
            assert not path.exists() if text == "first" else path.read_text() == "first"
        assert path.read_text(encoding="utf-8") == text
    write_text(path, "third")
    assert path.read_bytes() == b"third"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("stop", "raised"),
    [
        (OSError(28, "No space left on device"), StorageError),
        (SafetensorError("I/O error: No space left on device"), StorageError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (ValueError("something else"), ValueError),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, BaseException) else "",
)
def test_error_leaves_the_old_file(stop: BaseException, raised: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")

    def write() -> None:
        with atomic_path(path, "make room") as temporary:
            temporary.write_text("ne")
            raise stop

    with pytest.raises(raised) as caught:
        write()
    if raised is StorageError:
        assert str(caught.value).startswith(f"cannot write {path} (")
        assert "No space left on device" in str(caught.value)
        assert str(caught.value).endswith("); make room")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="free some space or choose another folder"):
        write_text(tmp_path / "nowhere" / "file", "text")
