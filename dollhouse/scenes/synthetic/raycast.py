"""Ray casting of triangles with Embree, and their smoothed normals."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from dollhouse.scenes.synthetic.materials import Floats

_CREASE: Final = np.float32(0.75)  #: cosine between two faces above which the edge between them is smooth
_NEIGHBOURS: Final = 10  #: faces around a corner of which each pair is compared


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
    flat = np.repeat(_unit(face), 3, axis=0)
    order = np.argsort(key, axis=None)
    key, sorted_flat, total = key.ravel()[order], flat[order], np.repeat(face, 3, axis=0)[order]
    weighted = total.copy()
    for step in range(1, min(_NEIGHBOURS, len(order))):
        first = np.flatnonzero(key[step:] == key[:-step])
        second = first + step
        first = first[smooth := np.einsum("ij,ij->i", sorted_flat[first], sorted_flat[second]) > _CREASE]
        second = second[smooth]
        total[first] += weighted[second]
        total[second] += weighted[first]
    normals = np.empty_like(flat)
    normals[order] = np.where(np.einsum("ij,ij->i", total, total)[:, None] > 0, _unit(total), sorted_flat)
    return normals.reshape(-1, 3, 3)


def _unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32(1e-12))
