"""Annotate real RGB-D captures twice, with their sensor and from their photos alone, and compare the boxes.

    python -m examples.real_rooms --weights WEIGHTS --out OUT CAPTURE...

Writes to OUT for each capture two saved scenes, ``comparison.png``, and ``comparison.json``: distances of the centres
after an upright rigid alignment of the cameras (and one with scale), and counts by label.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from dollhouse.scenes.labels import LabelMap
from dollhouse.scenes.open import open_scene
from dollhouse.scenes.plan import draw_plan
from dollhouse.scenes.readers.saved import save_scene
from dollhouse.scenes.scene import Box, Scene
from dollhouse.scenes.visualize import save_page
from dollhouse.teachers.detection import Detections
from dollhouse.teachers.lifting import LiftSettings
from dollhouse.teachers.scene_boxes import annotate_scene
from examples import committee, matching

COUNTED = ("chair", "table", "sofa", "plant", "monitor")
_COUNTED = LabelMap(COUNTED, {"monitor": ["television"]})


def photos_alone(scene: Scene) -> Scene:
    """Return a scene without depth, poses and intrinsics."""
    views = (
        replace(v, intrinsics=None, world_from_camera=None, open_depth=None, depth_intrinsics=None) for v in scene.views
    )
    return replace(scene, views=tuple(views), boxes=None, metadata={})


def alignment(first: Scene, second: Scene, with_scale: bool) -> tuple[np.ndarray, float]:
    """Return ``first_from_second`` (4, 4), upright, fitted to the cameras of the same photos, and the scale."""
    a, b = (np.stack([np.asarray(view.world_from_camera) for view in scene.views]) for scene in (first, second))
    turns = a[:, :3, :3] @ b[:, :3, :3].transpose(0, 2, 1)
    turn = np.arctan2((turns[:, 1, 0] - turns[:, 0, 1]).sum(), (turns[:, 0, 0] + turns[:, 1, 1]).sum())
    scale = 1.0
    if with_scale:
        depths = [
            (np.median(v.depth[v.depth > 0]), np.median(w.depth[w.depth > 0]))
            for v, w in zip(first.views, second.views, strict=True)
        ]
        scale = float(np.median([x / y for x, y in depths]))
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    pose[:3, 3] = np.median(a[:, :3, 3] - scale * b[:, :3, 3] @ pose[:3, :3].T, axis=0)
    return pose, scale


def moved(boxes: tuple[Box, ...], pose: np.ndarray, scale: float) -> list[Box]:
    scaled = (replace(box, center=scale * np.asarray(box.center), size=scale * np.asarray(box.size)) for box in boxes)
    return [box.transformed(pose) for box in scaled]


def centre_distances(first: list[Box], second: list[Box]) -> list[float]:
    """Match boxes of similar labels greedily by distance of their centres, up to 1.5 m."""
    names = [[_COUNTED.map(box.label) or box.label for box in boxes] for boxes in (first, second)]
    pairs = sorted(
        (float(np.linalg.norm(a.center - b.center)), i, j)
        for i, a in enumerate(first)
        for j, b in enumerate(second)
        if names[0][i] == names[1][j]
    )
    used: tuple[set[int], set[int]] = set(), set()
    distances = []
    for distance, i, j in pairs:
        if distance < 1.5 and i not in used[0] and j not in used[1]:
            used[0].add(i)
            used[1].add(j)
            distances.append(distance)
    return distances


def counts(boxes: list[Box]) -> dict[str, int]:
    found = Counter(label for box in boxes if (label := _COUNTED.map(box.label)))
    return {label: found[label] for label in COUNTED}


def compare(path: Path, weights: Path, out: Path, views: int, min_score: float) -> dict:
    scene = replace(open_scene(path, frames=views), boxes=None)
    cached: dict[bytes, Detections] = {}

    def detect(image: np.ndarray) -> Detections:
        key = image.tobytes()
        if key not in cached:
            cached[key] = committee.detect(image, str(weights))
        return cached[key]

    settings = partial(LiftSettings, min_score=min_score, min_views=2)
    sensor = annotate_scene(scene, detect, settings=settings(margin=0.06, trim=2))
    depth = partial(committee.depth, weights=str(weights))
    cameras = partial(matching.cameras, weights=str(weights / "xfeat.onnx"))
    photos = annotate_scene(photos_alone(scene), detect, depth, cameras, settings(margin=0.25, trim=4))
    report: dict = {"scene": scene.name, "views": len(scene.views)}
    for name, with_scale in (("rigid", False), ("with scale", True)):
        pose, scale = alignment(sensor, photos, with_scale)
        boxes = moved(photos.boxes or (), pose, scale)
        distances = centre_distances(list(sensor.boxes or ()), boxes)
        centres = [
            float(
                np.linalg.norm(
                    (pose @ [*(scale * np.asarray(w.world_from_camera)[:3, 3]), 1])[:3]
                    - np.asarray(v.world_from_camera)[:3, 3]
                )
            )
            for v, w in zip(sensor.views, photos.views, strict=True)
        ]
        report[name] = {
            "scale": round(scale, 3),
            "matched": len(distances),
            "centres_median_m": round(float(np.median(distances)), 3) if distances else None,
            "cameras_median_m": round(float(np.median(centres)), 3),
        }
        if not with_scale:
            poses = [np.asarray(view.world_from_camera) for view in sensor.views]
            plan = draw_plan(sensor.boxes or (), poses, predicted=boxes, side=1000)
    report["boxes"] = {"sensor": len(sensor.boxes or ()), "photos": len(photos.boxes or ())}
    report["counts"] = {"sensor": counts(list(sensor.boxes or ())), "photos": counts(list(photos.boxes or ()))}
    folder = out / path.name
    folder.mkdir(parents=True, exist_ok=True)
    save_page(f"{scene.name}: sensor depth and poses; dashed: photos alone", [plan], folder / "comparison.png")
    for name, annotated in (("sensor", sensor), ("photos", photos)):
        save_scene(replace(annotated, name=f"{path.name}_{name}"), folder / name)
    (folder / "comparison.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", nargs="+", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--views", type=int, default=24)
    parser.add_argument("--min-score", type=float, default=0.15)
    given = parser.parse_args()
    for path in given.captures:
        print(json.dumps(compare(path, given.weights, given.out, given.views, given.min_score)))


if __name__ == "__main__":
    main()
