"""Losses against a teacher's predictions for patches. Axes: B batch, M patches of a scene, L labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def label_kl(logits: Tensor, probs: Tensor) -> Tensor | None:
    """Return the KL divergence from the teacher's label distributions, mean over patches weighted by its confidence.

    Both are (B, M, L+1), the last label is "no object". ``probs`` sum to the confidence, 0 where unknown. None where
    all are unknown.
    """
    confidence = probs.sum(-1)
    known = confidence > 0
    if not bool(known.any()):
        return None
    weight = confidence[known]
    target = probs[known] / weight[:, None]
    divergence = F.kl_div(logits[known].float().log_softmax(-1), target, reduction="none").sum(-1)
    return (divergence * weight).sum() / weight.sum()


def patch_depth_loss(log_depth: Tensor, depth: Tensor) -> Tensor | None:
    """Return the squared error of log depth, mean over patches with a depth by the teacher.

    Both are (B, M); 0 in ``depth`` is unknown. None where all is unknown.
    """
    known = depth > 0
    if not bool(known.any()):
        return None
    return (log_depth[known] - depth[known].log()).square().mean()
