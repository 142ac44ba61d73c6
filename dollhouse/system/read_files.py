"""The one door to files of users: kind, size, depth and numbers are checked before or while they are decoded.

Every function raises the ``error`` that its caller names: what is wrong, where, and the caller's ``advice``.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from dollhouse.errors import DollhouseError

MAX_BYTES = 1 << 28  #: of a file that is read as a whole
MAX_LINE = 1 << 26  #: bytes of a line of JSONL
MAX_VALUES = 1 << 23  #: of a JSON or Parquet file; each takes about 100 bytes in Python
MAX_DEPTH = 64  #: of nested lists and objects
MAX_DIGITS = 20  #: of a whole number: those of 64 bits
MAX_YAML = 1 << 20  #: bytes
MAX_HEADER = 1 << 25  #: bytes of the header of a safetensors file
MAX_UNPACKED = 1 << 30  #: bytes of arrays in an archive
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_DIGITS = bytes.maketrans(b"0123456789", b"0" * 10)
_BATCH = 256  #: rows of Parquet that are decoded before their size is looked at


@contextmanager
def decoding(where: str | Path, kind: str, error: type[DollhouseError], advice: str = "") -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file into ``error``: "<where>: is not <kind> (...); <advice>".

    Decoders written in C and Rust raise more than they document, plain ``Exception`` among it.
    """
    try:
        yield
    except DollhouseError:
        raise
    except Exception as fault:
        raise error(_message(where, f"is not {kind} ({_reason(fault)})", advice)) from fault


