"""Interfaces of 2D detectors and segmenters, and the objects that they return.

A detector of your own is any function of a photo::

    def detect(image):  # (H, W, 3) RGB, uint8
        return Detections(labels=["chair"], scores=[0.8], boxes=np.array([[10, 20, 90, 160]]))
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from inspect import signature
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import TeacherError
from dollhouse.geometry import Array

_FUNCTION = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True, eq=False)
class Detections:
    """Objects of one photo: rectangles, masks or both.

    Raises TeacherError for arrays that do not fit together.
    """

    labels: Sequence[str]  #: N
    scores: Sequence[float]  #: N, in [0, 1]
    boxes: Array | None = None  #: (N, 4) left, top, right, bottom in pixels of the photo
    masks: NDArray[np.bool_] | None = None  #: (N, H', W'), at any size; they cover the whole photo
    semantic: bool = False  #: a mask covers all objects of its label; gaps in 3D separate them

    def __post_init__(self) -> None:
        count = len(self.labels)
        boxes = None if self.boxes is None else np.asarray(self.boxes, dtype=np.float64).reshape(-1, 4)
        masks = None if self.masks is None else np.asarray(self.masks)
        if boxes is None and masks is None and count:
            raise TeacherError("a detector returned neither boxes nor masks")
        lengths = [len(values) for values in (self.scores, boxes, masks) if values is not None]
        if any(length != count for length in lengths) or (masks is not None and masks.ndim != 3 and count):
            raise TeacherError(f"a detector returned {count} labels, but {lengths} scores, boxes or masks")
        numbers = [np.asarray(self.scores, dtype=np.float64), *([] if boxes is None else [boxes])]
        if not all(np.isfinite(values).all() for values in numbers):
            raise TeacherError("a detector returned scores or boxes that are not finite")
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "masks", None if masks is None else masks.astype(bool))

    def __len__(self) -> int:
        return len(self.labels)


class Detector(Protocol):
    """Find the objects of a photo (H, W, 3), RGB, uint8."""

    def __call__(self, image: NDArray[np.uint8], /) -> Detections: ...


class DepthEstimator(Protocol):
    """Estimate z-depth (H', W') in metres of a photo (H, W, 3), 0 where unknown; it covers the whole photo."""

    def __call__(self, image: NDArray[np.uint8], /) -> Array: ...


def open_function(name: str, settings: Mapping[str, str], arguments: int = 1) -> Callable[..., Any] | None:
    """Import ``MODULE:FUNCTION`` and bind settings to it as keyword arguments; None where ``name`` is not of that form.

    Only a module that Python's path holds is imported: never one of a scene's or a model's folder. Raises TeacherError
    where there is no such function, a package that it needs is not installed, or it does not take ``arguments`` and
    the settings.
    """
    if not _FUNCTION.fullmatch(name):
        return None
    module, _, attribute = name.partition(":")
    try:
        function = getattr(import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        is_own = f"{module}.".startswith(f"{error.name}.")
        remedy = "its folder must be on PYTHONPATH" if is_own else f"install the package of {error.name}"
        raise TeacherError(f"{name}: cannot be imported ({error}); {remedy}") from error
    except (ImportError, SyntaxError) as error:
        raise TeacherError(f"{name}: cannot be imported ({error})") from error
    if not callable(function):
        raise TeacherError(f"{name}: the module {module} has no function {attribute}")
    try:
        with suppress(ValueError):  # some functions in C have no signature
            signature(function).bind(*[None] * arguments, **settings)
    except TypeError as error:
        raise TeacherError(f"{name}: {error}; settings given: {', '.join(settings) or 'none'}") from error
    return partial(function, **settings) if settings else function


def function_provenance(function: Any) -> dict[str, Any]:
    """Return name and settings of a function, or what its attribute or method ``provenance`` gives."""
    if isinstance(function, partial):
        return function_provenance(function.func) | {"settings": dict(function.keywords)}
    own = getattr(getattr(function, "__self__", function), "provenance", None)  # of a method: its object's
    if own is not None:
        return dict(own() if callable(own) else own)
    place = function if hasattr(function, "__qualname__") else type(function)
    return {"function": f"{place.__module__}:{place.__qualname__}"}
