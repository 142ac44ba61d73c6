"""Evaluate a model scene by scene: answers, depth and boxes.

Memory grows by one row a question and a few numbers a scene; images are stored of the gallery's scenes only.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dollhouse.evaluation.benchmarks.rooms import row_of_question
from dollhouse.evaluation.metrics.curves import answer_curves
from dollhouse.evaluation.metrics.depth import Alignment, align_depth
from dollhouse.evaluation.metrics.spatial import AnswerScorer, ChanceScorer
from dollhouse.evaluation.perception_records import PerceptionScorer, box_record, depth_record
from dollhouse.evaluation.protocol import ConfidentSession, EvaluableModel, LabelledModel, SceneSessionLike
from dollhouse.evaluation.report.gallery import Gallery, GalleryScene
from dollhouse.geometry import Array, level_from_world, transform_points
from dollhouse.questions.answer_balance import AnswerBalance
from dollhouse.questions.facts import unanswerable
from dollhouse.questions.generate import FAMILIES, Question, generate_questions
from dollhouse.questions.sources import balance_scenes
from dollhouse.scenes.labels import LabelMap, clean_label, is_building, question_noun
from dollhouse.scenes.scene import Box, Scene
from dollhouse.scenes.view_preprocessing import PreprocessedView, preprocess_view
from dollhouse.scenes.visibility import compute_visibility

VISIBLE_SHARE = 0.0035  #: of some view's pixels that a counted object covers: 55 of 126 x 126
NO_ANSWERS: dict[str, Any] = {
    "overall": None,
    "macro": None,
    "families": {},
    "others": {},
    "forms": {},
    "distance": None,
}

Boxes = tuple[Box, ...]
BoxGroups = tuple[Boxes, Boxes, Boxes]  #: counted boxes, hardly visible ones, and those without a label, both ignored


class SceneEvaluator:
    """Aggregates the scores of ``model`` and of ``blind``, the same student without images."""

    def __init__(
        self,
        model: EvaluableModel,
        blind: EvaluableModel | None,
        scenes: Sequence[Scene],
        questions_per_scene: int,
        seed: int,
        on_scene: Callable[[GalleryScene], None] = lambda scene: None,
    ) -> None:
        self.model, self.blind = model, blind
        self.on_scene, self.seed = on_scene, seed
        self.questions = EvaluationQuestions(scenes, questions_per_scene, seed)
        self.rows: list[dict[str, object]] = []  #: of predictions.jsonl
        self.perception_rows: list[dict[str, object]] = []  #: of perception.jsonl
        self.gallery = Gallery()
        self.answers, self.blind_answers, self.chance = AnswerScorer(seed), AnswerScorer(seed), ChanceScorer()
        self.perception = PerceptionScorer()
        self.left_out: dict[str, Counter[str]] = {"questions": Counter(), "depth": Counter(), "boxes": Counter()}
        self.ignored_labels: Counter[str] = Counter()  #: of objects that the model has no label for
        self._label_of = LabelMap(model.labels).map if isinstance(model, LabelledModel) else question_noun
        self._questions_hash = hashlib.sha256()

    def add(self, scene: Scene) -> None:
        """Encode a scene, answer its questions, and compare depth and boxes where it has them."""
        session = self.model.encode_scene(scene)
        views = [preprocess_view(view, self.model.image_size) for view in session.scene.views]
        true_boxes = self._true_boxes(session.scene)
        rows = self._answer(session, true_boxes)
        self.rows += rows
        alignment: Alignment = "none" if session.scene.metric else "median"
        true_depth = self._true_depth(views)
        depth = None if true_depth is None else depth_record(session.depth, true_depth, alignment)
        boxes = None if true_boxes is None else box_record(list(map(self._relabelled, session.boxes)), *true_boxes)
        self.perception_rows.append({"scene": scene.name, "depth": depth, "boxes": boxes})
        self.perception.add(self.perception_rows[-1])
        correct = [bool(row["correct"]) for row in rows if row["correct"] is not None]
        abs_rel = [view["abs_rel"] for view in depth["views"]] if depth else []
        shown = GalleryScene(
            scene=scene.name,
            accuracy=float(np.mean(correct)) if correct else None,
            images=session.images,
            depth=session.depth if true_depth is None else align_depth(session.depth, true_depth, alignment),
            true_depth=true_depth,
            depth_alignment=alignment,
            depth_abs_rel=float(np.mean(abs_rel)) if abs_rel else None,
            boxes=session.boxes,
            true_boxes=None if true_boxes is None else true_boxes[0],
            ignored=() if true_boxes is None else true_boxes[1] + true_boxes[2],
            cameras=_cameras(session),
            fovs=_fields_of_view(views),
            floor=_floor(session.scene),
            answers=tuple(rows),
        )
        self.gallery.add(shown)
        self.on_scene(shown)

    def metrics(self) -> dict[str, object]:
        """Compute everything measured, as in ``metrics.json``."""
        metrics: dict[str, object] = self.answers.result() or dict(NO_ANSWERS)
        metrics["blind"] = None
        if self.blind is not None:
            metrics["blind"] = {"model": self.blind.model_id} | (self.blind_answers.result() or NO_ANSWERS)
        metrics["chance"] = self.chance.result()
        metrics |= self.perception.result() | answer_curves(self.rows, self.seed)
        metrics["left_out"] = {part: dict(reasons) for part, reasons in self.left_out.items() if reasons}
        if self.ignored_labels:
            metrics["ignored_labels"] = dict(self.ignored_labels.most_common())
        metrics["questions"] = {
            "n": len(self.rows),
            "per_scene": self.questions.limit,
            "families": list(FAMILIES),
            "balanced": "by kind" if self.questions.balanced_by_kind else "by category",
            "sha256": self._questions_hash.hexdigest(),
        }
        return metrics

    def _answer(self, session: SceneSessionLike, true_boxes: BoxGroups | None) -> list[dict[str, object]]:
        """Answer a scene's questions with both models, and score the answers."""
        scene = session.scene
        questions, reason = self.questions(scene)
        if not questions:
            self.left_out["questions"][reason] += 1
            return []
        texts = [question.text for question in questions]
        predictions, confidences = _predictions(session, texts)
        correct = self.answers.add(questions, predictions)
        self.chance.add(questions)
        blind: Sequence[str | None] = [None] * len(texts)
        if self.blind is not None:
            blind = answers = _predictions(self.blind.encode_scene(scene), texts)[0]
            self.blind_answers.add(questions, answers)
        for question in questions:
            self._questions_hash.update(json.dumps([question.id, question.text, question.answer]).encode())
        distances = [_distance(question, scene) for question in questions]
        objects = [None if true_boxes is None else len(true_boxes[0])] * len(texts)
        columns = zip(questions, predictions, correct, confidences, blind, distances, objects, strict=True)
        return [row_of_question(*column) for column in columns]

    def _true_depth(self, views: Sequence[PreprocessedView]) -> Array | None:
        """Stack true depth (V, H, W), 0 where unknown; None where no view has any."""
        if not any(view.depth is not None for view in views):
            self.left_out["depth"]["no depth"] += 1
            return None
        shape = views[0].image.shape[:2]
        return np.stack([np.zeros(shape, np.float32) if view.depth is None else view.depth for view in views])

    def _true_boxes(self, scene: Scene) -> BoxGroups | None:
        """Return the true boxes in the level frame, with the model's labels."""
        reason = unanswerable(scene) or (None if scene.posed else "no poses")
        if reason:
            self.left_out["boxes"][reason] += 1
            return None
        level = level_from_world(scene.known_poses[0])
        largest = compute_visibility(scene).shares.max(axis=1, initial=0.0)
        groups: tuple[list[Box], list[Box], list[Box]] = [], [], []
        for box, share in zip(scene.boxes or (), largest, strict=True):
            if self._label_of(box.label) is not None:
                groups[0 if share >= VISIBLE_SHARE else 1].append(self._relabelled(box.transformed(level)))
            elif not is_building(box.label):
                groups[2].append(box.transformed(level))
                self.ignored_labels[clean_label(box.label) or box.label] += 1
        return tuple(groups[0]), tuple(groups[1]), tuple(groups[2])

    def _relabelled(self, box: Box) -> Box:
        return replace(box, label=self._label_of(box.label) or box.label)


