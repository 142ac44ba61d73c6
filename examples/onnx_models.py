"""Small public detectors, segmenters and a metric depth model, run by ONNX Runtime and LiteRT.

Each function takes a photo (H, W, 3), RGB, uint8, and ``weights``, the path of its file. README.md names the files and
their licences; none is part of this project.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.special import softmax

from dollhouse.errors import TeacherError
from dollhouse.teachers.detection import Detections


def words(text: str) -> list[str]:
    return text.split(", ")


COCO = words(
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, "
    "parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, "
    "handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, "
    "surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
    "broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, "
    "mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, "
    "teddy bear, hair drier, toothbrush"
)
ADE20K = words(
    "background, wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, "
    "earth, door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, "
    "field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, "
    "signboard, chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, "
    "runway, case, pool table, pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, "
    "flower, book, hill, bench, countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade "
    "machine, hovel, bus, towel, light, truck, tower, chandelier, awning, streetlight, booth, television, airplane, "
    "dirt track, apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, "
    "fountain, conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag, "
    "minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher, "
    "screen, blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate, "
    "monitor, bulletin board, shower, radiator, glass, clock, flag"
)
ADE32 = words(
    "other, wall, building, sky, floor, tree, ceiling, road, bed, window, grass, cabinet, sidewalk, person, earth, "
    "door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field, "
    "armchair"
)
OUTDOORS = set(
    words("building, sky, tree, road, grass, sidewalk, person, earth, mountain, car, water, house, sea, field")
)


def require_file(weights: str) -> None:
    if not Path(weights).is_file():
        raise TeacherError(f"{weights}: there are no weights; examples/README.md names their source")


@cache
def onnx_session(weights: str) -> Any:
    """Open an ONNX model on one thread."""
    import onnxruntime

    require_file(weights)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])


@cache
def tflite_model(weights: str, all_tensors: bool = False) -> Any:
    """Open a TFLite model on one thread; ``all_tensors`` keeps those between its layers."""
    from ai_edge_litert.interpreter import Interpreter

    require_file(weights)
    model = Interpreter(weights, num_threads=1, experimental_preserve_all_tensors=all_tensors)
    model.allocate_tensors()
    return model


def run_tflite(weights: str, array: np.ndarray) -> list[np.ndarray]:
    """Return the outputs of a TFLite model of one input."""
    model = tflite_model(weights)
    model.set_tensor(model.get_input_details()[0]["index"], array)
    model.invoke()
    return [model.get_tensor(output["index"]) for output in model.get_output_details()]


def resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def yolox(image: np.ndarray, weights: str, threshold: str = "0.3") -> Detections:
    """Detect COCO's classes with YOLOX-nano."""
    session = onnx_session(weights)
    side = session.get_inputs()[0].shape[2]
    scale = min(side / image.shape[0], side / image.shape[1])
    height, width = int(image.shape[0] * scale), int(image.shape[1] * scale)
    canvas = np.full((side, side, 3), 114, np.float32)
    canvas[:height, :width] = resized(image, width, height)[..., ::-1]
    (output,) = session.run(None, {session.get_inputs()[0].name: canvas.transpose(2, 0, 1)[None]})
    cells, strides = [], []
    for stride in (8, 16, 32):
        count = side // stride
        cells.append(np.stack(np.meshgrid(np.arange(count), np.arange(count)), -1).reshape(-1, 2))
        strides.append(np.full((count * count, 1), stride))
    stride = np.concatenate(strides)
    centre, size = (output[0, :, :2] + np.concatenate(cells)) * stride, np.exp(output[0, :, 2:4]) * stride
    scores = output[0, :, 4:5] * output[0, :, 5:]
    boxes = np.concatenate([centre - size / 2, centre + size / 2], 1) / scale
    return suppress(boxes, scores.argmax(1), scores.max(1), float(threshold))


def deimv2(image: np.ndarray, weights: str, threshold: str = "0.35") -> Detections:
    """Detect COCO's classes with DEIMv2-femto."""
    size = np.array([[image.shape[1], image.shape[0]]], dtype=np.int64)
    pixels = resized(image, 416, 416).astype(np.float32).transpose(2, 0, 1)[None] / 255
    labels, boxes, scores = onnx_session(weights).run(None, {"images": pixels, "orig_target_sizes": size})
    return suppress(boxes[0], labels[0].astype(int), scores[0], float(threshold))


def suppress(boxes: np.ndarray, classes: np.ndarray, scores: np.ndarray, threshold: float) -> Detections:
    """Keep the best of boxes (N, 4) that overlap, whatever their classes."""
    kept: list[int] = []
    for index in np.argsort(-scores):
        if scores[index] < threshold:
            break
        if all(overlap(boxes[index], boxes[other]) < 0.55 for other in kept):
            kept.append(int(index))
    return Detections([COCO[classes[i]] for i in kept], scores[kept].tolist(), boxes[kept])


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the IoU of two rectangles (left, top, right, bottom)."""
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    return shared / (float(np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2])) - shared + 1e-9)


def deeplab(image: np.ndarray, weights: str) -> np.ndarray:
    """Return the probabilities (H', W', 151) of ADE20K's classes by DeepLabv3."""
    return np.asarray(softmax(_deeplab_logits(image, weights), axis=-1))


def deeplab_cells(image: np.ndarray, weights: str) -> np.ndarray:
    """Return the logits (64, 64, 151) of ADE20K's classes by DeepLabv3, about as fine as it computes them."""
    return _deeplab_logits(image, weights)[4::8, 4::8]


def _deeplab_logits(image: np.ndarray, weights: str) -> np.ndarray:
    (logits,) = run_tflite(weights, resized(image, 513, 513).astype(np.float32)[None] / 127.5 - 1)
    return np.asarray(logits[0])


def mosaic(image: np.ndarray, weights: str) -> np.ndarray:
    """Return the most likely (H', W') of ADE20K's 31 most frequent classes by MOSAIC, as numbers of ``ADE32``."""
    (classes,) = run_tflite(weights, resized(image, 512, 512)[None])
    return np.asarray(classes[0])


def mosaic_logits(image: np.ndarray, weights: str) -> np.ndarray:
    """Return the logits (128, 128, 32) of ``ADE32`` by MOSAIC, before its last layers."""
    model = tflite_model(weights, all_tensors=True)
    model.set_tensor(model.get_input_details()[0]["index"], resized(image, 512, 512)[None])
    model.invoke()
    details = next(row for row in model.get_tensor_details() if row["name"] == "decoder/add")
    scale, zero = details["quantization"]
    return np.asarray(scale * (model.get_tensor(details["index"])[0].astype(np.float32) - zero))


def fastdepth(image: np.ndarray, weights: str, width: str = "320") -> np.ndarray:
    """Estimate depth in metres with FastDepth, as the mean over the photo and its mirror image."""
    columns = int(width)
    rows = max(32, round(columns * image.shape[0] / image.shape[1] / 32) * 32)
    pixels = resized(image, columns, rows).astype(np.float32).transpose(2, 0, 1)[None] / 255
    session = onnx_session(weights)
    name = session.get_inputs()[0].name
    straight, mirrored = (
        session.run(None, {name: np.ascontiguousarray(p)})[0][0, 0] for p in (pixels, pixels[..., ::-1])
    )
    return np.asarray(0.5 * (straight + mirrored[:, ::-1]), dtype=np.float32)
