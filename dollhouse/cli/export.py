"""``dollhouse export``: write ONNX graphs with a certificate."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, cast

import typer

from dollhouse.cli.app import ModelArgument, app, interruptible, quiet_libraries
from dollhouse.errors import ModelError


@app.command()
@interruptible()
def export(
    model: ModelArgument,
    out: Annotated[Path, typer.Option(help="The folder to write; `onnx` in the model's own is found by `ask`.")],
    precision: Annotated[
        list[str] | None,
        typer.Option(help="int8 (default), int4, float16 or float32; may be repeated, preferred first."),
    ] = None,
    scenes: Annotated[
        list[str] | None, typer.Option(help="Made scenes to compare on; may be repeated. Default: rooms:test/0-19.")
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Photos of real rooms to compare on: a folder with questions.jsonl.")
    ] = None,
    questions_per_scene: Annotated[int, typer.Option(min=1, help="Questions of a made scene at most.")] = 20,
) -> None:
    """Export a student to ONNX for inference without torch, and certify that its answers are the same.

    Example: dollhouse export runs/first/model --out runs/first/model/onnx --precision int8 --precision float32
    """
    if find_spec("onnx") is None or find_spec("onnxscript") is None:
        raise ModelError("exporting needs two more packages: pip install 'dollhouse[export]'")
    quiet_libraries()
    from dollhouse.deploy.export import MADE, export_student
    from dollhouse.deploy.quantize import PRECISIONS, Precision

    logging.getLogger().setLevel(logging.WARNING)  # importing ONNX Runtime's quantiser lowers it
    wanted = list(dict.fromkeys(precision or ["int8"]))
    if unknown := [name for name in wanted if name not in PRECISIONS]:
        raise ModelError(f"no precision {unknown[0]!r}: choose {', '.join(PRECISIONS)}")
    certificate = export_student(
        model, out, cast("list[Precision]", wanted), scenes or [MADE], photos, questions_per_scene
    )
    entries = certificate["precisions"]
    for name, entry in entries.items():
        verdict = "certified" if entry["passed"] else "not certified"
        print(
            f"{name}: {verdict}; {entry['equal']:.2%} of answers equal, accuracy lost {entry['accuracy_lost']:.2%}, "
            f"{entry['boxes_found']:.2%} of boxes found, {entry['bytes'] / 1e6:.1f} MB"
        )
    print(f"{out}: written")
    if not any(entry["passed"] for entry in entries.values()):
        raise typer.Exit(1)
