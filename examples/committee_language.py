"""Read the committee's boxes with a student's language model: what the same words reach with other perception.

    PYTHONPATH=. dollhouse benchmark real-photos --data real/ --out committee_read \\
        --teacher examples.committee_language:CommitteeReader --teacher-arg weights=WEIGHTS --teacher-arg model=MODEL
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from dollhouse.errors import DollhouseError
from dollhouse.evaluation.oracle_boxes import OracleBoxesModel
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.questions.generate import Question
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.protocol import Teacher
from dollhouse.teachers.scene_boxes import annotate_scene
from examples import committee, matching
from examples.photo_boxes import certain, coloured


def annotated(scene: Scene, weights: str) -> Scene:
    """Return the scene with the committee's depth, cameras and boxes, and the boxes' main colours."""
    posed = annotate_scene(
        scene,
        partial(committee.detect, weights=weights),
        partial(committee.depth, weights=weights),
        partial(matching.cameras, weights=str(Path(weights) / "xfeat.onnx")),
    )
    return coloured(posed)


class CommitteeReader(Teacher):
    """Answer with a student's language model that is given the committee's boxes from ``threshold`` on."""

    def __init__(self, weights: str, model: str = "nano", threshold: str = "0.4") -> None:
        self.weights, self.threshold = weights, float(threshold)
        self.reader = OracleBoxesModel(DollhousePipeline.from_pretrained(model))

    def provenance(self) -> dict[str, Any]:
        settings = {"threshold": self.threshold, "reader": self.reader.pipeline.model_id}
        return {"teacher": "committee's boxes", "weights": None, "licence": "Apache-2.0 and MIT", "settings": settings}

    def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
        try:
            posed = annotated(scene, self.weights)
        except DollhouseError:  # photos that overlap with no others have no place: the first one alone
            posed = annotated(replace(scene, views=scene.views[:1]), self.weights)
        session = self.reader.encode_scene(replace(posed, boxes=certain(posed.boxes or (), self.threshold)))
        answers = session.answer([question.text for question in questions])
        return [TeacherAnswer(answer.text) for answer in answers]
