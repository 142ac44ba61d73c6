"""What every verb shares: the Typer application, common options, printing."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dollhouse.system.environment import MAX_SEED
from dollhouse.system.secrets import mask
from dollhouse.system.text import storable

if TYPE_CHECKING:
    from dollhouse.inference.pipeline import DollhousePipeline
    from dollhouse.scenes.scene import Scene

app = typer.Typer(
    name="dollhouse",
    help="Answer questions about a room from plain photos, and distil the small model that does.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
scenes_app = typer.Typer(help="Inspect scenes: photos, scans, procedural rooms.", no_args_is_help=True)
app.add_typer(scenes_app, name="scenes")
records_app = typer.Typer(help="Inspect and merge the records that `annotate` writes.", no_args_is_help=True)
app.add_typer(records_app, name="records")


@app.callback()
def global_options(
    traceback: Annotated[bool, typer.Option("--traceback", help="Print where an error was raised.")] = False,
) -> None:
    """Declare what stands before the verb; ``dollhouse.cli.boundary`` reads it."""


SceneArgument = Annotated[
    str,
    typer.Argument(
        help="Photos (a folder or one), a video, a capture or scan (Polycam, COLMAP, ScanNet, ...), or rooms:test/3."
    ),
]
_MODEL = "A model folder, or nano, the shipped student (a folder of that name: ./nano)."
ModelArgument = Annotated[str, typer.Argument(help=_MODEL)]
ModelOption = Annotated[str, typer.Option(help=_MODEL)]
EngineOption = Annotated[
    Literal["auto", "onnx", "torch"],
    typer.Option(help="onnx: exported graphs, without torch; auto: these where the model's folder has them."),
]
SkipOption = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be decoded.")]
LenientOption = Annotated[
    bool, typer.Option("--skip-bad/--strict", help="Leave out what is broken, or refuse the scene for it.")
]
TeacherArgOption = Annotated[list[str] | None, typer.Option(help="KEY=VALUE of the teacher; may be repeated.")]
SeedOption = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of all that is sampled.")]
OutOption = Annotated[Path | None, typer.Option(help="Folder for the report; nothing is written without it.")]


def command_line() -> str:
    """Return the command as typed, for reports, without secrets."""
    return mask(storable(shlex.join(["dollhouse", *sys.argv[1:]])))


def print_notices(scene: Scene, printed: Scene | None = None) -> None:
    """Print what was left out of a scene, cut, padded or not used, unless it was ``printed``, on standard error."""
    for line in scene.notices:
        if printed is None or line not in printed.notices:
            print(line, file=sys.stderr)


def load_pipeline(model: str, engine: Literal["auto", "onnx", "torch"]) -> DollhousePipeline:
    """Load a student by an engine, "auto" by its export where it has one; torch is imported only for its own."""
    from dollhouse.inference.pipeline import DollhousePipeline
    from dollhouse.models.model_folder import find_export

    if engine == "auto":
        engine = "torch" if find_export(model) is None else "onnx"
    if engine == "torch":
        quiet_libraries()
    return DollhousePipeline.from_pretrained(model, retain_freed_memory=True, engine=engine)


def quiet_libraries() -> None:
    """Silence progress bars and warnings of libraries; call before the first of them is used."""
    import logging
    import warnings

    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
