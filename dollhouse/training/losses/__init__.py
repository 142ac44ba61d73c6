"""Losses: functions from predictions and targets to a scalar, the mean over known targets."""

from dollhouse.training.losses.camera import camera_loss
from dollhouse.training.losses.depth import aligned_depth, depth_bin_kl, depth_bin_loss, depth_loss
from dollhouse.training.losses.detection import detection_loss, focal_loss, match_boxes
from dollhouse.training.losses.feature import label_kl, patch_depth_loss
from dollhouse.training.losses.multiview import label_consistency, point_consistency
from dollhouse.training.losses.relations import relation_kl
from dollhouse.training.losses.spatial import feature_distance, view_consistency
from dollhouse.training.losses.text import text_kl, text_loss
from dollhouse.training.losses.voting import direction, voting_loss

__all__ = [
    "aligned_depth",
    "camera_loss",
    "depth_bin_kl",
    "depth_bin_loss",
    "depth_loss",
    "detection_loss",
    "direction",
    "feature_distance",
    "focal_loss",
    "label_consistency",
    "label_kl",
    "match_boxes",
    "patch_depth_loss",
    "point_consistency",
    "relation_kl",
    "text_kl",
    "text_loss",
    "view_consistency",
    "voting_loss",
]
