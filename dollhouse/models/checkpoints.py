"""Reading checkpoint files that nobody has checked yet: which tensors are in them, and the tensors themselves.

Knows file formats (safetensors, torch zip files, their sharded indexes), not models. Nothing but tensors is ever
unpickled. Files are mapped and opened anew every :data:`MAPPED_AT_ONCE` bytes, so that resident memory stays small.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dollhouse.errors import ModelError
from dollhouse.models.llava3d.configuration import read_json

Shape = tuple[int, ...]
MAPPED_AT_ONCE = 1 << 30  #: bytes
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SINGLES = ("model.safetensors", "pytorch_model.bin")


def checkpoint_files(folder: Path) -> list[Path]:
    """The weight files of a folder in Hugging Face's layout, safetensors preferred; ModelError where some lack."""
    index = next((folder / name for name in _INDEXES if (folder / name).is_file()), None)
    if index is None:
        single = next((folder / name for name in _SINGLES if (folder / name).is_file()), None)
        if single is None:
            raise ModelError(
                f"{folder}: no weights there; expected {_SINGLES[0]}, {_SINGLES[1]} or their shards' index"
            )
        return [single]
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ModelError(f"{index}: has no weight_map; download it again")
    names = sorted(set(map(str, places.values())))
    if outside := [name for name in names if Path(name).name != name]:
        raise ModelError(f"{index}: names a file outside the folder: {outside[0]!r}")
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise ModelError(
            f"{folder}: {len(missing)} of {len(names)} shards missing: {', '.join(missing)}; download them"
        )
    return [folder / name for name in names]


def tensor_shapes(path: Path) -> dict[str, Shape]:
    """Key -> shape of one file, without reading the tensors; ModelError where it is damaged or holds anything else."""
    if path.suffix == ".safetensors":
        with _safetensors(path) as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return {name: tuple(tensor.shape) for name, tensor in _torch_tensors(path).items()}


def read_tensors(path: Path, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
    """Tensors of one file. Each is a view of the mapped file: copy it before asking for the next."""
    waiting = list(names)
    while waiting:
        mapped = 0
        if path.suffix == ".safetensors":
            with _safetensors(path) as file:
                while waiting and mapped < MAPPED_AT_ONCE:
                    tensor = file.get_tensor(waiting[0])
                    mapped += tensor.nbytes
                    yield waiting.pop(0), tensor
        else:
            tensors = _torch_tensors(path)
            while waiting and mapped < MAPPED_AT_ONCE:
                tensor = tensors[waiting[0]]
                mapped += tensor.nbytes
                yield waiting.pop(0), tensor
            del tensors
        del tensor


@contextmanager
def _safetensors(path: Path) -> Iterator[safe_open]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: not a whole safetensors file ({_first_line(error)}); download it again") from None


def _torch_tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise ModelError(f"{path}: holds more than tensors, so it was not opened; get the weights anew") from None
    except (RuntimeError, EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: not a whole torch checkpoint ({_first_line(error)}); download it again") from None
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ModelError(f"{path}: not a state dict (names -> tensors)")
    return tensors


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:160] if str(error) else type(error).__name__
