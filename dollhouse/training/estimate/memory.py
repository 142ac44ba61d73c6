"""How much memory a model will want at its peak, predicted from shapes before anything is allocated.

Knows VGGT and the student; nothing of recipes' data or of training (:mod:`dollhouse.training.estimate.dry_run` does).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dollhouse.errors import ModelError
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.vggt.configuration import VggtConfig
from dollhouse.models.vggt.modeling import VggtModel
from dollhouse.training.estimate.live_memory import LiveMemory, without_memory
from dollhouse.training.estimate.parameters import Part, parts_of

QUESTION_TOKENS = 64  #: of the question and answer that a plan counts with


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on the processor. The peak is what the operating system would show as resident."""

    process: int  #: Python and the libraries, before any model
    weights: int
    activations: int  #: at the worst moment: tokens, layers kept, maps of the heads, scratch memory

    @property
    def peak(self) -> int:
        return self.process + self.weights + self.activations


@dataclass(frozen=True)
class VggtPlan:
    """A VGGT and what looking through it takes."""

    parts: list[Part]
    memory: MemoryPlan


def plan_vggt(config: VggtConfig, views: int, height: int, width: int, dtype: torch.dtype) -> VggtPlan:
    """The encoder over ``views`` photos of ``height`` x ``width`` pixels, and every head of ``config`` after it.

    Raises ModelError where the photos do not fit the encoder.
    """
    process = resident_bytes()
    fake, model = without_memory(lambda: VggtModel(config).to(dtype).eval())
    weights = list(model.parameters())
    live = LiveMemory(weights)
    with fake, torch.no_grad():
        pixel_values = torch.empty(1, views, 3, height, width, dtype=dtype)
        with live:
            live.count(pixel_values)
            try:
                look(model, pixel_values)
            except ValueError as error:
                raise ModelError(f"{views} views of {width}x{height}: {error}") from None
    return VggtPlan(parts_of(model, ()), MemoryPlan(process, sum(weight.nbytes for weight in weights), live.peak))


def look(model: VggtModel, pixel_values: Tensor) -> dict[str, Tensor]:
    """Everything that the model's heads say about (B, V, 3, H, W): "cameras", "depth" and "points"."""
    heads = set(model.config.heads)
    seen = model(pixel_values, model.dense_layers if heads & {"depth", "point"} else None)
    found = {}
    if "camera" in heads:
        found["cameras"] = model.predict_cameras(seen)[-1]
    if "depth" in heads:
        found["depth"] = model.predict_depth(seen)[0]
    if "point" in heads:
        found["points"] = model.predict_points(seen)[0]
    return found


def plan_answering(config: DollhouseConfig, views: int, height: int, width: int, dtype: torch.dtype) -> MemoryPlan:
    """A student that sees ``views`` photos once and answers one question about them.

    Raises ModelError where the photos do not fit the encoder.
    """
    process = resident_bytes()
    # without pose refinement, which needs values and is small beside the rest
    fake, model = without_memory(lambda: DollhouseForConditionalGeneration(config).to(dtype))
    weights = list(model.parameters())
    live = LiveMemory(weights)
    with fake, torch.no_grad():
        pixel_values = torch.empty(1, views, 3, height, width, dtype=dtype)
        question = torch.zeros(1, QUESTION_TOKENS, dtype=torch.long)
        with live:
            live.count(pixel_values)
            try:
                scene = model.encode_prefix(model.get_image_features(pixel_values, refine_poses=False))
            except ValueError as error:
                raise ModelError(f"{views} views of {width}x{height}: {error}") from None
            hidden = model.encode_questions(scene, question, torch.zeros(1, dtype=torch.long))
            model.get_output_embeddings()(hidden[:, -1:])
    return MemoryPlan(process, sum(weight.nbytes for weight in weights), live.peak)


def resident_bytes() -> int:
    """Memory that this process has resident just now; 0 where the operating system does not tell."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        return 0
    import resource

    return int(status.read_text().split()[1]) * resource.getpagesize()


def peak_resident_bytes() -> int:
    """The most memory that this process has had resident since it began its program.

    The system's usual figure (``ru_maxrss``) also counts what a large parent had at the moment of starting it.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        kept = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM:")), None)
        if kept is not None:
            return 1024 * int(kept.split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
