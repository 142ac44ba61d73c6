"""What models answered and predicted on rooms, several models in one folder; figures of tables are computed from it.

<folder>/predictions.jsonl.xz   a question a line: its fields, and ``predictions`` {model: answer}
<folder>/perception.jsonl.xz    a room of one model a line: sums of depth errors over views, matched boxes
<folder>/series.jsonl.xz        a list of numbers of one model a line: losses by room, seconds by room, gaps by loss
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.errors import ScoreError
from dollhouse.evaluation.benchmarks import real_photos
from dollhouse.evaluation.benchmarks.benchmark import Sample
from dollhouse.evaluation.benchmarks.rooms import question_of
from dollhouse.evaluation.metrics.spatial import UNJUDGED, is_correct
from dollhouse.evaluation.metrics.text.rouge import score_rouge
from dollhouse.evaluation.report.report_schema import jsonl_lines, jsonl_text
from dollhouse.evaluation.tables.statistics import (
    Figure,
    mean_average_precision,
    rate,
    shortened,
    text_figures,
)
from dollhouse.questions.sampling import FAMILIES
from dollhouse.system.atomic_io import atomic_path
from dollhouse.system.read_files import decoding, parse_json, read_bytes

LARGEST = 1 << 28  #: bytes of a file once unpacked
PREDICTIONS, PERCEPTION, SERIES = "predictions.jsonl.xz", "perception.jsonl.xz", "series.jsonl.xz"
FACTS = ("scene", "id", "family", "form", "question", "choices", "answer", "accept", "benchmark")  #: of a question


@dataclass(frozen=True)
class Measurements:
    """The rows of the three files."""

    questions: list[dict[str, Any]] = field(default_factory=list)
    perception: list[dict[str, Any]] = field(default_factory=list)
    series: list[dict[str, Any]] = field(default_factory=list)
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  #: facts of each, such as parameters

    @cached_property
    def _by_id(self) -> dict[str, dict[str, Any]]:
        return {str(row["id"]): row for row in self.questions}

    @cached_property
    def _verdicts(self) -> dict[tuple[str, str], bool]:
        """Whether an answer to the question of an id is right, by (id, answer)."""
        return {}

    def question(self, id: str) -> dict[str, Any]:
        """Return a question by its id. Raises ScoreError."""
        if id not in self._by_id:
            raise ScoreError(f"{PREDICTIONS}: has no question {id}")
        return self._by_id[id]

    def rooms_of(self, model: str) -> list[str]:
        """Return the rooms on which a model was measured, in their order. Raises ScoreError for an unknown model."""
        rows: list[dict[str, Any]] = [row for row in self.questions if model in row["predictions"]]
        rows += [row for row in self.perception if row["model"] == model]
        if not rows:
            raise ScoreError(f"{PREDICTIONS}: holds nothing of {model!r}")
        return list(dict.fromkeys(str(row["scene"]) for row in rows))

    def figure(self, name: str, model: str, rooms: Sequence[str], reference: str | None = None) -> Figure:
        """Return a figure of one model over ``rooms``.

        Args:
            name: ``accuracy`` over the four families, ``accuracy/FAMILY`` or ``accuracy/all``; ``chance`` likewise;
                ``agreement`` likewise, how often the answers are those of ``reference``; ``depth/abs_rel`` and
                ``depth/rmse``, means over views; ``map_25``; ``rouge_1`` (F1) of descriptions against those of
                ``reference`` (None: geometry's); ``text/SCORE`` and ``short/SCORE``, of descriptions as they are and
                both cut to the shorter; ``words``, of a description; ``series/NAME``, the mean of a series, over whose
                numbers the interval resamples.

        Raises ScoreError for what was not measured.
        """
        kind, _, part = name.partition("/")
        if kind in ("accuracy", "chance", "agreement"):
            families = None if part == "all" else (part,) if part else FAMILIES
            return self._answers(kind, model, families, rooms, reference)
        if kind == "series":
            found = [row["values"] for row in self.series if row["model"] == model and row["name"] == part]
            if not found:
                raise ScoreError(f"{SERIES}: has no {part} of {model!r}")
            return Figure(rate(found[0], np.ones(len(found[0]))), len(found[0]), len(found[0]))
        if kind in ("depth", "map_25"):
            by_room = {row["scene"]: row for row in self.perception if row["model"] == model}
            if missing := [room for room in rooms if room not in by_room]:
                raise ScoreError(f"{PERCEPTION}: has no {missing[0]} of {model!r}")
            return _perception([by_room[room] for room in rooms], part)
        if kind in ("rouge_1", "words", "text", "short"):
            rows = self._rows(model, ("description",), rooms)
            texts = [str(row["predictions"][model]) for row in rows]
            truths = [str(row["answer"] if reference is None else row["predictions"][reference]) for row in rows]
            if kind == "words":
                return _by_room(rows, [float(len(text.split())) for text in texts], rooms)
            if kind != "rouge_1":
                texts, truths = shortened(texts, truths) if kind == "short" else (texts, truths)
                return text_figures(texts, truths, [str(row["scene"]) for row in rows])[part]
            scores = score_rouge(texts, [[text] for text in truths])["rouge_1"].rows.tolist() if texts else []
            return _by_room(rows, scores, rooms)
        raise ScoreError(f"there is no figure {name!r}")

    def _answers(
        self, kind: str, model: str, families: Sequence[str] | None, rooms: Sequence[str], reference: str | None
    ) -> Figure:
        rows = [row for row in self._rows(model, families, rooms) if row["family"] not in UNJUDGED]
        if kind == "chance":
            return _by_room(rows, [1 / len(row["choices"]) if row["choices"] else 0.0 for row in rows], rooms)
        if kind == "agreement":
            same = [row["predictions"][model] == row["predictions"].get(reference) for row in rows]
            return _by_room(rows, [float(each) for each in same], rooms)
        return _by_room(rows, [float(self.is_right(row, row["predictions"][model])) for row in rows], rooms)

    def is_right(self, row: Mapping[str, Any], answer: str) -> bool:
        """Return whether an answer to the question of a row is right, as its benchmark judges."""
        key = (str(row["id"]), answer)
        if key not in self._verdicts:
            photo = row.get("benchmark") == real_photos.BENCHMARK.name
            self._verdicts[key] = (
                real_photos.is_correct(_photo_sample(row), answer)
                if photo
                else bool(is_correct(question_of(row), answer))
            )
        return self._verdicts[key]

    def _rows(self, model: str, families: Sequence[str] | None, rooms: Sequence[str]) -> list[dict[str, Any]]:
        wanted = set(rooms)
        rows = [row for row in self.questions if row["scene"] in wanted]
        rows = [row for row in rows if families is None or row["family"] in families]
        return [row for row in rows if model in row["predictions"]]

    def pack(self, folder: Path) -> None:
        """Write the three files."""
        for name, rows in ((PREDICTIONS, self.questions), (PERCEPTION, self.perception), (SERIES, self.series)):
            with atomic_path(folder / name) as unfinished:
                unfinished.write_bytes(lzma.compress(jsonl_text(rows).encode(), preset=9))


class MeasurementsBuilder:
    """Collects the measurements of models one after the other."""

    def __init__(self) -> None:
        self._questions: dict[str, dict[str, Any]] = {}
        self._perception: list[dict[str, Any]] = []
        self._series: list[dict[str, Any]] = []
        self.models: dict[str, dict[str, Any]] = {}

    def add_answers(self, model: str, rows: Sequence[Mapping[str, Any]], key: str = "prediction") -> None:
        """Add the answers of a model; rows as in ``predictions.jsonl``. Raises ScoreError where questions differ."""
        for row in rows:
            facts = {name: row[name] for name in FACTS if name in row}
            known = self._questions.setdefault(str(row["id"]), facts | {"predictions": {}})
            if any(known.get(name) != facts.get(name) for name in FACTS):
                raise ScoreError(
                    f"{model}: its question {row['id']} differs from that of other models: measure it again"
                )
            known["predictions"][model] = row[key]

    def add_rooms(self, model: str, rooms: Sequence[Mapping[str, Any]]) -> None:
        """Add depth errors and boxes by room, as :func:`room_facts` has them."""
        self._perception += [{"model": model, **room} for room in rooms]

    def add_series(self, model: str, name: str, values: Sequence[float]) -> None:
        """Add a list of numbers."""
        self._series.append({"model": model, "name": name, "values": [float(f"{value:.7g}") for value in values]})

    def series_of(self, model: str) -> list[dict[str, Any]]:
        """Return the series of a model."""
        return [line for line in self._series if line["model"] == model]

    def has_perception(self, model: str) -> bool:
        """Return whether depth or boxes of a model were measured."""
        return any(room["model"] == model for room in self._perception)

    def question(self, id: str) -> dict[str, Any] | None:
        """Return a question with its answers."""
        return self._questions.get(id)

    def choose_cases(self, model: str, blind: str) -> dict[str, str]:
        """Return ids of a success and a failure: the first question that only the model gets right, the first wrong."""
        found = self.build()
        asked = [row for row in found.questions if row["family"] in FAMILIES and model in row["predictions"]]
        verdicts = [(row, found.is_right(row, row["predictions"][model])) for row in asked]
        chosen = {
            "success": next(
                (r for r, right in verdicts if right and not found.is_right(r, r["predictions"][blind])), None
            )
        }
        used = chosen["success"] and chosen["success"]["scene"]
        chosen["failure"] = next((row for row, right in verdicts if not right and row["scene"] != used), None)
        return {name: str(row["id"]) for name, row in chosen.items() if row is not None}

    def build(self) -> Measurements:
        """Return what was added."""
        return Measurements(list(self._questions.values()), self._perception, self._series, self.models)


def read_measurements(folder: Path, models: Mapping[str, Mapping[str, Any]]) -> Measurements:
    """Read the three files of a folder. Raises ScoreError where one is missing or damaged."""
    questions, perception, series = (
        [row for _, row in read_packed(folder / name)] for name in (PREDICTIONS, PERCEPTION, SERIES)
    )
    return Measurements(questions, perception, series, models)


def read_packed(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the lines of a packed JSONL file, as text and as objects. Raises ScoreError."""
    for number, line in enumerate(packed_lines(path), 1):
        row = parse_json(line, f"{path}, row {number}", ScoreError, "it was changed")
        if not isinstance(row, dict):
            raise ScoreError(f"{path}, row {number}: is not an object; it was changed")
        yield line, row


def packed_lines(path: Path) -> list[str]:
    """Unpack a text file to its lines. Raises ScoreError."""
    content = read_bytes(path, ScoreError, "fetch it again")
    unpacker = lzma.LZMADecompressor(memlimit=1 << 28)
    with decoding(path, "a packed text file any more", ScoreError, "fetch it again"):
        try:
            data = unpacker.decompress(content, max_length=LARGEST)
        except lzma.LZMAError as error:
            raise ScoreError(f"{path}: cannot be unpacked ({error}); fetch it again") from error
        if not unpacker.eof:
            raise ScoreError(f"{path}: is cut off, or larger than {LARGEST >> 20} MiB; fetch it again")
        return jsonl_lines(data.decode("utf-8"))


def photo_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a row of ``predictions.jsonl`` of the benchmark of real photos to one of :class:`Measurements`."""
    facts = {"scene": row["scene"], "id": row["id"], "family": row["kind"], "question": row["question"]}
    facts |= {"choices": row["facts"]["choices"], "answer": row["answers"][0], "accept": row["answers"]}
    answers = {name: row[name] for name in ("prediction", "blind_prediction") if name in row}
    return facts | answers | {"benchmark": real_photos.BENCHMARK.name}


def _photo_sample(row: Mapping[str, Any]) -> Sample:
    facts = {"choices": row["choices"]}
    return Sample(row["id"], row["scene"], row["family"], row["question"], tuple(row["accept"]), facts)


def _perception(rows: Sequence[Mapping[str, Any]], part: str) -> Figure:
    """Return a mean depth error over views, or mAP where ``part`` is empty."""
    if part:
        views = [row["views"] for row in rows]
        return Figure(rate([row["depth"].get(part, 0.0) for row in rows], views), len(rows), sum(views))
    boxes = [row["boxes"] or {"truths": {}, "found": []} for row in rows]
    objects = sum(count for room in boxes for count in room["truths"].values())
    return Figure(mean_average_precision(boxes), len(rows), objects)


def _by_room(rows: Sequence[Mapping[str, Any]], values: Sequence[float], rooms: Sequence[str]) -> Figure:
    place = {name: number for number, name in enumerate(rooms)}
    index = np.array([place[row["scene"]] for row in rows], dtype=np.int64)
    earned, asked = (np.bincount(index, weights, len(place)) for weights in (values, np.ones(len(index))))
    return Figure(rate(earned.tolist(), asked.tolist()), len(place), len(values))
