"""What is served of a session: boxes, photos, depth, points, and files for other programs."""

from __future__ import annotations

import io
import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dollhouse.questions.referring import plural
from dollhouse.questions.wording import normalise_question
from dollhouse.scenes.export import boxes_json, gltf, ply
from dollhouse.scenes.export.points import scene_points
from dollhouse.scenes.scene import Box
from dollhouse.serve.limits import RequestError
from dollhouse.serve.scene_memory import EncodedScene
from dollhouse.system.text import printable

if TYPE_CHECKING:
    from dollhouse.inference.session import Answer

_QUALITY = 90
_JUMP = 0.05  # log metres from one pixel to the next
EXPORT_POINTS = 200_000  #: of a PLY or GLB file
FILE_TYPES = {"glb": "model/gltf-binary", "ply": "application/octet-stream", "json": "application/json"}


def describe(scene: EncodedScene, model: str) -> dict[str, Any]:
    """Return what a client needs first of a scene."""
    _, height, width, _ = scene.session.images.shape
    return {
        "id": scene.id,
        "object": "scene",
        "model": model,
        "name": printable(scene.name),
        "views": [printable(view.name) for view in scene.session.scene.views],
        "view_size": [width, height],
        "scale": vars(scene.session.scale),
        "notices": list(scene.notices),
        "boxes": [boxes_json.box_fields(box) for box in scene.session.shown_boxes],
        "cameras": [] if scene.session.blind else _cameras(scene),
    }


def _cameras(scene: EncodedScene) -> list[dict[str, Any]]:
    poses, focals = scene.session.level_from_camera, scene.session.focal
    return [
        {"level_from_camera": np.round(pose, 5).tolist(), "focal_over_width": round(float(focal), 5)}
        for pose, focal in zip(poses, focals, strict=True)
    ]


def answer_fields(scene: EncodedScene, answer: Answer) -> dict[str, Any]:
    """Return an answer with its confidence, and the ids of the boxes that question and answer name."""
    return {
        "object": "answer",
        "scene": scene.id,
        "question": printable(answer.question),
        "text": printable(answer.shown),
        "confidence": round(answer.confidence, 4),
        "unsure": answer.unsure,
        "scale": vars(answer.scale) if answer.scale else None,
        "boxes": named_boxes(
            f"{normalise_question(answer.question)} {answer.shown.lower()}", scene.session.shown_boxes
        ),
    }


def named_boxes(text: str, boxes: tuple[Box, ...]) -> list[int]:
    """Return the ids of boxes whose label stands in a text; of their colour, where that stands before it."""
    found = []
    for label in dict.fromkeys(box.label for box in boxes):
        name = rf"(?:{re.escape(label)}|{re.escape(plural(label))})\b"
        if re.search(rf"\b{name}", text):
            own = [box for box in boxes if box.label == label]
            coloured = [box for box in own if box.colour and re.search(rf"\b{re.escape(box.colour)} {name}", text)]
            found += [box.id for box in coloured or own]
    return found


def photo_jpeg(scene: EncodedScene, view: int) -> bytes:
    """Return a photo as the model gets it."""
    return _encoded(scene.session.images[_index(scene, view)], "JPEG", quality=_QUALITY)


def depth_png(scene: EncodedScene, view: int) -> bytes:
    """Return a depth map as a 16-bit grey PNG in millimetres."""
    depth = scene.session.depth[_index(scene, view)] * 1000
    return _encoded(depth.round().clip(0, 65535).astype(np.uint16), "PNG")


def depth_raw(scene: EncodedScene) -> bytes:
    """Return all depth maps (V, H, W) as little-endian 16-bit floats, metres."""
    return scene.session.depth.astype("<f2").tobytes()


def points_raw(scene: EncodedScene) -> bytes:
    """Return points on surfaces: positions (N, 3) as little-endian 32-bit floats, then colours (N, 3) as bytes."""
    kept = on_surface(scene.session.depth)
    return scene.session.points[kept].astype("<f4").tobytes() + scene.session.images[kept].tobytes()


def on_surface(depth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where depth (V, H, W) does not jump to the next pixel: points in between are on no surface."""
    kept, log = np.ones(depth.shape, bool), np.log(depth)
    for axis in (1, 2):
        smooth = np.abs(np.diff(log, axis=axis)) < _JUMP
        ends = [(0, 0)] * 3
        for ends[axis] in ((0, 1), (1, 0)):
            kept &= np.pad(smooth, ends, constant_values=True)
    return kept


def export(scene: EncodedScene, kind: str, folder: Path) -> bytes:
    """Return the file of a scene for other programs: "glb", "ply" or "json"."""
    from dollhouse.inference.predicted_scene import predicted_scene

    predicted = replace(predicted_scene(scene.session), name=scene.id)  # not that of the upload's folder
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place) / f"scene.{kind}"
        if kind == "json":
            boxes_json.write_boxes(predicted, path)
        else:
            points = scene_points(predicted, EXPORT_POINTS)
            write: Callable[..., None] = gltf.write_glb if kind == "glb" else ply.write_ply
            write(predicted, points, path)
        return path.read_bytes()


def _index(scene: EncodedScene, view: int) -> int:
    if not 1 <= view <= len(scene.session.images):
        raise RequestError(404, f"no view {view}: the scene has {len(scene.session.images)}", "view_not_found", "view")
    return view - 1


def _encoded(pixels: Any, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def event(data: Any) -> bytes:
    """Return a server-sent event."""
    return b"data: " + (data if isinstance(data, str) else json.dumps(data)).encode() + b"\n\n"
