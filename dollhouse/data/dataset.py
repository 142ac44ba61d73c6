"""The batches of every training step, as a pure function of the recipe and the step's number.

A run that was killed therefore continues with the batches that it would have had, on any number of processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from dollhouse.data.augmentation import change_photos, zoom_in
from dollhouse.data.collator import Batch, collate_batch
from dollhouse.data.config import SamplingConfig
from dollhouse.data.label_renaming import LabelRenaming
from dollhouse.data.object_mentions import MentionFinder
from dollhouse.data.target_cache import Questions
from dollhouse.data.target_source import TargetSource
from dollhouse.data.targets import SceneTargets
from dollhouse.data.tokenization import TokenizedQA, tokenize_questions
from dollhouse.data.view_transforms import flip_horizontally, take_views
from dollhouse.models.dollhouse.configuration import DollhouseConfig

MAX_DRAWS = 100  #: samples loaded in search of one with photos of a batch's shape


class StepDataset(Dataset[Batch]):
    """Map-style dataset of batches; every epoch has its own order of scenes.

    Items ``step * micro_batches`` and following are the micro-batches of ``step``.
    """

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
        self._orders: dict[tuple[int, int], np.ndarray] = {}
        parts, shares = source.parts, sampling.sources
        weights = np.array([len(part.samples) if shares is None else shares.get(part.name, 0) for part in parts])
        #: index of the part that every step draws from
        self.part = np.random.default_rng([seed, 4]).choice(len(parts), sampling.steps, p=weights / weights.sum())
        rename = sampling.rename_labels
        self.renaming = LabelRenaming(tokenizer, config.labels, rename) if rename else None
        self.views, sizes = None, np.full(sampling.steps, sampling.batch_size)
        if sampling.views:  # every step has as many photos
            drawn = np.random.default_rng([seed, 2]).choice(np.asarray(sampling.views), sampling.steps)
            self.views = np.minimum(drawn, np.array([part.views for part in parts])[self.part])
            sizes = np.maximum(sampling.micro_batches, sampling.batch_size * source.data.views // self.views)
        self._starts = np.zeros(sampling.steps, dtype=np.int64)  # among the samples that steps draw of the same part
        for number in range(len(parts)):
            steps = self.part == number
            self._starts[steps] = sizes[steps].cumsum() - sizes[steps]
        self._ends = self._starts + sizes

    def __len__(self) -> int:
        return self.sampling.steps * self.sampling.micro_batches

    def __getitem__(self, item: int) -> Batch:
        sampling = self.sampling
        parts = sampling.micro_batches
        step, part = divmod(item, parts)
        rng = np.random.default_rng([self.seed, step] if parts == 1 else [self.seed, step, part, 5])
        start, size = self._starts[step], self._ends[step] - self._starts[step]
        first, last = start + size * part // parts, start + size * (part + 1) // parts
        targets: list[SceneTargets] = []
        indices: list[int] = []
        questions, label_ids, features = [], [], []
        for position in range(first, last):
            index, scene = self._sample(step, position, targets, indices, rng)
            if self.views is not None:
                scene = take_views(scene, rng.permutation(len(scene.images))[: self.views[step]].tolist())
            flip = sampling.horizontal_flip_prob > 0 and bool(rng.random() < sampling.horizontal_flip_prob)
            targets.append(self._augment(flip_horizontally(scene) if flip else scene, step, position - start))
            words = self._sample_questions(index, scene, rng) if sampling.questions_per_scene else ([], None)
            questions.append(words[0])
            label_ids.append(words[1])
            if sampling.features:
                features.append(self.source.encoder_features(index, scene))
            indices.append(index)
        use_gt_assignment = bool(rng.random() < sampling.gt_assignment_prob)
        batch = collate_batch(
            targets,
            questions,
            self.config,
            use_gt_assignment=use_gt_assignment,
            sample_indices=indices,
            chunks=6 if sampling.objects_only else 3,  # of answers of many lengths
            label_ids=[ids for ids in label_ids if ids is not None],
            features=features,
        )
        if sampling.known_focal_prob:
            given = torch.from_numpy(rng.random(len(targets)) < sampling.known_focal_prob).unsqueeze(1)
            batch.known_focal = torch.where(given & (batch.focal > 0), batch.focal, torch.nan)
        return batch

    def _sample(
        self,
        step: int,
        position: int,
        others: Sequence[SceneTargets],
        indices: Sequence[int],
        rng: np.random.Generator,
    ) -> tuple[int, SceneTargets]:
        """Index and targets of the sample at a position, or of another with photos of the batch's shape.

        Others are drawn at random; where none is found, the batch's first sample is taken again.
        """
        part, views = int(self.part[step]), None if self.views is None else int(self.views[step])
        index, samples = self._sample_index(part, position), self.source.parts[part].samples
        for _ in range(MAX_DRAWS):
            scene = self.source.targets(index, self.sampling.objects_only)
            count = min(len(scene.images), views or len(scene.images))
            if not others or (count, *scene.images.shape[1:]) == others[0].images.shape:
                return index, scene
            index = samples[int(rng.integers(len(samples)))]
        return indices[0], self.source.targets(indices[0], self.sampling.objects_only)

    def _augment(self, scene: SceneTargets, step: int, row: int) -> SceneTargets:
        """Change a scene as the stage's settings allow, with a generator of its own."""
        sampling = self.sampling
        rng = np.random.default_rng([self.seed, step, row, 3])
        if sampling.crop_zoom[1] > 1:
            scene = zoom_in(scene, float(rng.uniform(*sampling.crop_zoom)))
        if rng.random() < sampling.photometric_augmentation:
            scene = change_photos(scene, rng)
        return scene

    def _sample_questions(
        self, index: int, scene: SceneTargets, rng: np.random.Generator
    ) -> tuple[list[TokenizedQA], list[list[int]] | None]:
        """Return a scene's questions, and the ids of its labels' words where some are replaced."""
        questions = self.source.questions(index)
        chosen = self._choose(questions, rng)
        answers = self.source.teacher_answers(index, self.tokenizer)
        pairs = [questions[number][:2] for number in chosen]
        label_ids = None
        if self.renaming is not None:
            words = self.renaming.sample(rng, [question for question, _ in pairs])
            pairs = [(self.renaming.rename(pair[0], words), self.renaming.rename(pair[1], words)) for pair in pairs]
            label_ids = self.renaming.label_ids(words)
        tokenized = tokenize_questions(
            self.tokenizer,
            self.config,
            pairs,
            scene.objects,
            self.finder if label_ids is None or self.finder is None else self.finder.with_labels(label_ids),
            None if answers is None else [answers[number] for number in chosen],
            self.sampling.written_steps,
        )
        return tokenized, label_ids

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

    def _sample_index(self, part: int, position: int) -> int:
        samples = self.source.parts[part].samples
        epoch, offset = divmod(position, len(samples))
        if (part, epoch) not in self._orders:
            self._orders.pop((part, epoch - 1), None)
            self._orders[part, epoch] = np.random.default_rng([self.seed, epoch, part + 1]).permutation(len(samples))
        return samples[int(self._orders[part, epoch][offset])]
