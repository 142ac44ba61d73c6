"""Greedy answers to questions about many scenes in one continuous batch: rows join and leave between two tokens.

Axes: R rows, T tokens, L positions of a cache. Rows have lengths of their own; they are padded at the left and masked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Cache = TypeVar("Cache")
Integers = NDArray[np.int64]


@dataclass
class GeneratedText:
    """Token ids of an answer with the end token, and the log-probability of each."""

    token_ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)

    @property
    def confidence(self) -> float:
        """Geometric mean of the probabilities of the chosen tokens."""
        return float(np.exp(sum(self.log_probs) / max(len(self.log_probs), 1)))


class WordBatch(ABC, Generic[Cache]):
    """Open answers of any scenes of one model; its length is their number.

    Args:
        end: id of the token that ends an answer.
        limit: the most tokens of an answer.
    """

    def __init__(self, end: int | None, limit: int) -> None:
        self._end, self._limit = end, limit
        self._rows: list[tuple[Any, GeneratedText]] = []
        self._mask: Integers = np.zeros((0, 0), np.int64)
        self._next: Integers = np.zeros(0, np.int64)
        self._cache: Cache | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Sequence[tuple[Any, Cache, Sequence[int]]]) -> list[tuple[Any, GeneratedText]]:
        """Let questions join, and generate their first tokens.

        Args:
            rows: a key of the caller's, a scene's cache of one row, and the question's token ids.

        Returns:
            Keys and texts of those that have ended already.
        """
        longest, widths = max(len(ids) for _, _, ids in rows), [self._width(cache) for _, cache, _ in rows]
        ids = np.zeros((len(rows), longest), np.int64)
        mask = np.zeros((len(rows), max(widths) + longest), np.int64)
        for row, ((_, _, question), width) in enumerate(zip(rows, widths, strict=True)):
            ids[row, longest - len(question) :] = question
            mask[row, max(widths) - width : max(widths)] = 1
            mask[row, mask.shape[1] - len(question) :] = 1
        cache = self._joined([cache for _, cache, _ in rows], longest + self._limit)
        cache, best, log_probs = self._run(cache, ids, mask)
        first = len(self)
        if self._cache is not None:
            cache = self._joined([self._cache, cache], self._limit)
            width = max(mask.shape[1], self._mask.shape[1])
            mask = np.concatenate(
                [np.pad(part, ((0, 0), (width - part.shape[1], 0))) for part in (self._mask, mask) if len(part)]
            )
        self._cache, self._mask = cache, mask
        self._rows += [(key, GeneratedText()) for key, _, _ in rows]
        return self._append(first, best, log_probs)

    def step(self) -> list[tuple[Any, GeneratedText]]:
        """Generate the next token of each open answer; return keys and texts of those that have ended."""
        assert self._cache is not None
        self._mask = np.pad(self._mask, ((0, 0), (0, 1)), constant_values=1)
        self._cache, best, log_probs = self._run(self._cache, self._next[:, None], self._mask)
        return self._append(0, best, log_probs)

    def _append(self, first: int, best: Integers, log_probs: NDArray[Any]) -> list[tuple[Any, GeneratedText]]:
        self._next = np.concatenate([self._next[:first], best])
        ended = np.zeros(len(self), bool)
        for row, token, log_prob in zip(range(first, len(self)), best.tolist(), log_probs.tolist(), strict=True):
            text = self._rows[row][1]
            text.token_ids.append(token)
            text.log_probs.append(log_prob)
            ended[row] = token == self._end or len(text.token_ids) >= self._limit
        if not ended.any():
            return []
        over = [row for row, end in zip(self._rows, ended.tolist(), strict=True) if end]
        kept = np.flatnonzero(~ended).astype(np.int64)
        self._rows = [self._rows[row] for row in kept]
        self._next, self._mask = self._next[kept], self._mask[kept]
        if len(kept):
            assert self._cache is not None
            padding = int(self._mask.any(0).argmax())  # that no open row needs
            self._mask = self._mask[:, padding:]
            self._cache = self._selected(self._cache, kept, padding)
        else:
            self._cache = None
        return over

    @abstractmethod
    def _width(self, cache: Cache) -> int:
        """Return the positions of a cache."""

    @abstractmethod
    def _joined(self, caches: Sequence[Cache], room: int) -> Cache:
        """Return the rows of all caches, padded with zeros at the left, with ``room`` for so many more tokens."""

    @abstractmethod
    def _selected(self, cache: Cache, rows: Integers, first: int) -> Cache:
        """Return some rows of a cache, without its first positions."""

    @abstractmethod
    def _run(self, cache: Cache, ids: Integers, mask: Integers) -> tuple[Cache, Integers, NDArray[Any]]:
        """Append tokens (R, T); ``mask`` (R, L + T) is 0 for padding.

        Returns:
            The cache, and the likeliest next tokens (R,) with their log-probabilities.
        """
