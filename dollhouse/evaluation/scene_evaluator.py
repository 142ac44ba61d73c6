"""One evaluation under way: shows a model scene after scene, asks, and gathers every score.

Knows nothing of files or pages. What grows with the number of scenes is one row a question and a few numbers a scene;
pictures are kept of a handful of scenes only.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from dollhouse.evaluation.metrics.curves import answer_curves
from dollhouse.evaluation.metrics.depth import Alignment, align_depth
from dollhouse.evaluation.metrics.spatial import AnswerScorer, ChanceScorer
from dollhouse.evaluation.perception_records import PerceptionScorer, box_record, depth_record
from dollhouse.evaluation.protocol import Confident, Model, Seen
from dollhouse.evaluation.report.gallery import Gallery, GalleryScene
from dollhouse.geometry import Array, level_from_world, transform_points
from dollhouse.questions.answer_balance import AnswerBalance
from dollhouse.questions.generate import FAMILIES, Question, generate_questions
from dollhouse.scenes.scene import Box, Scene, View
from dollhouse.scenes.view_preprocessing import PreprocessedView, preprocess_view
from dollhouse.scenes.visibility import compute_visibility

VISIBLE_SHARE = 0.0035  #: of some view's pixels that an object must cover to count: 55 of 126 x 126
BoxGroups = tuple[tuple[Box, ...], tuple[Box, ...]]  #: those that count, and those hardly seen

MANY_SCENES = 50  #: with fewer, the same categories hardly ever meet twice, so that nothing could be asked about them
MIN_BALANCE_EXAMPLES = 2  #: examples that an answer needs where the balance comes from the evaluated scenes themselves


class SceneEvaluator:
    """Scores of ``model`` over the scenes added so far, beside those of ``blind``, the same student without images."""

    def __init__(
        self,
        model: Model,
        blind: Model | None,
        scenes: Sequence[Scene],
        questions_per_scene: int,
        seed: int,
        on_scene: Callable[[GalleryScene], None] = lambda exhibit: None,
    ) -> None:
        self.model, self.blind, self.scenes = model, blind, scenes
        self.on_scene = on_scene
        self.questions_per_scene, self.seed = questions_per_scene, seed
        self.rows: list[dict[str, object]] = []
        self.records: list[dict[str, object]] = []  #: what is seen of each scene, beside the truth
        self.gallery = Gallery()
        self.answers, self.blind_answers, self.chance = AnswerScorer(seed), AnswerScorer(seed), ChanceScorer()
        self.perception = PerceptionScorer()
        self.left_out: dict[str, Counter[str]] = {"questions": Counter(), "depth": Counter(), "boxes": Counter()}
        self._asked = hashlib.sha256()
        self._own_balance: AnswerBalance | None = None

    def add(self, scene: Scene) -> None:
        """See the scene once, ask its questions, compare depth and boxes where the scene has them."""
        seen = self.model.encode_scene(scene)
        frames = [preprocess_view(view, width=self.model.image_size) for view in seen.scene.views]
        true_boxes = self._true_boxes(seen)
        rows = self._ask(seen, true_boxes)
        self.rows += rows
        alignment: Alignment = "none" if seen.scene.metric else "median"
        true_depth = self._true_depth(frames)
        depth = None if true_depth is None else depth_record(seen.depth, true_depth, alignment)
        boxes = None if true_boxes is None else box_record(seen.boxes, *true_boxes)
        self.records.append({"scene": scene.name, "depth": depth, "boxes": boxes})
        self.perception.add(self.records[-1])
        verdicts = [bool(row["correct"]) for row in rows if row["correct"] is not None]
        exhibit = GalleryScene(
            scene=scene.name,
            accuracy=float(np.mean(verdicts)) if verdicts else None,
            images=seen.images,
            depth=seen.depth if true_depth is None else align_depth(seen.depth, true_depth, alignment),
            true_depth=true_depth,
            depth_alignment=alignment,
            depth_abs_rel=float(np.mean([view["abs_rel"] for view in depth["views"]]))
            if depth and depth["views"]
            else None,
            boxes=seen.boxes,
            true_boxes=None if true_boxes is None else true_boxes[0],
            ignored=() if true_boxes is None else true_boxes[1],
            cameras=_cameras(seen),
            fovs=_fields_of_view(frames),
            floor=_floor(seen.scene),
            answers=tuple(rows),
        )
        self.gallery.add(exhibit)
        self.on_scene(exhibit)

    def metrics(self) -> dict[str, object]:
        """Everything measured, as it goes into ``metrics.json``."""
        nothing: dict[str, object] = {
            "overall": None,
            "macro": None,
            "families": {},
            "others": {},
            "forms": {},
            "distance": None,
        }
        metrics: dict[str, object] = self.answers.result() or dict(nothing)
        metrics["blind"] = None
        if self.blind is not None:
            metrics["blind"] = {"model": self.blind.model_id} | (self.blind_answers.result() or nothing)
        metrics["chance"] = self.chance.result()
        metrics |= self.perception.result() | answer_curves(self.rows, self.seed)
        metrics["left_out"] = {part: dict(reasons) for part, reasons in self.left_out.items() if reasons}
        metrics["questions"] = {
            "n": len(self.rows),
            "per_scene": self.questions_per_scene,
            "families": list(FAMILIES),
            "balanced": "by category" if self._own_balance is None or not self._own_balance.by_kind else "by kind",
            "sha256": self._asked.hexdigest(),
        }
        return metrics

    def _ask(self, seen: Seen, true_boxes: BoxGroups | None) -> list[dict[str, object]]:
        reason = _why_not_asked(seen.scene)
        if reason:
            self.left_out["questions"][reason] += 1
            return []
        questions = generate_questions(
            seen.scene, balance=self._balance(seen.scene), limit=self.questions_per_scene, seed=self.seed
        )
        if not questions:
            self.left_out["questions"]["nothing to ask"] += 1
            return []
        texts = [question.text for question in questions]
        predictions, confidences = _answers(seen, texts)
        verdicts = self.answers.add(questions, predictions)
        self.chance.add(questions)
        blind_predictions: Sequence[str | None] = [None] * len(texts)
        if self.blind is not None:
            answered = self.blind.encode_scene(seen.scene).ask(texts)
            self.blind_answers.add(questions, answered)
            blind_predictions = answered
        rows: list[dict[str, object]] = []
        for question, prediction, confidence, blind, verdict in zip(
            questions, predictions, confidences, blind_predictions, verdicts, strict=True
        ):
            self._asked.update(json.dumps([question.id, question.text, question.answer]).encode())
            rows.append(
                {
                    "scene": question.scene,
                    "id": question.id,
                    "family": question.family,
                    "form": question.form,
                    "question": question.text,
                    "choices": list(question.choices),
                    "answer": question.answer,
                    "prediction": prediction,
                    "confidence": confidence,
                    "blind_prediction": blind,
                    "correct": verdict,
                    "distance": _distance(question, seen.scene),
                    "objects": None if true_boxes is None else len(true_boxes[0]),
                }
            )
        return rows

    def _balance(self, scene: Scene) -> AnswerBalance | None:
        """The balance to ask with: rooms bring theirs; for other scenes it is measured once, on those evaluated."""
        if scene.metadata.get("source") == "rooms":
            return None
        if self._own_balance is None:
            self._own_balance = balance_from_scenes(self.scenes)
        return self._own_balance

    def _true_depth(self, frames: Sequence[PreprocessedView]) -> Array | None:
        """True depth (V, H, W), 0 where unknown; None where no view has any."""
        if not any(frame.depth is not None for frame in frames):
            self.left_out["depth"]["no depth"] += 1
            return None
        shape = frames[0].image.shape[:2]
        return np.stack([np.zeros(shape, np.float32) if frame.depth is None else frame.depth for frame in frames])

    def _true_boxes(self, seen: Seen) -> BoxGroups | None:
        """The true boxes of a scene in the level frame: those that count, and those hardly seen."""
        scene = seen.scene
        reason = _why_not_asked(scene) or (None if scene.posed else "no poses")
        if reason:
            self.left_out["boxes"][reason] += 1
            return None
        level = _level(scene)
        largest = compute_visibility(scene).shares.max(axis=1, initial=0.0)
        counted: list[Box] = []
        ignored: list[Box] = []
        for box, share in zip(scene.boxes or (), largest, strict=True):
            (counted if share >= VISIBLE_SHARE else ignored).append(box.transformed(level))
        return tuple(counted), tuple(ignored)


def balance_from_scenes(scenes: Sequence[Scene]) -> AnswerBalance:
    """The balance of the answers in scenes that bring none; by kind of question only where they are few."""
    askable = [scene for scene in scenes if scene.metadata.get("source") != "rooms" and not _why_not_asked(scene)]
    return AnswerBalance.measure(askable, least_count=MIN_BALANCE_EXAMPLES, by_kind=len(askable) < MANY_SCENES)


def _answers(seen: Seen, questions: Sequence[str]) -> tuple[list[str], list[float | None]]:
    """Answers, and how sure the model was of each, where it says so."""
    if not isinstance(seen, Confident):
        said = seen.ask(questions)
        return said, [None] * len(said)
    told = seen.answer(questions)
    return [answer.text for answer in told], [answer.confidence for answer in told]


def _distance(question: Question, scene: Scene) -> float | None:
    """Metres from the nearest camera to the farthest object that a question names; None where either is unknown."""
    named = [box.center for box in scene.boxes or () if box.id in question.objects]
    if not named or not scene.posed:
        return None
    eyes = [view.world_from_camera[:3, 3] for view in scene.views if view.world_from_camera is not None]
    return max(min(math.dist(center, eye) for eye in eyes) for center in named)


def _why_not_asked(scene: Scene) -> str | None:
    """Why a scene has no true answers and boxes; None if it has."""
    if scene.boxes is None:
        return "no boxes"
    if not scene.metric:
        return "not in metres"
    if not all(_shows_objects(view) for view in scene.views):
        return "neither instance ids nor posed depth, so what is visible is unknown"
    return None


def _shows_objects(view: View) -> bool:
    intrinsics = view.depth_intrinsics if view.depth_intrinsics is not None else view.intrinsics
    posed_depth = view.open_depth is not None and view.world_from_camera is not None and intrinsics is not None
    return view.open_instances is not None or posed_depth


def _level(scene: Scene) -> Array:
    pose = scene.views[0].world_from_camera
    assert pose is not None  # posed scenes only
    return level_from_world(pose)


def _cameras(seen: Seen) -> tuple[Array, ...]:
    """``level_from_camera`` of the views: the true ones where the scene is posed, else the predicted ones."""
    if not seen.scene.posed:
        return tuple(seen.level_from_camera)
    level = _level(seen.scene)
    return tuple(level @ view.world_from_camera for view in seen.scene.views if view.world_from_camera is not None)


def _fields_of_view(frames: Sequence[PreprocessedView]) -> tuple[float, ...] | None:
    """Horizontal fields of view in radians; None unless all are known."""
    known = [frame.intrinsics for frame in frames if frame.intrinsics is not None]
    if len(known) < len(frames):
        return None
    width = frames[0].image.shape[1]
    return tuple(float(2 * np.arctan(0.5 * width / intrinsics[0, 0])) for intrinsics in known)


def _floor(scene: Scene) -> Array | None:
    """The floor's outline (N, 2) in the level frame, where scene and poses tell it."""
    outline = scene.metadata.get("floor")
    if outline is None or not scene.posed:
        return None
    corners = np.zeros((len(outline), 3))
    corners[:, :2] = np.asarray(outline, dtype=np.float64)[:, :2]
    return transform_points(_level(scene), corners)[:, :2]
