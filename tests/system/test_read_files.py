from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from dollhouse.errors import DollhouseError, QuestionError, RecipeError, SceneError
from dollhouse.system import read_files
from dollhouse.system.read_files import (
    decode_json,
    open_file,
    open_safetensors,
    parse_json,
    parse_yaml,
    read_json,
    read_jsonl,
    read_npz,
    read_object,
    read_parquet,
    read_safetensors,
    read_text,
)

SHORT = settings(max_examples=40, derandomize=True, deadline=None, database=None)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@SHORT
@given(PLAIN, st.booleans(), st.booleans())
def test_json_comes_back(value: Any, ascii: bool, mark: bool) -> None:
    text = "\ufeff" * mark + json.dumps(value, ensure_ascii=ascii)
    assert decode_json(text) == decode_json(text.encode()) == value


@SHORT
@given(st.binary(max_size=200) | st.text('[]{}",:\\ud80123456789e.-+nulltrfas\n', max_size=80).map(str.encode))
def test_any_bytes_are_a_value_or_the_callers_error(content: bytes) -> None:
    errors = []
    for parse in (
        lambda: parse_json(content, "x", SceneError),
        lambda: parse_yaml(content.decode("utf-8", "replace"), "x", SceneError),
        lambda: read_npz(content, "x", SceneError),
        lambda: read_parquet(content, "x", SceneError),
        lambda: read_safetensors(content, "x", SceneError),
    ):
        try:
            json.dumps(parse(), ensure_ascii=False, default=str).encode()
        except SceneError as error:
            errors.append(str(error))
    assert all(error.startswith("x: ") and "\n" not in error for error in errors)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested"),
        ("[" * 70 + "]" * 70, "nested"),
        (f"[{'9' * 5000}]", "digits"),
        ("[123456789012345678901]", "21 digits"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' occurs twice"),
        (r'["\ud800"]', "half a character"),
        ("," * 9_000_000, "values"),
        (b"\xff\xfe", "byte 0xff at 0"),
        ("", "Expecting value"),
    ],
)
def test_json_that_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(QuestionError, match=rf"there: is not JSON.*{message}.*; do this"):
        parse_json(text, "there", QuestionError, "do this")


def test_json_that_is_read() -> None:
    assert decode_json(r'["\ud83d\ude00", "\\ud800", 18446744073709551615]') == ["😀", r"\ud800", 2**64 - 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "'a' occurs twice"),
        ("a: &x [*x]", "alias"),
        ("a: " + "[" * 100, "nested"),
        ("a: 0x" + "f" * 5000, "64 bits"),
        ("a: !!python/object/apply:os.system [ls]", "constructor"),
        ("a: !!binary aGk=", "plain values"),
        ("a: !!float ''", "index out of range"),
        (
            "\n".join(
                f"{chr(97 + i)}: &{chr(97 + i)} [{', '.join([f'*{chr(96 + i)}' if i else 'x'] * 9)}]" for i in range(9)
            ),
            "values",
        ),
    ],
)
def test_yaml_that_is_refused(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=rf"^r\.yaml: is not YAML.*{message}"):
        parse_yaml(text, "r.yaml", RecipeError)


def test_yaml_that_is_read() -> None:
    text = "a: &x {n: 1}\nb: {<<: *x, n: 2}\nc: 2001-99-99\nd: 2001-01-01\ne: [1e-4, .inf, yes, ~]"
    expected = {"a": {"n": 1}, "b": {"n": 2}, "c": "2001-99-99", "d": "2001-01-01"}
    assert parse_yaml(text, "x", RecipeError) == expected | {"e": ["1e-4", float("inf"), True, None]}


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "absent", "loop", "null byte"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind in ("device", "loop"):
        path.symlink_to("/dev/zero" if kind == "device" else path)
    elif kind == "folder":
        path.mkdir()
    name = f"{path}\0" if kind == "null byte" else str(path)
    for read in (read_text, read_json, open_file, open_safetensors, lambda *args: list(read_jsonl(*args))):
        with pytest.raises(SceneError, match=r"cannot be read \(.*; mend it"):
            read(name, SceneError, "mend it")  # type: ignore[operator]


def test_sizes_are_checked_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(SceneError, match="is too large"):
        read_json(path, SceneError)
    monkeypatch.setattr(read_files, "MAX_LINE", 10)
    path.write_text('{"a": 1}\n\n"0123456789"\n')
    with pytest.raises(SceneError, match="line 3: is longer"):
        list(read_jsonl(path, SceneError))
    path.write_text("[]")
    with pytest.raises(SceneError, match="should hold a JSON object"):
        read_object(path, SceneError)


def test_parquet_is_checked_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def written(table: pa.Table) -> bytes:
        pq.write_table(table, sink := io.BytesIO())
        return sink.getvalue()

    content = written(pa.table({"a": [1, 2], "b": ["x", None]}))
    assert read_parquet(content, "p", SceneError) == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    assert read_parquet(content, "p", SceneError, columns=["b"]) == [{"b": "x"}, {"b": None}]
    with pytest.raises(SceneError, match="has no column c"):
        read_parquet(content, "p", SceneError, columns=["c"])
    monkeypatch.setattr(read_files, "MAX_VALUES", 10_000)
    monkeypatch.setattr(read_files, "MAX_BYTES", 1 << 20)
    nulls = written(pa.table({"a": pa.nulls(20_000)}))
    texts = written(pa.table({"a": pa.DictionaryArray.from_arrays(pa.array([0] * 5_000), ["x" * 10_000])}))
    for bomb in (nulls, texts):
        assert len(bomb) < 50_000
        with pytest.raises(SceneError, match=r"too many|unpacks to"):
            read_parquet(bomb, "p", SceneError)


def test_archives_and_headers_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(sink := io.BytesIO(), a=np.arange(3))
    assert read_npz(sink.getvalue(), "z", SceneError)["a"].tolist() == [0, 1, 2]
    monkeypatch.setattr(read_files, "MAX_UNPACKED", 1 << 20)
    np.savez_compressed(sink := io.BytesIO(), a=np.zeros(1 << 20))
    with pytest.raises(SceneError, match="unpacks to"):
        read_npz(sink.getvalue(), "z", SceneError)
    np.save(sink := io.BytesIO(), np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(SceneError, match="is not a complete NumPy archive"):
        read_npz(sink.getvalue(), "z", SceneError)
    content = save({"a": np.ones(2, np.float32)})
    assert read_safetensors(content, "s", SceneError)["a"].tolist() == [1.0, 1.0]
    (path := tmp_path / "s.safetensors").write_bytes((1 << 40).to_bytes(8, "little") + content[8:])
    for damaged in (path, path.read_bytes(), content[:-1], content[:4]):
        with pytest.raises(DollhouseError, match="is not a complete safetensors file"):
            read_safetensors(damaged, "s", SceneError)
