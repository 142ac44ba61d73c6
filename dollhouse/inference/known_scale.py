"""Fix the scale of a session's predictions by a known camera height or length."""

from __future__ import annotations

import logging

import numpy as np

from dollhouse.errors import SceneError
from dollhouse.inference.session import SceneSession
from dollhouse.scenes.scale import KnownScale, Scale

FLOOR_PERCENTILE = 2  #: of the heights of all predicted points; lower ones are noise
MIN_HEIGHT = 0.2  #: metres; a predicted floor closer to the camera is none
MAX_DISAGREEMENT = 0.1


def apply_known_lengths(session: SceneSession, known: KnownScale) -> SceneSession:
    """Rescale a session to a known length, else to a known camera height; unchanged where neither is known.

    Raises SceneError where no floor, or no such object, is predicted.
    """
    factors = {}
    if known.length is not None:
        factors["known length"] = known.length_factor(session.shown_boxes)
    if known.camera_height is not None:
        factors["camera height"] = known.camera_height / camera_height(session)
    if not factors:
        return session
    if len(factors) == 2:
        ratio = factors["camera height"] / factors["known length"]
        if max(ratio, 1 / ratio) > 1 + MAX_DISAGREEMENT:
            logging.getLogger(__name__).warning(
                "the camera height gives lengths %.2f times those that the known length gives; the latter is used",
                ratio,
            )
    source, factor = next(iter(factors.items()))
    return session.rescaled(factor, Scale("metric", source))


def camera_height(session: SceneSession) -> float:
    """Return the predicted height of the first view's camera above the floor; SceneError where none is predicted."""
    height = -float(np.percentile(session.points[..., 2], FLOOR_PERCENTILE))
    if height < MIN_HEIGHT:
        raise SceneError(
            f"scene {session.scene.name}: no floor is predicted below the first camera, so its height fixes no scale; "
            "use photos that show the floor, or give a known length"
        )
    return height
