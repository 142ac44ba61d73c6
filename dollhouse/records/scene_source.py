"""Where the scenes of records lie, now and when they were recorded, and views that read each image once."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

from dollhouse.errors import SceneError
from dollhouse.records.content_hash import image_hash
from dollhouse.records.index import RecordEntry
from dollhouse.scenes.open import SceneList, is_there
from dollhouse.scenes.scene import Scene, View
from dollhouse.system.text import storable

MAX_CACHED_VIEWS = 64  #: scenes with more views are not cached, since they might not fit into memory
_ROOM = re.compile(r"(?:rooms|homes):\w+/[0-9]+")


def scene_sources(scenes: SceneList, source: str) -> list[str]:
    """Return what opens each scene of ``open_scenes(source)``: ``rooms:train/5``, or an absolute path."""
    kind, colon, _ = source.partition("/")
    return [f"{kind}{colon}{key}" if isinstance(key, int) else os.path.abspath(key) for key in scenes.keys]


def find_source(source: str, records: Path) -> str:
    """Return what opens the scene that was recorded as ``source``, from any working folder.

    A path that is no longer there is looked for under the folders that hold ``records``, and under the working folder:
    records and scenes that moved together are found. Raises SceneError where there is none.
    """
    if _ROOM.fullmatch(source) or is_there(Path(source)):
        return source
    parts = _parts(source)
    for folder in [*records.resolve().parents, Path.cwd()]:
        for start in range(len(parts)):
            if is_there(path := folder.joinpath(*parts[start:])):
                return str(path)
    raise SceneError(
        f"{source}: the scene of a record is not there any more; give its folder now as data.scenes=FOLDER"
    )


def match_scenes(rows: Sequence[RecordEntry], scenes: SceneList, source: str) -> dict[str, str]:
    """Match records with ``scenes = open_scenes(source)``; return what opens the scene of each, by its id.

    A scene is known by its recorded source, or by the name of its folder if no other record has that, or by the photo
    of a record's first view. Records about other scenes are left out.
    """
    sources = scene_sources(scenes, source)
    by_source = {storable(where): where for where in sources}
    matched = {row.id: by_source[where] for row in rows if (where := _recorded_path(row.source)) in by_source}
    rows = [row for row in rows if row.id not in matched and not _ROOM.fullmatch(row.source)]
    if not rows or any(isinstance(key, int) for key in scenes.keys):
        return matched
    paths, recorded = defaultdict(list), defaultdict(set)
    for path in sources:
        paths[Path(path).name].append(path)
    for row in rows:
        recorded[_name(row.source)].add(row.source)
    for row in rows:
        if len(paths[_name(row.source)]) == len(recorded[_name(row.source)]) == 1:
            matched[row.id] = paths[_name(row.source)][0]
    rows = [row for row in rows if row.id not in matched and row.image_hash]
    names = {row.view_names[0] for row in rows}
    by_hash: dict[str, str] = {}
    taken = set(matched.values())
    for number, path in enumerate(sources if rows else ()):
        if path not in taken:
            with suppress(SceneError):  # what cannot be opened is no record's scene
                by_hash |= {image_hash(view): path for view in scenes[number].views if view.name in names}
    found = {row.id: by_hash.get(row.image_hash or "") for row in rows}
    return matched | {id: path for id, path in found.items() if path is not None}


def cache_views(scene: Scene) -> Scene:
    """Return the scene with every image, depth map and instance map read at most once."""
    return scene if len(scene.views) > MAX_CACHED_VIEWS else replace(scene, views=tuple(map(_cached, scene.views)))


def _recorded_path(source: str) -> str:
    """Return the source of a record as it is looked for; older records have relative paths."""
    return source if _ROOM.fullmatch(source) else os.path.abspath(source)


def _parts(source: str) -> list[str]:
    """Split a path, of this or another operating system, into names."""
    return [part for part in re.split(r"[\\/]+", source) if part not in ("", ".", "..") and not part.endswith(":")]


def _name(source: str) -> str:
    return ["", *_parts(source)][-1]


def _cached(view: View) -> View:
    return replace(
        view,
        open_image=cache(view.open_image),
        open_depth=cache(view.open_depth) if view.open_depth else None,
        open_instances=cache(view.open_instances) if view.open_instances else None,
    )
