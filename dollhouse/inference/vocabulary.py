"""What a model can name: its labels with other words for them, and its colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dollhouse.errors import ModelError
from dollhouse.models.model_folder import find_model
from dollhouse.scenes.labels import LabelMap
from dollhouse.system.read_files import decoding, read_object

if TYPE_CHECKING:
    from dollhouse.models.dollhouse.configuration import DollhouseConfig


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
    """Return what a model can name, without loading its weights or torch.

    Args:
        model: its configuration; or "nano" or None for the shipped student, or a model folder.

    Raises:
        ModelError: the folder is missing, incomplete or not a Dollhouse model.
    """
    words = _read_words(model) if model is None or isinstance(model, str | Path) else vars(model)
    mapping, oriented = LabelMap(words["labels"]), words["oriented_labels"]
    labels = (LabelInfo(label, mapping.aliases(label), label in oriented) for label in words["labels"])
    return ModelVocabulary(tuple(labels), tuple(words["colours"]))


def _read_words(model: str | Path | None) -> Mapping[str, Sequence[str]]:
    """Read the words in a model folder's ``config.json``, which transformers would read too."""
    path = find_model(model) / "config.json"
    config = read_object(path, ModelError)
    with decoding(path, "a student's configuration", ModelError):
        return {name: [str.lower(word) for word in config[name]] for name in ("labels", "oriented_labels", "colours")}
