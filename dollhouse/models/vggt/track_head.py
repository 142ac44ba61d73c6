"""VGGT's track head, parameters only: so that a whole official checkpoint can be held, counted and written back.

Computes nothing: no part of the student follows points. Names and shapes are those of ``specs/vggt.md``, section 6
("virual_tracks" is the checkpoint's own spelling).
"""

from __future__ import annotations

import torch
from torch import nn

from dollhouse.models.vggt.configuration import VggtConfig
from dollhouse.models.vggt.dpt_head import DenseHead
from dollhouse.models.vggt.layers import Mlp


class TrackHead(nn.Module):
    """Feature maps, and the tracker over them."""

    def __init__(self, config: VggtConfig) -> None:
        super().__init__()
        shape = config.track_head
        assert shape is not None  # filled by the config
        self.feature_extractor = DenseHead(config, outputs=None, features=shape["features"])
        self.tracker = Tracker(**shape)


class Tracker(nn.Module):
    """Refines positions and features of points, iteration by iteration."""

    def __init__(
        self,
        features: int,
        hidden_size: int,
        num_hidden_layers: int,
        num_attention_heads: int,
        virtual_tracks: int,
        levels: int,
        radius: int,
    ) -> None:
        super().__init__()
        told = 3 * features + 4  # of a point: its feature, its correlations, its motion and where it is
        self.query_ref_token = nn.Parameter(torch.zeros(1, 2, told))
        self.corr_mlp = Mlp(levels * (2 * radius + 1) ** 2, hidden_size, features)
        self.updateformer = UpdateFormer(
            told, hidden_size, features + 2, num_hidden_layers, num_attention_heads, virtual_tracks
        )
        self.fmap_norm = nn.LayerNorm(features)
        self.ffeat_norm = nn.GroupNorm(1, features)
        self.ffeat_updater = nn.Sequential(nn.Linear(features, features), nn.GELU())
        self.vis_predictor = nn.Sequential(nn.Linear(features, 1))
        self.conf_predictor = nn.Sequential(nn.Linear(features, 1))


class UpdateFormer(nn.Module):
    """Attention over time, and over points by way of virtual tracks."""

    def __init__(self, told: int, width: int, outputs: int, layers: int, heads: int, virtual_tracks: int) -> None:
        super().__init__()
        self.virual_tracks = nn.Parameter(torch.zeros(1, virtual_tracks, 1, width))
        self.input_norm = nn.LayerNorm(told)
        self.input_transform = nn.Linear(told, width)
        self.output_norm = nn.LayerNorm(width)
        self.flow_head = nn.Linear(width, outputs)

        def blocks(across: bool) -> nn.ModuleList:
            return nn.ModuleList(TrackBlock(width, heads, across) for _ in range(layers))

        self.time_blocks = blocks(across=False)
        self.space_virtual_blocks = blocks(across=False)
        self.space_point2virtual_blocks = blocks(across=True)
        self.space_virtual2point_blocks = blocks(across=True)


class TrackBlock(nn.Module):
    """Attention, to itself or ``across`` to a context, and a two-layer MLP."""

    def __init__(self, width: int, heads: int, across: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        if across:
            self.norm_context = nn.LayerNorm(width)
            self.cross_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        else:
            self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = Mlp(width, 4 * width, width)
