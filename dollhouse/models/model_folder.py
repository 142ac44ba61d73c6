"""Find model folders and their exports; no torch is imported."""

from __future__ import annotations

import errno
import stat
import sys
from functools import cache
from pathlib import Path

from dollhouse.errors import ModelError
from dollhouse.runtime.certificate import CERTIFICATE, REMEDY, read_certificate
from dollhouse.system.checksums import HASHES, check_checksums
from dollhouse.system.hashing import file_hash
from dollhouse.system.read_files import decoding, read_object

SHIPPED = Path(__file__).parent / "weights" / "nano"
WEIGHTS = "model.safetensors"
NEEDED = ("config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json", "processor_config.json")
MODEL_TYPE = "dollhouse"
EXPORT = "onnx"  #: folder of the export within that of its model


def find_model(folder: str | Path | None = None) -> Path:
    """Return the path of a model folder, after checks of its files and of the kind of model.

    None and the string "nano" name the shipped student; a folder nano is written "./nano", or as a Path.
    Raises ModelError.
    """
    path = _resolve(folder)
    if _is_file(path):
        raise ModelError(f"{path} is a file: a model is a folder with {', '.join(NEEDED)} (pickles are not loaded)")
    if not path.is_dir():
        raise ModelError(f"no model folder {path}: name one that `dollhouse distill` wrote, or leave --model out")
    missing = [name for name in NEEDED if not _is_file(path / name)]
    if missing:
        raise ModelError(f"model folder {path} lacks {', '.join(missing)}: copy the whole folder again")
    kind = read_object(path / "config.json", ModelError, "copy the whole folder again").get("model_type")
    if kind != MODEL_TYPE:
        raise ModelError(f"{path} is not a Dollhouse model: its config.json has model_type {kind!r}")
    return path


def find_export(folder: str | Path | None = None) -> Path | None:
    """Return the folder of a model's exported graphs, itself or ``onnx`` in it; None where there is none."""
    path = _resolve(folder)
    return next((found for found in (path, path / EXPORT) if _is_file(found / CERTIFICATE)), None)


def checked_export(folder: str | Path | None = None) -> Path | None:
    """Return what :func:`find_export` returns, after a check of the model folder that it lies in.

    The folder's files are compared with its ``SHA256SUMS``, its weights with those that the graphs came from; hashing
    the 18 MB of nano takes 10 ms. Raises ModelError or StorageError, naming the file.
    """
    path, export = _resolve(folder), find_export(folder)
    if export is None or export == path:
        return export
    find_model(folder)
    hashes = check_checksums(path) if (path / HASHES).exists() else {}
    with decoding(path / WEIGHTS, "a file that can be read", ModelError):
        weights = hashes.get(WEIGHTS) or file_hash(path / WEIGHTS)
    if read_certificate(export).get("weights") != weights:
        raise ModelError(f"{export}: its graphs are not those of {path / WEIGHTS}: {REMEDY}, or use the engine torch")
    return export


def _is_file(path: Path) -> bool:
    """Return whether a path is a file. Raises ModelError where that cannot be seen, as in a folder without rights."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return False
        raise ModelError(f"{path}: cannot be read ({error.strerror}); give a model folder that you may read") from error


def _resolve(folder: str | Path | None) -> Path:
    if folder == SHIPPED.name and Path(folder).is_dir():
        _note_once()
    return SHIPPED if folder is None or folder == SHIPPED.name else Path(folder)


@cache
def _note_once() -> None:
    """Print once that the shipped student is taken, since a folder here has its name."""
    name = SHIPPED.name
    print(f"{name} is the student of the package; write ./{name} for the folder {name} here", file=sys.stderr)
