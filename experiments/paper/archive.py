"""Trained models and what was measured of them, kept by content: the same recipe, code and data are never run again.

    <folder>/runs/<name>-<key>/       a distil run: model/, metrics.jsonl, run.json; continued where it was killed
    <folder>/measured/<name>-<key>/   predictions.jsonl, metrics.json, report.json, rooms.json

A key is a hash of everything that the result depends on; the name before it is for people. Knows nothing of tables.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

from dollhouse.data.target_source import QUESTIONS_VERSIONS, TARGETS_VERSIONS
from dollhouse.evaluation.metrics.versions import scorer_versions
from dollhouse.models.dollhouse.checkpoint import NEEDED, SHIPPED
from dollhouse.records.store import HASHES
from dollhouse.training.config import Recipe
from dollhouse.training.train import TRAINING_VERSION, distill
from experiments.paper.measured import Measured, read_measured
from experiments.paper.measuring import MEASURING_VERSION, Measuring, measure

#: settings that change where a run lies or how fast it goes, and nothing of what comes out
INDIFFERENT = ("name", "threads", "init_from")


class Archive:
    """The folder of all runs and measurements."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used: set[Path] = set()  #: folders of the runs that anyone asked about and that are finished

    def trained(self, recipe: Recipe) -> Path | None:
        """The model that ``recipe`` made earlier."""
        found = self.run_folder(recipe)
        return found / "model" if found else None

    def train(self, name: str, recipe: Recipe) -> Path:
        """The model folder that ``recipe`` makes: kept, continued, or begun."""
        if kept := self.trained(recipe):
            return kept
        key = recipe_key(recipe)
        folder = next(iter(self._named("runs", key)), self.folder / "runs" / f"{_plain(name)}-{key}")
        model = distill(recipe, folder, progress=False)
        for stage in recipe.stages:  # optimiser states and full-precision copies, which no one reads again
            shutil.rmtree(folder / stage, ignore_errors=True)
        return model

    def run_folder(self, recipe: Recipe) -> Path | None:
        """Where the finished run of ``recipe`` lies."""
        found = self._kept("runs", recipe_key(recipe), "run.json")
        if found:
            self.used.add(found)
        return found

    def measured(self, model: Path, measuring: Measuring) -> Measured | None:
        """What was measured of a model folder earlier."""
        found = self._kept("measured", measuring_key(model, measuring), "rooms.json")
        return read_measured(found) if found else None

    def measure(self, name: str, model: Path, measuring: Measuring) -> Measured:
        """Everything of ``measuring`` about a model folder: kept, or measured now."""
        if kept := self.measured(model, measuring):
            return kept
        folder = self.folder / "measured" / f"{_plain(name)}-{measuring_key(model, measuring)}"
        measure(model, measuring, folder)
        return read_measured(folder)

    def _named(self, kind: str, key: str) -> list[Path]:
        return sorted((self.folder / kind).glob(f"*-{key}"))

    def _kept(self, kind: str, key: str, last: str) -> Path | None:
        """The folder of that key, if it is whole: ``last`` is the file that is written last."""
        return next((folder for folder in self._named(kind, key) if (folder / last).is_file()), None)


def recipe_key(recipe: Recipe) -> str:
    """Changes whenever the recipe would make another model."""
    told = recipe.model_dump(mode="json", exclude=set(INDIFFERENT))
    told["data"] = {key: value for key, value in told["data"].items() if key not in ("cache", "workers")}
    origin = None if recipe.init_from is None else model_key(_folder(recipe.init_from))
    records = told["data"].pop("records", None)
    said = None if records is None else files_key(sorted(Path(records).glob(f"*/{HASHES}")))
    return short_key([told, origin, said, [TRAINING_VERSION, *TARGETS_VERSIONS, *QUESTIONS_VERSIONS]])


def measuring_key(model: Path, measuring: Measuring) -> str:
    """Changes whenever something else would be measured of a model folder."""
    blind = None if measuring.blind is None else model_key(measuring.blind)
    return short_key([model_key(model), blind, measuring.settings(), [MEASURING_VERSION, *scorer_versions().values()]])


def model_key(folder: Path) -> str:
    """The content of a model folder."""
    return files_key(folder / name for name in NEEDED)


def files_key(paths: Iterable[Path]) -> str:
    """The content of files, in their order; what is no file is passed over."""
    digest = sha256()
    for path in paths:
        if path.is_file():
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _folder(start: Path) -> Path:
    return SHIPPED if str(start) == "nano" else start


def short_key(told: Any) -> str:
    """A short hash of anything that JSON can hold."""
    return sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
