"""One source of samples made of several, such as made homes, scans and photos."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from transformers import PreTrainedTokenizerBase

from dollhouse.data.config import DataConfig
from dollhouse.data.feature_cache import EncoderFeatures
from dollhouse.data.target_cache import Questions
from dollhouse.data.target_source import Part, TargetSource
from dollhouse.data.targets import SceneTargets
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.scene import Scene


class MixedTargetSource(TargetSource):
    """The samples of ``data.sources``, those of the first one first; each source has a cache of its own."""

    def __init__(
        self,
        data: DataConfig,
        config: DollhouseConfig,
        open_source: Callable[[DataConfig, DollhouseConfig], TargetSource],
    ) -> None:
        self.data, self.config, self.cache = data, config, None
        self.sources = {name: open_source(each, config) for name, each in data.sources.items()}
        self._ends = np.cumsum([len(source) for source in self.sources.values()])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def parts(self) -> list[Part]:
        return [
            Part(name, range(end - len(source), end), source.data.views)
            for (name, source), end in zip(self.sources.items(), self._ends.tolist(), strict=True)
        ]

    def view_window(self, index: int) -> Scene:
        source, own = self._find(index)
        return source.view_window(own)

    def questions(self, index: int) -> Questions:
        source, own = self._find(index)
        return source.questions(own)

    def targets(self, index: int, objects_only: bool = False) -> SceneTargets:
        source, own = self._find(index)
        return source.targets(own, objects_only)

    def teacher_answers(self, index: int, tokenizer: PreTrainedTokenizerBase) -> tuple[TeacherAnswer, ...] | None:
        source, own = self._find(index)
        return source.teacher_answers(own, tokenizer)

    def open_features(self, encoder: str) -> None:
        for source in self.sources.values():
            source.open_features(encoder)
        self.encoder_key = encoder

    def encoder_features(self, index: int, targets: SceneTargets) -> EncoderFeatures:
        source, own = self._find(index)
        return source.encoder_features(own, targets)

    def _find(self, index: int) -> tuple[TargetSource, int]:
        """Return the source that has a sample, and the sample's index in it."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        source = list(self.sources.values())[number]
        return source, index - int(self._ends[number]) + len(source)
