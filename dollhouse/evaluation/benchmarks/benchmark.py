"""The definition of a benchmark: questions, frames, prompts and scoring.

Frames and prompts move a score as much as a model does, so a change of any of them is a new version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import QuestionError

SampleScores = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """A question of a benchmark, with all that scoring an answer needs."""

    id: str  #: unique in the benchmark
    scene: str  #: questions about one scene are resampled together
    kind: str  #: the group that it is reported in
    question: str  #: in its authors' words
    answers: tuple[str, ...]  #: each of them is correct
    facts: Mapping[str, Any] = field(default_factory=dict)  #: what this benchmark's scoring needs besides, JSON-able
    media: tuple[str, ...] = ()  #: pictures or a video, relative to the data's folder; (): the frames of the scene


class ScoreGroup(NamedTuple):
    """Questions that earn credit together: one, or several of which only all count."""

    scene: str
    kind: str
    members: tuple[int, ...]  #: places of its samples, from 0


@dataclass(frozen=True, eq=False)
class BenchmarkResult:
    """Credits of N samples in U groups."""

    units: Sequence[ScoreGroup]
    credits: Mapping[str, SampleScores]  #: score -> (U,); the first is the headline
    scores: Mapping[str, Any] = field(default_factory=dict)  #: figures without an interval, JSON-able
    #: overall is the mean over these groups of the mean over the kinds in each; None: the mean over all units
    groups: tuple[tuple[str, ...], ...] | None = None
    counted: frozenset[str] | None = None  #: kinds whose units count overall; None: all


@dataclass(frozen=True)
class FrameSelection:
    """The rule that selects frames of a scene."""

    rule: str  #: in words, for reports
    count: int | None  #: None: all there are
    choose: Callable[[int], tuple[int, ...]]  #: number of frames -> places from 0, in order


@dataclass(frozen=True)
class Source:
    """The origin of a benchmark's files."""

    files: str
    where: str
    licence: str

    def advice(self) -> str:
        return f"fetch {self.files} from {self.where} (licence: {self.licence})"


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's definition; ``version`` rises whenever any of its figures may change."""

    name: str
    title: str
    version: str
    frames: FrameSelection
    prompts: Mapping[str, str]  #: name -> template with {question} and other fields of its samples
    prompt_of: Callable[[Sample], str]
    source: Source
    scoring: str  #: how answers are scored, in words, with differences from the authors' own scoring
    scorers: tuple[str, ...]  #: names in ``metrics.versions.scorer_versions`` that the figures depend on
    read: Callable[[Sequence[Path]], list[Sample]]  #: raises QuestionError naming file and row
    score: Callable[[Sequence[Sample], Sequence[str]], BenchmarkResult]
    #: row of predictions.jsonl -> sample, and back, where its format is not that of ``row_of``
    from_row: Callable[[Mapping[str, Any]], Sample] | None = None
    to_row: Callable[[Sample, str, str | None, float | None], dict[str, Any]] | None = None
    #: (all rows, seed) -> further figures, JSON-able
    more_scores: Callable[[Sequence[Mapping[str, Any]], int], dict[str, Any]] | None = None

    def definition(self) -> dict[str, Any]:
        """Return everything that a reader of a score must know, JSON-able."""
        return {
            "name": self.name,
            "title": self.title,
            "version": self.version,
            "frames": {"count": self.frames.count, "rule": self.frames.rule},
            "prompts": dict(self.prompts),
            "scoring": self.scoring,
            "data": {"files": self.source.files, "where": self.source.where, "licence": self.source.licence},
        }

    def samples(self, paths: Sequence[Path]) -> list[Sample]:
        """Read the questions of the authors' files; raises QuestionError where files are missing or damaged."""
        if not paths:
            raise QuestionError(f"{self.name}: no annotations given; {self.source.advice()}")
        for path in paths:
            if not path.exists():
                raise QuestionError(f"{self.name}: no such file {path}; {self.source.advice()}")
        samples = self.read(paths)
        if not samples:
            raise QuestionError(f"{self.name}: {paths[0]} holds no question; {self.source.advice()}")
        places: dict[str, int] = {}
        for place, sample in enumerate(samples):
            if sample.id in places:
                raise QuestionError(
                    f"{paths[0]}: questions {places[sample.id] + 1} and {place + 1} have the same id {sample.id!r}; "
                    "fetch the file again"
                )
            places[sample.id] = place
        return samples

    def sample_of(self, row: Mapping[str, Any]) -> Sample:
        """Rebuild the sample of a row of ``predictions.jsonl``; raises KeyError or TypeError."""
        if self.from_row is not None:
            return self.from_row(row)
        return Sample(
            id=row["id"],
            scene=row["scene"],
            kind=row["kind"],
            question=row["question"],
            answers=tuple(row["answers"]),
            facts=row["facts"],
            media=tuple(row["media"]),
        )

    def row_of(self, sample: Sample, prediction: str, prompt: str | None, score: float | None) -> dict[str, Any]:
        """Build a row of ``predictions.jsonl``; ``score`` is the headline credit of the sample's group."""
        return (self.to_row or row_of)(sample, prediction, prompt, score)


def row_of(sample: Sample, prediction: str, prompt: str | None, score: float | None) -> dict[str, Any]:
    """Build a row of the usual format."""
    return {
        "id": sample.id,
        "scene": sample.scene,
        "kind": sample.kind,
        "question": sample.question,
        "prompt": prompt,
        "answers": list(sample.answers),
        "prediction": prediction,
        "score": score,
        "facts": dict(sample.facts),
        "media": list(sample.media),
    }


def single_units(samples: Sequence[Sample]) -> list[ScoreGroup]:
    """Return a group for each sample."""
    return [ScoreGroup(sample.scene, sample.kind, (place,)) for place, sample in enumerate(samples)]


def every_nth(count: int) -> Callable[[int], tuple[int, ...]]:
    """Select every (n // count)-th frame from the first, the tail dropped; all where there are fewer (LLaVA-3D)."""

    def choose(available: int) -> tuple[int, ...]:
        return tuple(place * max(1, available // count) for place in range(min(count, available)))

    return choose


def spread_evenly(count: int) -> Callable[[int], tuple[int, ...]]:
    """Select frames at equal steps from the first to the last, both included; all where there are fewer."""

    def choose(available: int) -> tuple[int, ...]:
        if available <= count:
            return tuple(range(available))
        return tuple(int(place) for place in np.linspace(0, available - 1, count).astype(int))

    return choose


def all_frames(available: int) -> tuple[int, ...]:
    return tuple(range(available))
