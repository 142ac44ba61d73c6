"""The paper's Eq. 1 on trunk features: close to the teacher's, and the same wherever two views see the same point.

Its second term, read literally, would push views apart; "ensures consistency" is what it is for, so disagreement at
truly shared points is what we penalise (specs/paper.md, section 2).

Axes: B batch, V views, P patches of a view, M = V*P, D the teacher's width, C shared points.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from dollhouse.data.correspondence import SharedPoints, patch_values


def feature_distance(mapped: Tensor, features: Tensor, known: Tensor) -> Tensor:
    """Squared distance of the student's features, mapped to the teacher's width, to the teacher's; mean over D too.

    ``mapped`` and ``features`` (B, M, D), ``known`` (B, M). The teacher's are brought to mean 0 and variance 1 patch
    by patch, so that the loss is as large for one teacher as for another.
    """
    wanted = F.layer_norm(features, features.shape[-1:])
    apart = (mapped.to(wanted.dtype) - wanted).square().mean(-1)
    return (apart * known).sum() / known.sum().clamp(min=1)


def view_disagreement(patches: Tensor, grid: tuple[int, int], shared: SharedPoints) -> Tensor:
    """Squared distance between the unit-length features of two views at the points they share, 0 to 4; mean over C.

    ``patches`` (B, V, P, D) with P = rows * columns of ``grid``.
    """
    one, other = (F.normalize(said, dim=-1) for said in patch_values(patches, grid, shared))
    return (one - other).square().sum(-1).mean()
