"""An ensemble of small public models that turns plain photos into annotated metric scenes.

``detect`` joins two detectors and two segmenters, ``depth`` is FastDepth, ``cameras`` (matching.py) needs no sensor::

    PYTHONPATH=. dollhouse annotate --boxes --scenes PHOTOS --out annotated \\
        --detector examples.committee:detect --teacher-arg detector.weights=WEIGHTS \\
        --depth examples.committee:depth --teacher-arg depth.weights=WEIGHTS \\
        --cameras examples.matching:cameras --teacher-arg cameras.weights=WEIGHTS/xfeat.onnx
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from dollhouse.scenes.labels import LabelMap, default_labels
from dollhouse.teachers.detection import Detections
from examples.onnx_models import ADE20K, ADE32, OUTDOORS, deeplab, deimv2, fastdepth, mosaic, overlap, words, yolox

#: what the segmenters find that the detectors have no class for
SEGMENTED = frozenset(
    words(
        "table, desk, cabinet, sofa, armchair, chair, bed, plant, curtain, window, door, picture, lamp, shelf, "
        "bookshelf, mirror, rug, radiator, pillow, counter, wardrobe, dresser, fireplace, nightstand"
    )
)
ALONE = 0.75  #: factor on the score of an object that one model alone finds
LEAST_AREA = 0.004  #: of the photo, of an object that a segmenter alone finds
_LABELS = LabelMap(default_labels())
_KINDS = {"armchair": "chair", "office chair": "chair", "desk": "table", "counter": "table", "dresser": "cabinet"}
_KINDS |= {"wardrobe": "cabinet", "television": "monitor", "bookshelf": "shelf", "bench": "chair"}


def detect(image: np.ndarray, weights: str, threshold: str = "0.3") -> Detections:
    """Return masks of the objects of a photo.

    Boxes of YOLOX and DEIMv2 that agree are one object with both scores; the pixels of a segmenter's class inside a
    box are its mask. What a segmenter finds outside all boxes follows as masks of its connected regions.
    """
    folder = Path(weights)
    size = image.shape[:2]
    classes, certain = _segment(image, folder)
    boxes: list[tuple[str, float, np.ndarray]] = []
    for found in (
        yolox(image, str(folder / "yolox_nano.onnx"), threshold),
        deimv2(image, str(folder / "deimv2_femto_coco.onnx"), threshold),
    ):
        assert found.boxes is not None
        for name, score, box in zip(found.labels, found.scores, found.boxes, strict=True):
            if (label := _LABELS.map(name)) is not None:
                boxes.append((label, float(score), box))
    objects: list[tuple[str, float, np.ndarray]] = []
    covered = np.zeros(size, dtype=bool)
    for label, score, box in _joined(boxes):
        left, top, right, bottom = np.clip(np.round(box), 0, [size[1], size[0]] * 2).astype(int)
        if right - left < 8 or bottom - top < 8:
            continue
        mask = np.zeros(size, dtype=bool)
        same = np.isin(
            classes[top:bottom, left:right], [n for n, name in enumerate(_NAMES) if _kind(name) == _kind(label)]
        )
        if same.mean() < 0.15:  # the segmenter has no such class, or does not find it
            others = np.isin(classes[top:bottom, left:right], _BACKGROUND)
            same = ~others if others.mean() < 0.7 else np.ones_like(others)
        mask[top:bottom, left:right] = same
        covered |= mask
        objects.append((label, score, mask))
    for number, name in enumerate(_NAMES):
        if name in SEGMENTED:
            for region in _regions((classes == number) & ~covered):
                if region.mean() > LEAST_AREA:
                    objects.append((name, ALONE * float(certain[region].mean()), region))
    masks = np.array([mask for _, _, mask in objects]).reshape(-1, *size)
    return Detections([name for name, _, _ in objects], [score for _, score, _ in objects], masks=masks)


def depth(image: np.ndarray, weights: str) -> np.ndarray:
    """Estimate depth in metres with FastDepth."""
    return fastdepth(image, str(Path(weights) / "fastdepth_nyu.onnx"))


def _joined(boxes: list[tuple[str, float, np.ndarray]]) -> list[tuple[str, float, np.ndarray]]:
    """Join boxes of two detectors; one that only one of them finds gets a lower score."""
    joined: list[tuple[str, float, np.ndarray, int]] = []
    for label, score, box in sorted(boxes, key=lambda entry: -entry[1]):
        for index, (other, known, place, votes) in enumerate(joined):
            if _kind(label) == _kind(other) and overlap(box, place) > 0.5:
                joined[index] = other, 1 - (1 - known) * (1 - score), (place * votes + box) / (votes + 1), votes + 1
                break
        else:
            joined.append((label, score, box, 1))
    return [(label, score * (1.0 if votes > 1 else ALONE), box) for label, score, box, votes in joined]


def _segment(image: np.ndarray, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers of ``_NAMES`` (H, W) and how certain they are: DeepLab's, raised where MOSAIC agrees."""
    probabilities = deeplab(image, str(folder / "deeplabv3_mnv2_ade20k.tflite"))
    coarse = mosaic(image, str(folder / "mosaic_r4_ade32.tflite"))
    summed = np.zeros((*probabilities.shape[:2], len(_NAMES)), dtype=np.float32)
    for source, target in enumerate(_OF_ADE20K):
        summed[..., target] += probabilities[..., source]
    height, width = summed.shape[:2]
    agreed = np.asarray(Image.fromarray(coarse.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST))
    np.put_along_axis(
        summed, _OF_ADE32[agreed][..., None], np.take_along_axis(summed, _OF_ADE32[agreed][..., None], 2) + 0.6, 2
    )
    classes, certain = summed.argmax(2), summed.max(2) / 1.6
    size = image.shape[1], image.shape[0]
    return (
        np.asarray(Image.fromarray(classes.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)).astype(int),
        np.asarray(Image.fromarray(certain.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)),
    )


def _regions(mask: np.ndarray) -> list[np.ndarray]:
    """Return the connected regions of a mask (H, W)."""
    numbered, count = ndimage.label(mask)
    return [numbered == number for number in range(1, count + 1)]


def _kind(label: str) -> str:
    return _KINDS.get(label, label)


def _name(word: str) -> str:
    if word in OUTDOORS or word in ("background", "other"):
        return "other"
    return _LABELS.map(word) or (word if word in ("wall", "floor", "ceiling") else "other")


_NAMES = sorted({_name(word) for word in (*ADE20K, *ADE32)})
_OF_ADE20K = [_NAMES.index(_name(word)) for word in ADE20K]
_OF_ADE32 = np.array([_NAMES.index(_name(word)) for word in ADE32])
_BACKGROUND = [_NAMES.index(name) for name in ("wall", "floor", "ceiling")]
