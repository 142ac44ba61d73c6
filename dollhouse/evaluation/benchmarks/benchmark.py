"""What a benchmark is: its questions, which frames and words they are asked with, and how answers are judged.

Knows no single benchmark, no model and no file of predictions. Which frames, how many and which prompt belong to the
definition, because they move a score as much as a model does; a change of any of them is a new version.
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
Progress = Callable[[str, int, int], None]  #: (what is done, how many are done, of how many)


@dataclass(frozen=True)
class Sample:
    """One question of a benchmark, with all that judging an answer needs."""

    id: str  #: unique in the benchmark
    scene: str  #: what the question is about; questions about one scene are resampled together
    kind: str  #: the group that it is reported in
    question: str  #: in its authors' words
    answers: tuple[str, ...]  #: each of them is right
    facts: Mapping[str, Any] = field(default_factory=dict)  #: what this benchmark's judge needs besides, JSON-able
    media: tuple[str, ...] = ()  #: pictures or a video, relative to the data's folder; (): the frames of the scene


class ScoreGroup(NamedTuple):
    """What earns credit together: one question, or several of which only all count."""

    scene: str
    kind: str
    members: tuple[int, ...]  #: places of its samples, from 0


@dataclass(frozen=True, eq=False)
class BenchmarkResult:
    """What judging found over N samples in U units."""

    units: Sequence[ScoreGroup]
    credits: Mapping[str, SampleScores]  #: score -> (U,), in [0, 1] where all goes well; the first is the headline
    scores: Mapping[str, Any] = field(default_factory=dict)  #: figures without an interval, JSON-able
    #: how kinds make the overall figure: the mean over groups of the mean over the kinds in each; None: over all units
    groups: tuple[tuple[str, ...], ...] | None = None
    counted: frozenset[str] | None = None  #: kinds whose units count overall; None: all


@dataclass(frozen=True)
class FrameSelection:
    """Which frames of a scene a model is shown."""

    rule: str  #: in words, for reports
    count: int | None  #: None: all there are
    choose: Callable[[int], tuple[int, ...]]  #: how many there are -> places from 0, in the order shown


@dataclass(frozen=True)
class Source:
    """Where a benchmark's files come from."""

    files: str
    where: str
    licence: str

    def advice(self) -> str:
        return f"fetch {self.files} from {self.where} (licence: {self.licence})"


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's definition. ``version`` names it and rises whenever any of its figures may change."""

    name: str
    title: str
    version: str
    frames: FrameSelection
    prompts: Mapping[str, str]  #: name -> template with {question} and what else its samples bring
    prompt_of: Callable[[Sample], str]
    source: Source
    scoring: str  #: how answers are judged, in words, with what differs from the authors' own way
    scorers: tuple[str, ...]  #: names in ``evaluate.versions.scorer_versions`` that the figures rest on
    read: Callable[[Sequence[Path]], list[Sample]]  #: raises QuestionError naming file and row
    judge: Callable[[Sequence[Sample], Sequence[str], Progress | None], BenchmarkResult]
    #: where the lines of predictions.jsonl have a form of their own (else that of ``row_of``): line -> sample, ...
    from_row: Callable[[Mapping[str, Any]], Sample] | None = None
    to_row: Callable[[Sample, str, str | None, float | None], dict[str, Any]] | None = None  #: ... and back
    #: (all lines, seed) -> figures besides, JSON-able
    more_scores: Callable[[Sequence[Mapping[str, Any]], int], dict[str, Any]] | None = None

    def definition(self) -> dict[str, Any]:
        """Everything that a reader of a score must know, JSON-able."""
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
        """The questions of the authors' files. QuestionError where files are missing (says what to fetch) or odd."""
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
        """The sample that a line of ``predictions.jsonl`` holds. Raises KeyError or TypeError where it does not."""
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
        """A line of ``predictions.jsonl``; ``score`` is the headline credit of the unit that the sample is in."""
        return (self.to_row or row_of)(sample, prediction, prompt, score)


def row_of(sample: Sample, prediction: str, prompt: str | None, score: float | None) -> dict[str, Any]:
    """The usual form of a line."""
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
    """A unit for each sample."""
    return [ScoreGroup(sample.scene, sample.kind, (place,)) for place, sample in enumerate(samples)]


def every_nth(count: int) -> Callable[[int], tuple[int, ...]]:
    """LLaVA-3D's choice: every (n // count)-th frame from the first, the tail dropped; all where there are fewer."""

    def choose(available: int) -> tuple[int, ...]:
        return tuple(place * max(1, available // count) for place in range(min(count, available)))

    return choose


def spread_evenly(count: int) -> Callable[[int], tuple[int, ...]]:
    """Frames at equal steps from the first to the last, both included; all of them where there are fewer."""

    def choose(available: int) -> tuple[int, ...]:
        if available <= count:
            return tuple(range(available))
        return tuple(int(place) for place in np.linspace(0, available - 1, count).astype(int))

    return choose


def all_frames(available: int) -> tuple[int, ...]:
    return tuple(range(available))
