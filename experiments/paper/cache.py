"""Content-keyed cache: training runs, measurements and timings, each made once.

    <folder>/<kind>/<name>-<key>/     an entry; complete once it holds complete.json, which is written last

A key is a hash of everything that the result depends on: recipe, weights, data, version constants. The name before it
is for readers. Keys never depend on source files: whoever changes a result raises the version constant beside the code.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from dollhouse.data.target_source import QUESTIONS_VERSIONS, TARGETS_VERSIONS
from dollhouse.models.model_folder import NEEDED
from dollhouse.scenes.corrections import Corrections
from dollhouse.system.atomic_io import write_text
from dollhouse.system.environment import source_commit
from dollhouse.system.hashing import files_hash
from dollhouse.training.config import Recipe
from dollhouse.training.train import TRAINING_VERSION

INIT_VERSION = 1  #: raise it whenever an initial model of the same settings would get other weights
MEASUREMENT_VERSION = 1  #: raise it whenever the same model would get other measurements on the same rooms
TIMING_VERSION = 1  #: raise it whenever the same models would be timed in another way
PROBE_VERSION = 1  #: raise it whenever controls or read-outs of the same model would differ

DATA_VERSIONS = [*TARGETS_VERSIONS, *QUESTIONS_VERSIONS]

Kind = Literal["init", "runs", "measured", "timing", "probed"]
COMPLETE = "complete.json"
#: settings of a recipe that change where a run is stored or how fast it is, and nothing of its result
NEUTRAL_SETTINGS = {"name", "threads", "init_from"}
NEUTRAL_DATA_SETTINGS = {"cache", "workers"}


@dataclass(frozen=True)
class Cache:
    """The folder of all entries."""

    folder: Path

    def find(self, kind: Kind, key: str) -> Path | None:
        """Return the complete entry of ``key``; None where there is none."""
        return next((file.parent for file in (self.folder / kind).glob(f"*-{key}/{COMPLETE}")), None)

    def make(self, kind: Kind, name: str, key: str, build: Callable[[Path], object]) -> Path:
        """Return the entry of ``key``, calling ``build(folder)`` unless it is complete.

        An incomplete entry is passed to ``build`` again, which continues or overwrites it.
        """
        if complete := self.find(kind, key):
            return complete
        plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        entry = next((self.folder / kind).glob(f"*-{key}"), self.folder / kind / f"{plain}-{key}")
        entry.mkdir(parents=True, exist_ok=True)
        started = time.time()
        build(entry)
        facts = {"name": name, "key": key, "seconds": round(time.time() - started, 1), "commit": source_commit()}
        write_text(entry / COMPLETE, json.dumps(facts) + "\n")
        return entry


def short_key(*content: Any) -> str:
    """Hash JSON values."""
    return sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:12]


def model_key(folder: Path) -> str:
    """Hash the content of a model folder, wherever it is."""
    return files_hash(path for name in NEEDED if (path := folder / name).is_file())


def run_key(recipe: Recipe, init: str) -> str:
    """Hash a training run: its recipe, and the key of its initial model."""
    tree = recipe.model_dump(mode="json", exclude=NEUTRAL_SETTINGS)
    tree["data"] = {name: value for name, value in tree["data"].items() if name not in NEUTRAL_DATA_SETTINGS}
    if recipe.data.corrections == Corrections():
        del tree["data"]["corrections"]
    for stage in tree["stages"].values():  # a setting that is newer than the first runs
        if not stage["written_steps"]:
            del stage["written_steps"]
    return short_key(tree, init, TRAINING_VERSION, DATA_VERSIONS)
