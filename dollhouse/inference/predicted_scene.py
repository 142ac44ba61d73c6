"""A session's predictions as a scene: posed views with depth, and boxes."""

from __future__ import annotations

from functools import partial

import numpy as np

from dollhouse.geometry import intrinsics_from_fov
from dollhouse.inference.session import MIN_BOX_SCORE, SceneSession
from dollhouse.scenes.scene import Scene, View

FRAME = "level frame of the first view: origin at its camera, x right, y ahead, z up"


def predicted_scene(session: SceneSession, min_score: float = MIN_BOX_SCORE) -> Scene:
    """Return the photos at the model's size with predicted depth, cameras and boxes of at least ``min_score``.

    Raises:
        ModelError: the student is blind.
    """
    cameras = zip(
        session.scene.views, session.images, session.depth, session.focal, session.level_from_camera, strict=True
    )
    views = []
    for view, image, depth, focal, pose in cameras:
        intrinsics = intrinsics_from_fov(2 * np.arctan(0.5 / focal), image.shape[1], image.shape[0])
        views.append(View(view.name, partial(np.asarray, image), intrinsics, pose, partial(np.asarray, depth)))
    boxes = tuple(box for box in session.boxes if (box.score or 0.0) >= min_score)
    metadata = {
        "source": session.scene.metadata.get("source"),
        "kind": f"predicted by {session.pipeline.model_id}",
        "frame": FRAME,
        "units": "m",
        "scale_source": session.scale.source,
    }
    return Scene(session.scene.name, tuple(views), boxes, metric=session.scale.kind == "metric", metadata=metadata)
