"""Losses of answer tokens. Axes: A answer tokens, K top tokens of the teacher."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

ROUNDING = 1e-5  #: probability mass that the teacher's top tokens may lack and still count as all of it
LOG_ZERO = -1e4  #: finite stand-in for the logarithm of zero


def text_loss(logits: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    """Return the cross-entropy of answer tokens, weighted by 1/sqrt(length) of their answer.

    The weight lets a long description count more than a "yes", but not as much as twenty of them.
    ``logits`` are (A, vocabulary); ``lengths`` (A,) is the number of tokens of the token's answer.
    """
    losses = F.cross_entropy(logits.float(), labels, reduction="none")
    return (losses / lengths.sqrt()).sum() / (1.0 / lengths).sum()


def text_kl(logits: Tensor, top_ids: Tensor, top_log_probs: Tensor, lengths: Tensor, temperature: float) -> Tensor:
    """Return the KL divergence from the teacher's softened token distributions, weighted as :func:`text_loss`.

    All tokens outside the teacher's top K form one more outcome with the remaining mass; then both distributions are
    raised to the power 1/``temperature``. With the whole vocabulary this is the exact KL divergence at that
    temperature. The loss is multiplied by the squared temperature (Hinton et al. 2015).

    The teacher's top K are (A, K) each; -inf where fewer are known (at least one per row is).
    """
    logits = logits.float()
    valid = torch.isfinite(top_log_probs)
    probs = top_log_probs.exp()
    rest = (1 - probs.sum(-1, keepdim=True)).clamp(min=0)
    rest = torch.where(rest < ROUNDING, torch.zeros_like(rest), rest)
    target = torch.cat([probs, rest], -1).log().clamp(min=LOG_ZERO)

    log_probs = logits.log_softmax(-1)
    in_top = torch.zeros_like(log_probs).scatter_add(1, top_ids, valid.to(log_probs.dtype)) > 0
    others = log_probs.masked_fill(in_top, LOG_ZERO).logsumexp(-1, keepdim=True)
    predicted = torch.cat([log_probs.gather(1, top_ids).masked_fill(~valid, LOG_ZERO), others], -1)

    teacher, student = (target / temperature).log_softmax(-1), (predicted / temperature).log_softmax(-1)
    known = target > LOG_ZERO
    divergence = (teacher.exp() * (teacher - student)).masked_fill(~known, 0.0).sum(-1)
    return temperature**2 * (divergence / lengths.sqrt()).sum() / (1.0 / lengths).sum()
