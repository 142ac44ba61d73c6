"""Text that every file format can store."""

from __future__ import annotations


def storable(text: str) -> str:
    r"""Return ``text`` with what is not Unicode spelt out: ``caf\xe9`` for a folder's name in Latin-1."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
