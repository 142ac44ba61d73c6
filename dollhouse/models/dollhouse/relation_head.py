"""Relations of two objects: left or right, above or below.

Axes: B batch, N object slots, D trunk width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dollhouse.models.dollhouse.proposal_head import ProposalOutput

RELATIONS = ("right", "above")  #: of the second object to the first, in the level frame of the first view


class RelationHead(nn.Module):
    """Predict logits (B, N, N, 2) that the column's object is right of, and above, the row's.

    The logits of (i, j) and (j, i) add up to zero by construction.
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
        logits = self.classifier(F.gelu(first.unsqueeze(2) + second.unsqueeze(1))).float()
        return logits - logits.transpose(1, 2)
