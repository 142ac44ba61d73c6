"""Places as waves, so that a small network can tell near ones apart. Knows nothing of what stands there."""

from __future__ import annotations

import torch
from torch import Tensor

FOURIER_WIDTH = 36  #: values that a place becomes


def fourier_features(position: Tensor) -> Tensor:
    """Sines and cosines (..., 36) of a position (..., 3) in metres, wavelengths from 16 m to 0.5 m."""
    angle = position.unsqueeze(-1) * (2 * torch.pi / 16.0) * 2.0 ** torch.arange(6, device=position.device)
    return torch.cat([angle.sin(), angle.cos()], -1).flatten(-2)
