"""Names by which the scenes of records are opened again, and views that read each image once."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from dollhouse.scenes.open import SceneList
from dollhouse.scenes.scene import Scene, View

MAX_CACHED_VIEWS = 64  #: scenes with more views are not cached, since they might not fit into memory


def scene_sources(scenes: SceneList, source: str) -> list[str]:
    """Return the name or path that opens each scene of ``open_scenes(source)``, such as ``rooms:train/5``."""
    kind, colon, _ = source.partition("/")
    return [f"{kind}{colon}{key}" if isinstance(key, int) else str(key) for key in scenes.keys]


def cache_views(scene: Scene) -> Scene:
    """Return the scene with every image, depth map and instance map read at most once."""
    return scene if len(scene.views) > MAX_CACHED_VIEWS else replace(scene, views=tuple(map(_cached, scene.views)))


def _cached(view: View) -> View:
    return replace(
        view,
        open_image=cache(view.open_image),
        open_depth=cache(view.open_depth) if view.open_depth else None,
        open_instances=cache(view.open_instances) if view.open_instances else None,
    )
