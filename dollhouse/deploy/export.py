"""Export a student to ONNX graphs of dynamic shapes."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim

from dollhouse.deploy.graphs import DepthGraph, EncoderGraph, LanguageGraph, ObjectsGraph, PatchesGraph
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration

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
