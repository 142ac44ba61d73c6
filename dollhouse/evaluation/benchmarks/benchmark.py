"""The definition of a benchmark: questions, frames, prompts and scoring; its words are in ``definitions.yaml``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from dollhouse.errors import QuestionError
from dollhouse.system.read_files import decoding

SampleScores = NDArray[np.float64]

#: name -> title, version, frames, prompts, source, scoring in words and scorers of a benchmark
DEFINITIONS: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_name("definitions.yaml").read_text("utf-8"))


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


def sample_of(row: Mapping[str, Any]) -> Sample:
    """Rebuild the sample of a row of ``predictions.jsonl``; raises KeyError or TypeError."""
    id, scene, kind, question, answers, facts, media = (
        row[name] for name in ("id", "scene", "kind", "question", "answers", "facts", "media")
    )
    return Sample(id, scene, kind, question, tuple(answers), facts, tuple(media))


def row_of(sample: Sample, prediction: str, prompt: str | None, score: float | None) -> dict[str, Any]:
    """Build a row of ``predictions.jsonl``; ``score`` is the headline credit of the sample's group."""
    scored = {"prompt": prompt, "answers": list(sample.answers), "prediction": prediction, "score": score}
    question = {"id": sample.id, "scene": sample.scene, "kind": sample.kind, "question": sample.question}
    return question | scored | {"facts": dict(sample.facts), "media": list(sample.media)}


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
    sample_of: Callable[[Mapping[str, Any]], Sample] = sample_of
    row_of: Callable[[Sample, str, str | None, float | None], dict[str, Any]] = row_of
    #: (all rows, seed) -> further figures, JSON-able
    more_scores: Callable[[Sequence[Mapping[str, Any]], int], dict[str, Any]] | None = None
    shipped: tuple[Path, ...] = ()  #: annotations that come with the package
    controlled: bool = False  #: rows hold a confidence and the blind control's answer, where a model has them

    def definition(self) -> dict[str, Any]:
        """Return everything that a reader of a score must know, JSON-able."""
        return {
            "name": self.name,
            "title": self.title,
            "version": self.version,
            "frames": {"count": self.frames.count, "rule": self.frames.rule},
            "prompts": dict(self.prompts),
            "scoring": self.scoring,
            "data": asdict(self.source),
        }

    def samples(self, paths: Sequence[Path]) -> list[Sample]:
        """Read the questions of the authors' files, by default the shipped ones.

        Raises QuestionError where files are missing or damaged.
        """
        paths = paths or self.shipped
        if not paths:
            raise QuestionError(f"{self.name}: no annotations given; {self.source.advice()}")
        if missing := [path for path in paths if not path.exists()]:
            raise QuestionError(f"{self.name}: no such file {missing[0]}; {self.source.advice()}")
        with decoding(paths[0], f"a file of {self.title}", QuestionError, self.source.advice()):
            samples = self.read(paths)
        if not samples:
            raise QuestionError(f"{self.name}: {paths[0]} holds no question; {self.source.advice()}")
        numbers: dict[str, int] = {}
        for number, sample in enumerate(samples, 1):
            if (first := numbers.setdefault(sample.id, number)) != number:
                raise QuestionError(
                    f"{paths[0]}: questions {first} and {number} have the same id {sample.id!r}; fetch the file again"
                )
        return samples


def share(credits: Sequence[float]) -> dict[str, float]:
    """Return a figure without an interval: the mean of credits, and their number."""
    return {"value": math.fsum(credits) / len(credits), "n": len(credits)}


def single_units(samples: Sequence[Sample]) -> list[ScoreGroup]:
    """Return a group for each sample."""
    return [ScoreGroup(sample.scene, sample.kind, (place,)) for place, sample in enumerate(samples)]


def every_nth(count: int) -> Callable[[int], tuple[int, ...]]:
    """Select every (n // count)-th frame from the first, the tail dropped; all where there are fewer (LLaVA-3D)."""
    return lambda available: tuple(place * max(1, available // count) for place in range(min(count, available)))


def spread_evenly(count: int) -> Callable[[int], tuple[int, ...]]:
    """Select frames at equal steps from the first to the last, both included; all where there are fewer."""
    return lambda available: tuple(np.linspace(0, available - 1, min(count, available)).astype(int).tolist())


FRAME_RULES = {
    "every_nth": every_nth,
    "spread_evenly": spread_evenly,
    "all_frames": lambda count: lambda available: tuple(range(available)),
}


def define(
    name: str,
    read: Callable[[Sequence[Path]], list[Sample]],
    score: Callable[[Sequence[Sample], Sequence[str]], BenchmarkResult],
    **functions: Any,
) -> Benchmark:
    """Build a benchmark from its entry in ``definitions.yaml`` and its functions.

    Args:
        functions: further functions of :class:`Benchmark`; ``prompt_of`` by default fills the only prompt.
    """
    entry = DEFINITIONS[name]
    template, *_ = entry["prompts"].values()
    rule, choose, count = (entry["frames"][field] for field in ("rule", "choose", "count"))
    built = {
        "frames": FrameSelection(rule, count, FRAME_RULES[choose](count)),
        "source": Source(**entry["source"]),
        "scorers": tuple(entry["scorers"]),
        "prompt_of": lambda sample: template.format(question=sample.question, **sample.facts),
    }
    return Benchmark(name=name, read=read, score=score, **{**entry, **built, **functions})
