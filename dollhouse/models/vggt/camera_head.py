"""VGGT's camera head, and the nine numbers it writes a camera in (``specs/vggt.md``, section 4).

Knows nothing of images or patches: it reads the camera token of every view.

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

POSE_NUMBERS = 9


class CameraHead(nn.Module):
    """Refines one pose encoding per view, four times, by attention over the views' camera tokens."""

    def __init__(self, config: VggtConfig) -> None:
        super().__init__()
        shape, width = config.camera_head, 2 * config.hidden_size
        assert shape is not None  # filled by the config
        self.token_norm = nn.LayerNorm(width)
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, POSE_NUMBERS))
        self.embed_pose = nn.Linear(POSE_NUMBERS, width)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))
        self.adaln_norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.trunk = nn.Sequential(
            *(
                Block(width, shape["num_attention_heads"], shape["mlp_ratio"], config.layerscale_value)
                for _ in range(shape["num_hidden_layers"])
            )
        )
        self.trunk_norm = nn.LayerNorm(width)
        self.pose_branch = Mlp(width, width // 2, POSE_NUMBERS)

    def forward(self, camera_tokens: Tensor, iterations: int = 4) -> list[Tensor]:
        """Camera tokens (B, V, W) of the last round -> the pose encodings (B, V, 9) after each iteration.

        Gradients do not flow from one iteration to the next.
        """
        tokens = self.token_norm(camera_tokens)
        estimate: Tensor | None = None  # before activation
        encodings = []
        for _ in range(iterations):
            before = self.empty_pose_tokens.expand(*tokens.shape[:2], -1) if estimate is None else estimate.detach()
            shift, scale, gate = self.poseLN_modulation(self.embed_pose(before)).chunk(3, -1)
            modulated = gate * (self.adaln_norm(tokens) * (1 + scale) + shift) + tokens
            change = self.pose_branch(self.trunk_norm(self.trunk(modulated)))
            estimate = change if estimate is None else estimate + change
            encodings.append(torch.cat([estimate[..., :7], estimate[..., 7:].relu()], -1))
        return encodings


def rotations_from_quaternions(quaternions: Tensor) -> Tensor:
    """Rotations (..., 3, 3) of quaternions (..., 4), xyzw, of any length but zero."""
    x, y, z, w = functional.normalize(quaternions, dim=-1).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def quaternions_from_rotations(rotations: Tensor) -> Tensor:
    """Unit quaternions (..., 4), xyzw with w >= 0, of rotations (..., 3, 3).

    Each of the four components can be had from the diagonal; the largest one is divided by, so that no
    rotation is badly conditioned (Shepperd 1978).
    """
    m = rotations
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    xw, yw, zw = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    # row i is 4 q_i (x, y, z, w)
    products = torch.stack(
        [
            torch.stack([1 + xx - yy - zz, xy, xz, xw], -1),
            torch.stack([xy, 1 - xx + yy - zz, yz, yw], -1),
            torch.stack([xz, yz, 1 - xx - yy + zz, zw], -1),
            torch.stack([xw, yw, zw, 1 + xx + yy + zz], -1),
        ],
        -2,
    )
    largest = products.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = products.gather(-2, largest[..., None, None].expand(*largest.shape, 1, 4)).squeeze(-2)
    quaternions = functional.normalize(row, dim=-1)
    return torch.where(quaternions[..., 3:] < 0, -quaternions, quaternions)


def cameras_from_pose_encoding(encoding: Tensor, image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Extrinsics ``camera_from_world`` (..., 3, 4) and intrinsics (..., 3, 3) of pose encodings (..., 9).

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


def pose_encoding_from_cameras(extrinsics: Tensor, intrinsics: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Pose encodings (..., 9) of ``camera_from_world`` (..., 3, 4) and intrinsics (..., 3, 3); (H, W) as above."""
    height, width = image_size
    vertical = 2 * torch.atan(height / 2 / intrinsics[..., 1, 1])
    horizontal = 2 * torch.atan(width / 2 / intrinsics[..., 0, 0])
    quaternions = quaternions_from_rotations(extrinsics[..., :3, :3])
    return torch.cat([extrinsics[..., :3, 3], quaternions, vertical[..., None], horizontal[..., None]], -1)
