"""Answers about scenes that could not be finished: kept until they can, so that none is asked (or paid) for twice.

They are no records and nobody learns from them. Knows nothing of teachers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.errors import StorageError
from dollhouse.records.types import TeacherAnswer
from dollhouse.system.atomic_io import atomic_path

PARTS = ".parts"
_ARRAYS = {"token_ids": np.int32, "top_ids": np.int32, "top_log_probs": np.float32}


class Parts:
    """Files ``<records>/.parts/<record id>.json``: place of a question -> its answer. Each is whole or absent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / PARTS

    def read(self, id: str) -> dict[int, TeacherAnswer]:
        """The answers kept for a record; {} where there are none. Raises StorageError where they are damaged."""
        path = self._path(id)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            return {int(place): _answer(told) for place, told in kept.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(f"{path}: is damaged ({error}); delete it and label again") from error

    def keep(self, id: str, answers: Mapping[int, TeacherAnswer]) -> None:
        """Keep these answers for a record, instead of what was kept. Raises StorageError where the disk is full."""
        if not answers:
            return
        path = self._path(id)
        told = {str(place): _entry(answer) for place, answer in sorted(answers.items())}
        with atomic_path(path, "free some space") as unfinished:
            self.folder.mkdir(exist_ok=True)
            unfinished.write_text(json.dumps(told), encoding="utf-8")

    def forget(self, id: str) -> None:
        """The record is whole: its parts are not needed any more."""
        self._path(id).unlink(missing_ok=True)

    def _path(self, id: str) -> Path:
        return self.folder / f"{id}.json"


def _entry(answer: TeacherAnswer) -> dict[str, Any]:
    arrays = {name: getattr(answer, name) for name in _ARRAYS}
    return {"text": answer.text} | {name: array.tolist() for name, array in arrays.items() if array is not None}


def _answer(entry: Mapping[str, Any]) -> TeacherAnswer:
    arrays: dict[str, Any] = {name: np.array(entry[name], kind) for name, kind in _ARRAYS.items() if name in entry}
    return TeacherAnswer(text=entry["text"], **arrays)
