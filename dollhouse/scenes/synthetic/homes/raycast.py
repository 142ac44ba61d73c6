"""Ray casting of a home's triangles with Embree, and their smoothed normals."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from dollhouse.scenes.synthetic.homes.textures import Floats

_CREASE: Final = np.float32(0.8)  #: cosine between a face and the mean of its neighbours above which an edge is smooth


class Hits(NamedTuple):
    """Where N rays hit."""

    triangle: NDArray[np.int32]  #: (N,), -1 for none
    distance: Floats  #: (N,) ray parameter, 0 for none
    b: Floats  #: (N,) barycentric coordinates of the second corner
    c: Floats  #: (N,) and of the third


class Caster:
    """Embree's acceleration structure of triangles (T, 3, 3)."""

    def __init__(self, triangles: Floats) -> None:
        self._scene = EmbreeScene()
        self._mesh = TriangleMesh(self._scene, triangles)

    def first_hit(self, origins: Floats, directions: Floats) -> Hits:
        hit = self._scene.run(origins, directions, output=1)
        triangle = hit["primID"]
        return Hits(triangle, np.where(triangle >= 0, hit["tfar"], np.float32(0)), hit["u"], hit["v"])

    def is_free(self, origins: Floats, directions: Floats, reach: Floats) -> NDArray[np.bool_]:
        """Return whether rays (N,) meet nothing up to the ray parameter ``reach`` (N,)."""
        return self._scene.run(origins, directions, dists=reach, query="OCCLUDED") != 0


def corner_normals(triangles: Floats, instances: NDArray[np.int32]) -> Floats:
    """Compute normals (T, 3, 3) of the triangles' corners, smoothed where an object's faces meet at a small angle."""
    face = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    cell = np.rint(triangles * np.float32(2000)).astype(np.int64)
    key = (
        cell @ np.array([73856093, 19349663, 83492791], dtype=np.int64) + instances[:, None].astype(np.int64) * 15485863
    )
    _, group = np.unique(key.ravel(), return_inverse=True)
    weighted = np.repeat(face, 3, axis=0)
    total = np.stack([np.bincount(group, weighted[:, k])[group] for k in range(3)], 1)
    mean = _unit(total.astype(np.float32).reshape(-1, 3, 3))
    flat = _unit(face)[:, None]
    return np.where((mean * flat).sum(2, keepdims=True) > _CREASE, mean, flat)


def _unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32(1e-12))
