"""A session's predictions as a scene: posed views with depth, and boxes."""

from __future__ import annotations

from functools import partial

import numpy as np

from dollhouse.geometry import intrinsics_from_fov
from dollhouse.inference.session import SceneSession
from dollhouse.scenes.scene import Scene, View

FRAME = "level frame of the first view: origin at its camera, x right, y ahead, z up"


def predicted_scene(session: SceneSession) -> Scene:
    """Return the photos at the model's size with predicted depth, cameras, and the boxes that users are shown.

    Raises ModelError where the student is blind.
    """
    cameras = zip(
        session.scene.views, session.images, session.depth, session.focal, session.level_from_camera, strict=True
    )
    views = []
    for view, image, depth, focal, pose in cameras:
        intrinsics = intrinsics_from_fov(2 * np.arctan(0.5 / focal), image.shape[1], image.shape[0])
        views.append(View(view.name, partial(np.asarray, image), intrinsics, pose, partial(np.asarray, depth)))
    metadata = {
        "source": session.scene.metadata.get("source"),
        "kind": f"predicted by {session.pipeline.model_id}",
        "frame": FRAME,
        "units": "m",
        "scale_source": session.scale.source,
    }
    metric = session.scale.kind == "metric"
    return Scene(session.scene.name, tuple(views), session.shown_boxes, metric, metadata)
