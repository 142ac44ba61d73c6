"""English nouns of physical objects, from WordNet 3.0 (see NOTICE), for questions about absent objects and for typos.

``experiments/nouns/make_list.py`` writes the list; "!" marks nouns of objects that a room may hold under another name.
"""

from __future__ import annotations

import gzip
from functools import cache
from hashlib import blake2b
from pathlib import Path

LIST = Path(__file__).with_name("nouns.txt.gz")
NOT_TYPOS = Path(__file__).with_name("not_typos.txt.gz")
HELD_OUT = 0.2  #: share of the nouns that training never uses


@cache
def nouns() -> frozenset[str]:
    """Return all nouns of the list."""
    return frozenset(line.rstrip("!") for line in _lines())


@cache
def not_typos() -> frozenset[str]:
    """Return the English words that are one edit from a word of questions, but no typo of it."""
    return frozenset(gzip.decompress(NOT_TYPOS.read_bytes()).decode().split("\n"))


@cache
def absent_nouns(held_out: bool = False) -> tuple[str, ...]:
    """Return the nouns of objects that no room has, sorted: those for training, or those held out from it."""
    return tuple(noun for noun in _lines() if not noun.endswith("!") and _is_held_out(noun) is held_out)


def _is_held_out(noun: str) -> bool:
    return blake2b(noun.encode(), digest_size=2).digest()[0] < 256 * HELD_OUT


def _lines() -> list[str]:
    return gzip.decompress(LIST.read_bytes()).decode().split("\n")
