"""Left or right, above or below, for pairs of objects.

Axes: B batch, N object slots, K true objects.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Matches = Sequence[tuple[Tensor, Tensor] | None]  #: a scene's slots and the true objects that they hold, in pairs


def relation_kl(logits: Tensor, relations: Sequence[Tensor | None], matches: Matches) -> Tensor | None:
    """KL from the soft relations of object pairs to the predicted ones, mean over pairs and kinds of relation.

    ``logits`` (B, N, N, 2), ``relations`` (K, K, 2) a scene: chances, nan unknown; a pair counts once. None where no
    scene has a pair of matched objects with a known relation.
    """
    told, said = [], []
    for row, (relation, match) in enumerate(zip(relations, matches, strict=True)):
        if relation is None or match is None or len(match[0]) < 2:
            continue
        slots, objects = match
        first, second = torch.triu_indices(len(slots), len(slots), 1, device=logits.device)
        told.append(relation[objects[first], objects[second]])
        said.append(logits[row, slots[first], slots[second]])
    if not told:
        return None
    chances, predicted = torch.cat(told), torch.cat(said)
    known = torch.isfinite(chances)
    if not bool(known.any()):
        return None
    chances, predicted = chances[known].to(predicted.dtype), predicted[known]
    surprise = F.binary_cross_entropy_with_logits(predicted, chances, reduction="none")
    entropy = -(torch.xlogy(chances, chances) + torch.xlogy(1 - chances, 1 - chances))
    return (surprise - entropy).mean()
