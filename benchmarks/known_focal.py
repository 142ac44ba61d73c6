"""Errors of the shipped student without and with a known focal length, camera height or length.

    python -m benchmarks.known_focal [--scans SCAN ...]

Gives the figures of docs/guides/ask.md. Rooms are rendered at other focal lengths than those of training; scans
are posed and have depth, and of those with more than 20 frames overlapping windows of four are used.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from dollhouse.evaluation.metrics.depth import scene_errors
from dollhouse.evaluation.metrics.spatial import distance_in_metres
from dollhouse.geometry import intrinsics_from_fov
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.inference.session import MIN_BOX_SCORE, SceneSession
from dollhouse.questions.generate import generate_questions
from dollhouse.scenes.open import open_scene
from dollhouse.scenes.scale import KnownScale
from dollhouse.scenes.scene import Scene
from dollhouse.scenes.synthetic.meshes import room_meshes
from dollhouse.scenes.synthetic.room_scene import render_views, room_layout, room_scene
from dollhouse.scenes.view_preprocessing import preprocess_view

DEPTH_FOCALS, QUESTION_FOCALS = (0.5, 0.7, 1.0, 1.4), (0.5, 0.6, 0.85, 1.0, 1.4)  #: over the photo's width
DEPTH_ROOMS, QUESTION_ROOMS, LENGTH_ROOMS = 12, 16, 30  #: of the test split
VIEWS = 4
TOLERANCE = 0.25  #: of a distance, relative


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scans", nargs="*", type=Path, default=[], help="posed scans with depth")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = DollhousePipeline.from_pretrained()
    print("| scenes | focal length | depth error without | with |\n|---|---|---|---|")
    for focal in DEPTH_FOCALS:
        rooms = (_room(number, focal) for number in range(DEPTH_ROOMS))
        _print_depth(pipeline, f"{DEPTH_ROOMS} synthetic rooms", rooms, str(focal))
    for path in options.scans:
        _print_depth(pipeline, path.name, _windows(open_scene(path)), "exif")
    right, total = _distances(pipeline)
    print(f"\ndistances from the camera within {TOLERANCE:.0%}: {right[0]} without, {right[1]} with, of {total}")
    for name, (count, without, error, factor) in _lengths(pipeline).items():
        print(f"{name}, {count} rooms: depth error {without:.3f} without, {error:.3f} with; factor off by {factor:.1%}")


def _room(number: int, focal: float) -> Scene:
    """Return a room with its usual poses and another focal length."""
    scene, layout = room_scene("test", number), room_layout("test", number)
    poses = np.array([view.world_from_camera for view in scene.views])
    size = scene.views[0].image.shape[0]
    intrinsics = intrinsics_from_fov(2 * np.arctan(0.5 / focal), size, size)
    return replace(scene, views=render_views(partial(room_meshes, layout), layout, poses, intrinsics, size))


def _windows(scene: Scene) -> Iterator[Scene]:
    """Yield samples of a scan: five, each two frames later, of a scan that is long enough."""
    length = len(scene.views)
    shifts = range(0, 10, 2) if length > 20 else [0]
    for shift in shifts:
        places = np.linspace(0, length - 1 - (9 if len(shifts) > 1 else 0), VIEWS).round().astype(int) + shift
        yield replace(scene, views=tuple(scene.views[place] for place in places))


def _depth_error(session: SceneSession) -> float:
    """Return AbsRel, averaged over the views."""
    views = [preprocess_view(view, session.pipeline.image_size) for view in session.scene.views]
    truth = np.array([view.depth for view in views])
    return float(np.mean([errors["abs_rel"] for errors in scene_errors(session.depth, truth, "none")]))


def _print_depth(pipeline: DollhousePipeline, name: str, scenes: Iterable[Scene], focal: str) -> None:
    errors, focals = [], []
    for scene in scenes:
        sessions = [pipeline.encode_scene(scene, known=known) for known in (KnownScale(), KnownScale(focal=focal))]
        errors.append([_depth_error(session) for session in sessions])
        focals.append(sessions[1].focal.mean())
    without, known = np.mean(errors, axis=0)
    print(f"| {name}, {VIEWS * len(errors)} views | {np.mean(focals):.2f} | {without:.3f} | {known:.3f} |", flush=True)


def _distances(pipeline: DollhousePipeline) -> tuple[list[int], int]:
    """Count right answers to "how far is A from the camera?" without and with the focal length, and all of them."""
    right, total = [0, 0], 0
    for focal in QUESTION_FOCALS:
        for number in range(QUESTION_ROOMS):
            scene = _room(number, focal)
            questions = [q for q in generate_questions(scene, limit=40) if q.form == "distance.camera"]
            total += len(questions)
            for place, known in enumerate((KnownScale(), KnownScale(focal=focal))):
                session = pipeline.encode_scene(scene, known=known)
                answers = [answer.text for answer in session.answer([question.text for question in questions])]
                for question, answer in zip(questions, answers, strict=True):
                    truth, metres = distance_in_metres(question.answer), distance_in_metres(answer)
                    right[place] += bool(truth and abs((metres or 0.0) - truth) <= TOLERANCE * truth)
    return right, total


def _lengths(pipeline: DollhousePipeline) -> dict[str, tuple[float, ...]]:
    """Return rooms, depth error without and with, and size of the log factor, for a known camera height and length."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for number in range(LENGTH_ROOMS):
        scene = room_scene("test", number)
        usual = pipeline.encode_scene(scene)
        known = {"camera height": KnownScale(camera_height=float(np.array(scene.views[0].world_from_camera)[2, 3]))}
        true = {box.label: box for box in scene.boxes or ()}
        single = [label for label in true if sum(box.label == label for box in scene.boxes or ()) == 1]
        best = next((box for box in usual.boxes if (box.score or 0) >= MIN_BOX_SCORE and box.label in single), None)
        if best is not None:
            known["length"] = KnownScale(length=f"{best.label}={max(true[best.label].size[:2]):.4f}")
        for name, scale in known.items():
            session = pipeline.encode_scene(scene, known=scale)
            errors = _depth_error(usual), _depth_error(session)
            rows.setdefault(name, []).append((*errors, abs(float(np.log(session.scale_factor)))))
    return {name: (len(values), *np.mean(values, axis=0)) for name, values in rows.items()}


if __name__ == "__main__":
    main()
