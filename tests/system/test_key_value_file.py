"""The file of keys and bytes: rows are stored whole or not at all, for this and other processes."""

from __future__ import annotations

import pickle
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from dollhouse.errors import StorageError
from dollhouse.system.key_value_file import KeyValueFile


def test_rows_are_stored_all_or_none(tmp_path: Path) -> None:
    file = KeyValueFile(tmp_path / "folder/rows.sqlite")
    file.write({"a": b"1", "b": b""})
    unsuitable: dict[Any, bytes] = {"a": b"2", ("c",): b"3"}
    with pytest.raises(StorageError, match=r"rows\.sqlite: cannot be used"):
        file.write(unsuitable)
    for reader in (file, KeyValueFile(file.path), pickle.loads(pickle.dumps(file))):
        assert reader.keys() == {"a", "b"}
        assert (reader.read("a"), reader.read("b"), reader.read("c")) == (b"1", b"", None)


def test_an_unusable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/rows\.sqlite: cannot be used .*XDG_CACHE_HOME"):
        KeyValueFile(tmp_path / "file/rows.sqlite").keys()


def test_a_damaged_row_is_noticed_and_deleted(tmp_path: Path) -> None:
    file = KeyValueFile(tmp_path / "rows.sqlite")
    file.write({"a": b"first" * 9, "b": b""})
    with sqlite3.connect(file.path) as connection:
        (content,) = connection.execute("SELECT content FROM rows WHERE key = 'a'").fetchone()
        connection.execute("UPDATE rows SET content = ? WHERE key = 'a'", (b"F" + content[1:],))
        connection.execute("INSERT INTO rows VALUES ('older', ?)", (b"without a digest",))
    with pytest.raises(StorageError, match="a damaged row was deleted"):
        file.read("a")
    assert file.read("a") is None
    assert file.read("b") == b""
    assert file.read("older") == b"without a digest"
