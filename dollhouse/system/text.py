"""Text that every file format can store, and every terminal can show."""

from __future__ import annotations

import re

#: control and escape characters but tab and line feed, and those that reverse the order of what follows
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def storable(text: str) -> str:
    r"""Return ``text`` with what is not Unicode spelt out: ``caf\xe9`` for a folder's name in Latin-1."""
    for errors in ("strict", "surrogateescape", "backslashreplace"):
        try:
            return text.encode("utf-8", errors).decode("utf-8", "backslashreplace")
        except UnicodeEncodeError:
            continue
    raise AssertionError("unreachable: backslashreplace encodes all")


def printable(text: str) -> str:
    """Return ``text`` without control and escape characters, which could steer a terminal; line ends and tabs stay."""
    return _UNPRINTABLE.sub("", text)


def one_line(text: str, length: int = 240) -> str:
    """Return the beginning of a text in one line."""
    return printable(" ".join(text[: 4 * length].split()))[:length]
