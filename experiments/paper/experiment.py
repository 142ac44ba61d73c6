"""One call of the runner: its models, the keys and folders of results, and the jobs that make them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dollhouse.errors import ModelError
from dollhouse.evaluation.metrics.versions import scorer_versions
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.serialization import load_student, save_student
from dollhouse.models.dollhouse.special_tokens import thinking_tokens
from dollhouse.models.dollhouse.tokenization import fill_token_ids
from dollhouse.models.model_folder import NEEDED
from dollhouse.scenes.open import open_scenes
from dollhouse.training.config import Recipe
from dollhouse.training.train import distill
from experiments.paper import cache as keys
from experiments.paper.cache import Cache, Kind, model_key, short_key
from experiments.paper.measure import measure
from experiments.paper.spec import Init, Row, Spec

#: first guesses of seconds, on two cores of an AMD EPYC with avx512_bf16; jobs correct them as they go
ROOM_SECONDS, LOSS_ROOM_SECONDS = 0.6, 0.3
INIT_STD = 0.02  #: standard deviation of new thinking embeddings, the paper's
REPEATED_PRIORITY = 8  #: of the seeds after the first


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
    """Specification, models by name, and cache."""

    out: Path
    spec: Spec
    models: Mapping[str, Path] = field(default_factory=dict)
    reports: Mapping[str, Path] = field(default_factory=dict)  #: of ``dollhouse benchmark real-photos``
    benches: Mapping[str, Path] = field(default_factory=dict)  #: of ``dollhouse bench --out``

    def __post_init__(self) -> None:
        for name, folder in self.models.items():
            if missing := [file for file in NEEDED if not (folder / file).is_file()]:
                raise ModelError(f"--model {name}={folder} is no model folder (it lacks {missing[0]})")
        for option, files in (("report", [path / "report.json" for path in self.reports.values()]),
                              ("bench", list(self.benches.values()))):  # fmt: skip
            if lost := [path for path in files if not path.is_file()]:
                raise ModelError(f"--{option}: {lost[0]} does not exist; name what dollhouse wrote with --out")

    @cached_property
    def cache(self) -> Cache:
        return Cache(self.out)

    @cached_property
    def _keys(self) -> dict[str, str]:
        return {}

    def given_key(self, name: str) -> str:
        """Return the hash of a given model's folder."""
        if name not in self._keys:
            self._keys[name] = model_key(self.models[name])
        return self._keys[name]

    def entry(self, job: Job) -> Path | None:
        """Return the complete result of a job; None before it ran."""
        return self.cache.find(job.kind, job.key)

    def measured_entry(self, row: Row, seed: int = 0) -> Path | None:
        """Return the folder of what was measured of a row's model; None before it was, or without the model."""
        return self.entry(self._measure_job("", row, seed)) if self.can_run(row) else None

    def run_folder(self, row: Row, seed: int) -> Path | None:
        """Return the folder of a row's finished training run."""
        return self.cache.find("runs", self.model_key(row, seed)) if row.recipe and self.can_run(row) else None

    def can_run(self, row: Row) -> bool:
        """Return whether the models that a row begins with were given."""
        if row.recipe is not None and "student" in self.spec.recipes[row.recipe].recipe:
            return True
        return (row.model or self.spec.base) in self.models

    def row_jobs(self, table: str, row: Row, base: Row | None = None) -> list[Job]:
        """Return the jobs of a row, one a seed: train its model, where it is trained, and measure it.

        Each needs the run of like seed of ``base``, which it is compared with.
        """
        if not self.can_run(row):
            return []
        jobs: list[Job] = []
        for seed in self.spec.seeds_of(row):
            paired = base is not None and base is not row and base.recipe and seed in self.spec.seeds_of(base)
            bases = [self._measure_job("", base, seed).key] if paired and base else []
            jobs.append(self._measure_job(table, row, seed, tuple(bases)))
        return jobs

    def _measure_job(self, table: str, row: Row, seed: int, needs: tuple[str, ...] = ()) -> Job:
        limit, given = self.spec.questions_of(row), self.models.get(row.model or "")
        blind = given / "blind" if given is not None and (given / "blind").is_dir() else None
        name = row.model or (row.same_as or f"{table}/{row.name}").replace("/", " ", 1)
        scenes, validation, priority = self.spec.compared_scenes, "", 1
        if row.model is None:
            name += f", seed {seed}" if row.recipe else ""
            scenes, validation = self.spec.run_scenes, "" if row.scenes else self.spec.validation_scenes
            priority = row.priority if seed == self.spec.seeds[0] else REPEATED_PRIORITY
        scenes = row.scenes or scenes
        name += ", true boxes" if row.oracle_boxes else ""
        seconds = ROOM_SECONDS * len(open_scenes(scenes))
        seconds += LOSS_ROOM_SECONDS * len(open_scenes(validation)) if validation else 0
        if row.recipe:
            steps = sum(stage.steps for stage in self.recipe(row, seed).stages.values())
            seconds += self.spec.recipes[row.recipe].seconds_per_step * steps

        def build(out: Path) -> None:
            model = self.model_folder(name, row, seed)
            measure(model, out, scenes, limit, validation, blind, self.out / "rooms", row.oracle_boxes)

        versions = [keys.MEASUREMENT_VERSION, keys.DATA_VERSIONS, scorer_versions()]
        keyed = [self.model_key(row, seed), blind and model_key(blind), row.oracle_boxes]
        key = short_key(keyed, scenes, limit, validation, versions)
        return Job("measured", key, name, priority, seconds, build, needs)

    def model_key(self, row: Row, seed: int) -> str:
        """Return the key of a row's model, whether or not it was made."""
        if row.model is not None:
            return self.given_key(row.model)
        if row.recipe is None:
            return self._init_key(row.init, seed)
        recipe = self.recipe(row, seed)
        init = "scratch" if recipe.init_from is None else self._init_key(row.init, seed)
        return keys.run_key(recipe, init)

    def model_folder(self, name: str, row: Row, seed: int) -> Path:
        """Return the folder of a row's model, made first where it does not exist."""
        if row.model is not None:
            return self.models[row.model]
        recipe = None if row.recipe is None else self.recipe(row, seed)
        if recipe is None or recipe.init_from is not None:
            key, title = self._init_key(row.init, seed), f"K {row.init.num_thinking_tokens} {row.init.prefix}"
            base = self.models[self.spec.base]
            init = self.cache.make("init", title, key, lambda out: write_init(base, row.init, seed, out))
            if recipe is None:
                return init
            recipe = recipe.model_copy(update={"init_from": str(init)})
        run = self.cache.make("runs", name, self.model_key(row, seed), lambda out: distill(recipe, out, progress=False))
        return run / "model"

    def recipe(self, row: Row, seed: int) -> Recipe:
        """Return the recipe of a trained row; ``init_from`` is filled in when it runs."""
        return self.spec.recipe_of(row, seed, cache=str(self.out / "rooms"))

    def _init_key(self, init: Init, seed: int) -> str:
        return short_key(self.given_key(self.spec.base), init.key_settings(seed), keys.INIT_VERSION)


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
    if init.passes > 1 or init.extra_layers:  # the map between passes begins at zero, new layers add nothing at first
        config.thinking_passes = init.passes
        text = config.get_text_config()
        text.num_hidden_layers += init.extra_layers
        larger = DollhouseForConditionalGeneration(config)
        larger.load_state_dict(model.state_dict(), strict=False)
        larger.generation_config = model.generation_config
        for layer in larger.language_model.gpt_neox.layers[text.num_hidden_layers - init.extra_layers :]:
            for projection in (layer.attention.dense, layer.mlp.dense_4h_to_h):
                nn.init.zeros_(projection.weight)
                nn.init.zeros_(projection.bias)
        model = larger
    processor.prefix_length = 1 if init.prefix == "pooled" else config.num_objects
    fill_token_ids(config, tokenizer)
    generator = torch.Generator().manual_seed(seed)
    fresh = torch.randn(init.num_thinking_tokens, config.get_text_config().hidden_size, generator=generator)
    table: Any = model.get_input_embeddings().weight  # of the model as it is now
    with torch.no_grad():
        table[list(config.thinking_ids)] = INIT_STD * fresh
    model.generation_config.suppress_tokens = model.suppress_tokens()
    save_student(model, processor, out)
