"""A committee of small public models as a teacher of labels and relative depth for photos without annotations.

Two segmenters vote on every cell of a grid, two detectors on the objects of COCO's classes; where they contradict each
other, a cell's probabilities sum to less than 1, or are 0. ``predict`` is the function of a geometry teacher::

    PYTHONPATH=. dollhouse annotate --teacher annotations --questions none --scenes PHOTOS --out records \\
        --geometry-teacher maps:examples.label_maps:predict --teacher-arg maps.weights=WEIGHTS --fp16
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.special import softmax

from dollhouse.scenes.labels import LabelMap, default_labels
from dollhouse.teachers.label_maps import LabelMaps
from examples.onnx_models import ADE20K, ADE32, deeplab_cells, deimv2, fastdepth, mosaic_logits, overlap, words, yolox

COLUMNS = 36  #: cells of the grid in a row, one for each patch of 14 pixels of a photo 504 pixels wide
FINE = 2  #: the models are joined on a grid that is finer by this factor
TEMPERATURE = 1.5  #: of the segmenters' logits, since they are too certain of themselves
LEAST_AGREEMENT = 0.35  #: below it, the label of a cell is unknown
UNCONFIRMED = 0.6  #: factor on the confidence of a segmenter's object that no detector finds, though it has the class
LEAST_SCORE = 0.25  #: of a detector's box

LABELS = default_labels()
BACKGROUND, UNKNOWN = len(LABELS), len(LABELS) + 1
_BUILDING = set(words("wall, floor, ceiling, column, path, background"))
_MORE = {"palm": "plant", "flower": "plant", "hood": "range hood", "stairs": "", "screen": "monitor"}
_TABLES = words("table, desk, counter, kitchen island, nightstand")
_SEATS = words("chair, armchair, office chair, sofa, stool, bench")
_SCREENS = words("television, monitor, laptop, computer")
#: labels that a class of COCO covers; the segmenters decide between them
_MEANT = {
    "television": words("television, monitor"),
    "oven": words("oven, stove"),
    "chair": words("chair, office chair, armchair"),
    "table": words("table, desk"),
}
_STORES = words("cabinet, dresser, wardrobe, bookshelf, shelf, nightstand")


def predict(image: np.ndarray, weights: str) -> LabelMaps:
    """Return probabilities of the default labels and relative depth for a photo (H, W, 3)."""
    folder = Path(weights)
    columns, rows = COLUMNS, max(1, round(COLUMNS * image.shape[0] / image.shape[1]))
    fine = (rows * FINE, columns * FINE)
    probs, confidence = _segment(image, folder, fine)
    probs, confidence = _detect(image, folder, probs, confidence)
    known = probs[..., :UNKNOWN] * np.where(confidence >= LEAST_AGREEMENT, confidence, 0)[..., None]
    cells = known.reshape(rows, FINE, columns, FINE, -1).mean((1, 3))
    cells *= cells.sum(-1, keepdims=True) >= 0.5 * LEAST_AGREEMENT
    return LabelMaps(LABELS, cells.astype(np.float32), fastdepth(image, str(folder / "fastdepth_nyu.onnx")))


def _segment(image: np.ndarray, folder: Path, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (h, w, L+2) of the labels, background and the unknown, and the agreement (h, w) of both."""
    logits = deeplab_cells(image, str(folder / "deeplabv3_mnv2_ade20k.tflite"))[..., 1:]
    fine = _resized(softmax(logits / TEMPERATURE, -1), size)
    coarse = _resized(softmax(mosaic_logits(image, str(folder / "mosaic_r4_ade32.tflite")) / TEMPERATURE, -1), size)
    group = _groups()
    share = np.zeros_like(coarse)
    np.add.at(share, (..., group), fine)
    spread = coarse[..., group] * fine / np.maximum(share[..., group], 1e-6)
    agreed = np.sqrt(fine * spread)  # its sum is 1 where the distributions are equal, 0 where they are disjoint
    agreement = agreed.sum(-1)
    agreed /= np.maximum(agreement, 1e-6)[..., None]
    probs = np.zeros((*size, UNKNOWN + 1), dtype=np.float32)
    np.add.at(probs, (..., _targets()), agreed)
    return probs, agreement * (1 - probs[..., UNKNOWN])


