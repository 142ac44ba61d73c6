"""Fourier features of positions in metres."""

from __future__ import annotations

import torch
from torch import Tensor

FOURIER_WIDTH = 36  #: features of one position


def fourier_features(position: Tensor) -> Tensor:
    """Compute sines and cosines (..., 36) of positions (..., 3), wavelengths 16 m to 0.5 m."""
    angle = position.unsqueeze(-1) * (2 * torch.pi / 16.0) * 2.0 ** torch.arange(6, device=position.device)
    return torch.cat([angle.sin(), angle.cos()], -1).flatten(-2)
