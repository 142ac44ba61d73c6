"""Synonyms from WordNet's own files (Debian: ``wordnet-base``), for NLTK's METEOR.

NLTK's reader needs files that Debian does not ship. The folder is that of WNSEARCHDIR, else /usr/share/wordnet. Format:
manual page wndb(5WN); base forms: morphy(7WN).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from dollhouse.errors import ScoreError

FOLDER = Path("/usr/share/wordnet")
_ENDINGS = {
    "noun": ("s:", "ses:s", "ves:f", "xes:x", "zes:z", "ches:ch", "shes:sh", "men:man", "ies:y"),
    "verb": ("s:", "ies:y", "es:e", "es:", "ed:e", "ed:", "ing:e", "ing:"),
    "adj": ("er:", "est:", "er:e", "est:e"),
    "adv": (),
}
_MARKER = re.compile(r"\([a-z]+\)$")  #: "galore(ip)": where an adjective may stand


class Lemma(NamedTuple):
    """A word of a synset, with the interface of NLTK."""

    word: str

    def name(self) -> str:
        return self.word


class Synset(NamedTuple):
    """The words of a meaning."""

    words: tuple[Lemma, ...]

    def lemmas(self) -> tuple[Lemma, ...]:
        return self.words


class WordNet:
    """WordNet in a folder, with the method that NLTK's METEOR calls. About 30 MB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.version = self._version()
        self._index = {part: self._read_index(part) for part in _ENDINGS}
        self._data = {part: self._read(f"data.{part}") for part in _ENDINGS}
        self._irregular = {part: self._read_irregular(part) for part in _ENDINGS}
        self.synsets = lru_cache(maxsize=1 << 16)(self._synsets)

    def _synsets(self, word: str) -> tuple[Synset, ...]:
        """Return the synsets of a word in any of its base forms: nouns, verbs, adjectives, adverbs."""
        word = word.lower()
        return tuple(
            Synset(self._words(part, offset))
            for part in _ENDINGS
            for form in dict.fromkeys(self._forms(word, part))
            for offset in self._index[part].get(form, ())
        )

    def _forms(self, word: str, part: str) -> Iterator[str]:
        """Yield the word and its possible base forms."""
        yield word
        irregular = self._irregular[part].get(word)
        if irregular is not None:
            yield from irregular
            return
        for rule in _ENDINGS[part]:
            ending, base = rule.split(":")
            if word.endswith(ending):
                yield word[: -len(ending)] + base

    def _words(self, part: str, offset: int) -> tuple[Lemma, ...]:
        data = self._data[part]
        fields = data[offset : data.index(b"\n", offset)].decode().split(" ")
        return tuple(Lemma(_MARKER.sub("", word)) for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2])

    def _read_index(self, part: str) -> dict[str, tuple[int, ...]]:
        index = {}
        for line in self._read(f"index.{part}").decode().splitlines():
            if not line.startswith(" "):
                fields = line.split()
                index[fields[0]] = tuple(int(offset) for offset in fields[-int(fields[2]) :])
        return index

    def _read_irregular(self, part: str) -> dict[str, list[str]]:
        lines = (line.split() for line in self._read(f"{part}.exc").decode().splitlines())
        return {fields[0]: fields[1:] for fields in lines if fields}

    def _version(self) -> str:
        match = re.search(rb"WordNet (\d+\.\d+) Copyright", self._read("data.noun")[:4000])
        if not match:
            raise ScoreError(f"{self.folder}/data.noun names no version; install WordNet 3.0 (wordnet-base)")
        return match[1].decode()

    def _read(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise ScoreError(
                f"{self.folder / name} cannot be read ({error.strerror}); install WordNet 3.0 again (wordnet-base)"
            ) from error


class NoWordNet:
    """Placeholder without synonyms, where WordNet is not installed."""

    version = None

    def synsets(self, word: str) -> tuple[Synset, ...]:
        return ()


def installed_wordnet() -> WordNet | NoWordNet:
    """Open the WordNet of WNSEARCHDIR, else the default one; :class:`NoWordNet` where there is none.

    Raises:
        ScoreError: WNSEARCHDIR names a folder without WordNet, or files are missing or damaged.
    """
    variable = os.environ.get("WNSEARCHDIR")
    folder = Path(variable) if variable else FOLDER
    if not variable and not (folder / "data.noun").is_file():
        return NoWordNet()
    return _open(folder)


@lru_cache(maxsize=1)
def _open(folder: Path) -> WordNet:
    return WordNet(folder)
