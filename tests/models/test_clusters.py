"""Clusters of votes: of many patches, their agreement is never held for all pairs."""

from __future__ import annotations

import pytest
import torch

from dollhouse.models.dollhouse import voting_head
from dollhouse.models.dollhouse.voting_head import VoteOutput, cluster_votes

PATCHES, SLOTS = 90, 5


def random_votes(generator: torch.Generator) -> VoteOutput:
    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(2, PATCHES, *shape, generator=generator)

    shapes = {"label_logits": (7,), "colour_logits": (3,), "log_depth": (), "own_front": (2,), "own_axis": (2,)}
    boxes = {name: (3,) for name in ("own_center", "log_size", "center")}
    plane = {name: (2,) for name in ("front", "axis")}
    values = {name: normal(*shape) for name, shape in (shapes | boxes | plane).items()}
    return VoteOutput(**{**values, "label_logits": 3 * values["label_logits"]})


@pytest.mark.parametrize("block", [1, 7 * PATCHES, PATCHES**2 - 1])
def test_blocks_do_not_change_clusters(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    votes = random_votes(torch.Generator().manual_seed(0))
    whole = cluster_votes(votes, SLOTS)
    assert whole.sum() > SLOTS
    monkeypatch.setattr(voting_head, "BLOCK", block)
    assert torch.equal(cluster_votes(votes, SLOTS), whole)


def test_no_tensor_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voting_head, "BLOCK", 4 * PATCHES)
    largest = 0
    plain = voting_head._agreement

    def measured(some: list[torch.Tensor], patches: list[torch.Tensor]) -> torch.Tensor:
        nonlocal largest
        agreement = plain(some, patches)
        largest = max(largest, agreement[0].numel())
        return agreement

    monkeypatch.setattr(voting_head, "_agreement", measured)
    cluster_votes(random_votes(torch.Generator().manual_seed(1)), SLOTS)
    assert largest == 4 * PATCHES
