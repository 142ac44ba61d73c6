"""Why a recipe cannot take its encoder's output from a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dollhouse.training.config import Recipe, StageConfig


def feature_faults(recipe: Recipe) -> list[str]:
    """Return what keeps the encoder's output for each sample from being computed once; [] for nothing."""
    faults = []
    if recipe.student.blind:
        faults.append("a blind student has no encoder")
    if recipe.use_rgbd:
        faults.append("use_rgbd adds depth to the encoder's input, by a module that is trained")
    if "encoder" in recipe.reinit:
        faults.append("reinit gives the encoder random weights: take encoder out")
    for name, stage in recipe.stages.items():
        if "encoder" in stage.train:
            faults.append(f"stage {name} trains the encoder, whose output then changes: take encoder out of its train")
        if changes := _changes_of_photos(stage):
            faults.append(f"stage {name} changes the photos by {', '.join(changes)}: take out")
    return faults


def _changes_of_photos(stage: StageConfig) -> list[str]:
    given = {
        "horizontal_flip_prob": stage.horizontal_flip_prob > 0,
        "photometric_augmentation": stage.photometric_augmentation > 0,
        "crop_zoom": stage.crop_zoom[1] > 1,
        "views": stage.views is not None,
    }
    return [name for name, changed in given.items() if changed]
