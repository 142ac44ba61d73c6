"""Open the scenes, videos and pictures of a benchmark with the frames of its definition."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dollhouse.errors import SceneError
from dollhouse.evaluation.benchmarks.benchmark import Benchmark
from dollhouse.scenes.open import open_scene
from dollhouse.scenes.readers.reader import VIDEO_SUFFIXES
from dollhouse.scenes.scene import Scene

EVERY_TENTH = 10  #: of a scan's frames, as LLaVA-3D exports them


def media_path(root: Path, scene: str, media: Sequence[str]) -> Path:
    """Return the path of a scene's folder, video or picture; raises SceneError for one outside ``root``.

    Without media it is that of the scene's name, in the folders ``rooms`` or ``photos`` (a JPEG) of ``root``, else in
    ``root``.
    """
    names = media[:1] or (f"rooms/{scene}", f"photos/{scene}.jpg", scene)
    path = next((path for name in names if (path := root / name).exists()), root / names[-1])
    if not os.path.abspath(path).startswith(os.path.abspath(root) + os.sep):
        raise SceneError(f"{path}: leads out of {root}; the annotations are not to be trusted")
    return path


def open_benchmark_scene(benchmark: Benchmark, path: Path) -> Scene:
    """Open a scene with the frames that the benchmark selects."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return open_scene(path, frames=benchmark.frames.count)
    scene = open_scene(path)
    tenth = [view for view in scene.views if view.name.isdecimal() and int(view.name) % EVERY_TENTH == 0]
    # Folders that were exported with every tenth frame only are numbered consecutively.
    views = tenth if len(tenth) >= (benchmark.frames.count or 1) else list(scene.views)
    return replace(scene, views=tuple(views[place] for place in benchmark.frames.choose(len(views))))
