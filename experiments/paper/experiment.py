"""One call of the runner: its models, the keys and folders of results, and the jobs that make them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from dollhouse.errors import ModelError
from dollhouse.evaluation.metrics.versions import scorer_versions
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.net2net import widen
from dollhouse.models.dollhouse.serialization import load_student, save_student
from dollhouse.models.dollhouse.special_tokens import thinking_tokens
from dollhouse.models.dollhouse.tokenization import fill_token_ids
from dollhouse.models.model_folder import NEEDED, SHIPPED
from dollhouse.scenes.open import open_scenes
from dollhouse.teachers.annotate import annotate
from dollhouse.training.config import Recipe
from dollhouse.training.train import distill
from experiments.paper import cache as keys
from experiments.paper.cache import Cache, Kind, model_key, short_key
from experiments.paper.measure import Measured, measure, read_measured
from experiments.paper.spec import Init, Row, Spec

#: first guesses of seconds, on two cores of an AMD EPYC with avx512_bf16; jobs correct them as they go
ROOM_SECONDS, LOSS_ROOM_SECONDS, ANNOTATED_ROOM_SECONDS = 0.6, 0.3, 0.5
INIT_STD = 0.02  #: standard deviation of new thinking embeddings, the paper's
STAND_IN: dict[str, Any] = {"width_multiplier": 2, "use_rgbd": True}  #: shape of the stand-in teacher
REPEATED_PRIORITY = 8  #: of the seeds after the first
STUDENT, TEACHER = Row(name="student", model="student"), Row(name="teacher", model="teacher")


@dataclass(frozen=True)
class Job:
    """The work behind one cache entry: a training run, a measurement, a timing."""

    kind: Kind
    key: str
    name: str
    priority: int  #: 1 runs first; jobs of one priority in the order given
    seconds: float  #: expected, on two cores
    build: Callable[[Path], object]  #: fills the entry's folder
    needs: tuple[str, ...] = ()  #: keys of jobs without which it is useless


@dataclass(frozen=True)
class Experiment:
    """Specification, models and cache. Without ``teacher``, geometry's answers stand in for the teacher's."""

    out: Path
    spec: Spec
    student: Path = SHIPPED
    teacher: Path | None = None

    def __post_init__(self) -> None:
        for option, folder in (("--student", self.student), ("--teacher", self.teacher)):
            missing = [name for name in NEEDED if folder is not None and not (folder / name).is_file()]
            if missing:
                raise ModelError(f"{option} {folder} is no model folder (it lacks {missing[0]}): name one of distill's")

    @cached_property
    def cache(self) -> Cache:
        return Cache(self.out)

    @cached_property
    def student_key(self) -> str:
        return model_key(self.student)

    @cached_property
    def teacher_key(self) -> str | None:
        return None if self.teacher is None else model_key(self.teacher)

    def entry(self, job: Job) -> Path | None:
        """Return the complete result of a job; None before it ran."""
        return self.cache.find(job.kind, job.key)

    def measured(self, row: Row, seed: int = 0) -> Measured | None:
        """Read what was measured of a row's model; None before it is, or without a teacher."""
        entry = None if row.model == "teacher" and not self.teacher else self.entry(self._measure_job("", row, seed))
        return None if entry is None else read_measured(entry)

    def row_jobs(self, table: str, row: Row, base: Row | None = None) -> list[Job]:
        """Return the jobs of a row, one a seed: train its model, where it is trained, and measure it.

        Each needs the run of like seed of ``base``, which it is compared with.
        """
        if row.model == "teacher" and self.teacher is None:
            return []
        jobs: list[Job] = []
        if key := self._records_key(row):
            seconds = ANNOTATED_ROOM_SECONDS * len(open_scenes(self.spec.training_scenes))
            settings: dict[str, Any] = {"questions": "generated", "limit": self.spec.questions_per_scene}
            build = partial(annotate, f"checkpoint:{self.teacher}", self.spec.training_scenes, **settings)
            jobs.append(Job("records", key, "records", 2, seconds, build))
        needs = [job.key for job in jobs]
        for seed in self.spec.seeds_of(row):
            paired = base is not None and base is not row and base.recipe and seed in self.spec.seeds_of(base)
            bases = [self._measure_job("", base, seed).key] if paired and base else []
            jobs.append(self._measure_job(table, row, seed, (*needs, *bases)))
        return jobs

    def _measure_job(self, table: str, row: Row, seed: int, needs: tuple[str, ...] = ()) -> Job:
        limit, blind = self.spec.questions_per_scene, self.student / "blind"
        if row.model is not None:  # measured as it is, the student beside its blind control
            name = "the teacher measured" if row.model == "teacher" else "the student measured"
            scenes, validation, priority = self.spec.compared_scenes, "", 1
            blind_key = None if row.model == "teacher" else model_key(blind)
        else:
            name = (row.same_as or f"{table}/{row.name}").replace("/", " ", 1)
            name += f", seed {seed}" if row.recipe else ""
            scenes, validation, blind_key = self.spec.run_scenes, self.spec.validation_scenes, None
            priority = row.priority if seed == self.spec.seeds[0] else REPEATED_PRIORITY
        seconds = ROOM_SECONDS * len(open_scenes(scenes))
        seconds += LOSS_ROOM_SECONDS * len(open_scenes(validation)) if validation else 0
        if row.recipe:
            steps = sum(stage.steps for stage in self.recipe(row, seed).stages.values())
            seconds += self.spec.recipes[row.recipe].seconds_per_step * steps

        def build(out: Path) -> None:
            control = blind if blind_key and blind.is_dir() else None
            measure(self.model_folder(name, row, seed), out, scenes, limit, validation, control, self.out / "rooms")

        versions = [keys.MEASUREMENT_VERSION, keys.DATA_VERSIONS, scorer_versions()]
        key = short_key(self.model_key(row, seed), blind_key, scenes, limit, validation, versions)
        return Job("measured", key, name, priority, seconds, build, needs)

    def model_key(self, row: Row, seed: int) -> str:
        """Return the key of a row's model, whether or not it was made."""
        if row.model is not None:
            return (self.teacher_key if row.model == "teacher" else None) or self.student_key
        init = self._init_key(row.init, seed)
        return keys.run_key(self.recipe(row, seed), init, self._records_key(row)) if row.recipe else init

    def model_folder(self, name: str, row: Row, seed: int) -> Path:
        """Return the folder of a row's model, made first where it does not exist."""
        if row.model is not None:
            return (self.teacher if row.model == "teacher" else None) or self.student
        key, title = self._init_key(row.init, seed), f"K {row.init.num_thinking_tokens} {row.init.prefix}"
        init = self.cache.make("init", title, key, lambda out: write_init(self.student, row.init, seed, out))
        if row.recipe is None:
            return init
        recipe = self.recipe(row, seed).model_copy(update={"init_from": init})
        run = self.cache.make("runs", name, self.model_key(row, seed), lambda out: distill(recipe, out, progress=False))
        return run / "model"

    def recipe(self, row: Row, seed: int) -> Recipe:
        """Return the recipe of a trained row; ``init_from`` is filled in when it runs."""
        key = self._records_key(row)
        records = {"records": str(self.out / "records" / f"records-{key}")} if key else {}
        return self.spec.recipe_of(row, seed, cache=str(self.out / "rooms"), **records)

    def _init_key(self, init: Init, seed: int) -> str:
        return short_key(self.student_key, init.key_settings(seed), keys.INIT_VERSION)

    def _records_key(self, row: Row) -> str | None:
        if row.recipe is None or self.spec.recipes[row.recipe].records is None or self.teacher_key is None:
            return None
        settings = [self.spec.training_scenes, self.spec.questions_per_scene]
        return short_key(self.teacher_key, settings, keys.ANNOTATION_VERSION, keys.DATA_VERSIONS)


