"""The ``open_*`` callables of views as JSON: which function of a reader opens which file.

An encoded opener can name functions and classes of this package's scene readers only, and holds plain values.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import numpy as np

from dollhouse.errors import SceneError

_READERS = "dollhouse.scenes."


class OpenerEncoder:
    """Encode the openers of one scan; dataclasses and arrays that they have in common are stored once."""

    def __init__(self, folder: Path) -> None:
        """Paths below ``folder`` are stored relative to it."""
        self.folder = folder
        self.shared: list[Any] = []
        self._numbers: dict[int, int] = {}

    def encode(self, opener: Any) -> Any:
        """Return an opener as JSON-able values: None as None, and False for one that cannot be encoded."""
        try:
            return self._encode(opener)
        except TypeError:
            return False

    def _encode(self, value: Any) -> Any:
        if value is None or isinstance(value, str | int | float):
            return value
        if isinstance(value, list):
            return [self._encode(item) for item in value]
        if isinstance(value, tuple):
            kind = None if type(value) is tuple else _name(type(value))
            return {"tuple": [self._encode(item) for item in value], "type": kind}
        if isinstance(value, Path):
            inside = value.is_relative_to(self.folder)
            return {"path": value.relative_to(self.folder).as_posix() if inside else str(value)}
        if isinstance(value, partial):
            keywords = {name: self._encode(item) for name, item in value.keywords.items()}
            return {"partial": [self._encode(item) for item in (value.func, *value.args)], "keywords": keywords}
        if isinstance(value, FunctionType):
            return {"function": _name(value)}
        if isinstance(value, MethodType):
            return {"method": value.__name__, "of": self._encode(value.__self__)}
        if id(value) not in self._numbers:
            entry = self._encode_object(value)
            self._numbers[id(value)] = len(self.shared)
            self.shared.append(entry)
        return {"shared": self._numbers[id(value)]}

    def _encode_object(self, value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            return {"array": value.tolist(), "dtype": value.dtype.str}
        if is_dataclass(value):
            values = {field.name: self._encode(getattr(value, field.name)) for field in fields(value)}
            return {"class": _name(type(value)), "fields": values}
        raise TypeError(f"{type(value).__name__} cannot be encoded")


class OpenerDecoder:
    """Decode the openers of a scan that is now in ``folder``."""

    def __init__(self, folder: Path, shared: Sequence[Any]) -> None:
        self.folder = folder
        self._shared: list[Any] = []
        for entry in shared:  # an entry holds only earlier ones
            self._shared.append(self.decode(entry))

    def opener(self, entry: Any) -> Callable[[], Any] | None:
        """Return an encoded opener, restored when it is called; most of a long scan never are."""
        return None if entry is None else partial(self._open, entry)

    def _open(self, entry: Any) -> Any:
        return self.decode(entry)()

    def decode(self, entry: Any) -> Any:
        """Restore an encoded value. Raises SceneError where it names what is not a reader's."""
        if isinstance(entry, list):
            return [self.decode(item) for item in entry]
        if not isinstance(entry, dict):
            return entry
        if "shared" in entry:
            return self._shared[entry["shared"]]
        if "path" in entry:
            return self.folder / entry["path"]
        if "partial" in entry:
            keywords = {name: self.decode(item) for name, item in entry["keywords"].items()}
            function, *arguments = (self.decode(item) for item in entry["partial"])
            return partial(function, *arguments, **keywords)
        if "function" in entry:
            return _named(entry["function"])
        if "method" in entry:
            return getattr(self.decode(entry["of"]), entry["method"])
        if "array" in entry:
            return np.array(entry["array"], dtype=entry["dtype"])
        if "class" in entry:
            return _named(entry["class"])(**{name: self.decode(item) for name, item in entry["fields"].items()})
        items = [self.decode(item) for item in entry["tuple"]]
        return tuple(items) if entry["type"] is None else _named(entry["type"])(*items)


def _name(value: Any) -> str:
    """Return "module:name" of a function or class of the scene readers; TypeError for others."""
    if not value.__module__.startswith(_READERS) or "<" in value.__qualname__:
        raise TypeError(f"{value.__qualname__} is not a reader's")
    return f"{value.__module__}:{value.__qualname__}"


def _named(name: str) -> Any:
    module, _, attribute = name.partition(":")
    if not module.startswith(_READERS):
        raise SceneError(f"{name} opens no images; delete the index")
    return getattr(importlib.import_module(module), attribute)
