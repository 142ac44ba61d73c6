"""How two objects stand to each other: left or right, above or below.

Reads object slots; knows nothing of losses or of where targets come from (:mod:`dollhouse.records.relations`).

Axes: B batch, N object slots, D trunk width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dollhouse.models.dollhouse.proposal_head import ProposalOutput

RELATIONS = ("right", "above")  #: of the second object to the first, in the level frame of the first view


class RelationHead(nn.Module):
    """:class:`ProposalOutput` -> logits (B, N, N, 2) of the column's object being right of, and above, the row's.

    What is said of a pair is the opposite of what is said of the pair turned round, by construction: the logits of
    (i, j) and of (j, i) add up to zero.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        measures = 3 + 3  # centre and log size
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.first_box = nn.Linear(measures, width, bias=False)
        self.second_box = nn.Linear(measures, width, bias=False)
        self.classifier = nn.Linear(width, len(RELATIONS))

    def forward(self, objects: ProposalOutput) -> Tensor:
        measures = torch.cat([objects.center, objects.log_size], -1)
        first = self.first(objects.features) + self.first_box(measures)
        second = self.second(objects.features) + self.second_box(measures)
        told = self.classifier(F.gelu(first.unsqueeze(2) + second.unsqueeze(1))).float()
        return told - told.transpose(1, 2)
