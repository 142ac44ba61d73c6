"""Losses of depth: of every pixel, and of every patch's distribution over bins.

Axes: B batch, V views, H and W pixels, P patches of a view, S pixels of a patch, N bins.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dollhouse.models.dollhouse.heads import DepthBins
from dollhouse.models.dollhouse.rgbd_embedding import in_patches

EDGE_STEP = 4  #: pixels


def aligned_depth(log_depth: Tensor, depth: Tensor, metric: Tensor) -> Tensor:
    """Scale depth that is not metric to the predicted depth, by the median ratio of the scene.

    ``log_depth`` (B, V, H, W) is predicted, ``depth`` (B, V, H, W) 0 where unknown, ``metric`` (B,) bool.
    """
    if bool(metric.all()):
        return depth
    aligned = []
    for predicted, target, is_metric in zip(log_depth.detach(), depth, metric, strict=True):
        known = target > 0
        if not bool(is_metric) and bool(known.any()):
            target = target * (predicted[known] - target[known].log()).median().exp()
        aligned.append(target)
    return torch.stack(aligned)


def depth_loss(log_depth: Tensor, depth: Tensor, metric: Tensor) -> Tensor:
    """Return the L1 loss of log depth: absolute, relative to each view's mean error, and of edges.

    The logarithm makes relative errors count alike near and far. The absolute term and edges, differences of pixels
    ``EDGE_STEP`` apart, are of ``metric`` depth only: estimated depth has blurred edges.
    """
    valid = depth > 0
    measured = valid & metric.view(-1, 1, 1, 1)
    error = torch.where(valid, log_depth - depth.clamp(min=1e-3).log(), torch.zeros_like(log_depth))
    shift = error.sum((2, 3), keepdim=True) / valid.sum((2, 3), keepdim=True).clamp(min=1)
    loss = 0.5 * _mean_abs(error, measured) + _mean_abs(error - shift, valid)
    for axis in (2, 3):
        length = error.shape[axis] - EDGE_STEP
        if length > 0:
            far, near = error.narrow(axis, EDGE_STEP, length), error.narrow(axis, 0, length)
            both = measured.narrow(axis, EDGE_STEP, length) & measured.narrow(axis, 0, length)
            loss = loss + 0.5 * _mean_abs(far - near, both)
    return loss


def _mean_abs(error: Tensor, counted: Tensor) -> Tensor:
    return (error.abs() * counted).sum() / counted.sum().clamp(min=1)


def depth_bin_loss(logits: Tensor, depth: Tensor, bins: DepthBins) -> Tensor:
    """Return the cross-entropy of a patch's bins against the bin of its median depth.

    ``logits`` are (B, V, P, N), ``depth`` (B, V, H, W) metres, 0 unknown.
    """
    pixels = patch_pixels(depth, logits.shape[2])
    known = (pixels > 0).any(-1)
    median = torch.where(pixels > 0, pixels, torch.nan).nanmedian(-1).values
    return F.cross_entropy(logits[known], bins.of(median[known]))


def depth_bin_kl(logits: Tensor, depth: Tensor, bins: DepthBins) -> Tensor:
    """Return the KL divergence from the histogram of a patch's known pixels to its bins, mean over patches."""
    pixels = patch_pixels(depth, logits.shape[2])
    known = (pixels > 0).any(-1)
    pixels, predicted = pixels[known], logits[known].log_softmax(-1)
    valid = (pixels > 0).to(predicted.dtype)
    counts = torch.zeros_like(predicted).scatter_add(1, bins.of(pixels.clamp(min=1e-3)), valid)
    histogram = counts / counts.sum(-1, keepdim=True)
    return F.kl_div(predicted, histogram, reduction="none").sum(-1).mean()


def patch_pixels(depth: Tensor, patches: int) -> Tensor:
    """Split ``depth`` (B, V, H, W) into the pixels (B, V, P, S) of square patches."""
    side = round((depth.shape[-2] * depth.shape[-1] / patches) ** 0.5)
    return in_patches(depth.unsqueeze(-1), side).squeeze(-1)
