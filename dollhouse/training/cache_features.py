"""Fill a cache with the frozen encoder's output for every sample of a recipe. A run that was stopped continues."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from dollhouse.data.batch_workers import start_worker
from dollhouse.data.collator import photo_tensor
from dollhouse.data.config import DataConfig
from dollhouse.data.feature_cache import FeatureCache, encode_features
from dollhouse.data.record_dataset import open_target_source
from dollhouse.data.target_source import TargetSource
from dollhouse.errors import DollhouseError, RecipeError, StorageError
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.vggt.convert import load_official
from dollhouse.teachers.annotate import SceneFailure, SceneRun
from dollhouse.training.cacheable_features import feature_faults
from dollhouse.training.config import Recipe
from dollhouse.training.estimate.live_memory import without_memory
from dollhouse.training.frozen_encoder import frozen_encoder_key
from dollhouse.training.model_init import check_encoder, load_initial_student, student_config
from dollhouse.training.recipes import require_filled
from dollhouse.training.stage import use_bfloat16


@dataclass(frozen=True)
class Share:
    """The samples of one source that a run computes."""

    source: TargetSource
    cache: FeatureCache
    missing: list[int]


def cache_features(
    recipe: Recipe,
    out: Path,
    shard: tuple[int, int] = (0, 1),
    on_sample: Callable[[SceneRun], None] | None = None,
) -> SceneRun:
    """Store the encoder's output for all samples of a recipe's data and validation in the folder ``out``.

    Prints the size on disk before anything is computed. Samples that the folder has are not computed again.

    Args:
        shard: (i, n) computes the samples i, i + n, ... only; several may write to one folder.
        on_sample: called after every sample with the results so far.

    Returns the run, with a failure for each sample whose scene has a fault.

    Raises:
        RecipeError: the features of this recipe cannot be cached; says why.
        StorageError: the disk has less free space than is needed.
        SceneError, ModelError: from the recipe's data and weights.
    """
    require_filled(recipe)
    if faults := feature_faults(recipe):
        raise RecipeError(f"recipe {recipe.name}: {faults[0]}")
    check_encoder(recipe)
    model = load_encoder(recipe)
    key = frozen_encoder_key(recipe, model)
    if recipe.student.encoder_weights is not None:
        load_official(model.encoder, recipe.student.encoder_weights, torch.float32)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.encoder.eval().requires_grad_(False).to(device)
    shares = [_share_of(data, model, out, key, shard) for data in _sources(recipe)]
    run = SceneRun(sum(len(range(shard[0], len(each.source), shard[1])) for each in shares))
    run.existing = run.total - sum(len(each.missing) for each in shares)
    _require_space(model, shares, out)
    for share in shares:
        photos_of = _Photos(share.source, share.missing)
        for index, photos in DataLoader(
            photos_of, None, num_workers=recipe.data.workers, collate_fn=tuple, worker_init_fn=start_worker
        ):
            if isinstance(photos, DollhouseError):
                run.failures.append(
                    SceneFailure(
                        f"sample {index} of {share.source.data.records or share.source.data.scenes}", str(photos)
                    )
                )
            else:
                features = None
                if not share.cache.holds(photos):
                    with torch.autocast(device.type, torch.bfloat16, enabled=use_bfloat16(recipe.precision)):
                        features = encode_features(model, photo_tensor(torch.from_numpy(photos[None]).to(device)))
                share.cache.add(index, photos, features)
                run.written += 1
            if on_sample is not None:
                on_sample(run)
    return run


def load_encoder(recipe: Recipe) -> DollhouseForConditionalGeneration:
    """Return a recipe's student with nothing but its encoder; of weights in a file, not even that is loaded yet."""
    if recipe.init_from is not None:
        return load_initial_student(recipe)[0]
    with torch.device("meta"):
        return DollhouseForConditionalGeneration(student_config(recipe))


def _sources(recipe: Recipe) -> list[DataConfig]:
    """Return the sources of a recipe's data and validation."""
    settings = [recipe.data] if recipe.validation is None else [recipe.data, recipe.validation]
    return [source for data in settings for source in data.sources.values() or [data]]


def _share_of(
    data: DataConfig, model: DollhouseForConditionalGeneration, out: Path, key: str, shard: tuple[int, int]
) -> Share:
    source = open_target_source(data, model.config)
    cache = FeatureCache(out, key, model.config.image_size, source.photos_key)
    wanted = range(shard[0], len(source), shard[1])
    return Share(source, cache, [index for index in cache.missing(len(source)) if index in wanted])


def _require_space(model: DollhouseForConditionalGeneration, shares: list[Share], out: Path) -> None:
    """Print the bytes of the missing samples, by the shape of each source's first; raise StorageError for too many."""
    total, count = 0, sum(len(share.missing) for share in shares)
    for share in shares:
        if share.missing:
            views, height, width, channels = share.source.targets(share.missing[0]).images.shape
            fake, blank = without_memory(lambda: DollhouseForConditionalGeneration(model.config))
            with fake:
                features = encode_features(blank, torch.empty(1, views, channels, height, width))
            parts = [features.tokens, *features.embedded, *([] if features.depth is None else [features.depth])]
            total += len(share.missing) * sum(part.nbytes for part in parts)
    existing = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    print(f"features: {count:,} samples to compute, about {_size(total)}; {existing} has {_size(free)} free")
    if total > free:
        raise StorageError(
            f"{out}: the features need about {_size(total)}, and {_size(free)} are free: choose another --out, or "
            "lower data.view_sets, data.views or student.image_size"
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.3g} GB"


class _Photos(Dataset[tuple[int, "NDArray[np.uint8] | DollhouseError"]]):
    """The photos of samples, or why there are none."""

    def __init__(self, source: TargetSource, indices: list[int]) -> None:
        self.source, self.indices = source, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> tuple[int, NDArray[np.uint8] | DollhouseError]:
        index = self.indices[item]
        try:
            return index, self.source.targets(index).images
        except DollhouseError as error:
            return index, error
