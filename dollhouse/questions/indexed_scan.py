"""What the index stores of one scan, as bytes: views, boxes, overlaps, the check of its poses, answer counts."""

from __future__ import annotations

import importlib
import io
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dollhouse.questions.answer_balance import SceneAnswers
from dollhouse.scenes.pose_checks import check_poses
from dollhouse.scenes.scene import Box, Scene, View, spaced_indices
from dollhouse.scenes.view_sampling import ViewGraph, choose_views, measure_views

_MATRICES = {"intrinsics": 3, "depth_intrinsics": 3, "world_from_camera": 4}
_OPENERS = ("open_image", "open_depth", "open_instances")
_READERS = "dollhouse.scenes."  #: functions that an index may name to open images are those of this package


@dataclass(frozen=True, eq=False)
class IndexedScan:
    """One scan of a data set."""

    scene: Scene  #: with all views, none of which was opened
    graph: ViewGraph | None  #: None where depth or poses are missing
    pose_check: Mapping[str, Any] | None  #: what :func:`check_poses` returned; None without poses

    @classmethod
    def measure(cls, scene: Scene) -> IndexedScan:
        """Measure a scan: reads the depth of its key frames."""
        return cls(scene, measure_views(scene), check_poses(scene) if scene.posed else None)

    def sample(
        self, count: int, draw: int | None = None, allowed: Sequence[int] | None = None, by_overlap: bool = True
    ) -> list[int]:
        """Choose views by overlap, or evenly spaced ones where it is unknown or too few are key frames.

        Args:
            count: how many.
            draw: number of a random sample; None for the best one.
            allowed: views to choose from; None for all.
            by_overlap: False for evenly spaced ones.

        Returns indices of the scene's views, ascending.
        """
        views = list(range(len(self.scene.views))) if allowed is None else list(allowed)
        if len(views) <= count:
            return views
        if by_overlap and self.graph is not None:
            places = np.flatnonzero(np.isin(self.graph.frames, views))
            if len(places) >= count:
                chosen: list[int] = self.graph.frames[choose_views(self.graph, count, places, draw)].tolist()
                return chosen
        if draw is None:
            return [views[index] for index in spaced_indices(len(views), count)]
        shift = np.random.default_rng([draw, len(views)]).random()
        return [views[int((place + shift) * len(views) / count)] for place in range(count)]

    def with_views(self, indices: Sequence[int]) -> Scene:
        """Return the scene with the views of these indices."""
        return replace(self.scene, views=tuple(self.scene.views[index] for index in indices))

    def to_bytes(self, folder: Path) -> bytes:
        """Serialise the scan; paths below ``folder`` are stored relative to it."""
        scene, graph = self.scene, self.graph
        header: dict[str, Any] = {
            "name": scene.name,
            "metric": scene.metric,
            "metadata": dict(scene.metadata),
            "boxes": None if scene.boxes is None else [vars(box) for box in scene.boxes],
            "views": [view.name for view in scene.views],
            "openers": [[_encode(getattr(view, name), folder) for name in _OPENERS] for view in scene.views],
            "pose_check": self.pose_check,
        }
        arrays: dict[str, Any] = {
            name: _stack([getattr(view, name) for view in scene.views], side) for name, side in _MATRICES.items()
        }
        if graph is not None:
            arrays |= {f"graph.{name}": value for name, value in vars(graph).items()}
        text = json.dumps(header, default=_plain).encode()
        np.savez_compressed(buffer := io.BytesIO(), header=np.frombuffer(text, dtype=np.uint8), **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, folder: Path, open_scan: Callable[[], Scene]) -> IndexedScan:
        """Restore a scan in ``folder``; ``open_scan`` opens it where the index cannot open its images by itself."""
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays["header"].tobytes())
        opened = cache(open_scan)
        views = []
        for number, (name, encoded) in enumerate(zip(header["views"], header["openers"], strict=True)):
            known: dict[str, Any] = {key: _known(arrays[key][number]) for key in _MATRICES}
            pairs = zip(_OPENERS, encoded, strict=True)
            openers = {key: _decode(value, folder, opened, number, key) for key, value in pairs}
            views.append(View(name, **known, **openers))
        boxes = None if header["boxes"] is None else tuple(map(_box, header["boxes"]))
        metadata = header["metadata"] | ({"pose_check": header["pose_check"]} if header["pose_check"] else {})
        scene = Scene(header["name"], tuple(views), boxes, header["metric"], metadata)
        graph = {name.partition(".")[2]: value for name, value in arrays.items() if name.startswith("graph.")}
        return cls(scene, ViewGraph(**graph) if graph else None, header["pose_check"])


