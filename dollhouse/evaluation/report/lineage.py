"""The lineage of a model: recipe, commit, records and teachers, from the ``run.json`` of its distillation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from dollhouse.errors import StorageError

UNKNOWN = "unknown"


def model_lineage(model: Path) -> dict[str, Any]:
    """Read the lineage of a model folder, for the ``model`` section of ``report.json``.

    ``run.json`` is read from the folder or its parent, where ``dollhouse distill`` writes it. Missing entries are
    UNKNOWN; records are identified by a hash over their ids, which are content hashes. Raises StorageError where a
    ``run.json`` cannot be read.
    """
    path = next((path for path in (model / "run.json", model.parent / "run.json") if path.is_file()), None)
    if path is None:
        return {"run": UNKNOWN, "records": UNKNOWN}
    try:
        content = path.read_bytes()
        run = json.loads(content)
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: cannot be read as JSON ({error}); repair or remove it") from error
    recipe = run.get("recipe") or {}
    return {
        "run": sha256(content).hexdigest(),
        "commit": run.get("commit") or UNKNOWN,
        "seed": recipe.get("seed", UNKNOWN),
        "data": recipe.get("data", UNKNOWN),
        "init_from": recipe.get("init_from") or UNKNOWN,
        "records": run.get("records") or _records_of(recipe.get("data") or {}),
    }


def _records_of(data: Mapping[str, Any]) -> Any:
    """Describe the records that a recipe's data names: how many, their hash, and their teachers."""
    folder = data.get("records")
    if not folder:
        return UNKNOWN
    if not Path(folder).is_dir():
        return {"folder": str(folder), "sha256": UNKNOWN}
    from dollhouse.records.store import RecordStore

    records = RecordStore(folder)
    teachers = {records.row(id)["provenance"] for id in records.ids()}
    return {
        "folder": str(folder),
        "n": len(records),
        "sha256": sha256("\n".join(records.ids()).encode()).hexdigest(),
        "teachers": [json.loads(teacher) for teacher in sorted(teachers)],
    }
