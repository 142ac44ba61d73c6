"""The settings of a recipe's data, and of the batches that one stage draws from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dollhouse.scenes.corrections import Corrections


class ConfigModel(BaseModel):
    """A group of settings; immutable, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(ConfigModel):
    """Which scenes a run trains on, and how they are prepared."""

    scenes: str = Field("", description="rooms:<split>/<from>-<to>, or a folder; with records: which of their scenes")
    records: Path | None = Field(None, description="folder of a teacher's records (`dollhouse annotate --out`)")
    views: int = Field(4, ge=1, description="photos per scene")
    view_sampling: Literal["overlap", "spaced"] = Field(
        "overlap", description="of a scan with more views: views that share parts of the place, or evenly spaced ones"
    )
    view_sets: int = Field(8, ge=1, description="samples of views drawn of a scan or record with more views")
    view_counts: tuple[int, ...] = Field((), description="views of the samples in turn, at most `views`; (): all")
    questions_per_scene: int = Field(24, ge=0, description="questions sampled per scene and step")
    photo_questions: bool | None = Field(None, description="also ask as people ask about photos; None: of homes only")
    holdout_every: int = Field(0, ge=0, description="hold out every n-th frame of a real scene for testing; 0: none")
    corrections: Corrections = Field(Corrections(), description="of poses and depth in a convention of their own")
    cache: Path | None = Field(None, description="folder that caches rendered scenes between epochs and runs")
    feature_cache: Path | None = Field(
        None, description="folder of the frozen encoder's output (`dollhouse annotate --features RECIPE --out`)"
    )
    workers: int = Field(1, ge=0, description="processes that prepare batches")
    sources: dict[str, DataConfig] = Field(
        {}, description="several sources instead of scenes or records, by name; what they do not set is as set here"
    )

    @property
    def features_used(self) -> bool:
        """Whether the frozen encoder's output comes from a cache, for all sources."""
        return all(each.feature_cache is not None for each in self.sources.values() or [self])

    @model_validator(mode="before")
    @classmethod
    def _share_settings(cls, tree: Any) -> Any:
        if not isinstance(tree, dict) or not isinstance(tree.get("sources"), dict):
            return tree
        shared = {key: value for key, value in tree.items() if key not in ("scenes", "records", "sources")}
        sources = {
            name: {**shared, **source} if isinstance(source, dict) else source
            for name, source in tree["sources"].items()
        }
        return {**tree, "sources": sources}


@dataclass(frozen=True)
class SamplingConfig:
    """How the batches of one stage are drawn."""

    steps: int
    batch_size: int  #: scenes per step, of all their views
    questions_per_scene: int = 0  #: 0: photos only
    families: Sequence[str] | Mapping[str, float] | None = None  #: of questions, or the sampling weight of each
    with_mentions: bool = False  #: whether to locate the objects that questions name
    horizontal_flip_prob: float = 0.0  #: per scene
    photometric_augmentation: float = 0.0  #: probability per scene
    crop_zoom: tuple[float, float] = (1.0, 1.0)  #: bounds of the zoom of each scene
    gt_assignment_prob: float = 0.0  #: per batch
    known_focal_prob: float = 0.0  #: per scene
    views: Sequence[int] = ()  #: views per scene, drawn per step; (): all of a sample's
    sources: Mapping[str, float] | None = None  #: share of the steps of each source by name; None: by samples
    objects_only: bool = False  #: targets without photos, which true boxes as object tokens do not need
    rename_labels: float = 0.0  #: share of the labels that other nouns replace, per scene
    written_steps: bool = False  #: whether answers begin with the objects that the question names
    features: bool = False  #: whether batches hold the frozen encoder's output, from data.feature_cache
    micro_batches: int = 1  #: parts of a step's batch, each a batch of its own
