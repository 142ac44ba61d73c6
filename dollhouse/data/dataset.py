"""Lessons: which scene and which questions the student gets at which step.

A batch is a pure function of the recipe and the step's number, so a run that was killed goes on with the very
batches it would have had. Knows nothing of models or optimisers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from dollhouse.data.collator import Batch, collate
from dollhouse.data.config import DataConfig, SamplingConfig
from dollhouse.data.object_mentions import MentionFinder
from dollhouse.data.target_cache import Questions, TargetCache, pack, unpack
from dollhouse.data.targets import TARGETS_VERSION, SceneTargets, mirrored, scene_targets
from dollhouse.data.tokenization import TokenizedQA, question_tokens
from dollhouse.errors import SceneError
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.questions.answer_balance import ROOMS_TABLE, AnswerBalance
from dollhouse.questions.generate import QUESTIONS_VERSION, generate_questions
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.open import open_scenes
from dollhouse.scenes.scene import Scene, View
from dollhouse.scenes.synthetic.room_scene import ROOMS_VERSION
from dollhouse.scenes.synthetic.sweethome_rooms import SWEETHOME_VERSION
from dollhouse.scenes.view_preprocessing import PREPROCESSING_VERSION

MOST_QUESTIONS = 160  #: kept of one scene; each step draws from them
#: whatever decides what targets or questions come out of a scene; each is raised beside the code that it versions
TARGETS_VERSIONS = (ROOMS_VERSION, SWEETHOME_VERSION, PREPROCESSING_VERSION, TARGETS_VERSION)
QUESTIONS_VERSIONS = (ROOMS_VERSION, SWEETHOME_VERSION, QUESTIONS_VERSION)


class SceneTargetSource:
    """All lessons of a data setting, made when asked for: the targets of each, and its questions with answers.

    A scene with more views than ``data.views`` gives a lesson for every window of consecutive views; with
    ``data.holdout_every`` = n, every n-th frame is in no lesson.
    """

    def __init__(self, data: DataConfig, config: DollhouseConfig) -> None:
        self.data = data
        self.config = config
        self.scenes = open_scenes(data.scenes)
        if len(self.scenes) == 0:
            raise SceneError(f"{data.scenes} holds no scenes")
        self.windows: list[tuple[int, int]] | None = None if data.scenes.startswith("rooms:") else self._windows()
        self.cache = TargetCache(data.cache, targets_key(data, config)) if data.cache else None
        self.questions_key = questions_key()
        self._balance: AnswerBalance | None = None

    def __len__(self) -> int:
        return len(self.scenes) if self.windows is None else len(self.windows)

    def targets(self, number: int) -> SceneTargets:
        """What there is to see in a lesson."""
        kept = self.cache.read_targets(number) if self.cache else None
        if kept is not None:
            return kept
        targets = self.make_targets(number)
        if len(targets.images) != self.data.views:
            raise SceneError(
                f"scene {targets.name} gives {len(targets.images)} views of one shape, not data.views={self.data.views}"
            )
        if self.cache:
            self.cache.write_targets(number, targets)
        return unpack(pack(targets))  # as the cache would give it back, so that a run is the same with and without

    def make_targets(self, number: int) -> SceneTargets:
        """The targets of a lesson, read off its scene."""
        scene = self.view_window(number)
        return scene_targets(scene, self.config.image_size, self.config.labels, self.config.colours)

    def questions(self, number: int) -> Questions:
        """What is asked in a lesson, with the teacher's answers; () where the scene is not annotated."""
        kept = self.cache.read_questions(number, self.questions_key) if self.cache else None
        if kept is not None:
            return kept
        scene = self.view_window(number)
        if scene.boxes is None:
            return ()
        targets = self.cache.read_targets(number) if self.cache else None
        if targets is not None and targets.instances is not None:
            scene = replace(scene, views=tuple(_with_kept(view, targets, i) for i, view in enumerate(scene.views)))
        asked = generate_questions(scene, balance=self._balance_of(scene), limit=MOST_QUESTIONS)
        questions = tuple((question.text, question.answer, question.family) for question in asked)
        if self.cache:
            self.cache.write_questions(number, self.questions_key, questions)
        return questions

    def said(self, number: int) -> tuple[TeacherAnswer, ...] | None:
        """The teacher's own tokens for each of :meth:`questions`; None where a lesson tells none."""
        return None

    def shares_vocabulary(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        """Whether :meth:`said` is in the tokenizer's own tokens."""
        return False

    def view_window(self, index: int) -> Scene:
        """The scene of a lesson, with the views of that lesson."""
        if self.windows is None:
            return self.scenes[index]
        number, start = self.windows[index]
        scene, _ = self.scenes[number].hold_out(self.data.holdout_every)
        return replace(scene, views=scene.views[start : start + self.data.views])

    def _windows(self) -> list[tuple[int, int]]:
        windows: list[tuple[int, int]] = []
        for number, scene in enumerate(self.scenes):
            count = len(scene.hold_out(self.data.holdout_every)[0].views)
            if count < self.data.views:
                raise SceneError(
                    f"scene {scene.name} has {count} views to learn from; data.views={self.data.views} needs as many"
                )
            windows.extend((number, start) for start in range(count - self.data.views + 1))
        return windows

    def _balance_of(self, scene: Scene) -> AnswerBalance | None:
        if scene.metadata.get("source") == "rooms":
            return None
        if self._balance is None:
            self._balance = AnswerBalance.measure([one for one in self.scenes if one.boxes is not None])
        return self._balance


def _with_kept(view: View, targets: SceneTargets, index: int) -> View:
    """A view whose object ids are the kept ones, so that asking about a room does not draw it again."""
    assert targets.instances is not None
    instances = targets.instances[index].astype(np.int32)
    return replace(view, open_instances=lambda: instances)


def targets_key(data: DataConfig, config: DollhouseConfig, records: Sequence[str] = (), version: int = 0) -> str:
    """Changes whenever kept targets would come out differently; ``version`` is that of what reads ``records``."""
    rooms = not records and data.scenes.startswith("rooms:")
    split = data.scenes.split("/")[0] if rooms else str(Path(data.scenes).resolve())
    first = data.scenes.split("/")[1].split("-")[0] if rooms else ""
    settings = [split, first, data.views, data.holdout_every, config.image_size, config.labels, config.colours]
    versions = [*TARGETS_VERSIONS, version]
    return sha256(json.dumps([versions, list(records), settings]).encode()).hexdigest()[:16]


def questions_key() -> str:
    """Changes whenever other questions would be asked."""
    return sha256(json.dumps(QUESTIONS_VERSIONS).encode() + ROOMS_TABLE.read_bytes()).hexdigest()[:16]


class StepDataset(Dataset[Batch]):
    """Item ``step`` is the batch of that step; scenes come in a new order each time they have all been seen."""

    def __init__(
        self,
        lessons: SceneTargetSource,
        sampling: SamplingConfig,
        seed: int,
        tokenizer: PreTrainedTokenizerBase,
        config: DollhouseConfig,
    ) -> None:
        self.lessons = lessons
        self.sampling = sampling
        self.seed = seed
        self.tokenizer = tokenizer
        self.config = config
        self.finder = MentionFinder(tokenizer, config)
        self.by_tokens = lessons.shares_vocabulary(tokenizer)
        self._orders: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self.sampling.steps

    def __getitem__(self, step: int) -> Batch:
        draw = np.random.default_rng([self.seed, step])
        targets, questions, numbers = [], [], []
        for place in range(step * self.sampling.batch_size, (step + 1) * self.sampling.batch_size):
            number = self._lesson_at(place)
            seen = self.lessons.targets(number)
            flip = self.sampling.horizontal_flip_prob > 0 and bool(draw.random() < self.sampling.horizontal_flip_prob)
            targets.append(mirrored(seen) if flip else seen)
            questions.append(self._ask(number, seen, draw) if self.sampling.questions_per_scene else [])
            numbers.append(number)
        by_truth = bool(draw.random() < self.sampling.gt_assignment_prob)
        return collate(targets, questions, self.config, use_gt_assignment=by_truth, numbers=numbers)

    def _ask(self, number: int, seen: SceneTargets, draw: np.random.Generator) -> list[TokenizedQA]:
        """Some of a lesson's questions, as tokens."""
        questions = self.lessons.questions(number)
        chosen = self._choose(questions, draw)
        said = self.lessons.said(number) if self.by_tokens else None
        return question_tokens(
            self.tokenizer,
            self.config,
            [questions[place][:2] for place in chosen],
            seen.objects,
            self.finder if self.sampling.with_mentions else None,
            None if said is None else [said[place] for place in chosen],
        )

    def _choose(self, questions: Questions, draw: np.random.Generator) -> list[int]:
        """Places of the questions that are asked; where the stage weighs families, that is how often each is."""
        families = self.sampling.families
        places = [place for place, one in enumerate(questions) if families is None or one[2] in families]
        weights = np.ones(len(places))
        if isinstance(families, Mapping):
            there = Counter(questions[place][2] for place in places)
            weights = np.array([families[questions[place][2]] / there[questions[place][2]] for place in places])
        count = min(self.sampling.questions_per_scene, int((weights > 0).sum()))
        if not count:
            return []
        chosen = draw.choice(len(places), count, replace=False, p=weights / weights.sum())
        return [places[i] for i in chosen]

    def _lesson_at(self, place: int) -> int:
        epoch, position = divmod(place, len(self.lessons))
        if epoch not in self._orders:
            self._orders = {epoch: np.random.default_rng([self.seed, epoch, 1]).permutation(len(self.lessons))}
        return int(self._orders[epoch][position])
