"""The settings of a distillation run, validated."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, field_validator, model_validator

from dollhouse.data.config import ConfigModel, DataConfig, SamplingConfig
from dollhouse.questions.sampling import AUXILIARY, FAMILIES
from dollhouse.system.environment import MAX_SEED
from dollhouse.training.cacheable_features import feature_faults
from dollhouse.training.student_config import StudentConfig

PLAIN_NAME = re.compile(r"\w[\w .+-]{0,99}")  #: of runs and stages, which name folders
RESERVED_NAMES = {"model", "tokenizer", "recipe", "metrics", "curves", "run"}  #: of files beside the stages' folders

# fmt: off
LossName = Literal[
    "text", "text_kl", "grounding", "thinking_probe", "depth_reg", "depth_ce", "depth_kl", "camera", "voting",
    "detection", "labels", "spatial", "multiview", "feature",
]
PartName = Literal[
    "encoder", "rgbd_encoder", "trunk", "depth_head", "camera_head", "voting_head", "proposal_head", "depth_bin_head",
    "relation_head", "projector", "language_model",
]
#: optional heads: a student has them, and they are trained, where a stage names such a loss
HEAD_OF_LOSS: dict[str, PartName] = {
    "depth_ce": "depth_bin_head", "depth_kl": "depth_bin_head", "spatial": "relation_head", "feature": "relation_head",
}
# fmt: on


class StageConfig(ConfigModel):
    """One stage of a run: its losses, its trainable parts, its steps."""

    steps: int = Field(ge=1)
    batch_size: int = Field(16, ge=1, description="scenes per step")
    micro_batches: int = Field(
        1, ge=1, description="parts of a step's batch whose gradients are averaged; a multiple of the processes"
    )
    losses: list[LossName] = Field(min_length=1)
    train: list[PartName] = Field(min_length=1, description="parts of the student that are trained")
    unfreeze_from_layer: int = Field(0, ge=0, description="with the encoder trained: only its rounds from this one on")
    learning_rate: float = Field(2e-3, gt=0, description="AdamW: embeddings, norms, biases, convolutions")
    muon_learning_rate: float = Field(0.02, ge=0, description="Muon: matrices; 0 leaves them to AdamW too")
    stem_learning_rate: float | None = Field(None, gt=0, description="AdamW: pretrained stem; None: learning_rate")
    frozen_stem_blocks: int = Field(3, ge=0, le=16, description="first blocks of a pretrained stem: not trained")
    weight_decay: float = Field(0.0, ge=0)
    warmup_ratio: float = Field(0.05, ge=0, le=1, description="share of the steps, linear from zero")
    decay_ratio: float = Field(0.4, ge=0, le=1, description="share of the steps, linear to zero")
    gt_assignment_prob: float = Field(0.0, ge=0, le=1, description="of a batch: group patches by true instances")
    temperature: float = Field(2.0, gt=0, description="softens the teacher's token distributions for the loss text_kl")
    object_source: Literal["student", "teacher"] = Field("student", description="source of object tokens")
    families: list[str] | dict[str, NonNegativeFloat] | None = Field(
        None, description="families of questions, or the sampling weight of each; None: as generated"
    )
    rename_labels: float = Field(
        0.0, ge=0, le=1, description="share of the labels that other nouns replace in questions and object tokens"
    )
    written_steps: bool = Field(False, description="answers begin with the objects that the question names, in words")
    horizontal_flip_prob: float = Field(0.0, ge=0, le=1, description="of each scene; only without the loss text")
    photometric_augmentation: float = Field(
        0.0, ge=0, le=1, description="probability that a scene's photos change in light, colour, noise; without text"
    )
    crop_zoom: tuple[Annotated[float, Field(ge=1)], Annotated[float, Field(ge=1, le=4)]] = Field(
        (1.0, 1.0), description="least and greatest zoom by which each scene's views are cropped; without text"
    )
    known_focal_prob: float = Field(0.0, ge=0, le=1, description="of each scene: give its focal lengths to the student")
    views: list[int] | None = Field(
        None, min_length=1, description="photos per scene, drawn at every step, of as many photos in all; without text"
    )
    sources: dict[str, NonNegativeFloat] | None = Field(
        None, description="with data.sources: share of the steps of each; None: by their numbers of samples"
    )
    save_every: int = Field(500, ge=1, description="steps between checkpoints")
    log_every: int = Field(20, ge=1, description="steps between lines of metrics.jsonl")
    validate_every: int = Field(
        0, ge=0, description="steps between measurements on `validation`; the best weights are kept; 0: none"
    )

    @field_validator("families")
    @classmethod
    def _families_are_known(cls, value: Any) -> Any:
        known = (*FAMILIES, *AUXILIARY)
        if unknown := [name for name in value or () if name not in known]:
            raise ValueError(f"no such families of questions: {', '.join(unknown)}; known are {', '.join(known)}")
        if isinstance(value, dict) and not any(value.values()):
            raise ValueError("at least one family needs a weight: give it a number above 0")
        return value

    @model_validator(mode="after")
    def _micro_batches_fit(self) -> StageConfig:
        if self.micro_batches > self.batch_size:
            raise ValueError("a micro-batch has at least one scene: lower micro_batches, or raise batch_size")
        return self

    @model_validator(mode="after")
    def _losses_fit(self) -> StageConfig:
        if self.horizontal_flip_prob and "text" in self.losses:
            raise ValueError(
                "a flip exchanges left and right, which answers mention: take out horizontal_flip_prob or text"
            )
        if self.crop_zoom[0] > self.crop_zoom[1]:
            raise ValueError("the first number of crop_zoom is the smaller")
        if (self.photometric_augmentation or self.crop_zoom[1] > 1) and "text" in self.losses:
            raise ValueError(
                "answers are about colours and all objects: take out photometric_augmentation, crop_zoom or text"
            )
        if self.written_steps and ("text" not in self.losses or self.rename_labels):
            raise ValueError(
                "written_steps are part of answers, in the labels' words: add text, or take out rename_labels"
            )
        if self.views is not None and "text" in self.losses:
            raise ValueError("answers are about all of a scene's views: take out views or text")
        subjects = {
            "grounding": "objects named in questions",
            "text_kl": "tokens of answers",
            "thinking_probe": "thinking tokens, which only answering computes",
        }
        for name, subject in subjects.items():
            if name in self.losses and "text" not in self.losses:
                raise ValueError(f"{name} is about {subject}: add the loss text")
        return self

    def sampling(self, data: DataConfig) -> SamplingConfig:
        """Return what the stage's batches are drawn by."""
        used = [data.sources[name] for name, share in self.sources.items() if share] if self.sources else [data]
        return SamplingConfig(
            steps=self.steps,
            batch_size=self.batch_size,
            questions_per_scene=data.questions_per_scene if "text" in self.losses else 0,
            families=self.families,
            with_mentions=self.written_steps or bool({"grounding", "thinking_probe"} & set(self.losses)),
            horizontal_flip_prob=self.horizontal_flip_prob,
            gt_assignment_prob=self.gt_assignment_prob,
            sources=self.sources,
            photometric_augmentation=self.photometric_augmentation,
            crop_zoom=self.crop_zoom,
            known_focal_prob=self.known_focal_prob,
            views=tuple(self.views or ()),
            objects_only=self.object_source == "teacher" and any(source.view_counts for source in used),
            rename_labels=self.rename_labels,
            written_steps=self.written_steps,
            features=data.features_used and self.object_source == "student",
            micro_batches=self.micro_batches,
        )


