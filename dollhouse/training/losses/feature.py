"""What every patch says against what the teacher says of it, which may be unsure or wrong.

Axes: B batch, M patches of a scene, L labels.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def label_kl(logits: Tensor, chances: Tensor) -> Tensor | None:
    """KL from the teacher's label distributions to the student's, mean over patches of which it told one.

    Both (B, M, L+1), the last being "no object"; all-zero ``chances`` are unknown. None where all are.
    """
    known = chances.sum(-1) > 0
    if not bool(known.any()):
        return None
    told = chances[known] / chances[known].sum(-1, keepdim=True)
    return F.kl_div(logits[known].float().log_softmax(-1), told, reduction="none").sum(-1).mean()


def depth_hint_loss(log_depth: Tensor, depth: Tensor) -> Tensor | None:
    """Squared error of log depth, mean over patches of which the teacher told a depth.

    ``log_depth`` and ``depth`` (B, M); 0 in ``depth`` is unknown. None where all is.
    """
    known = depth > 0
    if not bool(known.any()):
        return None
    return (log_depth[known] - depth[known].log()).square().mean()
