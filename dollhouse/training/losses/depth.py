"""Depth: of every pixel, and as a choice among bins of every patch.

Axes: B batch, V views, H and W pixels, P patches of a view, S pixels of a patch, N bins.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dollhouse.models.dollhouse.depth_bins import DepthBins
from dollhouse.models.dollhouse.rgbd_embedding import in_patches


def aligned_depth(log_depth: Tensor, depth: Tensor, metric: Tensor) -> Tensor:
    """``depth`` in metres: where it is not metric, its scale is the predicted one, by the median of the scene.

    ``log_depth`` and ``depth`` (B, V, H, W), 0 in ``depth`` where unknown; ``metric`` (B) bool.
    """
    if bool(metric.all()):
        return depth
    scaled = []
    for said, one, exact in zip(log_depth.detach(), depth, metric, strict=True):
        known = one > 0
        free = not bool(exact) and bool(known.any())
        scaled.append(one * (said[known] - one[known].log()).median().exp() if free else one)
    return torch.stack(scaled)


def depth_loss(log_depth: Tensor, depth: Tensor, metric: Tensor) -> Tensor:
    """L1 on log depth over valid pixels, so that a tenth too far costs the same near and far (AbsRel's measure).

    As :func:`aligned_depth`, which comes first.
    """
    depth = aligned_depth(log_depth, depth, metric)
    valid = depth > 0
    error = torch.where(valid, log_depth - depth.clamp(min=1e-3).log(), torch.zeros_like(log_depth))
    return error.abs().sum() / valid.sum().clamp(min=1)


def depth_bin_loss(logits: Tensor, depth: Tensor, bins: DepthBins) -> Tensor:
    """Cross-entropy of a patch's bins, the true one being that of the median of its known pixels.

    ``logits`` (B, V, P, N), ``depth`` (B, V, H, W) metres, 0 unknown.
    """
    pixels = patch_pixels(depth, logits.shape[2])
    known = (pixels > 0).any(-1)
    median = torch.where(pixels > 0, pixels, torch.nan).nanmedian(-1).values
    return F.cross_entropy(logits[known], bins.of(median[known]))


def depth_bin_kl(logits: Tensor, depth: Tensor, bins: DepthBins) -> Tensor:
    """KL from the histogram of a patch's known pixels to its predicted bins, mean over patches; axes as above."""
    pixels = patch_pixels(depth, logits.shape[2])
    known = (pixels > 0).any(-1)
    pixels, said = pixels[known], logits[known].log_softmax(-1)
    valid = (pixels > 0).to(said.dtype)
    counts = torch.zeros_like(said).scatter_add(1, bins.of(pixels.clamp(min=1e-3)), valid)
    histogram = counts / counts.sum(-1, keepdim=True)
    return F.kl_div(said, histogram, reduction="none").sum(-1).mean()


def patch_pixels(depth: Tensor, patches: int) -> Tensor:
    """The pixels of each patch: ``depth`` (B, V, H, W) -> (B, V, P, S), patches being squares."""
    side = round((depth.shape[-2] * depth.shape[-1] / patches) ** 0.5)
    return in_patches(depth.unsqueeze(-1), side).squeeze(-1)