class EvaluationQuestions:
    """Generates the questions of an evaluation, the same for every model and teacher.

    Procedural rooms have their own answer balance; that of other scenes is measured once, on the evaluated ones.
    """

    def __init__(self, scenes: Sequence[Scene], limit: int, seed: int) -> None:
        self.scenes, self.limit, self.seed = scenes, limit, seed
        self._balance: AnswerBalance | None = None

    def __call__(self, scene: Scene) -> tuple[Sequence[Question], str]:
        """Return a scene's questions; without any, the reason."""
        if reason := unanswerable(scene):
            return (), reason
        own = scene.metadata.get("source") == "rooms"
        if not own and self._balance is None:
            self._balance = balance_scenes(self.scenes)
        balance = None if own else self._balance
        return generate_questions(scene, balance=balance, limit=self.limit, seed=self.seed), "nothing to ask"

    @property
    def balanced_by_kind(self) -> bool:
        return self._balance is not None and self._balance.by_kind


def _predictions(session: SceneSessionLike, questions: Sequence[str]) -> tuple[list[str], Sequence[float | None]]:
    """Return answers and their probabilities, None where the session has none."""
    if not isinstance(session, ConfidentSession):
        return session.ask(questions), [None] * len(questions)
    answers = session.answer(questions)
    return [answer.text for answer in answers], [answer.confidence for answer in answers]


def _distance(question: Question, scene: Scene) -> float | None:
    """Return the metres from the nearest camera to the farthest object of a question; None where unknown."""
    centers = [box.center for box in scene.boxes or () if box.id in question.objects]
    if not centers or not scene.posed:
        return None
    return max(min(math.dist(center, pose[:3, 3]) for pose in scene.known_poses) for center in centers)


def _cameras(session: SceneSessionLike) -> tuple[Array, ...]:
    """Return ``level_from_camera`` of the views: true where the scene is posed, else predicted."""
    if not session.scene.posed:
        return tuple(session.level_from_camera)
    poses = session.scene.known_poses
    return tuple(level_from_world(poses[0]) @ pose for pose in poses)


def _fields_of_view(views: Sequence[PreprocessedView]) -> tuple[float, ...] | None:
    """Return horizontal fields of view in radians; None unless all are known."""
    focals = [view.intrinsics[0, 0] for view in views if view.intrinsics is not None]
    width = views[0].image.shape[1]
    return tuple(float(2 * np.arctan(0.5 * width / f)) for f in focals) if len(focals) == len(views) else None


def _floor(scene: Scene) -> Array | None:
    """Return the floor's outline (N, 2) in the level frame, where the scene has one."""
    outline = scene.metadata.get("floor")
    if outline is None or not scene.posed:
        return None
    corners = np.pad(np.asarray(outline, dtype=np.float64)[:, :2], ((0, 0), (0, 1)))
    return transform_points(level_from_world(scene.known_poses[0]), corners)[:, :2]
