"""The workbench of a reproduction: who is compared, where everything lies, how a run or a measurement becomes a job.

Knows recipes, starts and the archive; nothing of any one table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from dollhouse.errors import ModelError
from dollhouse.models.dollhouse.checkpoint import NEEDED
from dollhouse.records.store import RecordStore
from dollhouse.scenes.open import open_scenes
from dollhouse.training.config import Recipe, check_recipe
from experiments.paper.archive import Archive, model_key
from experiments.paper.extent import Extent
from experiments.paper.measured import Measured
from experiments.paper.measuring import Measuring
from experiments.paper.plan import Job
from experiments.paper.starts import altered, folder_of

RECIPES = Path(__file__).parent / "recipes"
#: seconds, on two cores of an AMD EPYC with avx512_bf16; jobs correct them as they go
STEP = {"losses": 1.6, "thinking": 0.7}  #: of a training step
ROOM = 0.35  #: of a room that is evaluated
LOSS_ROOM = 0.3  #: of a validation room
RECORDS_JOB = "the teacher's records"
LABELLED_ROOM = 0.5  #: of a room that the teacher is asked about


@dataclass(frozen=True)
class Trial:
    """One run that a table judges: its recipe, and a name that people read."""

    name: str
    chapter: str
    recipe: Recipe


@dataclass(frozen=True)
class Bench:
    """Everything that tables share. ``teacher`` None: geometry's own answers stand in, and no model is compared."""

    out: Path
    extent: Extent
    student: Path | None = None  #: None: the shipped one
    teacher: Path | None = None
    cache: Path | None = None  #: rendered rooms; None: below ``out``

    @cached_property
    def archive(self) -> Archive:
        return Archive(self.out)

    @property
    def lessons(self) -> Path:
        return self.cache or self.out / "rooms"

    @property
    def records(self) -> Path:
        """What this teacher says; another one's lie beside them."""
        assert self.teacher_folder is not None
        return self.out / f"records-{model_key(self.teacher_folder)[:12]}"

    @cached_property
    def student_folder(self) -> Path:
        return checked(folder_of(self.student), "--student")

    @cached_property
    def teacher_folder(self) -> Path | None:
        return None if self.teacher is None else checked(self.teacher, "--teacher")

    @cached_property
    def blind_folder(self) -> Path | None:
        """The blind control that lies in the student's folder."""
        folder = self.student_folder / "blind"
        return folder if folder.is_dir() else None

    def start(
        self,
        thinking: int,
        placement: str = "before_question",
        prefix: Any = "objects",
        passes: int = 1,
        seed: int = 0,
    ) -> Path:
        """The student with newborn thinking tokens, or one token a scene."""
        told = {"thinking": thinking, "placement": placement, "prefix": prefix, "passes": passes}
        return altered(self.student, self.out / "starts", **told, seed=seed)

    def recipe(
        self, kind: str, start: Path, seed: int, change: Callable[[dict[str, Any]], None] | None = None
    ) -> Recipe:
        """The recipe ``recipes/<kind>.yaml`` from a start, at this extent; ``change`` edits its tree."""
        tree: dict[str, Any] = yaml.safe_load((RECIPES / f"{kind}.yaml").read_text(encoding="utf-8"))
        tree |= {"init_from": str(start), "seed": seed}
        tree["data"] |= {"scenes": self.extent.training, "cache": str(self.lessons)}
        for stage in tree["stages"].values():
            stage["steps"] = getattr(self.extent.steps, kind)
        if change is not None:
            change(tree)
        return check_recipe(tree, f"recipes/{kind}.yaml")

    def judging(self) -> Measuring:
        """How every trial is judged."""
        extent = self.extent
        return Measuring(extent.runs, extent.questions, validation=extent.validation, cache=self.lessons)

    def comparing(self, blind: bool) -> Measuring:
        """How teacher and student are compared."""
        control = self.blind_folder if blind else None
        return Measuring(self.extent.compared, self.extent.questions, blind=control, page=True)

    @property
    def student_measured(self) -> Measured | None:
        return self.archive.measured(self.student_folder, self.comparing(blind=True))

    @property
    def teacher_measured(self) -> Measured | None:
        folder = self.teacher_folder
        return None if folder is None else self.archive.measured(folder, self.comparing(blind=False))

    def trial_measured(self, trial: Trial) -> Measured | None:
        """What was measured of a trial's model; None where it was not run."""
        model = self.archive.trained(trial.recipe)
        return None if model is None else self.archive.measured(model, self.judging())

    def compared_jobs(self, chapter: str) -> list[Job]:
        """The measurements of student and teacher, which most tables need."""
        seconds = ROOM * self.rooms(self.extent.compared)
        jobs = [self._measuring_job("the student measured", chapter, self.student_folder, True, 1.5 * seconds)]
        if self.teacher_folder is not None:
            jobs.append(self._measuring_job("the teacher measured", chapter, self.teacher_folder, False, 2 * seconds))
        return jobs

    def trial_job(self, trial: Trial, worth: int, needs: Sequence[str] = ()) -> Job:
        """Train and judge a trial."""
        stage = next(iter(trial.recipe.stages.values()))
        kind = "losses" if "trunk" in stage.train else "thinking"
        judged = ROOM * self.rooms(self.extent.runs) + LOSS_ROOM * self.rooms(self.extent.validation)

        def do() -> None:
            model = self.archive.train(trial.name, trial.recipe)
            self.archive.measure(trial.name, model, self.judging())

        return Job(
            trial.name,
            trial.chapter,
            worth,
            STEP[kind] * stage.steps + judged,
            do,
            lambda: self.trial_measured(trial) is not None,
            tuple(needs),
        )

    def rooms(self, scenes: str) -> int:
        """How many scenes a name stands for."""
        return len(open_scenes(scenes))

    def _measuring_job(self, name: str, chapter: str, folder: Path, blind: bool, seconds: float) -> Job:
        measuring = self.comparing(blind)
        return Job(
            name,
            chapter,
            1,
            seconds,
            lambda: self.archive.measure(name, folder, measuring),
            lambda: self.archive.measured(folder, measuring) is not None,
        )

    def records_job(self, chapter: str) -> list[Job]:
        """The teacher asked about the training rooms, once; no job where there is no teacher."""
        if self.teacher_folder is None:
            return []
        count = self.rooms(self.extent.training)
        return [
            Job(
                RECORDS_JOB,
                chapter,
                2,
                LABELLED_ROOM * count,
                self._label,
                lambda: self.records.is_dir() and len(RecordStore(self.records)) >= count,
            )
        ]

    def _label(self) -> None:
        from dollhouse.questions.sources import open_question_source
        from dollhouse.records.scene_source import scene_sources
        from dollhouse.teachers.annotate import annotate_scenes
        from dollhouse.teachers.dollhouse import DollhouseTeacher
        from dollhouse.teachers.registry import open_geometry_teachers

        scenes = open_scenes(self.extent.training)
        teacher = DollhouseTeacher.from_pretrained(self.teacher_folder)
        asking = open_question_source("generated", scenes, limit=self.extent.questions)
        geometry = open_geometry_teachers(["own", "scene"], teacher)
        annotate_scenes(
            teacher,
            scenes,
            self.records,
            questions=asking,
            geometry=geometry,
            sources=scene_sources(scenes, self.extent.training),
        )


def checked(folder: Path, option: str) -> Path:
    """A model folder, before hours are spent. Raises ModelError."""
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{option} {folder} is no model folder (it lacks {missing[0]}): name one that distill wrote")
    return folder
