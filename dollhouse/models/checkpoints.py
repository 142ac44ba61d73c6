"""A lazy, strict reader of weight files: safetensors and torch state dicts, in one file or in shards."""

from __future__ import annotations

import difflib
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from dollhouse.errors import ModelError
from dollhouse.system.malloc import return_freed_memory
from dollhouse.system.read_files import decoding, open_file, open_safetensors, read_object

Shape = tuple[int, ...]
#: Bytes read from a memory-mapped file before it is opened again, because pages once read count as memory in use.
REMAP_BYTES = 1 << 28
_INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SINGLE_FILES = ("model.safetensors", "pytorch_model.bin", "model.pt")
_TORCH_SUFFIXES = (".pt", ".pth", ".bin")
_MAX_LISTED = 5  #: tensors of one kind that an error message names before it counts the rest

read_json = partial(read_object, error=ModelError, advice="download it again")


class Checkpoint:
    """Names and shapes of all tensors of a checkpoint; values are read on demand.

    Attributes:
        path: the weight file, or the folder of one file or of shards with their index.
        shapes: name of each tensor -> its shape.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read names and shapes; raises ModelError for absent, damaged and unsafe files."""
        self.path = Path(path)
        self.shapes: dict[str, Shape] = {}
        self._sources: dict[str, tuple[Path, str]] = {}  # name -> file, and the tensor's name in that file
        for file in _weight_files(self.path):
            for name, shape in _open(file)[0].items():
                if name in self._sources:
                    raise ModelError(f"{file}: holds {name}, which {self._sources[name][0].name} holds too")
                self._sources[name], self.shapes[name] = (file, name), shape

    def include(self, other: Checkpoint, names: Mapping[str, str]) -> None:
        """Add tensors of another checkpoint; ``names`` maps its names to the names they get here."""
        for theirs, ours in names.items():
            self._sources[ours], self.shapes[ours] = other._sources[theirs], other.shapes[theirs]

    def check(self, expected: Mapping[str, Shape], ignore: Callable[[str], bool] = lambda name: False) -> list[str]:
        """Compare names and shapes with those expected.

        Args:
            expected: name of each tensor that must be present -> its shape.
            ignore: whether a tensor of this name may be present without being expected.

        Returns:
            The names that were ignored.

        Raises:
            ModelError: where tensors are missing, unexpected or of another shape.
        """
        found = {name: shape for name, shape in self.shapes.items() if name in expected or not ignore(name)}
        if problems := compare_keys(expected, found):
            raise ModelError(f"{self.path}: tensors do not match the model: {'; '.join(problems)}")
        return [name for name in self.shapes if name not in found]

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Yield tensors by name, file by file; they are views of a mapped file, so copy each."""
        by_file: dict[Path, list[str]] = {}
        for name in names:
            by_file.setdefault(self._sources[name][0], []).append(name)
        for file, group in by_file.items():
            while group:
                get, mapped = _open(file)[1], 0
                while group and mapped <= REMAP_BYTES:
                    name = group.pop(0)
                    tensor = get(self._sources[name][1])
                    mapped += tensor.nbytes
                    yield name, tensor
                del get, tensor  # unmaps the file
                return_freed_memory()

    def load_into(
        self,
        module: nn.Module,
        dtype: torch.dtype,
        *,
        device: str | torch.device = "cpu",
        key_of: Callable[[str], str] = str,
        ignore: Callable[[str], bool] = lambda name: False,
    ) -> list[str]:
        """Replace all weights of a module, or none on an error.

        Args:
            module: may be on the meta device; must match the checkpoint tensor by tensor.
            dtype: of the loaded weights.
            device: where each tensor is moved as soon as it is read.
            key_of: name of a parameter in the module -> its name in the checkpoint.
            ignore: as in :meth:`check`.

        Returns:
            The names that were ignored.

        Raises:
            ModelError: on a mismatch, and for tensors that are not floating point or not finite in ``dtype``.
        """
        keys = {key_of(name): name for name in module.state_dict()}
        ignored = self.check({key_of(name): tuple(t.shape) for name, t in module.state_dict().items()}, ignore)
        weights = {keys[key]: self._converted(key, stored, dtype, device) for key, stored in self.read(keys)}
        module.load_state_dict(weights, strict=True, assign=True)
        return_freed_memory()
        return ignored

    def _converted(self, name: str, stored: Tensor, dtype: torch.dtype, device: str | torch.device) -> Tensor:
        where = f"{self._sources[name][0]}: {name}"
        if not stored.is_floating_point():
            raise ModelError(f"{where} is stored as {stored.dtype}; weights are floating-point numbers")
        tensor = stored.to(device, dtype, copy=True)  # never a view of the mapped file
        if not torch.isfinite(tensor).all():
            if torch.isfinite(stored).all():
                raise ModelError(f"{where} overflows in {dtype}; load it in bfloat16 or float32")
            raise ModelError(f"{where} holds values that are not finite; the file is damaged, download it again")
        return tensor


def compare_keys(expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> list[str]:
    """Describe missing, unexpected and misshapen tensors, one entry a kind; empty if all match."""
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]

    def described(name: str) -> str:
        near = difflib.get_close_matches(name, unexpected, n=1, cutoff=0.8)
        return f"{name} {expected[name]}" + (f" (similar: {near[0]})" if near else "")

    misshapen = [name for name, shape in expected.items() if found.get(name, shape) != shape]
    kinds: list[tuple[str, list[str], Callable[[str], str]]] = [
        ("missing", missing, described),
        ("unexpected", unexpected, lambda name: f"{name} {found[name]}"),
        ("misshapen", misshapen, lambda name: f"{name} {found[name]}, expected {expected[name]}"),
    ]
    return [f"{kind} {_shorten(names, describe)}" for kind, names, describe in kinds if names]


def _shorten(names: list[str], describe: Callable[[str], str] = str) -> str:
    """Join the first few names and count the rest."""
    rest = len(names) - _MAX_LISTED
    return f"{len(names)}: {', '.join(map(describe, names[:_MAX_LISTED]))}" + (f" and {rest} more" if rest > 0 else "")


def _weight_files(path: Path) -> list[Path]:
    """List the weight files, safetensors preferred; raises ModelError where some are missing."""
    if not path.is_dir():
        if not path.is_file():
            raise ModelError(f"{path}: no such file or folder; give a weight file, or the folder of a checkpoint")
        return [path]
    index = next((path / name for name in _INDEX_FILES if (path / name).is_file()), None)
    if index is None:
        single = next((path / name for name in _SINGLE_FILES if (path / name).is_file()), None)
        if single is None:
            raise ModelError(f"{path}: no weights there; expected {', '.join(_SINGLE_FILES)}, or shards with an index")
        return [single]
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{index}: has no weight_map; download it again")
    names = sorted(set(map(str, weight_map.values())))
    if outside := [name for name in names if Path(name).name != name]:
        raise ModelError(f"{index}: names a file outside the folder: {outside[0]!r}")
    if missing := [name for name in names if not (path / name).is_file()]:
        raise ModelError(f"{path}: {len(missing)} of {len(names)} shards missing: {', '.join(missing)}; download them")
    return [path / name for name in names]


def _open(path: Path) -> tuple[dict[str, Shape], Callable[[str], Tensor]]:
    """Map a weight file; returns shapes by name, and a function that reads a tensor."""
    if path.suffix == ".safetensors":
        file = open_safetensors(path, ModelError, "download it again")
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}, file.get_tensor  # noqa: SIM118
    if path.suffix not in _TORCH_SUFFIXES:
        raise ModelError(f"{path}: not a weight file; their names end in .safetensors, {', '.join(_TORCH_SUFFIXES)}")
    open_file(path, ModelError).close()
    with decoding(path, "a complete torch checkpoint", ModelError, "download it again"):
        try:
            tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except pickle.UnpicklingError:
            raise ModelError(f"{path}: holds more than tensors, so it was not opened; get it as safetensors") from None
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ModelError(f"{path}: not a state dict (names -> tensors)")
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}, tensors.__getitem__