def open_file(path: str | Path, error: type[DollhouseError], advice: str = "", limit: int | None = None) -> BinaryIO:
    """Open a regular file of at most ``limit`` bytes; pipes and devices, which may never end, are refused."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
            raise error(_message(path, f"cannot be read (it is {kind}, not a file)", advice))
        if limit is not None and status.st_size > limit:
            raise error(_message(path, f"is too large ({status.st_size:,} bytes, at most {limit:,} are read)", advice))
        return open(path, "rb")
    except (OSError, ValueError) as fault:  # ValueError: a null byte or half a character in the name
        raise error(_message(path, f"cannot be read ({_reason(fault)})", advice)) from fault


def read_bytes(path: str | Path, error: type[DollhouseError], advice: str = "", limit: int = MAX_BYTES) -> bytes:
    """Read a regular file of at most ``limit`` bytes."""
    with open_file(path, error, advice, limit) as file:
        try:
            return file.read(limit)
        except OSError as fault:
            raise error(_message(path, f"cannot be read ({_reason(fault)})", advice)) from fault


def read_text(path: str | Path, error: type[DollhouseError], advice: str = "", limit: int = MAX_BYTES) -> str:
    """Read a UTF-8 text file, with or without byte-order mark; ends of lines become line feeds."""
    content = read_bytes(path, error, advice, limit)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise error(_message(path, f"cannot be read as text ({_not_utf8(fault)})", advice)) from fault
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decode_json(content: str | bytes, any_names: bool = False) -> Any:
    """Parse JSON. Raises ValueError for what is none, too large or too deep, ambiguous, or not Unicode.

    ``any_names``: accept halves of characters, by which Python stores file names that are not UTF-8.
    """
    text = content.decode("utf-8-sig") if isinstance(content, bytes) else content.removeprefix("\ufeff")
    if len(text) > MAX_VALUES and (count := sum(map(text.count, ",[{"))) > MAX_VALUES:
        raise ValueError(f"about {count:,} values, at most {MAX_VALUES:,} are read")
    try:
        has_long = b"0" * (MAX_DIGITS + 1) in text.encode("utf-8", "replace").translate(_DIGITS)
        value = (_CAREFUL_JSON if has_long else _JSON).decode(text)
    except RecursionError:
        raise ValueError(f"nested more than {MAX_DEPTH} deep") from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(value)
    if not any_names and _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("half a character, an unpaired \\ud800 to \\udfff; write whole characters") from None
    return value


def parse_json(content: str | bytes, where: str | Path, error: type[DollhouseError], advice: str = "") -> Any:
    """Parse JSON as :func:`decode_json` does; ``where`` names it in errors."""
    try:
        return decode_json(content)
    except UnicodeDecodeError as fault:
        raise error(_message(where, f"is not JSON ({_not_utf8(fault)})", advice)) from fault
    except ValueError as fault:
        raise error(_message(where, f"is not JSON that can be read ({fault})", advice)) from fault


def read_json(path: str | Path, error: type[DollhouseError], advice: str = "", limit: int = MAX_BYTES) -> Any:
    """Read a JSON file."""
    return parse_json(read_bytes(path, error, advice, limit), path, error, advice)


def read_object(path: str | Path, error: type[DollhouseError], advice: str = "") -> dict[str, Any]:
    """Read a JSON file that holds an object."""
    value = read_json(path, error, advice)
    if not isinstance(value, dict):
        raise error(_message(path, f"should hold a JSON object, holds a {type(value).__name__}", advice))
    return value


def read_jsonl(path: str | Path, error: type[DollhouseError], advice: str = "") -> Iterator[tuple[int, Any]]:
    """Yield number and value of each line of a JSONL file that is not empty."""
    with open_file(path, error, advice) as file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            where = f"{path}, line {number}"
            if len(line) > MAX_LINE:
                raise error(_message(where, f"is longer than {MAX_LINE:,} bytes", advice))
            if line.strip():
                yield number, parse_json(line, where, error, advice)


def parse_yaml(text: str, where: str | Path, error: type[DollhouseError], advice: str = "") -> Any:
    """Parse YAML into what JSON can hold; dates stay text, tags are refused, and so are keys that occur twice."""
    import yaml

    from dollhouse.system.yaml_loader import PlainLoader

    with decoding(where, "YAML", error, advice):
        return yaml.load(text, PlainLoader)


def read_yaml(path: str | Path, error: type[DollhouseError], advice: str = "") -> Any:
    """Read a YAML file as :func:`parse_yaml` does."""
    return parse_yaml(read_text(path, error, advice, MAX_YAML), path, error, advice)


def read_parquet(
    content: bytes | Path,
    where: str | Path,
    error: type[DollhouseError],
    advice: str = "",
    columns: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Read the rows of a Parquet file; its footer and the size of what is decoded are checked."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with decoding(where, "a Parquet file that can be read", error, advice):
        if isinstance(content, Path):
            open_file(content, error, advice).close()
        # without Arrow's threads: the files are small, and a process that ends while they start is aborted
        file = pq.ParquetFile(content if isinstance(content, Path) else io.BytesIO(content), pre_buffer=False)
        names = file.schema_arrow.names if columns is None else list(columns)
        if missing := [name for name in names if name not in file.schema_arrow.names]:
            raise ValueError(f"it has no column {missing[0]}")
        groups = [file.metadata.row_group(group) for group in range(file.metadata.num_row_groups)]
        parts = [group.column(index) for group in groups for index in range(group.num_columns)]
        parts = [part for part in parts if part.path_in_schema.partition(".")[0] in names]
        values = sum(part.num_values for part in parts) + file.metadata.num_rows * len(names)
        unpacked = sum(part.total_uncompressed_size for part in parts)
        if values > MAX_VALUES or unpacked > MAX_BYTES:
            raise ValueError(f"{values:,} values of {unpacked:,} bytes are too many")
        rows: list[dict[str, Any]] = []
        size = 0
        for batch in file.iter_batches(_BATCH, columns=names, use_threads=False):
            # few long texts may stand for many rows, in Parquet's dictionaries and in Arrow's
            arrays = [part.dictionary_decode() if isinstance(part, pa.DictionaryArray) else part for part in batch]
            size += sum(part.nbytes for part in arrays)
            if size > MAX_BYTES or any("dictionary<" in str(part.type) for part in arrays):
                raise ValueError(f"it unpacks to more than {MAX_BYTES:,} bytes")
            rows += pa.RecordBatch.from_arrays(arrays, batch.schema.names).select(names).to_pylist()
        return rows


def open_safetensors(path: str | Path, error: type[DollhouseError], advice: str = "", framework: str = "pt") -> Any:
    """Map a safetensors file, to be read tensor by tensor, after a check of its header."""
    from safetensors import safe_open

    with open_file(path, error, advice) as file:
        _check_header(file.read(8), path, error, advice)
    with decoding(path, "a complete safetensors file", error, advice):
        return safe_open(path, framework=framework)


def read_safetensors(
    content: bytes | Path, where: str | Path, error: type[DollhouseError], advice: str = "", framework: str = "pt"
) -> dict[str, Any]:
    """Read all tensors of a safetensors file, or as NumPy arrays those of its bytes."""
    if isinstance(content, Path):
        file = open_safetensors(content, error, advice, framework)
        with decoding(where, "a complete safetensors file", error, advice):
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    from safetensors.numpy import load

    _check_header(content[:8], where, error, advice)
    with decoding(where, "a complete safetensors file", error, advice):
        return load(content)


def read_npz(content: bytes | Path, where: str | Path, error: type[DollhouseError], advice: str = "") -> dict[str, Any]:
    """Read the arrays of a NumPy archive, never pickles."""
    import zipfile

    import numpy as np

    content = read_bytes(content, error, advice, MAX_UNPACKED) if isinstance(content, Path) else content
    with decoding(where, "a complete NumPy archive", error, advice):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if (size := sum(member.file_size for member in archive.infolist())) > MAX_UNPACKED:
                raise ValueError(f"it unpacks to {size:,} bytes, at most {MAX_UNPACKED:,} are read")
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}


def _check_header(start: bytes, where: str | Path, error: type[DollhouseError], advice: str) -> None:
    if len(start) < 8 or int.from_bytes(start, "little") > MAX_HEADER:
        raise error(_message(where, "is not a complete safetensors file (its header has no valid length)", advice))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object; raises ValueError where a key occurs twice, since readers differ in which counts."""
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r:.60} occurs twice")
    return value


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits, at most {MAX_DIGITS} are read")
    return int(digits)


_JSON = json.JSONDecoder(object_pairs_hook=_unique)
_CAREFUL_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer)  # slower


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        containers = [item.values() if isinstance(item, dict) else item for item in level]
        level = [child for items in containers for child in items if isinstance(child, dict | list)]
        if not level:
            return
    raise ValueError(f"nested more than {MAX_DEPTH} deep")


def _not_utf8(fault: UnicodeDecodeError) -> str:
    return f"it is not UTF-8: byte 0x{fault.object[fault.start]:02x} at {fault.start}"


def _reason(fault: Exception) -> str:
    """Return an exception's words in one short line."""
    if isinstance(fault, FileNotFoundError):
        return "no such file"
    text = (fault.strerror if isinstance(fault, OSError) else None) or " ".join(str(fault).split())
    return f"{type(fault).__name__}: {text:.200}" if isinstance(fault, KeyError) else text[:200] or type(fault).__name__


def _message(where: str | Path, fault: str, advice: str) -> str:
    return f"{where}: {fault}" + (f"; {advice}" if advice else "")
