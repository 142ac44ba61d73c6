"""Training samples by index: the targets of a scene's views, and questions with answers."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from dollhouse.data.config import DataConfig
from dollhouse.data.feature_cache import EncoderFeatures, FeatureCache
from dollhouse.data.object_only_targets import object_only, without_images
from dollhouse.data.target_cache import Questions, TargetCache, pack, unpack
from dollhouse.data.targets import TARGETS_VERSION, SceneTargets, scene_targets
from dollhouse.errors import SceneError
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.questions import nouns
from dollhouse.questions.answer_balance import (
    HOMES_TABLE,
    OBVIOUS_SHARE,
    ROOMS_TABLE,
    has_shipped_balance,
    is_photographic,
    shipped_balance,
)
from dollhouse.questions.generate import QUESTIONS_VERSION, generate_questions
from dollhouse.questions.indexed_scan import IndexedScan
from dollhouse.questions.photo_questions import FILES as PHOTO_FILES
from dollhouse.questions.photo_questions import PHOTO_QUESTIONS_VERSION
from dollhouse.questions.scene_index import SceneIndex, index_scenes
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.labels import TABLE
from dollhouse.scenes.open import open_scenes
from dollhouse.scenes.pose_checks import require_consistent
from dollhouse.scenes.scene import Scene
from dollhouse.scenes.synthetic.homes.catalogue import assets_hash
from dollhouse.scenes.synthetic.homes.home_scene import HOMES_VERSION
from dollhouse.scenes.synthetic.room_scene import ROOMS_VERSION
from dollhouse.scenes.view_preprocessing import PREPROCESSING_VERSION
from dollhouse.scenes.view_sampling import VIEW_SAMPLING_VERSION

MAX_QUESTIONS = 160  #: generated per scene; each step samples from them
#: everything that decides what targets or questions a scene gives; each version is raised beside the code it versions
TARGETS_VERSIONS = (ROOMS_VERSION, HOMES_VERSION, PREPROCESSING_VERSION, TARGETS_VERSION)
QUESTIONS_VERSIONS = (ROOMS_VERSION, HOMES_VERSION, QUESTIONS_VERSION)


class Part(NamedTuple):
    """Samples that come from one place; a batch is of one part."""

    name: str
    samples: range
    views: int  #: of each sample


class TargetSource(ABC):
    """Samples of a data setting, computed on access and cached on disk where ``data.cache`` is set."""

    encoder_key: str | None = None  #: of the features that were opened

    def __init__(
        self, data: DataConfig, config: DollhouseConfig, records: Sequence[str] = (), version: int = 0
    ) -> None:
        """``records`` and ``version`` are as of :func:`targets_key`."""
        self.data = data
        self.config = config
        self.cache = TargetCache(data.cache, targets_key(data, config, records, version)) if data.cache else None
        self.photos_key = targets_key(data, config, records, version, photos_only=True)
        self._features: FeatureCache | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    def parts(self) -> list[Part]:
        """Return the sources that this one is made of; samples of one number of views each."""
        counts = self.data.view_counts or (self.data.views,)
        return [Part("", range(place, len(self), len(counts)), views) for place, views in enumerate(counts)]

    @abstractmethod
    def view_window(self, index: int) -> Scene:
        """Return the scene of a sample, with the views of that sample."""

    @abstractmethod
    def questions(self, index: int) -> Questions:
        """Return the questions of a sample with their answers and families."""

    def make_targets(self, index: int) -> SceneTargets:
        """Compute the targets of a sample, without the cache."""
        scene, config = self.view_window(index), self.config
        return scene_targets(scene, config.image_size, config.labels, config.colours)

    def view_count(self, index: int) -> int:
        """Return the number of views of a sample."""
        counts = self.data.view_counts
        return counts[index % len(counts)] if counts else self.data.views

    def make_object_targets(self, index: int) -> SceneTargets:
        """Compute the targets of a sample without photos, padded to ``data.views`` square views."""
        scene, config = without_images(self.view_window(index)), self.config
        targets = scene_targets(scene, config.image_size, config.labels, config.colours)
        return object_only(targets, self.data.views, config.image_size)

    def targets(self, index: int, objects_only: bool = False) -> SceneTargets:
        """Return the targets of a sample, from the cache if they are in it.

        ``objects_only`` leaves the photos out (:mod:`dollhouse.data.object_only_targets`). Raises SceneError where the
        scene has fewer usable views than ``data.views``.
        """
        cached = self.cache.read_targets(index, objects_only) if self.cache else None
        if cached is not None:
            return cached
        targets = self.make_object_targets(index) if objects_only else self.make_targets(index)
        expected = self.data.views if objects_only else self.view_count(index)
        if len(targets.images) != expected:
            raise SceneError(
                f"scene {targets.name} gives {len(targets.images)} views of one shape, not data.views={expected}"
            )
        if self.cache:
            self.cache.write_targets(index, targets, objects_only)
        return unpack(pack(targets))  # rounded as in the cache, so that runs with and without a cache are the same

    def teacher_answers(self, index: int, tokenizer: PreTrainedTokenizerBase) -> tuple[TeacherAnswer, ...] | None:
        """Return the teacher's tokens for each of :meth:`questions`, for a student's tokenizer; None for none."""
        return None

    def open_features(self, encoder: str) -> None:
        """Open ``data.feature_cache`` for an encoder, by its key. Raises RecipeError where it is not whole."""
        assert self.data.feature_cache is not None
        self._features = FeatureCache(self.data.feature_cache, encoder, self.config.image_size, self.photos_key)
        self._features.require(len(self))
        self.encoder_key = encoder

    def encoder_features(self, index: int, targets: SceneTargets) -> EncoderFeatures:
        """Return the encoder's output for the photos of a sample, from the cache that was opened."""
        assert self._features is not None
        return self._features.read(targets.name, targets.images)


