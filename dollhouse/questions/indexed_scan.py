"""What the index stores of one scan, as bytes: views, boxes, overlaps, the check of its poses, answer counts."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.questions.answer_balance import SceneAnswers
from dollhouse.scenes.opener_codec import OpenerDecoder, OpenerEncoder
from dollhouse.scenes.pose_checks import check_poses
from dollhouse.scenes.scene import Box, Scene, View, spaced_indices
from dollhouse.scenes.view_sampling import ViewGraph, choose_views, measure_views
from dollhouse.system.read_files import decode_json, read_npz

_MATRICES = {"intrinsics": 3, "depth_intrinsics": 3, "world_from_camera": 4}
_OPENERS = ("open_image", "open_depth", "open_instances")


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
        return [views[place] for place in spaced_sample(len(views), count, draw)]

    def with_views(self, indices: Sequence[int]) -> Scene:
        """Return the scene with the views of these indices."""
        return replace(self.scene, views=tuple(self.scene.views[index] for index in indices))

    def to_bytes(self, folder: Path) -> bytes:
        """Serialise the scan; paths below ``folder`` are stored relative to it."""
        scene, graph, encoder = self.scene, self.graph, OpenerEncoder(folder)
        header: dict[str, Any] = {
            "name": scene.name,
            "metric": scene.metric,
            "metadata": dict(scene.metadata),
            "boxes": None if scene.boxes is None else [vars(box) for box in scene.boxes],
            "views": [view.name for view in scene.views],
            "openers": [[encoder.encode(getattr(view, name)) for name in _OPENERS] for view in scene.views],
            "shared": encoder.shared,
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
        arrays = read_npz(content, f"the index of {folder}", SceneError, "delete the index")
        header = decode_json(arrays["header"].tobytes(), any_names=True)
        opened, decoder = cache(open_scan), OpenerDecoder(folder, header["shared"])
        views = []
        for number, (name, encoded) in enumerate(zip(header["views"], header["openers"], strict=True)):
            known: dict[str, Any] = {key: _known(arrays[key][number]) for key in _MATRICES}
            openers: dict[str, Any] = {
                key: partial(_open_in, opened, number, key) if entry is False else decoder.opener(entry)
                for key, entry in zip(_OPENERS, encoded, strict=True)
            }
            views.append(View(name, **known, **openers))
        boxes = None if header["boxes"] is None else tuple(map(Box.from_fields, header["boxes"]))
        metadata = header["metadata"] | ({"pose_check": header["pose_check"]} if header["pose_check"] else {})
        scene = Scene(header["name"], tuple(views), boxes, header["metric"], metadata)
        graph = {name.partition(".")[2]: value for name, value in arrays.items() if name.startswith("graph.")}
        return cls(scene, ViewGraph(**graph) if graph else None, header["pose_check"])


def spaced_sample(length: int, count: int, draw: int | None) -> list[int]:
    """Return ``count`` evenly spaced indices into ``range(length)``; ``draw`` shifts them at random."""
    if draw is None or length <= count:
        return spaced_indices(length, count)
    shift = np.random.default_rng([draw, length]).random()
    return [int((place + shift) * length / count) for place in range(count)]


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
        for counts, unkeyed, labels, colours in decode_json(zlib.decompress(content))
    ]


def _open_in(opened: Callable[[], Scene], number: int, name: str) -> Any:
    """Open an image of a view of the scan as its reader opens it."""
    return getattr(opened().views[number], name)()


def _stack(matrices: Sequence[Any], size: int) -> NDArray[np.float64]:
    unknown = np.full((size, size), np.nan)
    return np.array([unknown if matrix is None else matrix for matrix in matrices]).reshape(-1, size, size)


def _known(matrix: NDArray[np.float64]) -> NDArray[np.float64] | None:
    return None if np.isnan(matrix).any() else matrix


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
