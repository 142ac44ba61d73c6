"""What a model can name: its labels with other words for them, and its colours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.serialization import load_config
from dollhouse.scenes.labels import LabelMap


@dataclass(frozen=True)
class LabelInfo:
    """One label of a model."""

    label: str
    aliases: tuple[str, ...]  #: other words that are mapped to it, of data sets and of users
    has_front: bool  #: whether boxes with it have a front


@dataclass(frozen=True)
class ModelVocabulary:
    """The words that a model's predictions consist of."""

    labels: tuple[LabelInfo, ...]
    colours: tuple[str, ...]


def model_vocabulary(model: str | Path | DollhouseConfig | None = None) -> ModelVocabulary:
    """Return what a model can name, without loading its weights.

    Args:
        model: its configuration; or "nano" or None for the shipped student, or a model folder.

    Raises:
        ModelError: the folder is missing, incomplete or not a Dollhouse model.
    """
    config = model if isinstance(model, DollhouseConfig) else load_config(model)
    mapping = LabelMap(config.labels)
    labels = (LabelInfo(label, mapping.aliases(label), label in config.oriented_labels) for label in config.labels)
    return ModelVocabulary(tuple(labels), tuple(config.colours))
