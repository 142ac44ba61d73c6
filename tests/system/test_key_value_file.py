"""The file of keys and bytes: rows are stored whole or not at all, for this and other processes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from dollhouse.errors import StorageError
from dollhouse.system.key_value_file import KeyValueFile


def test_rows_are_stored_all_or_none(tmp_path: Path) -> None:
    file = KeyValueFile(tmp_path / "folder/rows.sqlite")
    file.write({"a": b"1", "b": b""})
    unsuitable: dict[str, Any] = {"a": b"2", "c": object()}
    with pytest.raises(StorageError, match=r"rows\.sqlite: cannot be used"):
        file.write(unsuitable)
    for reader in (file, KeyValueFile(file.path), pickle.loads(pickle.dumps(file))):
        assert reader.keys() == {"a", "b"}
        assert (reader.read("a"), reader.read("b"), reader.read("c")) == (b"1", b"", None)


def test_an_unusable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/rows\.sqlite: cannot be used .*XDG_CACHE_HOME"):
        KeyValueFile(tmp_path / "file/rows.sqlite").keys()
