"""Hashes depend on content and names only, and distinguish pieces that concatenate to the same bytes."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from dollhouse.errors import ModelError
from dollhouse.system.hashing import ContentDigest, canonical_json, file_hash, files_hash, folder_hash


def test_folder_hash_covers_the_files_of_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no model"):
        folder_hash(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"1")
    first = folder_hash(tmp_path)
    (tmp_path / "README.md").write_text("not of the model")
    assert folder_hash(tmp_path) == first
    (tmp_path / "model.safetensors").write_bytes(b"2")
    assert folder_hash(tmp_path) != first


def test_file_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    assert file_hash(tmp_path / "file") == sha256(b"content").hexdigest()
    with pytest.raises(ModelError, match="cannot be read"):
        files_hash([tmp_path / "missing"])


def digest_of(*pieces: tuple[str, str]) -> str:
    digest = ContentDigest()
    for piece in pieces:
        digest.add(*piece)
    return digest.hexdigest()


def test_pieces_do_not_run_together() -> None:
    assert digest_of(("a", "bc")) != digest_of(("ab", "c"))
    assert digest_of(("a", "b"), ("c", "d")) != digest_of(("a", "bcd"))


def test_arrays_count_with_dtype_and_shape_but_not_byte_order() -> None:
    def digest(array: np.ndarray | None) -> str:
        content = ContentDigest()
        content.add_array("array", array)
        return content.hexdigest()

    array = np.arange(4, dtype="<i4")
    assert digest(array) == digest(array.astype(">i4"))
    others = [None, array.reshape(2, 2), array.astype("<i8"), array.astype("<f4"), array[::-1]]
    assert len({digest(array), *map(digest, others)}) == 6


def test_canonical_json_has_one_text_for_one_value() -> None:
    assert canonical_json({"b": 1, "a": ["é"]}) == canonical_json({"a": ["é"], "b": 1}) == '{"a":["é"],"b":1}'
    with pytest.raises(ValueError):
        canonical_json(float("nan"))
