"""Export a student to ONNX graphs of dynamic shapes, in every wanted precision, and their certificate."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim

from dollhouse.deploy.certificate import Asked, certify, made_questions, photo_questions
from dollhouse.deploy.graphs import (
    DepthGraph,
    EncoderGraph,
    LanguageGraph,
    ObjectsGraph,
    PatchesGraph,
    why_not_exportable,
)
from dollhouse.deploy.quantize import Precision, write_precision
from dollhouse.errors import ModelError
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.model_folder import find_model
from dollhouse.runtime.certificate import CERTIFICATE, COMMON
from dollhouse.system.atomic_io import atomic_folder
from dollhouse.system.hashing import file_hash

OPSET = 20
MOST_IN_GRAPH = 1_800_000_000  #: bytes of weights


def export_graphs(model: DollhouseForConditionalGeneration, folder: Path) -> None:
    """Write a file of each of :data:`~dollhouse.runtime.certificate.GRAPHS` in float32."""
    patches, encoder, depth = PatchesGraph(model), EncoderGraph(model), DepthGraph(model)
    objects = ObjectsGraph(model)
    patch, config = patches.patch, model.config
    batch, views = Dim("batch", max=64), Dim("views", max=256)
    rows, columns = Dim("rows", min=2, max=256), Dim("columns", min=2, max=256)
    with torch.no_grad():
        pixels = torch.rand(6, 3, 6 * patch, 8 * patch)
        shape = {0: Dim("images", max=4096), 2: patch * rows, 3: patch * columns}
        embedded = dict(zip(patches.outputs, patches(pixels), strict=True))
        _write(patches, (pixels,), (shape,), ["pixel_values"], patches.outputs, folder / "patches.onnx")

        tokens = embedded["tokens"].unflatten(0, (2, 3)).contiguous()
        grid = {0: batch, 1: views, 2: rows, 3: columns}
        features = encoder(tokens)[-1].contiguous()
        _write(encoder, (tokens,), (grid,), ["tokens"], list(encoder.outputs), folder / "encoder.onnx")

        photos = pixels.unflatten(0, (2, 3))
        maps = [(embedded | {"pixel_values": photos})[name].contiguous() for name in depth.inputs[1:]]
        # maps follow from the features' shape: their own is left to the exporter
        _write(
            depth,
            (features, *maps),
            (grid, tuple({axis: Dim.AUTO for axis in _dynamic(name)} for name in depth.inputs[1:])),
            depth.inputs,
            ["log_depth"],
            folder / "depth.onnx",
        )

        count = features.shape[1] * 6 * 8
        labels, colours = len(config.labels) + 1, len(config.colours)
        widths = {"label_logits": labels, "colour_logits": colours, "center": 3, "log_size": 3, "front": 2, "axis": 2}
        votes = [
            torch.rand(2, count, widths[name]) if name in widths else torch.rand(2, count) for name in objects.inputs
        ]
        assignment = torch.nn.functional.one_hot(torch.arange(count) % config.num_objects, config.num_objects)
        assignment = assignment.float().expand(2, -1, -1).contiguous()
        flat = {0: Dim.AUTO, 1: Dim.AUTO}
        _write(
            objects,
            (features, assignment, votes),
            (dict.fromkeys(range(4), Dim.AUTO), flat, [flat for _ in votes]),
            ["features", "assignment", *objects.inputs],
            list(objects.outputs),
            folder / "objects.onnx",
        )
    export_language(model, folder / "language.onnx")


def export_language(model: DollhouseForConditionalGeneration, path: Path) -> None:
    """Write the graph of the language model in float32."""
    language, config = LanguageGraph(model), model.config
    with torch.no_grad():
        blocks, past = language.blocks, 5
        cache = [f"{kind}.{layer}" for layer in range(len(blocks.layers)) for kind in ("key", "value")]
        embeds, ids = torch.rand(3, 2, config.get_text_config().hidden_size), torch.randint(0, 8, (3, 4))
        state = [torch.rand(3, blocks.heads, past, blocks.width) for _ in cache]
        rows_dim, text = Dim("questions", max=4096), Dim("tokens", max=4096)
        _write(
            language,
            (embeds, ids, torch.ones(3, past + 6, dtype=torch.int64), state),
            (
                {0: rows_dim, 1: Dim.AUTO},
                {0: rows_dim, 1: text},
                {0: rows_dim, 1: Dim.AUTO},
                [{0: rows_dim, 2: Dim.AUTO} for _ in cache],
            ),
            ["embeds", "ids", "mask", *(f"past_{name}" for name in cache)],
            ["logits", *cache],
            path,
        )


def _dynamic(name: str) -> tuple[int, ...]:
    """Return the axes of an input of the depth graph that vary."""
    return (0, 1, 3, 4) if name == "pixel_values" else (0, 1, 2) if name == "tokens" else (0, 2, 3)


def _write(
    module: nn.Module,
    arguments: tuple[object, ...],
    shapes: tuple[object, ...],
    inputs: list[str],
    outputs: list[str],
    path: Path,
) -> None:
    """Export a module; weights of a large one are a file beside the graph, which protobuf limits to 2 GB."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it names packages that are not installed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            arguments,
            dynamic_shapes=shapes,
            input_names=inputs,
            output_names=outputs,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    size = sum(value.nbytes for value in module.state_dict().values())
    program.save(str(path), external_data=size > MOST_IN_GRAPH)


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
