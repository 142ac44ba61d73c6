"""Answers about scenes that are not finished, stored as they arrive: none is asked (or paid for) twice."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from pathlib import Path

from dollhouse.errors import StorageError
from dollhouse.records.types import TeacherAnswer
from dollhouse.records.writer import PARTS
from dollhouse.system.read_files import decode_json, decoding, read_bytes


class PartialAnswers:
    """Files ``<records>/.parts/<record id>.jsonl`` with a line per answer. Thread-safe.

    A line that a kill cut short is skipped; its answer is asked for again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / PARTS
        self._lock = threading.Lock()

    def read(self, id: str) -> dict[int, TeacherAnswer]:
        """Return the answers stored for a record by the index of the question. Raises StorageError for damage."""
        path = self._path(id)
        if not path.exists():
            return {}
        answers, advice = {}, "delete it and annotate again"
        for line in read_bytes(path, StorageError, advice).split(b"\n"):
            try:
                entry = decode_json(line)
            except ValueError:
                continue
            with decoding(path, "a whole file of answers", StorageError, advice):
                answers[int(entry["index"])] = TeacherAnswer.from_lists(str(entry["text"]), entry)
        return answers

    def add(self, id: str, index: int, answer: TeacherAnswer) -> None:
        """Store the answer to question ``index``. Raises StorageError where the disk is full."""
        entry = {"index": index, "text": answer.text, "failure": answer.failure, **answer.token_lists()}
        line = f"\n{json.dumps(entry)}\n".encode()  # the first line end closes a line that was cut short
        with self._lock:
            try:
                self.folder.mkdir(exist_ok=True)
                with open(self._path(id), "ab", buffering=0, opener=_open_itself) as file:
                    file.write(line)
            except OSError as error:
                raise StorageError(f"cannot write {self._path(id)} ({error.strerror}); free some space") from error

    def delete(self, id: str) -> None:
        """Remove the answers of a record that is complete; where that fails, the next run does."""
        with suppress(OSError):
            self._path(id).unlink(missing_ok=True)

    def _path(self, id: str) -> Path:
        return self.folder / f"{id}.jsonl"


def _open_itself(path: str, flags: int) -> int:
    """Open a file, not the target of a link."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
