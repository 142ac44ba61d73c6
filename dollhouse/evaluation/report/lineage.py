"""What a model was made from, as far as the ``run.json`` of its distillation tells: recipe, commit, records, teachers.

Knows how ``dollhouse distill`` lays out a run's folder, and the store of records; loads no model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from dollhouse.errors import StorageError

UNKNOWN = "unknown"


def model_lineage(model: Path) -> dict[str, Any]:
    """Where a model folder comes from, JSON-able: for the ``model`` section of ``report.json``.

    ``run.json`` is looked for in the folder, then beside it, where ``dollhouse distill`` leaves it. Whatever is not
    told there is :data:`UNKNOWN`; records are named by a hash over the ids, themselves hashes, of those there now.
    Raises StorageError where a ``run.json`` is there but cannot be read.
    """
    path = next((path for path in (model / "run.json", model.parent / "run.json") if path.is_file()), None)
    if path is None:
        return {"run": UNKNOWN, "records": UNKNOWN}
    try:
        content = path.read_bytes()
        run = json.loads(content)
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: cannot be read as JSON ({error}); mend it, or take it away") from error
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
    """The records that a recipe's data names: how many, their hash, and their teachers."""
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
