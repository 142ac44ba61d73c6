"""Official VGGT checkpoints: read lazily, checked key by key, nothing half loaded.

Our parameters carry the official names, so there is nothing to translate: only to check. Knows nothing of how the
model computes. Sources: ``model.safetensors`` or ``model.pt`` of facebook/VGGT-1B and facebook/VGGT-1B-Commercial.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dollhouse.errors import ModelError, StorageError
from dollhouse.system.atomic_io import atomic_path
from dollhouse.system.malloc import return_freed_memory

#: Parts of the official model; those that ours was built without are left out, any other key is an error.
PARTS = ("aggregator.", "camera_head.", "point_head.", "depth_head.", "track_head.")
_LISTED = 5  #: keys of one kind that a message names before it counts the rest


#: Bytes of a mapped file that are read before it is mapped anew, since pages once read count as memory in use.
_MAPPED = 2**28
NON_COMMERCIAL = "CC BY-NC 4.0 (facebook/VGGT-1B: no commercial use)"
COMMERCIAL = "the licence of facebook/VGGT-1B-Commercial (Meta's own; read it on its model card)"


def licence_of(path: str | os.PathLike[str]) -> str:
    """Which licence the weights at ``path`` come under, told by the name of the file or of a folder above it.

    Both official checkpoints have one layout, so the file itself cannot tell: it is the stricter one unless some
    name on the way says "VGGT-1B-Commercial", as downloads from the hub do.
    """
    return COMMERCIAL if "vggt-1b-commercial" in str(Path(path).resolve()).lower() else NON_COMMERCIAL


def load_official(model: nn.Module, path: str | os.PathLike[str], dtype: torch.dtype) -> None:
    """Fill ``model``, which may be on the meta device, from an official checkpoint, in ``dtype``.

    Every parameter must be in the file with its shape, and every key of the file must belong to the model or to a
    part of VGGT that the model was built without. The model is touched only after all keys were found right.

    Raises:
        ModelError: otherwise, or where the file cannot be read or holds more than tensors.
    """
    checkpoint = OfficialCheckpoint(path)
    checkpoint.check(model)
    weights = {}
    for name in model.state_dict():
        stored = checkpoint.read(name)
        weights[name] = stored.to(dtype, copy=True)  # never a view of the mapped file
        if not torch.isfinite(weights[name]).all():
            if torch.isfinite(stored).all():
                raise ModelError(f"{checkpoint.path}: {name} overflows in {dtype}; load it in bfloat16 or float32")
            raise ModelError(f"{checkpoint.path}: {name} holds values that are not finite; the file is damaged")
    model.load_state_dict(weights, strict=True, assign=True)
    return_freed_memory()


def save_official(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write ``model`` as one safetensors file of official names; under a temporary name first."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise StorageError(f"{path}: weights are written as .safetensors; name such a file")
    with atomic_path(path) as unfinished:
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, unfinished)


class OfficialCheckpoint:
    """An official checkpoint file (or the folder it is in): its keys and shapes at once, its tensors one by one.

    Raises ModelError where the file cannot be read, or holds more than tensors.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        if path.is_dir():
            path = next((path / name for name in ("model.safetensors", "model.pt") if (path / name).is_file()), path)
        self.path = path
        self.shapes, self._read = _open(path)
        self._touched = 0

    def check(self, model: nn.Module) -> None:
        """Raise ModelError unless the file holds the weights of ``model``, of which only the shapes are looked at."""
        wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        if problems := compare_keys(wanted, self.shapes):
            raise ModelError(f"{self.path}: not the weights of this VGGT: {'; '.join(problems)}")

    def read(self, name: str) -> Tensor:
        """One tensor; a view of the mapped file, so copy it."""
        if self._touched > _MAPPED:
            del self._read
            return_freed_memory()
            self.shapes, self._read = _open(self.path)
            self._touched = 0
        tensor = self._read(name)
        if not tensor.is_floating_point():
            raise ModelError(f"{self.path}: {name} is stored as {tensor.dtype}; weights are floating-point numbers")
        self._touched += tensor.nbytes
        return tensor


def compare_keys(wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What is missing, unexpected or misshapen in ``found`` (key -> shape), one line a kind; empty if all is right."""
    present = {name.split(".")[0] + "." for name in wanted}
    left_out = tuple(part for part in PARTS if part not in present)
    problems = []
    if missing := [f"{name} {shape}" for name, shape in wanted.items() if name not in found]:
        problems.append(f"missing {_some(missing)}")
    unexpected = [
        f"{name} {shape}" for name, shape in found.items() if name not in wanted and not name.startswith(left_out)
    ]
    if unexpected:
        problems.append(f"unexpected {_some(unexpected)}")
    misshapen = [
        f"{name} {found[name]}, expected {shape}" for name, shape in wanted.items() if found.get(name, shape) != shape
    ]
    if misshapen:
        problems.append(f"misshapen {_some(misshapen)}")
    return problems


def _some(items: Iterable[str]) -> str:
    listed = list(items)
    rest = len(listed) - _LISTED
    return f"{len(listed)}: " + ", ".join(listed[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def _open(path: Path) -> tuple[dict[str, tuple[int, ...]], Callable[[str], Tensor]]:
    """Key -> shape of a checkpoint, and a function that reads one tensor."""
    if not path.is_file():
        raise ModelError(f"{path}: no VGGT weights there; give the path of its model.safetensors or model.pt")
    if path.suffix == ".safetensors":
        try:
            file = safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path}: not a whole safetensors file ({error}); download it again") from None
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}, file.get_tensor  # noqa: SIM118
    if path.suffix in (".pt", ".pth", ".bin"):
        try:
            tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except pickle.UnpicklingError:
            raise ModelError(f"{path}: holds more than tensors, so it was not opened; use model.safetensors") from None
        except (RuntimeError, EOFError, OSError, zipfile.BadZipFile) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(f"{path}: not a whole torch checkpoint ({reason}); download it again") from None
        if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
            raise ModelError(f"{path}: not a state dict (names -> tensors)")
        return {name: tuple(tensor.shape) for name, tensor in tensors.items()}, tensors.__getitem__
    raise ModelError(f"{path}: weights end in .safetensors or .pt")
