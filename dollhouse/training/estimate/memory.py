"""Peak memory of inference and parameters of a model, from shapes before anything is allocated."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dollhouse.errors import ModelError
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.rgbd_embedding import RGBDInputs
from dollhouse.models.vggt.configuration import VggtConfig
from dollhouse.models.vggt.convert import check_official, licence_of
from dollhouse.models.vggt.modeling import VggtModel
from dollhouse.training.estimate.live_memory import LiveMemory, without_memory

#: bits per weight of a matrix on disk, with its scales: a 16-bit scale per row of about a thousand in int8, per group
#: of 32 in int4
MATRIX_BITS = {"float32": 32.0, "bfloat16": 16.0, "int8": 8.0 + 16 / 1024, "int4": 4.0 + 16 / 32}
#: bits per element of vectors (norms, biases), which stay at 16 bits in quantised formats
VECTOR_BITS = {"float32": 32.0, "bfloat16": 16.0, "int8": 16.0, "int4": 16.0}


@dataclass(frozen=True)
class ModuleParameters:
    """The size of one module."""

    name: str
    parameters: int
    matrices: int  #: of them, those in tensors of two dimensions and more


def module_parameters(model: nn.Module, expanded: Sequence[str] = ("encoder",)) -> list[ModuleParameters]:
    """Count the parameters of the model's children; shared parameters count with the first.

    Args:
        model: may be on the meta device.
        expanded: children that are listed by their own children.
    """
    counted: set[int] = set()
    rows = []
    for name, child in model.named_children():
        inner = [(f"{name}.{part}", module) for part, module in child.named_children()] if name in expanded else []
        for part, module in inner or [(name, child)]:
            own = [parameter for parameter in module.parameters() if id(parameter) not in counted]
            counted.update(map(id, own))
            matrices = sum(parameter.numel() for parameter in own if parameter.ndim > 1)
            rows.append(ModuleParameters(part, sum(parameter.numel() for parameter in own), matrices))
    return rows


def disk_bytes(modules: Sequence[ModuleParameters]) -> dict[str, int]:
    """Return the size of all modules on disk by number format."""
    matrices = sum(module.matrices for module in modules)
    vectors = sum(module.parameters for module in modules) - matrices
    return {name: round((matrices * bits + vectors * VECTOR_BITS[name]) / 8) for name, bits in MATRIX_BITS.items()}


QUESTION_TOKENS = 64  #: of the question and answer in an estimate


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes in main memory. The peak is what the operating system reports as resident."""

    process: int  #: Python and the libraries, before any model
    weights: int
    activations: int  #: at the peak: tokens, intermediate layers, outputs of heads, scratch memory

    @property
    def peak(self) -> int:
        return self.process + self.weights + self.activations


@dataclass(frozen=True)
class CheckpointSummary:
    """An official checkpoint whose keys and shapes were checked."""

    path: Path
    matching: int  #: tensors of the model
    ignored: int  #: tensors of modules that the model lacks
    licence: str


@dataclass(frozen=True)
class VggtEstimate:
    """A VGGT: its size, and the memory of one forward pass."""

    parameters: list[ModuleParameters]
    memory: MemoryEstimate
    checkpoint: CheckpointSummary | None = None


def estimate_vggt(
    config: VggtConfig, views: int, height: int, width: int, dtype: torch.dtype, weights: Path | None = None
) -> VggtEstimate:
    """Estimate the encoder and every head of ``config`` on ``views`` photos of ``height`` x ``width`` pixels.

    Args:
        weights: an official checkpoint, whose keys and shapes are checked first.

    Raises ModelError where the photos or the checkpoint do not fit.
    """
    checkpoint = None
    if weights is not None:
        with torch.device("meta"):
            header, ignored = check_official(VggtModel(config), weights)
        matching = len(header.shapes) - len(ignored)
        checkpoint = CheckpointSummary(weights, matching, len(ignored), licence_of(weights))
    process = resident_bytes()
    fake, model = without_memory(lambda: VggtModel(config).to(dtype).eval())
    parameters = list(model.parameters())
    live = LiveMemory(parameters)
    with fake, torch.no_grad():
        pixel_values = torch.empty(1, views, 3, height, width, dtype=dtype)
        with live:
            live.count(pixel_values)
            try:
                predict_with_heads(model, pixel_values)
            except ValueError as error:
                raise ModelError(f"{views} views of {width}x{height}: {error}") from None
    memory = MemoryEstimate(process, sum(parameter.nbytes for parameter in parameters), live.peak)
    return VggtEstimate(module_parameters(model, ()), memory, checkpoint)


def predict_with_heads(model: VggtModel, pixel_values: Tensor) -> dict[str, Tensor]:
    """Run all heads of a VGGT on (B, V, 3, H, W): "cameras", "depth" and "points"."""
    heads = set(model.config.heads)
    encoded = model(pixel_values, model.dense_layers if heads & {"depth", "point"} else None)
    outputs = {}
    if "camera" in heads:
        outputs["cameras"] = model.predict_cameras(encoded)[-1]
    if "depth" in heads:
        outputs["depth"] = model.predict_depth(encoded)[0]
    if "point" in heads:
        outputs["points"] = model.predict_points(encoded)[0]
    return outputs


def estimate_inference(
    config: DollhouseConfig, views: int, height: int, width: int, dtype: torch.dtype
) -> MemoryEstimate:
    """Estimate a student that encodes ``views`` photos and answers one question.

    Raises ModelError where the photos do not fit the encoder.
    """
    process = resident_bytes()
    # without pose refinement, which depends on values and is small beside the rest

    def student() -> DollhouseForConditionalGeneration:
        made = DollhouseForConditionalGeneration(config)
        made.lower_precision(dtype)
        return made

    fake, model = without_memory(student)
    parameters = list(model.parameters())
    live = LiveMemory(parameters)
    with fake, torch.no_grad():
        pixel_values = torch.empty(1, views, 3, height, width)
        question = torch.zeros(1, QUESTION_TOKENS, dtype=torch.long)
        rgbd = None
        if config.use_rgbd:
            poses, up = torch.empty(1, views, 4, 4), torch.empty(1, views, 3)
            rgbd = RGBDInputs.from_poses(torch.empty(1, views, height, width), poses, up, torch.empty(1, views))
        with live:
            live.count(pixel_values)
            try:
                scene = model.encode_prefix(model.get_image_features(pixel_values, rgbd, refine_poses=False))
            except ValueError as error:
                raise ModelError(f"{views} views of {width}x{height}: {error}") from None
            hidden = model.encode_questions(scene, question, torch.zeros(1, dtype=torch.long))
            model.get_output_embeddings()(hidden[:, -1:])
    return MemoryEstimate(process, sum(parameter.nbytes for parameter in parameters), live.peak)


def resident_bytes() -> int:
    """Return the resident memory of this process; 0 where the operating system does not report it."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        return 0
    import resource

    return int(status.read_text().split()[1]) * resource.getpagesize()


def peak_memory() -> int:
    """Return the peak memory so far: allocated on the GPU if there is one, else resident."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_resident_bytes()


def peak_resident_bytes() -> int:
    """Return the peak resident memory of this process since it started its program.

    The system's usual figure (``ru_maxrss``) includes the memory of a large parent at the start of the process.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM:")), None)
        if line is not None:
            return 1024 * int(line.split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
