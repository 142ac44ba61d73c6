"""Encoded scenes in memory, bounded by bytes; the least recently used go first."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dollhouse.serve.metrics import Metrics

if TYPE_CHECKING:
    from dollhouse.inference.session import SceneSession

_SHARED = ("pipeline", "scene")  # attributes of a session that hold nothing of its own


@dataclass(frozen=True)
class EncodedScene:
    """A session with its id, a hash of pixels, model and known lengths."""

    id: str
    name: str
    session: SceneSession
    notices: tuple[str, ...] = ()


class SceneMemory:
    """Least-recently-used scenes, and the uploads that they came from. Not thread-safe: for one event loop."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self._limit, self._metrics = limit, metrics
        self._scenes: OrderedDict[str, EncodedScene] = OrderedDict()
        self._bytes: dict[str, int] = {}
        self._uploads: dict[str, set[str]] = {}  # hashes of uploads by scene
        self._by_upload: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._scenes)

    @property
    def bytes(self) -> int:
        """Return the bytes of all scenes."""
        return sum(self._bytes.values())

    def get(self, id: str) -> EncodedScene | None:
        """Return a scene, which becomes the most recently used."""
        scene = self._scenes.get(id)
        self._metrics.memory.labels("hit" if scene else "miss").inc()
        if scene is not None:
            self._scenes.move_to_end(id)
        return scene

    def find_upload(self, upload: str) -> EncodedScene | None:
        """Return the scene of an upload by its hash."""
        return self.get(self._by_upload.get(upload, ""))

    def put(self, scene: EncodedScene, upload: str | None = None) -> None:
        """Add a scene, or weigh it anew, and forget others until all fit; a scene alone above the limit goes, too."""
        self._scenes[scene.id] = scene
        self._scenes.move_to_end(scene.id)
        self._bytes[scene.id] = held_bytes(scene.session)
        if upload is not None:
            self._uploads.setdefault(scene.id, set()).add(upload)
            self._by_upload[upload] = scene.id
        while self._scenes and self.bytes > self._limit:
            self.remove(next(iter(self._scenes)))
        self._measure()

    def remove(self, id: str) -> None:
        """Forget a scene, if it is there."""
        self._scenes.pop(id, None)
        self._bytes.pop(id, None)
        for upload in self._uploads.pop(id, ()):
            self._by_upload.pop(upload, None)
        self._measure()

    def _measure(self) -> None:
        self._metrics.gauges["memory_bytes"].set(self.bytes)
        self._metrics.gauges["memory_scenes"].set(len(self))


def held_bytes(value: Any) -> int:
    """Return the bytes of all arrays and tensors that a session holds."""
    total, seen, left = 0, set(), [value]
    while left:
        item = left.pop()
        if id(item) in seen or isinstance(item, str | int | float | None):
            continue
        seen.add(id(item))
        if hasattr(item, "nbytes"):
            total += int(item.nbytes)
        elif isinstance(item, dict):
            left += item.values()
        elif isinstance(item, list | tuple):
            left += item
        elif hasattr(item, "__dict__") and not callable(item):
            left += [part for name, part in vars(item).items() if name not in _SHARED]
    return total
