"""Lessons: which scene and which questions the student gets at which step.

A batch is a pure function of the recipe and the step's number, so a run that was killed goes on with the very
batches it would have had. Knows nothing of models or optimisers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from dollhouse.distill.batches import Batch, collate, question_tokens
from dollhouse.distill.lesson_cache import LessonCache
from dollhouse.distill.recipe import DataSettings, Stage
from dollhouse.distill.targets import SceneTargets, mirrored, scene_targets
from dollhouse.errors import SceneError
from dollhouse.scenes.balance import Balance
from dollhouse.scenes.questions import questions_about
from dollhouse.scenes.scene import Scene
from dollhouse.scenes.source import open_scenes
from dollhouse.student.config import DollhouseConfig

MOST_QUESTIONS = 96  #: kept of one scene; each step draws from them
NOT_IN_LESSONS = {"__init__", "plan", "saved", "sweethome"}  #: modules of scenes that cannot change what a lesson holds


@dataclass(frozen=True, eq=False)
class Lesson:
    """One scene to learn from: its targets, and its questions with the teacher's answers."""

    targets: SceneTargets
    questions: tuple[tuple[str, str], ...]


class Lessons(Sequence[Lesson]):
    """All lessons of a data setting, made when asked for.

    A scene with more views than ``data.views`` gives a lesson for every window of consecutive views; with
    ``data.holdout_every`` = n, every n-th frame is in no lesson.
    """

    def __init__(self, data: DataSettings, config: DollhouseConfig) -> None:
        self.data = data
        self.config = config
        self.scenes = open_scenes(data.scenes)
        if len(self.scenes) == 0:
            raise SceneError(f"{data.scenes} holds no scenes")
        self.windows: list[tuple[int, int]] | None = None if data.scenes.startswith("rooms:") else self._windows()
        self.cache = LessonCache(data.cache, cache_key(data, config)) if data.cache else None
        self._balance: Balance | None = None

    def __len__(self) -> int:
        return len(self.scenes) if self.windows is None else len(self.windows)

    def __getitem__(self, index: int) -> Lesson:  # type: ignore[override]
        if self.cache is None:
            return self._make(index)
        name = str(index)
        kept = self.cache.read(name)
        if kept is None:
            lesson = self._make(index)
            self.cache.write(name, lesson.targets, lesson.questions)
            return lesson
        return Lesson(*kept)

    def _make(self, index: int) -> Lesson:
        scene = self.view_window(index)
        targets = scene_targets(scene, self.config.image_size, self.config.labels, self.config.colours)
        if len(targets.images) != self.data.views:
            raise SceneError(f"scene {scene.name} gives {len(targets.images)} views of one shape, not data.views={self.data.views}")
        if scene.boxes is None:
            return Lesson(targets, ())
        asked = questions_about(scene, balance=self._balance_of(scene), limit=MOST_QUESTIONS)
        return Lesson(targets, tuple((question.text, question.answer) for question in asked))

    def view_window(self, index: int) -> Scene:
        """The scene of a lesson, with the views of that lesson."""
        if self.windows is None:
            return self.scenes[index]
        number, start = self.windows[index]
        scene = training_views(self.scenes[number], self.data.holdout_every)
        return replace(scene, views=scene.views[start : start + self.data.views])

    def _windows(self) -> list[tuple[int, int]]:
        windows = []
        for number, scene in enumerate(self.scenes):
            count = len(training_views(scene, self.data.holdout_every).views)
            if count < self.data.views:
                raise SceneError(f"scene {scene.name} has {count} views to learn from; data.views={self.data.views} needs as many")
            windows.extend((number, start) for start in range(count - self.data.views + 1))
        return windows

    def _balance_of(self, scene: Scene) -> Balance | None:
        if scene.metadata.get("source") == "rooms":
            return None
        if self._balance is None:
            self._balance = Balance.measure([one for one in self.scenes if one.boxes is not None])
        return self._balance


def training_views(scene: Scene, holdout_every: int) -> Scene:
    """The scene without its held-out views."""
    if not holdout_every:
        return scene
    return replace(scene, views=tuple(v for i, v in enumerate(scene.views) if (i + 1) % holdout_every))


def heldout_views(scene: Scene, holdout_every: int) -> Scene:
    """The scene's held-out views only."""
    return replace(scene, views=tuple(v for i, v in enumerate(scene.views) if holdout_every and (i + 1) % holdout_every == 0))


def cache_key(data: DataSettings, config: DollhouseConfig) -> str:
    """Changes whenever a kept lesson would come out differently, the code of scenes and targets included."""
    package = Path(__file__).parent.parent
    made_by = [path for path in sorted((package / "scenes").glob("*.py")) if path.stem not in NOT_IN_LESSONS]
    sources = [*made_by, Path(__file__).parent / "targets.py", package / "geometry.py"]
    digest = sha256("".join(path.read_text(encoding="utf-8") for path in sources).encode())
    split = data.scenes.split("/")[0] if data.scenes.startswith("rooms:") else str(Path(data.scenes).resolve())
    first = data.scenes.split("/")[1].split("-")[0] if data.scenes.startswith("rooms:") else ""
    settings = [split, first, data.views, data.holdout_every, config.image_size, config.labels, config.colours]
    digest.update(json.dumps(settings).encode())
    return digest.hexdigest()[:16]


class Batches(Dataset[Batch]):
    """Item ``step`` is the batch of that step; scenes come in a new order each time they have all been seen."""

    def __init__(
        self, lessons: Lessons, stage: Stage, seed: int, tokenizer: PreTrainedTokenizerBase, config: DollhouseConfig
    ) -> None:
        self.lessons = lessons
        self.stage = stage
        self.seed = seed
        self.tokenizer = tokenizer
        self.config = config
        self._orders: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self.stage.steps

    def __getitem__(self, step: int) -> Batch:
        draw = np.random.default_rng([self.seed, step])
        targets, questions = [], []
        for place in range(step * self.stage.scenes, (step + 1) * self.stage.scenes):
            lesson = self.lessons[self._lesson_at(place)]
            mirror = self.stage.mirror and bool(draw.random() < 0.5)
            targets.append(mirrored(lesson.targets) if mirror else lesson.targets)
            asked = self._draw_questions(lesson, draw) if "text" in self.stage.losses else []
            questions.append(question_tokens(self.tokenizer, self.config, asked))
        by_truth = bool(draw.random() < self.stage.true_grouping)
        return collate(targets, questions, self.config, group_by_truth=by_truth)

    def _draw_questions(self, lesson: Lesson, draw: np.random.Generator) -> list[tuple[str, str]]:
        count = min(self.lessons.data.questions, len(lesson.questions))
        return [lesson.questions[i] for i in draw.choice(len(lesson.questions), count, replace=False)]

    def _lesson_at(self, place: int) -> int:
        epoch, position = divmod(place, len(self.lessons))
        if epoch not in self._orders:
            self._orders = {epoch: np.random.default_rng([self.seed, epoch, 1]).permutation(len(self.lessons))}
        return int(self._orders[epoch][position])
