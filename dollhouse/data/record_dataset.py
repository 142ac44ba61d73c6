"""Training samples from a teacher's records: its answers, tokens, depth, boxes and features.

Of a scene itself only the photos are used. What a record lacks, no loss gets a target for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from dollhouse.data.config import DataConfig
from dollhouse.data.mixed_source import MixedTargetSource
from dollhouse.data.record_views import renumber, visible_boxes
from dollhouse.data.target_cache import Questions
from dollhouse.data.target_source import SceneTargetSource, TargetSource
from dollhouse.data.targets import SceneTargets
from dollhouse.data.teacher_patches import label_cells, nearest_features, patch_points
from dollhouse.data.teacher_tokens import TokenForm, student_answer, token_form
from dollhouse.errors import RecipeError, SceneError
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.questions.generate import Question
from dollhouse.questions.indexed_scan import IndexedScan, spaced_sample
from dollhouse.questions.scene_index import index_scenes
from dollhouse.records.content_hash import scene_hash
from dollhouse.records.record import Record
from dollhouse.records.scene_source import cache_views, find_source, match_scenes
from dollhouse.records.store import RecordStore
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.open import is_there, open_paths, open_scene, open_scenes
from dollhouse.scenes.scene import Scene, View, spaced_indices
from dollhouse.system.read_files import decode_json
from dollhouse.teachers.geometry import OWN_GEOMETRY

COUNTED_RECORDS = 500  #: of whose questions it is counted how many the samples of views show
RECORD_TARGETS_VERSION = 1  #: raise it whenever the same record gives other targets


def open_target_source(data: DataConfig, config: DollhouseConfig) -> TargetSource:
    """Open the samples of a data setting: of several sources or records where it names them, else of scenes."""
    if data.sources:
        return MixedTargetSource(data, config, open_target_source)
    return SceneTargetSource(data, config) if data.records is None else RecordTargetSource(data, config)


class RecordTargetSource(TargetSource):
    """One sample per record, in the order of the records' ids.

    A record with more views than ``data.views`` gives ``data.view_sets`` samples of them, each with the questions that
    these views answer (:func:`~dollhouse.data.record_views.renumber`).
    """

    def __init__(self, data: DataConfig, config: DollhouseConfig) -> None:
        """Raises StorageError where there are no records, RecipeError where none is about ``data.scenes``."""
        assert data.records is not None
        self.records = RecordStore(data.records)
        self.rows = self.records.entries()
        self.sources: dict[str, str] = {}  # what opens the scene, by record id
        if data.scenes:
            self.sources = match_scenes(self.rows, open_scenes(data.scenes), data.scenes)
            self.rows = [row for row in self.rows if row.id in self.sources]
        if not self.rows:
            of = f" of {data.scenes}" if data.scenes else ""
            raise RecipeError(f"{data.records} holds no records{of}: make them with `dollhouse annotate --out`")
        ids = [row.id for row in self.rows]
        super().__init__(data, config, ids, RECORD_TARGETS_VERSION)
        self._forms: dict[Any, TokenForm] = {}
        self._read = lru_cache(maxsize=64)(self.records.read)
        #: row of each sample, and the number of its draw; None: all views
        self.samples: list[tuple[int, int | None]] = []
        for number, row in enumerate(self.rows):
            draws = range(data.view_sets) if len(row.view_names) > data.views else [None]
            self.samples += [(number, draw) for draw in draws]
        self._index_sources()
        self._unchanged: set[str] = set()  #: ids of the records whose scenes were compared

    def describe_records(self) -> dict[str, Any]:
        """Describe the records for ``run.json``: how many, a hash over their ids, and their teachers."""
        ids = [row.id for row in self.rows]
        return {
            "folder": str(self.records.folder),
            "n": len(ids),
            "sha256": sha256("\n".join(ids).encode()).hexdigest(),
            "teachers": [decode_json(teacher) for teacher in sorted({row.provenance for row in self.rows})],
        }

    def _index_sources(self) -> None:
        """Index the scans of the records, and print how many questions the samples of views leave out."""
        for row in self.rows:
            with suppress(SceneError):  # raised where the record is used
                self.sources.setdefault(row.id, find_source(row.source, self.records.folder))
        paths = [Path(source) for source in sorted(set(self.sources.values())) if is_there(Path(source))]
        scans = open_paths(paths, corrections=self.data.corrections)
        self.index = index_scenes(scans, self.data.views, self.data.cache)
        self._numbers = {str(path): number for number, path in enumerate(paths)}
        used: Counter[str] = Counter()
        total: Counter[str] = Counter()
        numbers = sorted({number for number, draw in self.samples if draw is not None})
        counted = [numbers[place] for place in spaced_indices(len(numbers), COUNTED_RECORDS)]
        for number in counted:
            answered = self.records.answered(self.rows[number].id)
            views = [self._views((number, draw)) for draw in range(self.data.view_sets)]
            total.update(question.family for question, _ in answered)
            used.update(pair[0].family for pair in answered if any(renumber(*pair, *sample) for sample in views))
        if total:
            families = ", ".join(f"{name} {used[name]:,} of {count:,}" for name, count in total.most_common())
            part = f" ({len(counted):,} of {len(numbers):,} counted)" if len(counted) < len(numbers) else ""
            print(f"records with more than {self.data.views} views{part}: their samples show the objects and views of")
            print(f"  {used.total():,} of {total.total():,} questions: {families}")

    def __len__(self) -> int:
        return len(self.samples)

    def view_window(self, index: int) -> Scene:
        """Return the photos of a record's scene, with the geometry of the record."""
        scene, (chosen, _) = self._scene(self._record(index)), self._views(self.samples[index])
        return replace(scene, views=tuple(scene.views[view] for view in chosen))

    def _views(self, sample: tuple[int, int | None]) -> tuple[list[int], set[int] | None]:
        """Return which of the record's views are in a sample, and the ids of the boxes that they show, if known."""
        number, draw = sample
        names = self.rows[number].view_names
        if draw is None:
            return list(range(len(names))), None
        row = self.rows[number]
        scan = self._scan(self.sources.get(row.id, ""))
        if scan is None:
            return spaced_sample(len(names), self.data.views, draw), None
        place = {view.name: place for place, view in enumerate(scan.scene.views)}
        places = [place[name] for name in names if name in place]
        chosen = scan.sample(self.data.views, draw, places, self.data.view_sampling == "overlap")
        return [names.index(scan.scene.views[view].name) for view in chosen], visible_boxes(scan, chosen)

    def _scan(self, where: str) -> IndexedScan | None:
        """Return a record's scan from the index; None for a room, and for a scan with faults."""
        number = self._numbers.get(where)
        if self.index is None or number is None or number in self.index.faults:
            return None
        return self.index.scan(number)

    def questions(self, index: int) -> Questions:
        """Return the teacher's answers to the questions that the sample's views show."""
        return tuple((question.text, answer.text, question.family) for question, answer in self._answered(index))

    def teacher_answers(self, index: int, tokenizer: PreTrainedTokenizerBase) -> tuple[TeacherAnswer, ...]:
        teacher = self._record(index).provenance["teacher"]
        form, ends = self._token_form(teacher, tokenizer), teacher.get("end_tokens", ())
        return tuple(student_answer(answer, form, ends, tokenizer) for _, answer in self._answered(index))

    def token_forms(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """Describe in one line how a student with this tokenizer learns from the teachers' tokens."""
        teachers: dict[str, list[str]] = {}
        for row in self.rows:
            teachers.setdefault(row.provenance, []).append(row.id)
        forms: Counter[str] = Counter()
        for provenance, ids in teachers.items():
            form: str = self._token_form(decode_json(provenance)["teacher"], tokenizer)
            answers = [answer for _, answer in self.records.answered(ids[0])]
            known = [answer.top_texts if form == "aligned" else answer.top_ids for answer in answers]
            forms["text" if all(tokens is None for tokens in known) else form] += len(ids)
        words = {"shared": "one vocabulary", "aligned": "aligned across tokenizers", "text": "text of answers alone"}
        return ", ".join(f"{count} records: {words[form]}" for form, count in forms.items())

    def make_targets(self, index: int) -> SceneTargets:
        targets, record = super().make_targets(index), self._record(index)
        if record.geometry is not None:
            chosen, _ = self._views(self.samples[index])
            targets = replace(targets, label_cells=label_cells(record.geometry, chosen, self.config.labels))
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

    def _token_form(self, teacher: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> TokenForm:
        key = teacher.get("vocabulary"), id(tokenizer), len(tokenizer)
        if key not in self._forms:
            self._forms[key] = token_form(teacher, tokenizer)
        return self._forms[key]

    def _record(self, index: int) -> Record:
        return self._read(self.rows[self.samples[index][0]].id)

    def _answered(self, index: int) -> list[tuple[Question, TeacherAnswer]]:
        record, sample = self._record(index), self.samples[index]
        pairs = [pair for pair in zip(record.questions, record.answers, strict=True) if pair[1].text.strip()]
        if sample[1] is None:
            return pairs
        shown = self._views(sample)
        return [renamed for pair in pairs if (renamed := renumber(*pair, *shown))]

    def _scene(self, record: Record) -> Scene:
        where = self.sources.get(record.id) or find_source(record.source, self.records.folder)
        scan = self._scan(where)
        # bad photos are left out; scene_hash below must equal that of the scene which the teacher received
        source = scan.scene if scan else open_scene(where, skip_bad=True, corrections=self.data.corrections)
        by_name = {view.name: view for view in source.views}
        if missing := [camera.name for camera in record.cameras if camera.name not in by_name]:
            raise SceneError(f"{where} no longer has view {missing[0]} that record {record.id} is about")
        views = tuple(by_name[camera.name] for camera in record.cameras)
        photos = cache_views(replace(source, name=record.scene, views=views))  # its folder may have another name now
        if record.id not in self._unchanged and scene_hash(photos) != record.scene_hash:
            raise SceneError(
                f"{where} has changed since record {record.id} was made, or data.corrections is "
                "not what `annotate` had: annotate it again"
            )
        self._unchanged.add(record.id)
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