def answers_to_bytes(answers: Sequence[SceneAnswers]) -> bytes:
    """Serialise counted answers."""
    rows = [[[*each.counts.items()], dict(each.unkeyed), sorted(each.labels), sorted(each.colours)] for each in answers]
    return zlib.compress(json.dumps(rows).encode(), 1)


def answers_from_bytes(content: bytes) -> list[SceneAnswers]:
    """Restore counted answers."""
    return [
        SceneAnswers(
            {tuple(key): row for key, row in counts}, unkeyed, frozenset(labels), frozenset(map(tuple, colours))
        )
        for counts, unkeyed, labels, colours in json.loads(zlib.decompress(content))
    ]


def _encode(opener: Any, folder: Path) -> Any:
    """Describe how to open an image: None for no image, False for a way that cannot be described."""
    if opener is None:
        return None
    if not (isinstance(opener, partial) and isinstance(opener.func, FunctionType)) or opener.keywords:
        return False
    try:
        return [_name(opener.func), *(_encode_value(value, folder) for value in opener.args)]
    except TypeError:
        return False


def _encode_value(value: Any, folder: Path) -> Any:
    """Describe an argument as JSON-able values; TypeError where it cannot be."""
    if isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Path):
        return {"path": value.relative_to(folder).as_posix() if value.is_relative_to(folder) else str(value)}
    if isinstance(value, tuple):
        kind = None if type(value) is tuple else _name(type(value))
        return {"tuple": [_encode_value(item, folder) for item in value], "type": kind}
    raise TypeError


def _name(function: Any) -> str:
    """Return "module:name" of a function or class of the scene readers; TypeError for others."""
    if not function.__module__.startswith(_READERS) or "<" in function.__qualname__:
        raise TypeError
    return f"{function.__module__}:{function.__qualname__}"


def _named(name: str) -> Any:
    module, _, function = name.partition(":")
    if not module.startswith(_READERS):
        raise ValueError(f"{name} reads no images")
    return getattr(importlib.import_module(module), function)


def _decode(encoded: Any, folder: Path, opened: Callable[[], Scene], number: int, name: str) -> Any:
    if encoded is None:
        return None
    if encoded is False:
        return lambda: getattr(opened().views[number], name)()
    return partial(_named(encoded[0]), *(_decode_value(value, folder) for value in encoded[1:]))


def _decode_value(value: Any, folder: Path) -> Any:
    if not isinstance(value, dict):
        return value
    if "path" in value:
        return folder / value["path"]
    items = tuple(_decode_value(item, folder) for item in value["tuple"])
    return items if value["type"] is None else _named(value["type"])(*items)


def _stack(matrices: Sequence[Any], size: int) -> NDArray[np.float64]:
    unknown = np.full((size, size), np.nan)
    return np.array([unknown if matrix is None else matrix for matrix in matrices]).reshape(-1, size, size)


def _known(matrix: NDArray[np.float64]) -> NDArray[np.float64] | None:
    return None if np.isnan(matrix).any() else matrix


def _box(entry: Mapping[str, Any]) -> Box:
    return Box(**{**entry, "center": np.array(entry["center"]), "size": np.array(entry["size"])})


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
