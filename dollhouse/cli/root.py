"""The command's root: what every verb shares. Knows no verb."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="dollhouse",
    help="Answer questions about a room from plain photos, and distil the small model that does.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
scenes_app = typer.Typer(help="Look at scenes: photos, ScanNet folders, made rooms.", no_args_is_help=True)
app.add_typer(scenes_app, name="scenes")
records_app = typer.Typer(help="Look at what teachers said: the folders that `label` writes.", no_args_is_help=True)
app.add_typer(records_app, name="records")

SceneArgument = Annotated[
    str,
    typer.Argument(
        help="A folder of photos, a photo, a video, a ScanNet folder, or a room: rooms:test/3, sweethome:test/3."
    ),
]
ModelOption = Annotated[Path | None, typer.Option(help="A model folder. Default: the shipped nano student.")]
SkipOption = Annotated[bool, typer.Option("--skip-bad", help="Leave out photos that cannot be read.")]


def command_line() -> str:
    """What the user typed, for reports."""
    return " ".join(["dollhouse", *map(shlex.quote, sys.argv[1:])])


def tell_skipped(metadata: Any) -> None:
    """Say which photos or frames a scene was read without."""
    for line in metadata.get("skipped") or ():
        print(f"left out: {line}", file=sys.stderr)
    if metadata.get("frames_skipped"):
        print(f"left out: {metadata['frames_skipped']} frames without a pose", file=sys.stderr)


def quiet_libraries() -> None:
    """Keep libraries from talking between our lines; call it before the first of them is used."""
    import logging
    import warnings

    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
