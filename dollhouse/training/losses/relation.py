"""Loss of spatial relations (left or right, above or below) between objects.

Axes: B batch, N object slots, K true objects.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Matches = Sequence[tuple[Tensor, Tensor] | None]  #: per scene: matched slots and true objects


def relation_kl(logits: Tensor, relations: Sequence[Tensor | None], matches: Matches) -> Tensor | None:
    """Return the KL divergence from soft relations of matched pairs, mean over pairs and relations.

    ``logits`` are (B, N, N, 2), ``relations`` (K, K, 2) probabilities per scene, nan unknown. Each unordered pair
    counts once. None where no scene has a matched pair with a known relation.
    """
    targets, predictions = [], []
    for row, (relation, match) in enumerate(zip(relations, matches, strict=True)):
        if relation is None or match is None or len(match[0]) < 2:
            continue
        slots, objects = match
        first, second = torch.triu_indices(len(slots), len(slots), 1, device=logits.device)
        targets.append(relation[objects[first], objects[second]])
        predictions.append(logits[row, slots[first], slots[second]])
    if not targets:
        return None
    target, predicted = torch.cat(targets), torch.cat(predictions)
    known = torch.isfinite(target)
    if not bool(known.any()):
        return None
    target, predicted = target[known].to(predicted.dtype), predicted[known]
    cross_entropy = F.binary_cross_entropy_with_logits(predicted, target, reduction="none")
    entropy = -(torch.xlogy(target, target) + torch.xlogy(1 - target, 1 - target))
    return (cross_entropy - entropy).mean()
