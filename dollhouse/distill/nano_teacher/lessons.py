"""What a LLaVA-3D gets at which step: one room, told in the axes of one of its views, and questions about it.

An item is a pure function of recipe and number. Knows nothing of models.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from dollhouse.distill.batches import Batch, collate
from dollhouse.distill.lessons import Batches, Lessons
from dollhouse.distill.nano_teacher.words import Phrasebook
from dollhouse.distill.settings import Stage
from dollhouse.distill.targets import SceneTargets
from dollhouse.geometry import level_from_world, transform_points
from dollhouse.student.config import DollhouseConfig
from dollhouse.teachers.llava3d.prompt import named_view


class PosedLessons(Batches):
    """Item ``number`` is one room; ``stage.scenes`` of them make a step.

    Nothing tells the language model which patch is of which view, so a question that names a view is asked in the
    axes of that view (:data:`dollhouse.teachers.llava3d.config.AXES`): a view is drawn for each item, and questions
    that name another one wait for another time. Those that name none can be asked in any.
    """

    def __init__(self, lessons: Lessons, stage: Stage, seed: int, tokenizer: Any, named: DollhouseConfig) -> None:
        super().__init__(lessons, stage, seed, tokenizer, named)
        self.phrasebook = Phrasebook(tokenizer, named)

    def __len__(self) -> int:
        return self.stage.steps * self.stage.scenes

    def __getitem__(self, number: int) -> Batch:
        draw = np.random.default_rng([self.seed, number])
        lesson = self._lesson_at(number)
        seen = self.lessons.targets(lesson)
        view = int(draw.integers(len(seen.images)))
        turned = in_axes_of(seen, view)
        questions = self.lessons.questions(lesson)
        chosen = self._choose(questions, draw) if "text" in self.stage.losses else []
        asked = [questions[place][:2] for place in chosen]
        fitting = [one for one in asked if named_view(one[0]) in (None, view)]
        objects = turned.objects if "grounding" in self.stage.losses else None
        return collate([turned], [self.phrasebook.asked(fitting, objects, view)], self.config, chunks=1)


def in_axes_of(targets: SceneTargets, view: int) -> SceneTargets:
    """The same scene with its poses and boxes in the level frame of ``view`` instead of the first.

    Raises ValueError for a scene without poses or boxes.
    """
    poses, objects = targets.level_from_camera, targets.objects
    if poses is None or objects is None:
        raise ValueError(f"{targets.name} has no poses or no boxes")
    turned = level_from_world(poses[view])
    moved = replace(
        objects,
        center=transform_points(turned, objects.center).astype(np.float32),
        yaw=(objects.yaw + np.arctan2(turned[1, 0], turned[0, 0])).astype(np.float32),
    )
    return replace(targets, level_from_camera=turned @ poses, objects=moved)
