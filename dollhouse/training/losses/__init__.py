"""Losses: small functions, from predictions and targets to a scalar.

Know nothing of weights between them (:mod:`dollhouse.training.loss_weighting`) or of where targets come from. Every
function returns a mean over what is known; callers leave a loss out where nothing is.
"""

from dollhouse.training.losses.camera import camera_loss
from dollhouse.training.losses.depth import aligned_depth, depth_bin_kl, depth_bin_loss, depth_loss
from dollhouse.training.losses.detection import detection_loss, focal_loss, match_boxes
from dollhouse.training.losses.feature import depth_hint_loss, label_kl
from dollhouse.training.losses.multiview import label_disagreement, point_disagreement
from dollhouse.training.losses.relations import relation_kl
from dollhouse.training.losses.spatial import feature_distance, view_disagreement
from dollhouse.training.losses.text import text_kl, text_loss
from dollhouse.training.losses.voting import direction, vote_loss

__all__ = [
    "aligned_depth",
    "camera_loss",
    "depth_bin_kl",
    "depth_bin_loss",
    "depth_hint_loss",
    "depth_loss",
    "detection_loss",
    "direction",
    "feature_distance",
    "focal_loss",
    "label_disagreement",
    "label_kl",
    "match_boxes",
    "point_disagreement",
    "relation_kl",
    "text_kl",
    "text_loss",
    "view_disagreement",
    "vote_loss",
]
