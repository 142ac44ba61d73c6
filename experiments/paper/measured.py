"""What was measured of one model, read back as statistics over rooms.

Knows the files of :mod:`experiments.paper.measuring`; nothing of models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.errors import ScoreError
from dollhouse.questions.sampling import FAMILIES
from experiments.paper.detections import mean_average_precision, objects_in
from experiments.paper.paired import Statistic, rate


@dataclass(frozen=True)
class Counted:
    """A statistic with what it rests on."""

    statistic: Statistic
    rooms: int
    n: int


@dataclass(frozen=True, eq=False)
class Measured:
    """One model's measurement; ``rooms`` and ``rows`` as in ``rooms.json`` and ``predictions.jsonl``."""

    model: str  #: name and hash
    parameters: int
    rooms: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    losses: dict[str, list[float]] | None
    metrics: dict[str, Any]
    folder: Path

    @cached_property
    def names(self) -> list[str]:
        """The rooms' names, in their order."""
        return [str(room["scene"]) for room in self.rooms]

    @cached_property
    def by_id(self) -> dict[str, dict[str, Any]]:
        """The rows by their questions' ids."""
        return {str(row["id"]): row for row in self.rows}

    def restricted(self, names: Sequence[str]) -> Measured:
        """The same of some rooms only, in that order; losses, which are of other rooms, stay. Raises ScoreError."""
        by_name = {str(room["scene"]): room for room in self.rooms}
        if missing := [name for name in names if name not in by_name]:
            raise ScoreError(f"{self.model} was not asked about {missing[0]}: let the runs be among the rooms compared")
        rows = [row for row in self.rows if row["scene"] in set(names)]
        return replace(self, rooms=[by_name[name] for name in names], rows=rows)

    def accuracy(self, families: Sequence[str] = FAMILIES, said: str = "prediction") -> Counted:
        """Share of right answers over all questions of ``families``; of the blind control for "blind_prediction"."""
        from dollhouse.evaluation.benchmarks.rooms import BENCHMARK, sample_of

        rows = [row for row in self.rows if row["family"] in families and isinstance(row[said], str)]
        judged = BENCHMARK.score([sample_of(row) for row in rows], [row[said] for row in rows])
        return self._by_room([row["scene"] for row in rows], judged.credits["accuracy"].tolist())

    def loss(self, name: str | None = None) -> Counted:
        """A validation loss; None: the sum of all fixed ones."""
        if self.losses is None:
            raise ScoreError(f"{self.folder} holds no losses: delete that folder, and it is measured again")
        parts = list(self.losses.values()) if name is None else [self.losses[name]]
        values = np.sum(parts, axis=0)
        return Counted(rate(values, np.ones(len(values))), len(values), len(values))

    def depth(self, name: str) -> Counted:
        """A depth error (``abs_rel``, ``rmse``), mean over views."""
        sums = [room["depth"].get(name, 0.0) for room in self.rooms]
        views = [room["views"] for room in self.rooms]
        return Counted(rate(sums, views), len(self.rooms), sum(views))

    def boxes(self) -> Counted:
        """mAP at an overlap of 0.25."""
        rooms = [room["boxes"] or {"truths": {}, "found": []} for room in self.rooms]
        return Counted(mean_average_precision(rooms), len(rooms), objects_in(rooms))

    def described(self) -> list[Mapping[str, Any]]:
        """The rows of descriptions."""
        return [row for row in self.rows if row["family"] == "description"]

    def scored(self, rows: Sequence[Mapping[str, Any]], values: Sequence[float]) -> Counted:
        """The mean of a score of some rows, as a statistic over this measurement's rooms."""
        return self._by_room([str(row["scene"]) for row in rows], values)

    def _by_room(self, scenes: Sequence[str], values: Sequence[float]) -> Counted:
        place = {name: number for number, name in enumerate(self.names)}
        earned, asked = np.zeros(len(place)), np.zeros(len(place))
        for scene, value in zip(scenes, values, strict=True):
            earned[place[scene]] += value
            asked[place[scene]] += 1
        return Counted(rate(earned, asked), len(place), len(values))


def read_measured(folder: Path) -> Measured:
    """What :func:`~experiments.paper.measuring.measure` wrote."""
    told = json.loads((folder / "rooms.json").read_text(encoding="utf-8"))
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return Measured(rows=[json.loads(line) for line in lines], metrics=metrics, folder=folder, **told)
