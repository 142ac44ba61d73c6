"""Cameras of overlapping photos by XFeat matches, five-point relative poses and bundle adjustment, in metres.

Depth in metres of each photo, from any source, gives the scale and stabilises photos taken on one spot. Nothing is
known of the cameras but a focal length that all share; where the photos have none, it starts at a usual one.

Axes: V views, K keypoints, M matches, T tracks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import cv2
import numpy as np
from scipy.optimize import least_squares
from scipy.sparse import coo_array, csgraph, lil_array
from scipy.special import softmax

from dollhouse.errors import TeacherError
from dollhouse.geometry import invert_rigid
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.reconstruction import Cameras
from examples.onnx_models import onnx_session, resized

SIDE = 640  #: of XFeat's input
USUAL_FOCAL = 0.9  #: over the photo's width, of unknown cameras: 58 degrees
LEAST_COSINE = 0.82  #: of matching descriptors
LEAST_MATCHES = 25  #: inliers of a pair of photos
KEYPOINTS = 1500
STEPS = 30  #: of the bundle adjustment; with more, wrong matches turn some photos away
TRACKS = 3000  #: in the bundle adjustment
TRAINED_FOCAL = 0.81  #: over the photo's width, of NYU Depth v2
DEPTH_SIGMA, SCALE_SIGMA, FOCAL_SIGMA = 0.2, 0.25, 0.1  #: of log depth, of a photo's log depth scale, of log focal


def features(image: np.ndarray, weights: str) -> tuple[np.ndarray, np.ndarray]:
    """Return keypoints (K, 2) in pixels of the photo, and unit descriptors (K, 64)."""
    pixels = resized(image, SIDE, SIDE).astype(np.float32).transpose(2, 0, 1)[None] / 255
    session = onnx_session(weights)
    outputs = session.run(None, {session.get_inputs()[0].name: pixels})
    arrays = {output.squeeze().shape[0] if output.squeeze().ndim == 3 else 1: output.squeeze() for output in outputs}
    descriptors, logits, reliability = arrays[64], arrays[65], arrays[1]
    heat = (
        softmax(logits.transpose(1, 2, 0), axis=-1)[..., :64]
        .reshape(80, 80, 8, 8)
        .transpose(0, 2, 1, 3)
        .reshape(SIDE, SIDE)
    )
    peaks = (heat > 0.05) & (heat == cv2.dilate(heat, np.ones((5, 5))))
    scores = heat * np.asarray(cv2.resize(reliability, (SIDE, SIDE)))
    rows, columns = np.nonzero(peaks)
    order = np.argsort(-scores[rows, columns])[:KEYPOINTS]
    places = np.stack([columns[order], rows[order]], 1) + 0.5
    grid = (places / 8 - 0.5).astype(np.float32)
    sampled = np.stack(
        [
            cv2.remap(d, grid[:, 0:1], grid[:, 1:2], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
            for d in descriptors
        ],
        1,
    )
    sampled /= np.linalg.norm(sampled, axis=1, keepdims=True)
    return places * np.array([image.shape[1], image.shape[0]]) / SIDE, sampled


def matches(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the indices (M, 2) of descriptors that are each other's nearest."""
    cosines = first.astype(np.float32) @ second.T.astype(np.float32)
    forward, back = cosines.argmax(1), cosines.argmax(0)
    index = np.arange(len(first))
    mutual = (back[forward] == index) & (cosines[index, forward] > LEAST_COSINE)
    return np.stack([index[mutual], forward[mutual]], 1)


