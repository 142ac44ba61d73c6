"""Safetensors files that carry the digest of their tensors in their metadata, compared on every read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from dollhouse.errors import ModelError
from dollhouse.system.atomic_io import ADVICE, atomic_path, scratch_folder
from dollhouse.system.hashing import ContentDigest
from dollhouse.system.read_files import open_safetensors, read_safetensors


def save_tensors(tensors: Mapping[str, Tensor], path: Path, advice: str = ADVICE) -> None:
    """Write tensors and their digest atomically. Raises StorageError as :func:`atomic_path` does."""
    stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with atomic_path(path, advice) as unfinished, scratch_folder(path.parent) as scratch:
        save_file(stored, scratch / path.name, {"sha256": _digest(stored)})
        (scratch / path.name).chmod(unfinished.stat().st_mode)  # safetensors' files are for their owner only
        (scratch / path.name).replace(unfinished)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file of :func:`save_tensors`.

    Raises:
        FileNotFoundError: there is none.
        ModelError: it is damaged, or carries no digest.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    tensors: dict[str, Tensor] = read_safetensors(path, path, ModelError, "it is damaged")
    digest = (open_safetensors(path, ModelError).metadata() or {}).get("sha256")
    if digest != _digest(tensors):
        raise ModelError(f"{path}: is damaged: its digest is not that of its tensors")
    return tensors


def require_finite(tensors: Mapping[str, Tensor], where: str | Path) -> None:
    """Raise ModelError where a floating-point tensor holds NaN or infinity."""
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ModelError(f"{where}: {name} holds values that are not finite")


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = ContentDigest()
    for name, value in sorted(tensors.items()):
        digest.add("tensor", f"{name} {value.dtype} {tuple(value.shape)}")
        digest.add_array("bytes", value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
