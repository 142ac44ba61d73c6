"""Beacon3D-QA: several questions about each of many objects (Huang et al., CVPR 2025).

Reads the authors' two formats (``docs/specs/formats.md``, section 6). They score with a language model; here it is
exact match, so figures are lower than theirs.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dollhouse.errors import QuestionError
from dollhouse.evaluation.benchmarks.annotation_file import field, read_json, text_list
from dollhouse.evaluation.benchmarks.benchmark import BenchmarkResult, Sample, define, share
from dollhouse.evaluation.benchmarks.scanqa import match_answers

#: scene_object_number_tag_extra; extra is 1 where the question needs knowledge of other objects
_ID = re.compile(r"(?P<scene>.+)_(?P<object>\d+)_\d+_(?P<tag>[a-z]+)_(?P<extra>[01])")
_HEADLINE = "em_refined_strict"


def read(paths: Sequence[Path]) -> list[Sample]:
    """Read the samples of ``scannet_qa.json`` (a list) or ``metadata_scannet_qa.json`` (nested by scene)."""
    samples: list[Sample] = []
    for path in paths:
        data = read_json(path)
        if isinstance(data, list):
            samples += _flat(path, data)
        elif isinstance(data, dict):
            samples += _nested(path, data)
        else:
            raise QuestionError(f"{path}: is neither a list nor an object; give scannet_qa.json")
    return samples


def _flat(path: Path, rows: list[Any]) -> Iterator[Sample]:
    for number, row in enumerate(rows, 1):
        where = f"{path}, question {number}"
        if not isinstance(row, dict):
            raise QuestionError(f"{where}: is not an object; give scannet_qa.json")
        id = field(row, "question_id", str, where)
        parts = _ID.fullmatch(id)
        if parts is None:
            raise QuestionError(f"{where}: {id!r} does not name object and tag; give scannet_qa.json")
        answers = text_list(row, "answers", where)
        scene, question = field(row, "scene_id", str, where), field(row, "question", str, where)
        yield _sample(id, scene, parts["object"], parts["tag"], int(parts["extra"]), question, answers)


def _nested(path: Path, scenes: dict[str, Any]) -> Iterator[Sample]:
    for scene, classes in scenes.items():
        for objects in field({"classes": classes}, "classes", dict, f"{path}, {scene}").values():
            for object_id, entry in objects.items():
                where = f"{path}, {scene}, object {object_id}"
                for number, row in enumerate(field(entry, "qa", list, where)):
                    tag, extra = field(row, "tag", str, where), field(row, "extra_knowledge", int, where)
                    id = f"{scene}_{object_id}_{number}_{tag}_{extra}"
                    question, answer = field(row, "question", str, where), field(row, "answer", str, where)
                    yield _sample(id, scene, object_id, tag, extra, question, (answer,))


def _sample(
    id: str, scene: str, object_id: str, tag: str, extra: int, question: str, answers: tuple[str, ...]
) -> Sample:
    return Sample(id, scene, tag, question, answers, {"object": object_id, "extra_knowledge": extra})


def score(samples: Sequence[Sample], predictions: Sequence[str]) -> BenchmarkResult:
    """Score exact matches by question, and by object: correct only where all of its questions are."""
    result = match_answers(samples, predictions, captions=False)
    correct = result.credits[_HEADLINE]
    objects: dict[tuple[str, str], list[float]] = defaultdict(list)
    extra: dict[int, list[float]] = defaultdict(list)
    for sample, credit in zip(samples, correct.tolist(), strict=True):
        objects[sample.scene, sample.facts["object"]].append(credit)
        extra[sample.facts["extra_knowledge"]].append(credit)
    scores = {
        "per_object": share([min(credits) for credits in objects.values()]),
        "by_extra_knowledge": {str(needed): share(credits) for needed, credits in sorted(extra.items())},
    }
    return replace(result, credits={_HEADLINE: correct, **result.credits}, scores=scores)


BENCHMARK = define("beacon3d", read, score)
