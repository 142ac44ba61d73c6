"""Evaluates a model on scenes and writes what it found.

Knows the model only by its protocol and leaves judging to the scorers. Files are written under another name and
renamed when whole; ``metrics.json`` comes last, so where it lies, the others do too.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from dollhouse.errors import SceneError, StorageError
from dollhouse.evaluation.benchmarks import rooms
from dollhouse.evaluation.protocol import Model
from dollhouse.evaluation.report.evaluation_page import evaluation_page
from dollhouse.evaluation.report.gallery import GalleryScene
from dollhouse.evaluation.report.lineage import UNKNOWN
from dollhouse.evaluation.report.report_schema import build_report, format_report, jsonl_text
from dollhouse.evaluation.scene_evaluator import SceneEvaluator
from dollhouse.evaluation.verify import score_rows
from dollhouse.scenes.open import open_scenes
from dollhouse.scenes.scene import Scene
from dollhouse.system.atomic_io import write_text


@dataclass(frozen=True)
class Report:
    """What an evaluation found, and where it was written (``folder`` is None if it was not)."""

    metrics: dict[str, object]
    predictions: list[dict[str, object]]  #: one row a question, as in predictions.jsonl
    folder: Path | None


def evaluate(
    model: Model,
    scenes: str | Sequence[Scene],
    *,
    blind: Model | None = None,
    questions_per_scene: int = 40,
    out: str | Path | None = None,
    seed: int = 0,
    progress: bool = True,
    commit: str | None = None,
    command: str | None = None,
    lineage: Mapping[str, Any] | None = None,
    page: bool = True,
    on_scene: Callable[[GalleryScene], None] = lambda exhibit: None,
) -> Report:
    """Measure ``model`` on ``scenes`` (scenes, or a name such as ``rooms:test/0-199``).

    ``blind`` is the same student without images; it is asked the same questions. Depth is compared in metres without
    any alignment where the scene is metric, and after scaling by the median otherwise. Scenes that lack boxes, depth
    or poses lose the parts that need them; ``metrics["left_out"]`` counts them and says why. ``commit``,
    ``command`` and ``lineage`` (what the model was made from, see ``report.lineage``) are only written down.
    With ``out`` the folder gets ``metrics.json``, ``predictions.jsonl``, ``perception.jsonl``, ``report.html`` and
    ``report.json``; without ``page``, whose pictures take seconds to draw, all but the page. ``on_scene`` is told of
    every scene as soon as it is scored.

    Raises :class:`~dollhouse.errors.SceneError` where there is no scene, :class:`~dollhouse.errors.StorageError` where
    ``out`` cannot be written, and whatever reading a scene raises.
    """
    source = scenes if isinstance(scenes, str) else None
    opened: Sequence[Scene] = open_scenes(scenes) if isinstance(scenes, str) else scenes
    if not len(opened):
        raise SceneError(f"there is no scene to evaluate in {source or 'the list given'}; name at least one")
    folder = _made_folder(Path(out)) if out is not None else None
    started = time.monotonic()
    scoring = SceneEvaluator(model, blind, opened, questions_per_scene, seed, on_scene)
    for scene in _with_progress(opened, progress):
        scoring.add(scene)
    metrics = scoring.metrics() | {
        "model": model.model_id,
        "scenes": {"source": source, "n": len(opened)},
        "seed": seed,
        "versions": _versions(),
        "seconds": round(time.monotonic() - started, 1),
        "commit": commit,
        "command": command,
    }
    if folder is not None:
        lines = jsonl_text(scoring.rows)
        figures = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
        perception = jsonl_text(scoring.records)
        write_text(folder / "predictions.jsonl", lines)
        if page:
            write_text(folder / "report.html", evaluation_page(metrics, scoring.gallery.scenes()))
        write_text(folder / "perception.jsonl", perception)
        told = _evidence(metrics, scoring.rows, lines, figures, perception, lineage)
        write_text(folder / "report.json", format_report(told))
        write_text(folder / "metrics.json", figures)
    return Report(metrics, scoring.rows, folder)


def _evidence(
    metrics: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    lines: str,
    figures: str,
    perception: str,
    lineage: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """``report.json``: what :mod:`dollhouse.evaluation.verify` needs to score the answers again."""
    name, _, weights = str(metrics["model"]).partition("@")
    blind = metrics["blind"]["model"] if metrics["blind"] else None
    scores, _ = score_rows(rooms.BENCHMARK, rows, metrics["seed"], Path("report.json"))
    return build_report(
        rooms.BENCHMARK,
        rows,
        lines,
        scores,
        model={"name": name, "weights": weights or None, "blind": blind, "lineage": lineage or UNKNOWN},
        seed=metrics["seed"],
        provenance={key: metrics[key] for key in ("scenes", "command", "commit", "seconds")},
        metrics=figures,
        perception=perception,
    )


def _made_folder(folder: Path) -> Path:
    """The folder, made before the work starts, so that a wrong name costs nothing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {folder} ({error.strerror or error}); choose another") from error
    return folder


class _Rate(ProgressColumn):
    """Scenes a second, or seconds a scene where that says more."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f} scenes/s" if speed >= 1 else f"{1 / speed:.1f} s/scene")


def _with_progress(scenes: Sequence[Scene], shown: bool) -> Iterator[Scene]:
    """The scenes one by one, with a bar on standard error if ``shown``."""
    columns = (TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        yield from bar.track(scenes, total=len(scenes))


def _versions() -> dict[str, str]:
    """Versions of what the numbers depend on; packages that are not installed are absent."""
    versions = {"python": platform.python_version()}
    for package in ("dollhouse", "numpy", "torch", "transformers"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
