"""What every verb shares: the Typer application, common options, corrections of scenes, signals, printing."""

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
import inspect
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, get_type_hints

from dollhouse.errors import SceneError

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
        help="Photos (a folder or one), a video, a capture or scan (Polycam, COLMAP, ScanNet, ...), "
        "or rooms:test/3 (with dollhouse[train])."
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


@contextmanager
def interruptible() -> Iterator[None]:
    """Run a verb, also as its decorator; a signal raises KeyboardInterrupt in it, so that all it holds is closed."""
    received: list[int] = []

    def stop(number: int, frame: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        print("stopped; what was complete is kept: run the same command again to go on", file=sys.stderr)
        raise SystemExit(128 + received[0] if received else 130) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


_option = partial(typer.Option, rich_help_panel="Corrections of a scene that is not what its format says")
#: the fields of Corrections: type, default and option
_OPTIONS: dict[str, tuple[Any, str | float, Any]] = {
    "axes": (Literal["opencv", "opengl"], "opencv", _option(help="Camera axes of the poses.")),
    "poses": (
        Literal["world_from_camera", "camera_from_world"],
        "world_from_camera",
        _option(help="Direction of the poses."),
    ),
    "depth_scale": (float, 1.0, _option(help="Factor on depth, such as 0.001 for millimetres.")),
    "pose_scale": (float, 1.0, _option(help="Factor on camera positions.")),
    "up": (Literal["x", "y", "z", "-x", "-y", "-z"], "z", _option(help="Axis of the scene's world that is up.")),
}


def with_corrections(verb: Callable[..., None]) -> Callable[..., None]:
    """Replace a verb's parameter ``corrections`` by one option for each field of ``Corrections``."""

    def corrected(**values: Any) -> None:
        from dollhouse.scenes.corrections import Corrections

        try:
            corrections = Corrections(**{name: values.pop(name) for name in _OPTIONS})
        except ValueError as error:
            raise SceneError(f"a correction cannot be used: {error}") from error
        verb(**values, corrections=corrections)

    hints = get_type_hints(verb, localns={"Corrections": Any}, include_extras=True)
    parameters = [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(verb).parameters.items()
        if name != "corrections"
    ]
    for name, (kind, default, option) in _OPTIONS.items():
        annotation: Any = Annotated[kind, option]  # type: ignore[valid-type]
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )
    corrected.__name__, corrected.__doc__ = verb.__name__, verb.__doc__
    corrected.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    corrected.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return corrected
