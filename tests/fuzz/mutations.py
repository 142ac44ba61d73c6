"""Damage to valid small files: cuts, flipped bits, other types, deep nesting, huge numbers, keys twice, odd text."""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dollhouse.system.checksums import HASHES, sum_lines
from dollhouse.system.hashing import file_hash

NUMBERS = (
    *("0", "-1", "-0.0", "0.5", "1e999", "-1e999", "NaN", "1e308", "1e-320", "2147483648", "-2147483649", "1e9"),
    *("9223372036854775807", "18446744073709551615", "18446744073709551616", "9" * 400, "9" * 5000, "1000000000000"),
)
TEXTS = (
    *('""', r'"\u0000"', r'"\ud800"', '"é椅💥"', '"../../outside"', '"/etc/passwd"', r'"$\\frac$"', '"[/b]"', '":x:"'),
    *(
        r'"\u001b[31m"',
        '"nan"',
        '"a/b"',
        '"."',
        '"%s{0}{"',
        '"${"',
        '"${oc.env:HOME}"',
        r'"\u202e\u2028"',
        f'"{"long " * 20_000}"',
        '" "',
        '"-1"',
    ),
)
VALUES = ("null", "true", "[]", "{}", "[[]]", "[null]", '{"a": 1}', "[" * 50 + "]" * 50, "[" * 5000 + "]" * 5000)
_MARK = re.compile(r'"@@(\d+)@@"(: null)?')


