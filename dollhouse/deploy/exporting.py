"""Export a model folder: graphs in every wanted precision, and their certificate."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dollhouse.deploy.certificate import Asked, certify, made_questions, photo_questions
from dollhouse.deploy.export import export_graphs
from dollhouse.deploy.graphs import why_not_exportable
from dollhouse.deploy.quantize import Precision, write_precision
from dollhouse.errors import ModelError
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.models.model_folder import find_model
from dollhouse.runtime.certificate import CERTIFICATE, COMMON
from dollhouse.system.atomic_io import atomic_folder
from dollhouse.system.hashing import file_hash

MADE = "rooms:test/0-19"


def export_student(
    model: str | Path | None,
    out: Path,
    precisions: Sequence[Precision] = ("int8", "float32"),
    made: Sequence[str] = (MADE,),
    photos: Path | None = None,
    questions_per_scene: int = 20,
) -> dict[str, Any]:
    """Write a student's graphs and their certificate; an existing folder is renamed unless it is the same.

    Args:
        model: a model folder, or None or "nano" for the shipped student.
        out: the folder to write.
        precisions: the first that passes is loaded by default.
        made: sources of made scenes with boxes, such as "rooms:test/0-19", for whose questions engines are compared.
        photos: a folder with ``questions.jsonl`` about photos of real rooms.
        questions_per_scene: at most, of made scenes.

    Returns:
        The certificate. A precision that did not pass is in it, and is not loaded.

    Raises:
        ModelError: no such model, or one of a kind that cannot be exported.
        SceneError: a set of scenes cannot be opened.
        StorageError: ``out`` cannot be written.
    """
    folder = find_model(model)
    pipeline = DollhousePipeline.from_pretrained(folder, device="cpu", engine="torch")
    if reason := why_not_exportable(pipeline.model):
        raise ModelError(f"{pipeline.model_id} cannot be exported: {reason}")
    sets: dict[str, list[Asked]] = {
        source.partition(":")[0]: list(made_questions(source, questions_per_scene)) for source in made
    }
    if photos is not None:
        sets["photos"] = list(photo_questions(photos))
    with atomic_folder(out, replace=True) as unfinished, tempfile.TemporaryDirectory() as raw:
        for name in COMMON:
            shutil.copyfile(folder / name, unfinished / name)
        export_graphs(pipeline.model, Path(raw))
        for precision in precisions:
            write_precision(Path(raw), unfinished / precision, precision)
        weights = file_hash(folder / "model.safetensors")
        certificate = certify(pipeline, weights, unfinished, precisions, sets)
        (unfinished / CERTIFICATE).write_text(json.dumps(certificate, indent=1) + "\n")
    return certificate
