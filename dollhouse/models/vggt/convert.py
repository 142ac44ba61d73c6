"""Official VGGT checkpoints (``docs/specs/vggt.md``, section 6): load, check, save, and their licence.

Parameters carry the official names, so nothing is renamed. Sources: ``model.safetensors`` or ``model.pt`` of
facebook/VGGT-1B and facebook/VGGT-1B-Commercial.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch
from torch import nn

from dollhouse.errors import StorageError
from dollhouse.models.checked_tensors import require_finite, save_tensors
from dollhouse.models.checkpoints import Checkpoint

#: Parts of the official model that a model here may lack; tensors of any other part must match.
OPTIONAL_PARTS = ("camera_head", "point_head", "depth_head", "track_head")
NON_COMMERCIAL = "CC BY-NC 4.0 (facebook/VGGT-1B: no commercial use)"
COMMERCIAL = "the licence of facebook/VGGT-1B-Commercial (Meta's own; read it on its model card)"

_logger = logging.getLogger(__name__)


def licence_of(path: str | os.PathLike[str]) -> str:
    """Return the licence of official weights by the names in their path.

    Both official checkpoints have one layout, so the content cannot decide: it is the stricter licence unless some
    name contains "VGGT-1B-Commercial", as downloads from the hub do.
    """
    return COMMERCIAL if "vggt-1b-commercial" in str(Path(path).resolve()).lower() else NON_COMMERCIAL


def check_official(model: nn.Module, path: str | os.PathLike[str]) -> tuple[Checkpoint, list[str]]:
    """Check that an official checkpoint holds the weights of ``model``, without reading them.

    Returns:
        The checkpoint, and the names of its tensors that belong to parts which ``model`` lacks.

    Raises:
        ModelError: where a tensor is missing, unexpected or of another shape, or the file cannot be read.
    """
    checkpoint = Checkpoint(path)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return checkpoint, checkpoint.check(expected, lambda name: _is_ignored(model, name))


def load_official(model: nn.Module, path: str | os.PathLike[str], dtype: torch.dtype) -> None:
    """Load an official checkpoint into ``model``, which may be on the meta device, in ``dtype``.

    Tensors of parts that the model was built without are ignored, and their number is logged. Raises ModelError as
    :func:`check_official`, and for values that are not finite in ``dtype``; the model is unchanged.
    """
    ignored = Checkpoint(path).load_into(model, dtype, ignore=lambda name: _is_ignored(model, name))
    if ignored:
        parts = ", ".join(sorted({name.split(".")[0] for name in ignored}))
        _logger.info("%s: ignored %d tensors of %s", path, len(ignored), parts)


def save_official(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write the weights of ``model``, which must be finite, as one safetensors file with the official names."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise StorageError(f"{path}: weights are written as .safetensors; name such a file")
    require_finite(model.state_dict(), path)
    save_tensors(model.state_dict(), path)


def _is_ignored(model: nn.Module, name: str) -> bool:
    part = name.split(".")[0]
    return part in OPTIONAL_PARTS and not hasattr(model, part)
