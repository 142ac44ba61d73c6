"""What frozen eyes saw in each lesson, kept on disk: training a language model need not look again.

Lessons are looked at one by one, so what is kept does not depend on what they were batched with. Knows nothing of
how they are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from dollhouse.models.dollhouse.proposal_head import ProposalOutput
from dollhouse.system.atomic_io import atomic_path


class FeatureCache:
    """Objects of lessons, one file each, below a folder that is these eyes' and these lessons' alone.

    Without a folder nothing is kept, but lessons are looked at one by one all the same: so a run over kept lessons
    ends with the weights of one without.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def objects(self, numbers: Sequence[int], look: Callable[[int], ProposalOutput]) -> ProposalOutput:
        """Objects of lessons ``numbers``, in that order; ``look(row)`` sees one (a batch of 1) that is not kept."""
        seen = []
        for row, number in enumerate(numbers):
            kept = self.read(number)
            if kept is None:
                kept = look(row)
                self.write(number, kept)
            seen.append(kept)
        return joined(seen)

    def read(self, number: int) -> ProposalOutput | None:
        """The objects of a lesson (a batch of 1), or None where they are not kept whole."""
        if self.folder is None:
            return None
        try:
            return ProposalOutput(**load_file(_path(self.folder, number)))
        except (FileNotFoundError, SafetensorError, TypeError):
            return None

    def write(self, number: int, objects: ProposalOutput) -> None:
        """Keep the objects of a lesson. Raises StorageError where the disk is full."""
        if self.folder is None:
            return
        path = _path(self.folder, number)
        with atomic_path(path, "free some space or unset data.cache") as unfinished:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: value.detach().cpu().contiguous() for name, value in vars(objects).items()}, unfinished)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number // 1000:04d}" / f"{number}.safetensors"


def joined(several: Sequence[ProposalOutput]) -> ProposalOutput:
    """Batches one after the other as one."""
    return ProposalOutput(
        **{one.name: torch.cat([getattr(part, one.name) for part in several]) for one in fields(ProposalOutput)}
    )


def modules_hash(eyes: Sequence[nn.Module]) -> str:
    """16 hex digits of all weights of some modules."""
    digest = sha256()
    for module in eyes:
        for name, value in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()[:16]
