"""The batch of every training step, as a pure function of the recipe and the step's number.

A run that was killed therefore continues with the batches that it would have had.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from dollhouse.data.augmentation import change_photos, zoom_in
from dollhouse.data.collator import Batch, collate_batch
from dollhouse.data.config import SamplingConfig
from dollhouse.data.object_mentions import MentionFinder
from dollhouse.data.target_cache import Questions
from dollhouse.data.target_source import TargetSource
from dollhouse.data.targets import SceneTargets, flip_horizontally
from dollhouse.data.tokenization import TokenizedQA, tokenize_questions
from dollhouse.models.dollhouse.configuration import DollhouseConfig


class StepDataset(Dataset[Batch]):
    """Map-style dataset whose item ``step`` is the batch of that step; every epoch has its own order of scenes."""

    def __init__(
        self,
        source: TargetSource,
        sampling: SamplingConfig,
        seed: int,
        tokenizer: PreTrainedTokenizerBase,
        config: DollhouseConfig,
    ) -> None:
        self.source = source
        self.sampling = sampling
        self.seed = seed
        self.tokenizer = tokenizer
        self.config = config
        self.finder = MentionFinder(tokenizer, config) if sampling.with_mentions else None
        self._orders: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self.sampling.steps

    def __getitem__(self, step: int) -> Batch:
        sampling = self.sampling
        rng = np.random.default_rng([self.seed, step])
        targets: list[SceneTargets] = []
        questions, indices = [], []
        for position in range(step * sampling.batch_size, (step + 1) * sampling.batch_size):
            index = self._sample_index(position)
            scene = self.source.targets(index)
            flip = sampling.horizontal_flip_prob > 0 and bool(rng.random() < sampling.horizontal_flip_prob)
            targets.append(self._augment(flip_horizontally(scene) if flip else scene, step, len(targets)))
            questions.append(self._sample_questions(index, scene, rng) if sampling.questions_per_scene else [])
            indices.append(index)
        use_gt_assignment = bool(rng.random() < sampling.gt_assignment_prob)
        return collate_batch(
            targets, questions, self.config, use_gt_assignment=use_gt_assignment, sample_indices=indices
        )

    def _augment(self, scene: SceneTargets, step: int, row: int) -> SceneTargets:
        """Change a scene as the stage's settings allow, with a generator of its own."""
        sampling = self.sampling
        rng = np.random.default_rng([self.seed, step, row, 3])
        if sampling.crop_zoom[1] > 1:
            scene = zoom_in(scene, float(rng.uniform(*sampling.crop_zoom)))
        if rng.random() < sampling.photometric_augmentation:
            scene = change_photos(scene, rng)
        return scene

    def _sample_questions(self, index: int, scene: SceneTargets, rng: np.random.Generator) -> list[TokenizedQA]:
        questions = self.source.questions(index)
        chosen = self._choose(questions, rng)
        answers = self.source.teacher_answers(index, self.tokenizer)
        return tokenize_questions(
            self.tokenizer,
            self.config,
            [questions[number][:2] for number in chosen],
            scene.objects,
            self.finder,
            None if answers is None else [answers[number] for number in chosen],
        )

    def _choose(self, questions: Questions, rng: np.random.Generator) -> list[int]:
        """Numbers of sampled questions, weighted by family where the stage gives weights."""
        families = self.sampling.families
        numbers = [number for number, row in enumerate(questions) if families is None or row[2] in families]
        weights = np.ones(len(numbers))
        if isinstance(families, Mapping):
            available = Counter(questions[number][2] for number in numbers)
            weights = np.array([families[questions[n][2]] / available[questions[n][2]] for n in numbers])
        count = min(self.sampling.questions_per_scene, int((weights > 0).sum()))
        if not count:
            return []
        chosen = rng.choice(len(numbers), count, replace=False, p=weights / weights.sum())
        return [numbers[i] for i in chosen]

    def _sample_index(self, position: int) -> int:
        epoch, offset = divmod(position, len(self.source))
        if epoch not in self._orders:
            self._orders = {epoch: np.random.default_rng([self.seed, epoch, 1]).permutation(len(self.source))}
        return int(self._orders[epoch][offset])
