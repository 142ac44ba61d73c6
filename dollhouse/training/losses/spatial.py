"""The paper's Eq. 1 on trunk features: close to the teacher's, and consistent between views.

Read literally, its second term would push views apart; since it "ensures consistency", it penalises disagreement at
shared points here.

Axes: B batch, V views, P patches of a view, M = V*P, D the teacher's width, C correspondences.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from dollhouse.data.correspondence import SharedPoints, patch_values


def feature_distance(mapped: Tensor, features: Tensor, known: Tensor) -> Tensor:
    """Return the mean squared distance of features, the teacher's being normalised patch by patch.

    ``mapped`` (B, M, D) are the student's, mapped to the teacher's width. The teacher's (B, M, D) are brought to mean 0
    and variance 1, so that teachers are comparable; ``known`` (B, M) is 1 where there are features.
    """
    target = F.layer_norm(features, features.shape[-1:])
    distance = (mapped.to(target.dtype) - target).square().mean(-1)
    return (distance * known).sum() / known.sum().clamp(min=1)


def view_consistency(patches: Tensor, grid: tuple[int, int], shared: SharedPoints) -> Tensor:
    """Return the squared distance of unit-length features (B, V, P, D) at shared points, 0 to 4."""
    first, second = (F.normalize(values, dim=-1) for values in patch_values(patches, grid, shared))
    return (first - second).square().sum(-1).mean()
