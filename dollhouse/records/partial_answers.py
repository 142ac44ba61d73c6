"""Answers about scenes that could not be finished, stored so that no question is asked (or paid for) twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from dollhouse.errors import StorageError
from dollhouse.records.types import TeacherAnswer
from dollhouse.system.atomic_io import atomic_path


class PartialAnswers:
    """Files ``<records>/.parts/<record id>.json`` that map the index of a question to its answer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / ".parts"

    def read(self, id: str) -> dict[int, TeacherAnswer]:
        """Return the answers stored for a record, {} where there are none. Raises StorageError for a damaged file."""
        path = self._path(id)
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
            return {int(index): TeacherAnswer.from_lists(entry["text"], entry) for index, entry in entries.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(f"{path}: is damaged ({error}); delete it and annotate again") from error

    def write(self, id: str, answers: Mapping[int, TeacherAnswer]) -> None:
        """Store the answers of a record, replacing older ones. Raises StorageError where the disk is full."""
        entries = {index: {"text": answer.text, **answer.token_lists()} for index, answer in sorted(answers.items())}
        if entries:
            with atomic_path(self._path(id), "free some space") as temporary:
                self.folder.mkdir(exist_ok=True)
                temporary.write_text(json.dumps(entries), encoding="utf-8")

    def delete(self, id: str) -> None:
        """Remove the answers of a record that is complete."""
        self._path(id).unlink(missing_ok=True)

    def _path(self, id: str) -> Path:
        return self.folder / f"{id}.json"
