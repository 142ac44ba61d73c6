"""Lessons from records: what a teacher said about each scene, instead of what the scene itself tells.

Of the scene only the photos are looked at; depth, boxes, answers, tokens and features are the record's. What a
record lacks, no loss asks for. Knows nothing of teachers beyond their records.

Axes: V views, H and W pixels, P patches of a view, M places, D width, K neighbours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from transformers import PreTrainedTokenizerBase

from dollhouse.data.config import DataConfig
from dollhouse.data.dataset import SceneTargetSource, targets_key
from dollhouse.data.target_cache import Questions, TargetCache
from dollhouse.data.targets import PATCH, SceneTargets, TeacherSight
from dollhouse.errors import RecipeError, SceneError
from dollhouse.geometry import Array, back_project, invert_rigid, level_from_world, transform_points
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.tokenization import vocabulary_hash
from dollhouse.records.content_hash import scene_hash
from dollhouse.records.record import Record, RecordCamera
from dollhouse.records.scene_source import cache_views, scene_sources
from dollhouse.records.store import RecordStore
from dollhouse.records.types import SpatialFeatures, TeacherAnswer
from dollhouse.scenes.open import open_scene, open_scenes
from dollhouse.scenes.scene import Scene, View
from dollhouse.teachers.geometry import OWN_GEOMETRY

RECORD_TARGETS_VERSION = 1  #: raise it whenever the same record gives other targets
NEAR = 0.25  #: metres within which a patch is given what a teacher knows of a place


def open_target_source(data: DataConfig, config: DollhouseConfig) -> SceneTargetSource:
    """The lessons of a data setting: of records where it names them, else of scenes."""
    return SceneTargetSource(data, config) if data.records is None else RecordTargetSource(data, config)


class RecordTargetSource(SceneTargetSource):
    """One lesson a record, with ``data.views`` of its views spread over the scene; in the order of the records' ids."""

    def __init__(self, data: DataConfig, config: DollhouseConfig) -> None:
        """Raises StorageError where there are no records, RecipeError where none is about ``data.scenes``."""
        assert data.records is not None
        self.data = data
        self.config = config
        self.records = RecordStore(data.records)
        wanted = set(scene_sources(open_scenes(data.scenes), data.scenes)) if data.scenes else None
        rows = [self.records.row(id) for id in self.records.ids()]
        self.rows = [row for row in rows if wanted is None or row["source"] in wanted]
        if not self.rows:
            of = f" of {data.scenes}" if data.scenes else ""
            raise RecipeError(f"{data.records} holds no records{of}: make them with `dollhouse label --out`")
        key = targets_key(data, config, [row["record"] for row in self.rows], RECORD_TARGETS_VERSION)
        self.cache = TargetCache(data.cache, key) if data.cache else None
        self._read = lru_cache(maxsize=64)(self.records.read)

    def __len__(self) -> int:
        return len(self.rows)

    def view_window(self, index: int) -> Scene:
        """The photos of a lesson's scene, with the geometry that its record tells."""
        return self._scene(self._record(index)).sample_views(self.data.views)

    def questions(self, number: int) -> Questions:
        """What the teacher was asked, with its answers; a question about a view that is not shown is left out."""
        record = self._record(number)
        return tuple(
            (question.text, answer.text, question.family)
            for question, answer in zip(record.questions, record.answers, strict=True)
            if self._shown(record, question.view) and answer.text.strip()
        )

    def said(self, number: int) -> tuple[TeacherAnswer, ...]:
        """The answers with their tokens, one to each of :meth:`questions`."""
        record = self._record(number)
        return tuple(
            answer
            for question, answer in zip(record.questions, record.answers, strict=True)
            if self._shown(record, question.view) and answer.text.strip()
        )

    def shares_vocabulary(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        """Whether every record's teacher speaks in the tokenizer's own tokens, so that its chances can be learnt."""
        mine = vocabulary_hash(tokenizer)
        teachers = {row["provenance"]: json.loads(row["provenance"])["teacher"] for row in self.rows}
        return all(teacher.get("vocabulary") == mine for teacher in teachers.values())

    def make_targets(self, number: int) -> SceneTargets:
        """As a scene's own, and what the teacher saw in each patch."""
        targets = super().make_targets(number)
        record = self._record(number)
        if record.features is None:
            return targets
        places = patch_places(targets, self.view_window(number))
        if places is None:
            return targets
        cameras = np.stack([np.asarray(view.world_from_camera) for view in self.view_window(number).views])
        sight = teacher_sight(record.features, places, cameras, self.config.labels)
        by_itself = record.provenance.get("geometry") == [OWN_GEOMETRY]  # its boxes are its own estimate
        relations = targets.objects.relations if by_itself and targets.objects is not None else None
        return replace(targets, teacher=replace(sight, relations=relations))

    def _record(self, number: int) -> Record:
        return self._read(self.rows[number]["record"])

    def _shown(self, record: Record, view: int | None) -> bool:
        """Whether a question's view keeps its number when ``data.views`` are chosen."""
        return view is None or len(record.cameras) <= self.data.views

    def _scene(self, record: Record) -> Scene:
        source = open_scene(record.source)
        by_name = {view.name: view for view in source.views}
        if missing := [camera.name for camera in record.cameras if camera.name not in by_name]:
            raise SceneError(f"{record.source} no longer has view {missing[0]} that record {record.id} is about")
        pictured = cache_views(replace(source, views=tuple(by_name[camera.name] for camera in record.cameras)))
        if scene_hash(pictured) != record.scene_hash:
            raise SceneError(f"{record.source} has changed since record {record.id} was made: label it again")
        return recorded_scene(record, pictured)


def recorded_scene(record: Record, pictured: Scene) -> Scene:
    """Photos of ``pictured``, whose views are those of the record in its order; all else as the record tells."""
    geometry = record.geometry
    views = []
    for number, (camera, view) in enumerate(zip(record.cameras, pictured.views, strict=True)):
        told = View(camera.name, view.open_image, camera.intrinsics, camera.world_from_camera)
        if geometry is not None and geometry.depth is not None:
            told = _with_depth(told, geometry.depth[number], camera, view)
        if geometry is not None and geometry.instances is not None:
            told = replace(told, open_instances=partial(_same, geometry.instances[number]))
        views.append(told)
    boxes = geometry.boxes if geometry is not None else None
    metric = geometry.metric if geometry is not None else pictured.metric
    return Scene(record.scene, tuple(views), boxes, metric, pictured.metadata)


def _with_depth(told: View, depth: NDArray[np.float32], camera: RecordCamera, view: View) -> View:
    """A view with the record's depth: the sensor's map, through its own lens, or a model's, on the photo's pixels."""
    measured = view.depth if camera.depth_intrinsics is not None else None
    by_sensor = measured is not None and measured.shape == depth.shape
    return replace(
        told, open_depth=partial(_same, depth), depth_intrinsics=camera.depth_intrinsics if by_sensor else None
    )


def _same(array: NDArray[Any]) -> NDArray[Any]:
    return array


def patch_places(targets: SceneTargets, scene: Scene) -> Array | None:
    """Where every patch lies in the scene's world (V, P, 3): its middle at its median depth; nan where unknown.

    None where depth, poses or focal lengths are missing.
    """
    if targets.depth is None or targets.level_from_camera is None or targets.focal is None:
        return None
    views, height, width = targets.depth.shape
    cells = targets.depth.reshape(views, height // PATCH, PATCH, width // PATCH, PATCH).swapaxes(2, 3)
    cells = cells.reshape(views, height // PATCH, width // PATCH, -1)
    known = np.where(cells > 0, cells, np.nan)
    with np.errstate(all="ignore"):
        median = np.nanmedian(np.where(np.isnan(known).all(-1, keepdims=True), -1.0, known), axis=-1)
    world_from_level = invert_rigid(level_from_world(np.asarray(scene.views[0].world_from_camera, dtype=np.float64)))
    places = []
    for depth, focal, pose in zip(median, targets.focal, targets.level_from_camera, strict=True):
        length = focal * width / PATCH  # in patches
        pinhole = np.array([[length, 0, depth.shape[1] / 2], [0, length, depth.shape[0] / 2], [0, 0, 1.0]])
        points = transform_points(world_from_level @ pose, back_project(depth, pinhole))
        places.append(np.where(depth[..., None] > 0, points, np.nan).reshape(-1, 3))
    return np.stack(places)


def teacher_sight(
    told: SpatialFeatures, places: Array, cameras: Array | None = None, labels: Sequence[str] = ()
) -> TeacherSight:
    """What a teacher knows of the places (V, P, 3) that patches show: of the nearest place that it speaks of.

    How deep in the view it puts that place, given ``cameras`` (V, 4, 4; world from camera), is its depth hint. Its
    label chances are taken where it names all of the student's ``labels``; those of other labels count as no object.
    """
    flat = places.reshape(-1, 3)
    there = np.isfinite(flat).all(-1)
    distance = np.full(len(flat), np.inf)
    nearest = np.zeros(len(flat), dtype=np.int64)
    if there.any() and len(told.points):
        distance[there], nearest[there] = cKDTree(told.points).query(flat[there])
    known = (distance <= NEAR).reshape(places.shape[:2])
    features = told.features[nearest].reshape(*places.shape[:2], -1) * known[..., None]
    depth = None
    if cameras is not None:
        points = told.points[nearest].reshape(places.shape) - cameras[:, None, :3, 3]
        ahead = np.einsum("vpi,vi->vp", points, cameras[:, :3, 2])
        depth = np.where(known & (ahead > 0), ahead, 0.0).astype(np.float32)
    chances = student_chances(told, labels)
    if chances is not None:
        chances = chances[nearest].reshape(*places.shape[:2], -1) * known[..., None]
    return TeacherSight(features=features.astype(np.float32), known=known, labels=chances, depth=depth)


def student_chances(told: SpatialFeatures, labels: Sequence[str]) -> NDArray[np.float32] | None:
    """The teacher's label chances (M, L+1) in the order of ``labels``; None where it tells none, or not of them all."""
    if told.label_probs is None or not labels or not set(labels) <= set(told.labels):
        return None
    named = told.label_probs[:, [told.labels.index(label) for label in labels]]
    rest = 1 - named.sum(1, keepdims=True)
    return np.concatenate([named, rest.clip(min=0)], 1).astype(np.float32)
