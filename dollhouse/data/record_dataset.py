"""Training samples from a teacher's records: its answers, tokens, depth, boxes and features.

Of a scene itself only the photos are used. What a record lacks, no loss gets a target for.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
from transformers import PreTrainedTokenizerBase

from dollhouse.data.config import DataConfig
from dollhouse.data.target_cache import Questions
from dollhouse.data.target_source import SceneTargetSource, TargetSource, targets_key
from dollhouse.data.targets import SceneTargets
from dollhouse.data.teacher_patches import nearest_features, patch_points
from dollhouse.errors import RecipeError, SceneError
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.tokenization import vocabulary_hash
from dollhouse.questions.generate import Question
from dollhouse.records.content_hash import scene_hash
from dollhouse.records.record import Record
from dollhouse.records.scene_source import cache_views, find_source, match_scenes
from dollhouse.records.store import RecordStore
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.open import open_scene, open_scenes
from dollhouse.scenes.scene import Scene, View
from dollhouse.teachers.geometry import OWN_GEOMETRY

RECORD_TARGETS_VERSION = 1  #: raise it whenever the same record gives other targets


def open_target_source(data: DataConfig, config: DollhouseConfig) -> TargetSource:
    """Open the samples of a data setting: of records where it names them, else of scenes."""
    return SceneTargetSource(data, config) if data.records is None else RecordTargetSource(data, config)


class RecordTargetSource(TargetSource):
    """One sample per record, with ``data.views`` views spread over the scene, in the order of the records' ids."""

    def __init__(self, data: DataConfig, config: DollhouseConfig) -> None:
        """Raises StorageError where there are no records, RecipeError where none is about ``data.scenes``."""
        assert data.records is not None
        self.records = RecordStore(data.records)
        self.rows = [self.records.row(id) for id in self.records.ids()]
        self.sources: dict[str, str] = {}  # by record id, where the scenes are given
        if data.scenes:
            self.sources = match_scenes(self.rows, open_scenes(data.scenes), data.scenes)
            self.rows = [row for row in self.rows if row["record"] in self.sources]
        if not self.rows:
            of = f" of {data.scenes}" if data.scenes else ""
            raise RecipeError(f"{data.records} holds no records{of}: make them with `dollhouse annotate --out`")
        ids = [row["record"] for row in self.rows]
        super().__init__(data, config, targets_key(data, config, ids, RECORD_TARGETS_VERSION))
        self._read = lru_cache(maxsize=64)(self.records.read)

    def __len__(self) -> int:
        return len(self.rows)

    def view_window(self, index: int) -> Scene:
        """Return the photos of a record's scene, with the geometry of the record."""
        return self._scene(self._record(index)).sample_views(self.data.views)

    def questions(self, index: int) -> Questions:
        """Return the teacher's answers; questions about a view that is not sampled are left out."""
        return tuple((question.text, answer.text, question.family) for question, answer in self._answered(index))

    def teacher_answers(self, index: int) -> tuple[TeacherAnswer, ...]:
        return tuple(answer for _, answer in self._answered(index))

    def shares_vocabulary(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        vocabulary = vocabulary_hash(tokenizer)
        teachers = {row["provenance"]: json.loads(row["provenance"])["teacher"] for row in self.rows}
        return all(teacher.get("vocabulary") == vocabulary for teacher in teachers.values())

    def make_targets(self, index: int) -> SceneTargets:
        targets, record = super().make_targets(index), self._record(index)
        if record.features is None:
            return targets
        scene = self.view_window(index)
        if (points := patch_points(targets, scene)) is None:
            return targets
        cameras = np.stack([np.asarray(view.world_from_camera) for view in scene.views])
        teacher = nearest_features(record.features, points, cameras, self.config.labels)
        own_boxes = record.provenance.get("geometry") == [OWN_GEOMETRY]  # predicted by the teacher itself
        relations = targets.objects.relations if own_boxes and targets.objects is not None else None
        return replace(targets, teacher=replace(teacher, relations=relations))

    def _record(self, index: int) -> Record:
        return self._read(self.rows[index]["record"])

    def _answered(self, index: int) -> list[tuple[Question, TeacherAnswer]]:
        record = self._record(index)
        keeps_views = len(record.cameras) <= self.data.views  # else views change their numbers when sampled
        return [
            (question, answer)
            for question, answer in zip(record.questions, record.answers, strict=True)
            if (question.view is None or keeps_views) and answer.text.strip()
        ]

    def _scene(self, record: Record) -> Scene:
        where = self.sources.get(record.id) or find_source(record.source, self.records.folder)
        # bad photos are left out: the hash below tells whether the rest is what the teacher got
        source = open_scene(where, skip_bad=True, corrections=self.data.corrections)
        by_name = {view.name: view for view in source.views}
        if missing := [camera.name for camera in record.cameras if camera.name not in by_name]:
            raise SceneError(f"{where} no longer has view {missing[0]} that record {record.id} is about")
        views = tuple(by_name[camera.name] for camera in record.cameras)
        photos = cache_views(replace(source, name=record.scene, views=views))  # its folder may have another name now
        if scene_hash(photos) != record.scene_hash:
            raise SceneError(
                f"{where} has changed since record {record.id} was made, or data.corrections is "
                "not what `annotate` had: annotate it again"
            )
        return recorded_scene(record, photos)


def recorded_scene(record: Record, photos: Scene) -> Scene:
    """Return the scene with the photos of ``photos`` and the geometry of the record, views in the record's order."""
    geometry = record.geometry
    views = []
    for number, (camera, photo) in enumerate(zip(record.cameras, photos.views, strict=True)):
        view = View(camera.name, photo.open_image, camera.intrinsics, camera.world_from_camera)
        if geometry is not None and geometry.depth is not None:
            depth = geometry.depth[number]
            measured = photo.depth if camera.depth_intrinsics is not None else None
            by_sensor = measured is not None and measured.shape == depth.shape  # else on the photo's pixels
            intrinsics = camera.depth_intrinsics if by_sensor else None
            view = replace(view, open_depth=partial(np.asarray, depth), depth_intrinsics=intrinsics)
        if geometry is not None and geometry.instances is not None:
            view = replace(view, open_instances=partial(np.asarray, geometry.instances[number]))
        views.append(view)
    boxes = geometry.boxes if geometry is not None else None
    metric = geometry.metric if geometry is not None else photos.metric
    return Scene(record.scene, tuple(views), boxes, metric, photos.metadata)
