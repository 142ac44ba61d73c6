"""Depth on posed RGB-D captures of real places: in metres, aligned, beside constants and another estimator.

    python -m benchmarks.real_depth [--model MODEL] [--depth examples.committee:depth --teacher-arg weights=FOLDER]
        [--trained-on NAME ...] [--out FILE.json] CAPTURE ...

Every figure is AbsRel: the mean over valid pixels of a photo, then over photos, then over places. ``aligned`` scales
each photo by the ratio of the medians. Photos are encoded alone, and (``sets``) in sets of neighbouring frames.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from dollhouse.errors import SceneError
from dollhouse.evaluation.metrics.depth import align_depth, valid_depth, view_errors
from dollhouse.geometry import Array
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.scenes.open import open_scene
from dollhouse.scenes.scale import NOTHING_KNOWN, KnownScale
from dollhouse.scenes.scene import Scene, View
from dollhouse.scenes.view_preprocessing import preprocess_view
from dollhouse.teachers.detection import DepthEstimator, open_function
from dollhouse.teachers.registry import parse_teacher_args

PHOTOS = 24  #: of a place, evenly spread
CONSTANT = 2.0  #: metres
FARTHEST = 10.0  #: metres; sensors give no depth beyond


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("captures", nargs="+", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--depth", help="MODULE:FUNCTION of another estimator")
    parser.add_argument("--teacher-arg", action="append", default=[], help="KEY=VALUE of that function")
    parser.add_argument("--trained-on", nargs="*", default=[], help="names of captures that the model was trained on")
    parser.add_argument("--set", type=int, default=4, help="photos of a set")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = DollhousePipeline.from_pretrained(given.model)
    estimator = open_function(given.depth, parse_teacher_args(given.teacher_arg)) if given.depth else None
    places = {}
    for path in given.captures:
        places[path.name] = measure(pipeline, open_scene(path), estimator, given.set)
        print(row(path.name, places[path.name]), flush=True)
    names = {
        "mean of places trained on": [name for name in places if name in given.trained_on],
        "mean of places not trained on": [name for name in places if name not in given.trained_on],
    }
    means = {title: mean([places[name] for name in chosen]) for title, chosen in names.items() if chosen}
    report = {"model": pipeline.model_id, "trained_on": given.trained_on, "places": places, "means": means}
    print("\n| AbsRel | " + " | ".join(next(iter(places.values()))) + " |")
    print("|---" * (1 + len(next(iter(places.values())))) + "|")
    for title, figures in {**places, **means}.items():
        print("| " + row(title, figures) + " |")
    if given.out:
        given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def row(name: str, figures: Mapping[str, float]) -> str:
    return " | ".join(
        [name, *(f"{value:.3f}" if isinstance(value, float) else str(value) for value in figures.values())]
    )


def mean(places: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average figures over places; numbers of photos are summed."""
    return {
        name: sum(place[name] for place in places)
        if isinstance(value, int)
        else float(np.mean([p[name] for p in places]))
        for name, value in places[0].items()
    }


def measure(
    pipeline: DollhousePipeline, scene: Scene, estimator: DepthEstimator | None, size_of_set: int
) -> dict[str, float]:
    """Return the figures of one place."""
    if not scene.metric or not scene.has_depth or any(view.intrinsics is None for view in scene.views):
        raise SceneError(f"scene {scene.name}: it has no depth in metres or no intrinsics; give a posed RGB-D capture")
    places = np.linspace(0, len(scene.views) - 1, min(PHOTOS, len(scene.views))).round().astype(int)
    errors: dict[str, list[float]] = {}

    def add(name: str, predicted: Array, truth: Array) -> None:
        errors.setdefault(name, []).append(view_errors(predicted, truth)["abs_rel"])

    for place in places:
        view = scene.views[place]
        truth = true_depth(view, pipeline.image_size)
        if not valid_depth(truth).any():
            continue
        photo = replace(scene, views=(view,), boxes=None)
        for name, known in (("known focal", KnownScale(focal="exif")), ("predicted focal", NOTHING_KNOWN)):
            depth = pipeline.encode_scene(photo, known=known).depth[0]
            add(f"{name}, m", depth, truth)
            if known is NOTHING_KNOWN:
                add("aligned", aligned(depth, truth), truth)
        add("2 m everywhere", np.full_like(truth, CONSTANT), truth)
        add("constant, aligned", np.full_like(truth, np.median(truth[valid_depth(truth)])), truth)
        if estimator is not None:
            guess = partial(np.asarray, estimator(view.image), dtype=np.float32)
            other = preprocess_view(replace(view, open_depth=guess, depth_intrinsics=None), pipeline.image_size).depth
            add("other, m", other, truth)
            add("other, aligned", aligned(other, truth), truth)
    for views in sets(scene, size_of_set):
        truths = [true_depth(view, pipeline.image_size) for view in views]
        session = pipeline.encode_scene(replace(scene, views=views, boxes=None), len(views), known=KnownScale("exif"))
        for depth, truth in zip(session.depth, truths, strict=True):
            if valid_depth(truth).any():
                add("sets, known focal, m", depth, truth)
                add("sets, aligned", aligned(depth, truth), truth)
    return {"photos": len(errors["aligned"])} | {name: float(np.mean(values)) for name, values in errors.items()}


def true_depth(view: View, size: int) -> Array:
    """Return sensor depth (H, W) on the model's grid, 0 where unknown."""
    depth = preprocess_view(view, size).depth
    if depth is None:
        raise SceneError(f"photo {view.name}: it has no depth")
    return np.where(depth <= FARTHEST, depth, 0.0)


def aligned(depth: Array, truth: Array) -> Array:
    return align_depth(depth[None], truth[None], "median")[0]


def sets(scene: Scene, size: int) -> Iterator[tuple[View, ...]]:
    """Yield sets of neighbours among the photos that are measured."""
    places = np.linspace(0, len(scene.views) - 1, min(PHOTOS, len(scene.views))).round().astype(int)
    for start in range(0, len(places) - size + 1, size):
        yield tuple(scene.views[place] for place in places[start : start + size])


if __name__ == "__main__":
    main()