class SceneTargetSource(TargetSource):
    """Targets read off scenes with annotations; one sample per room.

    A scan with more views than ``data.views`` gives ``data.view_sets`` samples of them; with ``data.holdout_every`` =
    n, every n-th frame is in no sample. Scans are indexed first (:class:`~dollhouse.questions.scene_index.SceneIndex`).
    """

    def __init__(self, data: DataConfig, config: DollhouseConfig) -> None:
        self.scenes = open_scenes(data.scenes, corrections=data.corrections)
        if len(self.scenes) == 0:
            raise SceneError(f"{data.scenes} holds no scenes")
        self.index = index_scenes(self.scenes, data.views, data.cache)
        files = self.index.fingerprints if self.index else ()
        super().__init__(data, config, files, VIEW_SAMPLING_VERSION if files else 0)
        self.samples = self._samples(self.index) if self.index else None  #: scan and number of the draw of each sample
        self._last: tuple[int, Scene] = (-1, Scene("", ()))
        self.questions_key = questions_key(data)
        if self.index and data.questions_per_scene:
            self.index.balance  # noqa: B018 - computed before there are workers, which would each compute it

    def __len__(self) -> int:
        return len(self.scenes) if self.samples is None else len(self.samples)

    def view_window(self, index: int) -> Scene:
        if self.index is None or self.samples is None:
            if self._last[0] != index:  # targets and questions of a sample are made one after the other
                scene = self.scenes[index]
                self._last = index, replace(scene, views=scene.views[: self.view_count(index)])
            return self._last[1]
        number, draw = self.samples[index]
        scan, data = self.index.scan(number), self.data
        chosen = scan.sample(data.views, draw, self._trained_views(scan), data.view_sampling == "overlap")
        return scan.with_views(chosen)

    def questions(self, index: int) -> Questions:
        """Return generated questions with answers; () where the scene is not annotated."""
        cached = self.cache.read_questions(index, self.questions_key) if self.cache else None
        if cached is not None:
            return cached
        scene = self.view_window(index)
        if scene.boxes is None:
            return ()
        photos = self.data.photo_questions
        photos = is_photographic(scene) if photos is None else photos
        balance = self.index.balance if self.index and not has_shipped_balance(scene) else None
        if photos:
            balance = (balance or shipped_balance(scene)).with_floor(OBVIOUS_SHARE)
        generated = generate_questions(scene, balance=balance, limit=MAX_QUESTIONS, photos=photos)
        questions = tuple((question.text, question.answer, question.family) for question in generated)
        if self.cache:
            self.cache.write_questions(index, self.questions_key, questions)
        return questions

    def _trained_views(self, scan: IndexedScan) -> list[int]:
        """List the views that are not held out."""
        every, views = self.data.holdout_every, range(len(scan.scene.views))
        return [view for view in views if not every or (view + 1) % every]

    def _samples(self, index: SceneIndex) -> list[tuple[int, int]]:
        samples: list[tuple[int, int]] = []
        for number in range(len(index)):
            scan = index.scan(number)
            require_consistent(scan.scene)
            count, wanted = len(self._trained_views(scan)), self.data.views
            if count < wanted:
                raise SceneError(
                    f"scene {scan.scene.name} has {count} views to train on; data.views={wanted} needs as many"
                )
            samples += [(number, draw) for draw in range(self.data.view_sets if count > wanted else 1)]
        return samples


def targets_key(
    data: DataConfig,
    config: DollhouseConfig,
    records: Sequence[str] = (),
    version: int = 0,
    photos_only: bool = False,
) -> str:
    """Return a hash that changes with the targets, or only with the photos of samples.

    ``records`` are ids of records, or fingerprints of scans; ``version`` is that of what reads or samples these.
    """
    rooms, homes = (not records and data.scenes.startswith(kind) for kind in ("rooms:", "homes:"))
    folder = "" if records else str(Path(data.scenes).resolve())  # records are known by their ids
    split = data.scenes.split("/")[0] if rooms or homes else folder
    first = data.scenes.split("/")[1].split("-")[0] if rooms or homes else ""
    settings = [split, first, data.views, data.holdout_every, config.image_size]
    settings += [] if photos_only else [config.labels, config.colours]
    if homes:
        settings.append(assets_hash())
    if corrections := data.corrections.options:
        settings.append(corrections)
    if not rooms and not photos_only:  # their labels need no map
        settings.append(sha256(TABLE.read_bytes()).hexdigest())
    if records:
        settings += [data.view_sampling, data.view_sets]
    if data.view_counts:
        settings.append(data.view_counts)
    versions = [*TARGETS_VERSIONS, version]
    return sha256(json.dumps([versions, list(records), settings]).encode()).hexdigest()[:16]


def questions_key(data: DataConfig | None = None) -> str:
    """Return a hash that changes with the questions that are generated."""
    tables = ROOMS_TABLE.read_bytes() + TABLE.read_bytes()
    if data is not None and (data.photo_questions or (data.photo_questions is None and "homes:" in data.scenes)):
        files = [HOMES_TABLE, nouns.LIST, *PHOTO_FILES]
        tables += json.dumps([PHOTO_QUESTIONS_VERSION, data.view_counts]).encode()
        tables += b"".join(path.read_bytes() for path in files)
    return sha256(json.dumps(QUESTIONS_VERSIONS).encode() + tables).hexdigest()[:16]