class Recipe(ConfigModel):
    """The settings of a whole run."""

    name: str = Field(description="name of the run, in its reports and in the model card")
    seed: int = Field(0, ge=0, le=MAX_SEED, description="of initial weights, batches and augmentation")
    teacher: Literal["annotations", "records"] = Field("annotations", description="where targets come from")
    init_from: str | None = Field(None, description="model folder to start with; nano: the shipped student")
    reinit: list[PartName] = Field(default=[], description="with init_from: parts that are initialised afresh")
    width_multiplier: int = Field(1, ge=1, le=2, description="with init_from: 2 doubles every width, same answers")
    use_rgbd: bool = Field(False, description="take depth and poses beside the photos: for teachers, not students")
    student: StudentConfig = Field(default_factory=StudentConfig)
    data: DataConfig
    loss_weighting: Literal["uncertainty", "static", "equal"] = Field("uncertainty", description="uncertainty: Eq. 2")
    static_weights: dict[LossName, NonNegativeFloat] = Field({}, description="with loss_weighting: static")
    precision: Literal["auto", "bfloat16", "float32"] = Field("auto", description="auto: bfloat16 if native")
    threads: int = Field(0, ge=0, description="CPU threads; 0 leaves torch's own choice")
    parallel: Literal["ddp", "fsdp"] = Field(
        "ddp", description="with several processes: whole parameters in each (DDP), or shares of them (FSDP2)"
    )
    activation_checkpointing: bool = Field(False, description="compute activations again in the backward pass")
    compile: bool = Field(False, description="torch.compile encoder, trunk and language model: a slow first step")
    validation: DataConfig | None = Field(None, description="held-out scenes or records, with settings as of `data`")
    trackers: list[Literal["tensorboard", "wandb", "mlflow"]] = Field(
        [], description="also log to these, each a package of its own; wandb and mlflow may send to a server"
    )
    stages: dict[str, StageConfig] = Field(min_length=1)

    @field_validator("init_from", mode="before")
    @classmethod
    def _name_folder(cls, init_from: object) -> object:
        """Take a path as text; one of a single part is a folder here, not the name of a shipped student."""
        alone = isinstance(init_from, Path) and init_from.parts == (init_from.name,)
        return f"./{init_from}" if alone else str(init_from) if isinstance(init_from, Path) else init_from

    @field_validator("name", "stages")
    @classmethod
    def _names_are_plain(cls, value: Any) -> Any:
        for name in [value] if isinstance(value, str) else value:
            if not PLAIN_NAME.fullmatch(name):
                raise ValueError(f"{name!r} must be a plain name of letters, digits, '_' and '-', as it names a folder")
            if not isinstance(value, str) and name.lower().split(".")[0] in RESERVED_NAMES:
                raise ValueError(f"a stage cannot be named {name!r}, as the run's folder has such a file")
        return value

    @model_validator(mode="before")
    @classmethod
    def _infer_teacher(cls, tree: Any) -> Any:
        data = tree.get("data") if isinstance(tree, dict) else None
        recorded = isinstance(data, dict) and data.get("records") is not None
        return {**tree, "teacher": "records"} if recorded else tree

    @model_validator(mode="after")
    def _data_fits(self) -> Recipe:
        given = bool(self.data.scenes) or self.data.records is not None
        if not given and not self.data.sources:
            raise ValueError("data needs scenes or records: set data.scenes=rooms:train/0-999, or data.records=FOLDER")
        if given and self.data.sources:
            raise ValueError("data.sources takes the place of data.scenes and data.records: take these out")
        for name, stage in self.stages.items():
            if unknown := sorted(set(stage.sources or ()) - set(self.data.sources)):
                raise ValueError(f"stage {name}: data.sources has no {', '.join(unknown)}")
            if stage.sources is not None and not any(stage.sources.values()):
                raise ValueError(f"stage {name}: at least one of its sources needs a share above 0")
        if self.teacher == "records" and self.data.records is None:
            raise ValueError("teacher: records needs data.records=FOLDER, written by `dollhouse annotate --out`")
        if self.data.records is not None and self.data.holdout_every:
            raise ValueError("data.holdout_every is about a scene's own frames: take it out where there are records")
        return self

    @model_validator(mode="after")
    def _features_fit(self) -> Recipe:
        used = [data.features_used for data in (self.data, self.validation) if data is not None]
        if any(used) and not all(used):
            raise ValueError("data.feature_cache is needed for all sources and for validation, or for none")
        if any(used) and (faults := feature_faults(self)):
            raise ValueError(f"data.feature_cache cannot be used: {faults[0]}")
        return self

    @model_validator(mode="after")
    def _validation_fits(self) -> Recipe:
        used = [name for name, stage in self.stages.items() if stage.validate_every]
        if used and self.validation is None:
            raise ValueError(f"stage {used[0]}: validate_every needs validation.scenes or validation.records")
        if self.validation is not None and not used:
            raise ValueError("validation is used by no stage: set validate_every of one, or take validation out")
        return self

    @model_validator(mode="after")
    def _origin_fits(self) -> Recipe:
        if self.init_from is not None and "student" in self.model_fields_set:
            raise ValueError("init_from fixes the student's sizes: take out student or init_from")
        for name, given in (("reinit", bool(self.reinit)), ("width_multiplier", self.width_multiplier != 1)):
            if self.init_from is None and given:
                raise ValueError(f"{name} needs a model to start from: name one, such as init_from: nano")
        return self

    @model_validator(mode="after")
    def _losses_fit(self) -> Recipe:
        for name, stage in self.stages.items():
            if "thinking_probe" in stage.losses and self.init_from is None and not self.student.num_thinking_tokens:
                raise ValueError(f"stage {name}: thinking_probe needs student.num_thinking_tokens above 0")
            recorded = any(data.records is not None for data in (self.data, *self.data.sources.values()))
            if stage.written_steps and (recorded or self.student.blind):
                raise ValueError(f"stage {name}: written_steps need data.scenes, not records, and no blind student")
            if self.student.blind and not set(stage.losses) <= {"text", "text_kl"}:
                raise ValueError(f"stage {name}: a blind student has only the text loss")
        if self.static_weights and self.loss_weighting != "static":
            raise ValueError("static_weights are for loss_weighting: static; take them out, or choose that")
        if self.student.relation_head is False and any("spatial" in stage.losses for stage in self.stages.values()):
            raise ValueError("student.relation_head is false, but a loss needs it: take out spatial")
        return self

    def heads_needed(self) -> set[PartName]:
        """Return the optional heads that the losses of any stage need."""
        losses = {loss for stage in self.stages.values() for loss in stage.losses}
        unwanted = {"relation_head"} if self.student.relation_head is False else set()
        return {head for loss, head in HEAD_OF_LOSS.items() if loss in losses} - unwanted

    def with_max_steps(self, steps: int) -> Recipe:
        """Return the recipe with no stage longer than ``steps``."""
        lengths = {name: {"steps": min(steps, stage.steps)} for name, stage in self.stages.items()}
        stages = {name: stage.model_copy(update=lengths[name]) for name, stage in self.stages.items()}
        return self.model_copy(update={"stages": stages})
