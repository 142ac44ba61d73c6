"""Answers, token by token: what was said, and what else the teacher might have said.

Axes: A answer tokens, K kept alternatives.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

ROUNDING = 1e-5  #: mass that the teacher's kept tokens may lack and still be all of it
NEVER = -1e4  #: logarithm of a chance that is none, and still has a gradient


def text_loss(logits: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    """Cross-entropy of answer tokens, mean over answers: ``logits`` (A, vocabulary), ``labels`` and ``lengths`` (A).

    A token of an answer of n tokens (``lengths``) weighs 1/sqrt(n): a description of the room says more than "yes",
    but must not drown twenty of those.
    """
    losses = F.cross_entropy(logits.float(), labels, reduction="none")
    return (losses / lengths.sqrt()).sum() / (1.0 / lengths).sum()


def text_kl(logits: Tensor, top_ids: Tensor, top_log_probs: Tensor, lengths: Tensor, temperature: float) -> Tensor:
    """KL from the teacher's next-token distributions to the student's, both softened; weighed as :func:`text_loss`.

    ``logits`` (A, vocabulary), ``top_ids`` and ``top_log_probs`` (A, K) the teacher's best tokens, -inf where fewer
    are known (at least one a row is), ``lengths`` (A). All tokens that the teacher did not keep are one outcome more,
    whose mass is what is left of 1; then both distributions are raised to the power 1/``temperature``. Where the
    teacher kept the whole vocabulary this is the exact KL of the two softmaxes at that temperature. Multiplied by the
    temperature's square, so that gradients stay as large (Hinton et al. 2015).
    """
    logits = logits.float()
    kept = torch.isfinite(top_log_probs)
    chances = top_log_probs.exp()
    rest = (1 - chances.sum(-1, keepdim=True)).clamp(min=0)
    rest = torch.where(rest < ROUNDING, torch.zeros_like(rest), rest)
    told = torch.cat([chances, rest], -1).log().clamp(min=NEVER)

    own = logits.log_softmax(-1)
    named = torch.zeros_like(own).scatter_add(1, top_ids, kept.to(own.dtype)) > 0
    others = own.masked_fill(named, NEVER).logsumexp(-1, keepdim=True)
    said = torch.cat([own.gather(1, top_ids).masked_fill(~kept, NEVER), others], -1)

    teacher, student = (told / temperature).log_softmax(-1), (said / temperature).log_softmax(-1)
    known = told > NEVER
    apart = (teacher.exp() * (teacher - student)).masked_fill(~known, 0.0).sum(-1)
    return temperature**2 * (apart / lengths.sqrt()).sum() / (1.0 / lengths).sum()