def mutate(folder: Path, rng: random.Random) -> None:
    """Damage one to three places of the files in a folder; checksums are made to fit again, mostly."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != HASHES)
        if not files:
            return
        path = rng.choice(files)
        if rng.random() < 0.08:
            with suppress(shutil.SameFileError):  # "x" of an earlier damage
                rng.choice(_FILE_DAMAGES)(path, rng)
        else:
            content = path.read_bytes()
            path.write_bytes(_damaged(content, rng))
    if rng.random() < 0.75:
        for sums in folder.rglob(HASHES):
            present = sorted(path for path in sums.parent.iterdir() if path.is_file() and path.name != HASHES)
            sums.write_bytes(sum_lines({path.name: file_hash(path) for path in present}))


def _damaged(content: bytes, rng: random.Random) -> bytes:
    kinds: list[Callable[[bytes, random.Random], bytes]] = [_bytes]
    if content[:2] == b"PK":
        kinds += [_archive] * 4
    elif content[:4] == b"PAR1":
        kinds += [_parquet] * 4
    elif content[8:10] == b'{"':
        kinds += [_safetensors] * 3
    else:
        try:
            content.decode()
        except UnicodeDecodeError:
            return _bytes(content, rng)
        kinds += [_text, _text, _json, _json, _json, _json]
    try:
        return rng.choice(kinds)(content, rng)
    except (ValueError, KeyError, IndexError, RecursionError, zipfile.BadZipFile, OSError, pa.ArrowException):
        return _bytes(content, rng)  # damaged already


def _bytes(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + rng.choice((1, 4, 64, 4096)))
    kind = rng.randrange(7)
    if kind == 0:
        return bytes(data[:start])
    if kind == 1 and data:
        for _ in range(rng.choice((1, 8))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 2:
        del data[start:end]
    elif kind == 3:
        data[start:end] = bytes(data[start:end]) * 20
    elif kind == 4:
        data[start:end] = rng.choice((b"\0", b"\xff")) * (end - start)
    elif kind == 5:
        data[start:start] = rng.choice(
            (b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\r", b"\x1b[2J", b"\n" * 9)
        )
    else:
        data[start:end] = rng.randbytes(end - start)
    return bytes(data)


def _text(content: bytes, rng: random.Random) -> bytes:
    text = content.decode()
    places = list(re.finditer(r"-?\d[\w.+-]*" if rng.random() < 0.6 else r"[^\s,;:=]+", text)) or [re.match("", text)]
    place, kind = rng.choice(places), rng.randrange(4)
    assert place is not None
    lines = text.split("\n")
    number = rng.randrange(len(lines))
    if kind <= 1:
        odd = rng.choice((*NUMBERS, *TEXTS, *VALUES)).strip('"')
        return (text[: place.start()] + odd + text[place.end() :]).encode()
    lines[number : number + 1] = [] if kind == 2 else [lines[number]] * rng.choice((2, 100))
    return "\n".join(lines).encode()


def _json(content: bytes, rng: random.Random) -> bytes:
    """Replace, remove or double a value of a JSON file, or of a line of a JSONL file."""
    text = content.decode()
    try:
        return _json_value(json.loads(text), rng).encode()
    except ValueError:
        lines = text.split("\n")
        number = rng.choice([number for number, line in enumerate(lines) if line.strip()])
        lines[number] = _json_value(json.loads(lines[number]), rng)
        return "\n".join(lines).encode()


def _json_value(value: Any, rng: random.Random) -> str:
    places: list[tuple[Any, Any]] = []

    def collect(item: Any) -> None:
        if isinstance(item, list):  # of a long list of numbers, a few places
            keys: list[Any] = sorted(rng.sample(range(len(item)), min(len(item), 8)))
        else:
            keys = list(item) if isinstance(item, dict) else []
        for key in keys:
            places.append((item, key))
            collect(item[key])

    collect(value)
    raw = rng.choice(rng.choice((NUMBERS, TEXTS, VALUES)))
    if not places:
        return raw
    parent, key = rng.choice(places)
    kind = rng.randrange(6)
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        raw = f"{json.dumps(key)}: {raw}"
        parent["@@0@@"] = None
    elif kind == 2 and isinstance(parent, dict):
        parent["odd"] = "@@0@@"
    elif kind == 3 and isinstance(parent, list):
        parent[key:key] = ["@@0@@"] * rng.choice((1, 3, 1000))
    elif kind == 4:
        parent[key] = rng.choice(places)[0].copy()
    else:
        parent[key] = "@@0@@"
    return _MARK.sub(lambda match: raw, json.dumps(value))


def _safetensors(content: bytes, rng: random.Random) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header = _json(content[8 : 8 + length], rng)
    length = rng.choice((len(header), len(header), len(header), 1 << 40, 1 << 26, 0))
    return length.to_bytes(8, "little") + header + content[8 + int.from_bytes(content[:8], "little") :]


def _parquet(content: bytes, rng: random.Random) -> bytes:
    table = pq.read_table(io.BytesIO(content))
    rows = max(1, table.num_rows)
    number = rng.randrange(table.num_columns)
    name, kind = table.column_names[number], rng.randrange(6)
    if kind == 0:
        table = table.drop_columns([name])
    elif kind == 1:
        table = pa.concat_tables([table] * rng.choice((2, 1000)))
    elif kind == 2:
        table = table.slice(0, 0)
    else:
        odd: Any = rng.choice(
            (None, "{", "[" * 5000, "x" * 1000, -1, 2**31 - 1, 1e300, float("nan"), [1], [[None]], {"a": 1})
        )
        many = 1 if kind == 3 else rows
        values = [odd] * many + table.column(number).to_pylist()[many:] if kind == 3 and number % 2 else [odd] * rows
        table = table.set_column(number, name, pa.array(values[: table.num_rows]))
    pq.write_table(table, sink := io.BytesIO(), compression="zstd")
    return sink.getvalue()


def _archive(content: bytes, rng: random.Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    kind = rng.randrange(4)
    if kind == 0:
        members[name] = b"\0" * rng.choice((1 << 10, 1 << 27))
    elif kind == 1:
        members[rng.choice(("../outside", "/tmp/outside", name + "x"))] = members.pop(name)
    else:
        members[name] = _damaged(members[name], rng)
    with zipfile.ZipFile(sink := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return sink.getvalue()


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def _link(target: str) -> Callable[[Path, random.Random], None]:
    return lambda path, rng: _replace(path, lambda place: place.symlink_to(target))


_FILE_DAMAGES: tuple[Callable[[Path, random.Random], object], ...] = (
    lambda path, rng: path.unlink(),
    lambda path, rng: path.write_bytes(b""),
    lambda path, rng: _replace(path, os.mkfifo),
    lambda path, rng: _replace(path, Path.mkdir),
    lambda path, rng: shutil.copy(
        rng.choice(sorted(p for p in path.parent.iterdir() if p.is_file())), path.with_name("x")
    ),
    lambda path, rng: path.rename(path.with_name("é" + path.name)),
    _link("/dev/zero"),
    _link("nowhere"),
    _link("."),
)