def write_init(student: Path, init: Init, seed: int, out: Path) -> None:
    """Write ``student`` with the thinking tokens, prefix and passes of ``init`` to the model folder ``out``.

    All thinking tokens are new, also where the student had as many, so that no count has an advantage. With ``prefix``
    "pooled" the language model receives the mean of the object tokens, one token a scene, as in the paper.
    """
    model, processor, _ = load_student(student)
    config, tokenizer = model.config, processor.tokenizer
    names = thinking_tokens(init.num_thinking_tokens)
    tokenizer.add_tokens([name for name in names if name not in tokenizer.get_vocab()], special_tokens=True)
    embeddings: Any = model.get_input_embeddings()
    if len(tokenizer) > len(embeddings.weight):
        model.language_model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        config.get_text_config().vocab_size = model.language_model.config.vocab_size
    config.num_thinking_tokens = processor.num_thinking_tokens = init.num_thinking_tokens
    config.thinking_placement = processor.thinking_placement = init.placement
    config.prefix = init.prefix
    if init.passes > 1:  # a model with the map between passes, which begins at zero
        config.thinking_passes = init.passes
        mapped = DollhouseForConditionalGeneration(config)
        mapped.load_state_dict(model.state_dict(), strict=False)
        mapped.generation_config = model.generation_config
        model = mapped
    processor.prefix_length = 1 if init.prefix == "pooled" else config.num_objects
    fill_token_ids(config, tokenizer)
    generator = torch.Generator().manual_seed(seed)
    fresh = torch.randn(init.num_thinking_tokens, config.get_text_config().hidden_size, generator=generator)
    table: Any = model.get_input_embeddings().weight  # of the model as it is now
    with torch.no_grad():
        table[list(config.thinking_ids)] = INIT_STD * fresh
    model.generation_config.suppress_tokens = model.suppress_tokens()
    save_student(model, processor, out)


def write_stand_in(student: Path, out: Path) -> None:
    """Write an untrained model of the teacher's shape: ``student`` of twice the width, with RGB-D input."""
    torch.manual_seed(0)
    model, processor, _ = load_student(student)
    save_student(widen(model, **STAND_IN), processor, out)