def _detect(
    image: np.ndarray, folder: Path, probs: np.ndarray, confidence: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Add the boxes of the detectors to the probabilities and the confidence of the segmenters."""
    height, width = confidence.shape
    scale = np.array([width / image.shape[1], height / image.shape[0]] * 2)
    seen = np.zeros((height, width, len(LABELS)), dtype=bool)
    y, x = np.mgrid[:height, :width] + 0.5
    for label, score, box in sorted(_boxes(image, folder), key=lambda entry: entry[1]):
        left, top, right, bottom = box * scale
        u = np.abs(x - (left + right) / 2) / max(right - left, 1.5) * 2
        v = np.abs(y - (top + bottom) / 2) / max(bottom - top, 1.5) * 2
        inside = (np.maximum(u, v) <= 1.0).astype(np.float32)
        alike = [LABELS.index(name) for name in _alike(label)]
        same = probs[..., alike].sum(-1)
        area = max(inside.sum(), 1)
        if (same * inside).sum() > 0.2 * area:  # the segmenters find its shape
            weight = score * inside * same
        else:  # an ellipse, without what is certainly wall, floor or ceiling
            weight = score * inside * (u**2 + v**2 < 1) * (1 - 0.7 * probs[..., BACKGROUND] * confidence)
        seen[..., alike] |= (inside > 0)[..., None]
        meant = [LABELS.index(name) for name in _MEANT.get(label, (label,))]
        share = 0.03 + (probs[..., meant] * inside[..., None]).sum((0, 1)) / area
        moved = 0.8 * weight[..., None]
        probs = probs * (1 - moved)
        probs[..., meant] += moved * share / share.sum()
        confidence = np.maximum(confidence, weight)
    alone = (probs[..., : len(LABELS)] * (_detectable() & ~seen)).sum(-1)
    return probs, confidence * (1 - (1 - UNCONFIRMED) * alone)


def _boxes(image: np.ndarray, folder: Path) -> list[tuple[str, float, np.ndarray]]:
    """Return label, score and rectangle of the boxes of two detectors; boxes of both have a higher score."""
    joined: list[tuple[str, float, np.ndarray]] = []
    for found in (
        deimv2(image, str(folder / "deimv2_femto_coco.onnx"), str(LEAST_SCORE)),
        yolox(image, str(folder / "yolox_nano.onnx"), str(LEAST_SCORE)),
    ):
        assert found.boxes is not None
        rest = list(joined)
        for name, score, box in zip(found.labels, found.scores, found.boxes, strict=True):
            if (label := _map().map(name)) is None:
                continue
            for entry in rest:
                if label == entry[0] and overlap(box, entry[2]) > 0.5:
                    joined.remove(entry)
                    rest.remove(entry)
                    joined.append((label, 1 - (1 - score) * (1 - entry[1]), 0.5 * (box + entry[2])))
                    break
            else:
                joined.append((label, 0.8 * score, box))
    return joined


def _resized(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize maps (H, W, C) to (h, w, C)."""
    resized = [
        np.asarray(Image.fromarray(channel).resize(size[::-1], Image.Resampling.BILINEAR))
        for channel in np.ascontiguousarray(maps.transpose(2, 0, 1), dtype=np.float32)
    ]
    return np.stack(resized, -1)


def _alike(label: str) -> Sequence[str]:
    return next((kinds for kinds in (_TABLES, _SEATS, _SCREENS, _STORES) if label in kinds), [label])


@cache
def _map() -> LabelMap:
    return LabelMap(LABELS)


@cache
def _groups() -> np.ndarray:
    """Return the number of ADE32's class of each of ADE20K's classes but the background."""
    return np.array([ADE32.index(name) if name in ADE32 else 0 for name in map(_in_ade32, ADE20K[1:])])


def _in_ade32(name: str) -> str:
    return "window" if name == "windowpane" else name


@cache
def _targets() -> np.ndarray:
    """Return the column of each of ADE20K's classes but the background."""

    def column(name: str) -> int:
        label = _map().map(_MORE.get(name, name) or "other")
        return LABELS.index(label) if label else BACKGROUND if name in _BUILDING else UNKNOWN

    return np.array([column(name) for name in ADE20K[1:]])


@cache
def _detectable() -> np.ndarray:
    """Return which labels a class of COCO has, or a class of a similar kind."""
    found = {"chair", "sofa", "bed", "plant", "toilet", "television", "fridge", "oven", "microwave", "sink"}
    similar = {other for label in found for other in _alike(label)}
    return np.array([label in similar for label in LABELS])
