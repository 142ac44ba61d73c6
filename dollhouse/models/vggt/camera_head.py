"""VGGT's camera head and its pose encoding (``docs/specs/vggt.md``, section 4).

A pose encoding is [translation 3, quaternion xyzw 4, vertical and horizontal field of view 2] of
camera-from-world (OpenCV axes); the world is the camera of view 0, its scale the model's own.

Axes: B batch, V views, W width of the encoder's tokens (2C).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dollhouse.models.vggt.configuration import VggtConfig
from dollhouse.models.vggt.layers import Block, Mlp

POSE_DIM = 9


class CameraHead(nn.Module):
    """Predict a pose encoding per view iteratively, by attention over all views."""

    def __init__(self, config: VggtConfig) -> None:
        super().__init__()
        shape, width = config.camera_head, 2 * config.hidden_size
        assert shape is not None  # filled by the config
        self.token_norm = nn.LayerNorm(width)
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, POSE_DIM))
        self.embed_pose = nn.Linear(POSE_DIM, width)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))
        self.adaln_norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.trunk = nn.Sequential(
            *(
                Block(width, shape["num_attention_heads"], shape["mlp_ratio"], config.layerscale_value)
                for _ in range(shape["num_hidden_layers"])
            )
        )
        self.trunk_norm = nn.LayerNorm(width)
        self.pose_branch = Mlp(width, width // 2, POSE_DIM)

    def forward(self, camera_tokens: Tensor, iterations: int = 4) -> list[Tensor]:
        """Predict pose encodings (B, V, 9) after each iteration from camera tokens (B, V, W) of the last round.

        Gradients do not flow from one iteration to the next.
        """
        tokens = self.token_norm(camera_tokens)
        estimate: Tensor | None = None  # before activation
        encodings = []
        for _ in range(iterations):
            previous = self.empty_pose_tokens.expand(*tokens.shape[:2], -1) if estimate is None else estimate.detach()
            shift, scale, gate = self.poseLN_modulation(self.embed_pose(previous)).chunk(3, -1)
            modulated = gate * (self.adaln_norm(tokens) * (1 + scale) + shift) + tokens
            change = self.pose_branch(self.trunk_norm(self.trunk(modulated)))
            estimate = change if estimate is None else estimate + change
            encodings.append(torch.cat([estimate[..., :7], estimate[..., 7:].relu()], -1))
        return encodings


def rotations_from_quaternions(quaternions: Tensor) -> Tensor:
    """Convert quaternions (..., 4), xyzw, of any non-zero norm to rotation matrices (..., 3, 3)."""
    x, y, z, w = functional.normalize(quaternions, dim=-1).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def cameras_from_pose_encoding(encoding: Tensor, image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Decode pose encodings (..., 9) to ``camera_from_world`` (..., 3, 4) and intrinsics (..., 3, 3).

    ``image_size`` is (H, W); the principal point is the middle of the image.
    """
    extrinsics = torch.cat([rotations_from_quaternions(encoding[..., 3:7]), encoding[..., :3, None]], -1)
    height, width = image_size
    intrinsics = encoding.new_zeros(*encoding.shape[:-1], 3, 3)
    intrinsics[..., 0, 0] = width / 2 / torch.tan(encoding[..., 8] / 2)
    intrinsics[..., 1, 1] = height / 2 / torch.tan(encoding[..., 7] / 2)
    intrinsics[..., 0, 2] = width / 2
    intrinsics[..., 1, 2] = height / 2
    intrinsics[..., 2, 2] = 1.0
    return extrinsics, intrinsics
