"""Object tokens of frozen perception modules, cached per sample (the encoder's own tokens: feature_cache)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from dollhouse.data.feature_cache import weights_hash
from dollhouse.data.target_cache import ADVICE, read_entry
from dollhouse.models.checked_tensors import load_tensors, save_tensors
from dollhouse.models.dollhouse.proposal_head import ProposalOutput


class ObjectCache:
    """Proposals of samples, one file each, in a folder that belongs to these weights and samples.

    Samples are encoded one by one, with and without a folder, so that a run ends with the same weights either way.
    Without a folder they are kept in memory, about 40 kB each.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._kept: dict[int, ProposalOutput] = {}

    def objects(self, indices: Sequence[int], encode: Callable[[int], ProposalOutput]) -> ProposalOutput:
        """Return the objects of samples ``indices``; ``encode(row)`` computes a missing row (a batch of 1)."""
        rows = []
        for row, index in enumerate(indices):
            if (objects := self.read(index)) is None:
                objects = encode(row)
                self.write(index, objects)
            rows.append(objects)
        return ProposalOutput.concat(rows)

    def read(self, index: int) -> ProposalOutput | None:
        """Return the objects of a sample (a batch of 1), or None where the file is missing or damaged."""
        if self.folder is None:
            return self._kept.get(index)
        return read_entry(_path(self.folder, index), lambda path: ProposalOutput(**load_tensors(path)))

    def write(self, index: int, objects: ProposalOutput) -> None:
        """Store the objects of a sample. Raises StorageError where the disk is full."""
        if self.folder is None:
            self._kept[index] = objects.map(lambda value: value.detach().cpu())
            return
        save_tensors(vars(objects), _path(self.folder, index), ADVICE)


def _path(folder: Path, index: int) -> Path:
    return folder / f"{index // 1000:04d}" / f"{index}.safetensors"


def modules_hash(modules: Sequence[nn.Module]) -> str:
    """Return 16 hex digits that depend on all weights of ``modules``."""
    return weights_hash(item for module in modules for item in module.state_dict().items())