def look_up(depth: np.ndarray, points: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return depth (M,) at points (M, 2) of the photo."""
    cells = (points * np.array([depth.shape[1] / image.shape[1], depth.shape[0] / image.shape[0]])).astype(int)
    return depth[cells[:, 1].clip(0, depth.shape[0] - 1), cells[:, 0].clip(0, depth.shape[1] - 1)].astype(np.float64)


def relative_pose(
    first: np.ndarray, second: np.ndarray, depth: np.ndarray, pinhole: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return ``second_from_first`` (4, 4) in metres and the inliers (M,) of matched points (M, 2), or None.

    ``depth`` (M,) is that of the first points, and gives the length of the translation.
    """
    essential, mask = cv2.findEssentialMat(first, second, pinhole, cv2.USAC_MAGSAC, 0.999, 1.5)
    if essential is None or essential.shape != (3, 3) or mask.sum() < LEAST_MATCHES:
        return None
    inliers = mask.ravel() > 0
    _, rotation, direction, _ = cv2.recoverPose(essential, first[inliers], second[inliers], pinhole)
    rays = [np.column_stack([p[inliers], np.ones(inliers.sum())]) @ np.linalg.inv(pinhole).T for p in (first, second)]
    # a point at depth z of the first view lies at z * R a + s * t in the second: its pixel gives s by least squares
    turned = rays[0] @ rotation.T * depth[inliers, None]
    across = direction.ravel()[:2] - rays[1][:, :2] * direction[2]
    offset = rays[1][:, :2] * turned[:, 2:] - turned[:, :2]
    weights = np.linalg.norm(across, axis=1)
    lengths = (across * offset).sum(1) / np.maximum((across**2).sum(1), 1e-9)
    order = np.argsort(lengths)
    half = np.searchsorted(np.cumsum(weights[order]), 0.5 * weights.sum())
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = direction.ravel() * np.clip(lengths[order][min(half, len(order) - 1)], 0.0, 5.0)
    return pose, inliers


def cameras(scene: Scene, depth: Sequence[np.ndarray] | None, weights: str) -> Cameras:
    """Return cameras in metres, and the pixels and depth of triangulated matches.

    A single photo gets the focal length that it has, or a usual one; its scale is that of the depth.
    Raises TeacherError without depth, and where some photos overlap with no others.
    """
    if depth is None:
        raise TeacherError("matching needs depth in metres for its scale: name a source of depth")
    images = [view.image for view in scene.views]
    height, width = images[0].shape[:2]
    known = [view.intrinsics[0, 0] for view in scene.views if view.intrinsics is not None]
    focal = float(np.median(known)) if known else USUAL_FOCAL * max(width, height)
    pinhole = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    if len(images) == 1:
        return Cameras(np.eye(4)[None], pinhole[None])
    points, descriptors = zip(*(features(image, weights) for image in images), strict=True)
    # a depth model gives the metres of photos with the focal length that it was trained on
    longer = focal / width / TRAINED_FOCAL
    depths = [look_up(d, p, image) * longer for d, p, image in zip(depth, points, images, strict=True)]
    pairs: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
    for i in range(len(images)):
        for j in range(i + 1, len(images)):
            matched = matches(descriptors[i], descriptors[j])
            if len(matched) >= LEAST_MATCHES:
                first, second = points[i][matched[:, 0]], points[j][matched[:, 1]]
                found = relative_pose(first, second, depths[i][matched[:, 0]], pinhole)
                if found is not None and found[1].sum() >= LEAST_MATCHES:
                    pairs[i, j] = found[0], matched[found[1]]
    poses = _spanning_poses(pairs, len(images), scene.name)
    tracks = _tracks(pairs, len(images))
    poses, focal, triangulated = _adjusted(poses, tracks, points, depths, pinhole, bool(known))
    pinhole[[0, 1], [0, 1]] = focal
    return Cameras(invert_rigid(poses), np.tile(pinhole, (len(images), 1, 1)), metric=True, points=triangulated)


def _spanning_poses(pairs: dict, count: int, name: str) -> np.ndarray:
    """Chain relative poses (V, 4, 4), camera from world, along the pairs with most matches."""
    graph = lil_array((count, count))
    for (i, j), (_, matched) in pairs.items():
        graph[i, j] = 1.0 / len(matched)
    tree = csgraph.minimum_spanning_tree(graph.tocsr())
    degree = np.asarray((graph.tocsr() > 0).sum(0)).ravel() + np.asarray((graph.tocsr() > 0).sum(1)).ravel()
    root = int(degree.argmax())
    order, before = csgraph.breadth_first_order(tree, root, directed=False)
    if len(order) < count:
        raise TeacherError(
            f"scene {name}: {count - len(order)} of {count} photos overlap with no others; leave them out"
        )
    poses = np.tile(np.eye(4), (count, 1, 1))
    for view in order[1:]:
        other = int(before[view])
        pose = pairs[other, view][0] if (other, view) in pairs else invert_rigid(pairs[view, other][0])
        poses[view] = pose @ poses[other]
    return poses


def _tracks(pairs: dict, count: int) -> list[list[tuple[int, int]]]:
    """Join matches to tracks of (view, keypoint), those with most views first; ambiguous ones are dropped."""
    parent: dict[tuple[int, int], tuple[int, int]] = {}

    def find(node: tuple[int, int]) -> tuple[int, int]:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for (i, j), (_, matched) in pairs.items():
        for a, b in matched.tolist():
            parent[find((i, a))] = find((j, b))
    joined: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for node in list(parent):
        joined[find(node)].append(node)
    clean = [track for track in joined.values() if len({view for view, _ in track}) == len(track) > 1]
    return sorted(clean, key=len, reverse=True)[:TRACKS]


def _adjusted(poses, tracks, points, depths, pinhole, focal_known):
    """Refine poses (V, 4, 4) and focal length by robust least squares.

    Returns these, and for each view the column, row and depth (N, 3) of the tracks' points.
    """
    count = len(poses)
    view = np.array([node[0] for track in tracks for node in track])
    point = np.repeat(np.arange(len(tracks)), [len(track) for track in tracks])
    pixels = np.array([points[v][k] for track in tracks for v, k in track])
    measured = np.log(np.maximum([depths[v][k] for track in tracks for v, k in track], 0.05))
    focal, centre = pinhole[0, 0], pinhole[:2, 2]
    world = np.zeros((len(tracks), 3))
    rays = np.column_stack([(pixels - centre) / focal, np.ones(len(pixels))]) * np.exp(measured)[:, None]
    inverse = invert_rigid(poses)
    np.add.at(world, point, np.einsum("nij,nj->ni", inverse[view, :3, :3], rays) + inverse[view, :3, 3])
    world /= np.bincount(point)[:, None]
    vectors = np.array([cv2.Rodrigues(pose[:3, :3])[0].ravel() for pose in poses])
    start = np.concatenate([vectors.ravel(), poses[:, :3, 3].ravel(), np.zeros(count), [0.0], world.ravel()])
    sigma = 0.005 if focal_known else FOCAL_SIGMA

    def split(x):
        a, b, c = 3 * count, 6 * count, 7 * count
        return x[:a].reshape(-1, 3), x[a:b].reshape(-1, 3), x[b:c], x[c], x[c + 1 :].reshape(-1, 3)

    def residuals(x):
        turns, moves, scales, log_focal, places = split(x)
        rotations = np.array([cv2.Rodrigues(turn)[0] for turn in turns])
        own = np.einsum("nij,nj->ni", rotations[view], places[point]) + moves[view]
        z = np.maximum(own[:, 2], 0.05)
        shift = (own[:, :2] / z[:, None] * focal * np.exp(log_focal) + centre - pixels) / 1.5
        depth_shift = (np.log(z) - measured - scales[view] - log_focal) / DEPTH_SIGMA
        return np.concatenate([shift.ravel(), depth_shift, scales / SCALE_SIGMA, [log_focal / sigma]])

    n, last = np.arange(len(view)), 7 * count  # rows: two of each pixel, then depth, then scales, then the focal length
    columns = np.column_stack(
        [
            3 * view[:, None] + np.arange(3),
            3 * count + 3 * view[:, None] + np.arange(3),
            6 * count + view,
            np.full(len(view), last),
            last + 1 + 3 * point[:, None] + np.arange(3),
        ]
    )
    observed = np.concatenate([2 * n, 2 * n + 1, 2 * len(n) + n])
    places = np.concatenate([np.repeat(observed, columns.shape[1]), 3 * len(n) + np.arange(count + 1)])
    touched = np.concatenate([np.tile(columns, (3, 1)).ravel(), 6 * count + np.arange(count + 1)])
    pattern = coo_array((np.ones(len(places), dtype=np.int8), (places, touched)), shape=(places[-1] + 1, len(start)))
    fit = least_squares(
        residuals,
        start,
        jac_sparsity=pattern.tocsr(),
        loss="soft_l1",
        x_scale="jac",
        method="trf",
        max_nfev=STEPS,
    )
    turns, moves, _, log_focal, places = split(fit.x)
    refined = np.tile(np.eye(4), (count, 1, 1))
    refined[:, :3, :3] = [cv2.Rodrigues(turn)[0] for turn in turns]
    refined[:, :3, 3] = moves
    own = np.einsum("nij,nj->ni", refined[view, :3, :3], places[point]) + moves[view]
    focal *= float(np.exp(log_focal))
    near = np.linalg.norm(own[:, :2] / own[:, 2:] * focal + centre - pixels, axis=1) < 3.0
    near &= own[:, 2] > 0.05
    anchors = [np.column_stack([pixels, own[:, 2]])[near & (view == v)] for v in range(count)]
    return refined, focal, anchors
