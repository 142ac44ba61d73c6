"""The student up to the language prefix: photos are encoded into cameras, depth, votes and objects.

Axes: B batch, V views, H and W pixels, P patches of a view, M = V*P, N object slots, G grid cells of a side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dollhouse.models.dollhouse.heads import Cameras, DepthBinHead, DepthBins, DepthHead, LevelCameraHead, MetricDepth
from dollhouse.models.dollhouse.modeling_language import DollhousePreTrainedModel
from dollhouse.models.dollhouse.pose_refinement import refine_cameras
from dollhouse.models.dollhouse.proposal_head import ObjectProjector, ProposalHead, ProposalOutput, RelationHead
from dollhouse.models.dollhouse.rgbd_embedding import RGBDInputs, RGBDPatchEmbedding
from dollhouse.models.dollhouse.trunk import Trunk
from dollhouse.models.dollhouse.voting_head import VoteOutput, VotingHead, cluster_votes
from dollhouse.models.vggt.modeling import VggtModel, VggtOutput
from dollhouse.runtime.perception import FOCAL_EXPONENT


@dataclass
class PerceptionOutput:
    """Predictions from the photos of a scene, before any question."""

    cameras: Cameras
    votes: VoteOutput
    objects: ProposalOutput
    patch_assignment: Tensor  #: (B, M, N) assignment of patches to object slots
    patches: Tensor  #: (B, V, P, trunk width) trunk features of each patch
    camera_tokens: Tensor  #: (B, V, trunk width)
    predicted_focal: Tensor  #: (B, V) as in ``cameras`` where no focal length is known
    depth_bins: Tensor | None = None  #: (B, V, P, bins) logits; None without a depth bin head
    cells: Tensor | None = None  #: (B, V, G * G, trunk width) pooled features of a GxG grid; None without a grid
    relations: Tensor | None = None  #: (B, N, N, 2) logits of right and above; None without a relation head
    encoder_output: VggtOutput | None = None  #: only where the depth head needs it
    #: (B, V, H, W); None until set from :meth:`ScenePerception.predict_log_depth`
    log_depth: Tensor | None = None
    depth_offset: Tensor | None = None  #: (B, V) added to predicted log depth; None for none

    def scaled(self, factor: float) -> PerceptionOutput:
        """Multiply all lengths by ``factor``; depth bins and relations stay."""
        offset = math.log(factor)
        votes, objects = self.votes, self.objects
        observations = objects.view_observations.clone()
        observations[..., 2] += offset * (observations[..., 3] > 0)
        return replace(
            self,
            cameras=replace(self.cameras, position=self.cameras.position * factor),
            votes=replace(
                votes,
                log_depth=votes.log_depth + offset,
                center=votes.center * factor,
                own_center=votes.own_center * factor,
                log_size=votes.log_size + offset,
            ),
            objects=replace(
                objects,
                center=objects.center * factor,
                log_size=objects.log_size + offset,
                view_observations=observations,
            ),
            log_depth=None if self.log_depth is None else self.log_depth + offset,
            depth_offset=(torch.zeros_like(self.cameras.focal) if self.depth_offset is None else self.depth_offset)
            + offset,
        )


class ScenePerception(DollhousePreTrainedModel):
    """Encoder, trunk and heads; absent from a blind student."""

    encoder: VggtModel
    trunk: Trunk
    depth_head: nn.Module
    rgbd_encoder: RGBDPatchEmbedding  #: only with ``config.use_rgbd``
    camera_head: LevelCameraHead  #: only without ``config.use_rgbd``
    voting_head: VotingHead
    proposal_head: ProposalHead
    depth_bin_head: DepthBinHead  #: only with ``config.depth_bins``
    relation_head: RelationHead  #: only with ``config.relation_head``
    multi_modal_projector: ObjectProjector

    @property
    def bins(self) -> DepthBins:
        """The depth bins of the config."""
        near, far = self.config.depth_bin_range
        return DepthBins(self.config.depth_bins, near, far)

    def encode_photos(self, pixel_values: Tensor, rgbd: RGBDInputs | None = None) -> VggtOutput:
        """Run the encoder on photos (B, V, 3, H, W) in [0, 1], with the rounds that the depth head reads."""
        layers = self.encoder.dense_layers if isinstance(self.depth_head, MetricDepth) else None
        return self.encoder(pixel_values, layers, None if rgbd is None else self.rgbd_encoder(rgbd))  # type: ignore[no-any-return]

    def encode_scene(
        self,
        pixel_values: Tensor,
        patch_assignment: Tensor | None = None,
        rgbd: RGBDInputs | None = None,
        refine_poses: bool = False,
        focal: Tensor | None = None,
        encoded: VggtOutput | None = None,
    ) -> PerceptionOutput:
        """Encode photos into cameras, votes and object proposals.

        Args:
            pixel_values: photos (B, V, 3, H, W) in [0, 1].
            patch_assignment: (B, M, N) assigns patches to object slots, e.g. ground truth; by default the votes are
                clustered.
            rgbd: depth and poses; required with ``config.use_rgbd``, ignored otherwise.
            refine_poses: whether predicted camera poses are corrected by matching objects across views
                (:mod:`dollhouse.models.dollhouse.pose_refinement`); not differentiable, meant for inference.
            focal: known focal lengths (B, V) divided by the image's width, NaN for the predicted one. They replace the
                predicted ones and change depth: in proportion with ``config.canonical_depth``, else by
                ``FOCAL_EXPONENT``. Ignored with ``rgbd``.
            encoded: of :meth:`encode_photos` for these photos, where it is known; the encoder is not used then.

        Raises:
            ValueError: if ``config.use_rgbd`` and ``rgbd`` is None.
        """
        if not self.config.use_rgbd:
            rgbd = None
        elif rgbd is None:
            raise ValueError("this model needs depth and poses beside the photos: pass rgbd")
        patch = self.config.get_vision_config().patch_size
        rows, columns = pixel_values.shape[-2] // patch, pixel_values.shape[-1] // patch
        if encoded is None:
            encoded = self.encode_photos(pixel_values, rgbd)
        assert encoded.last_hidden_state is not None
        dtype = self.trunk.norm_in.weight.dtype
        embedded = None if encoded.embedded is None else encoded.embedded[0].to(dtype)
        camera_tokens, patches = self.trunk(encoded.last_hidden_state.to(dtype), embedded)
        cameras = self.camera_head(camera_tokens) if rgbd is None else rgbd.cameras
        share = pixel_values.shape[-1] / self.config.image_size  # of the width that heads predict focal lengths for
        if self.config.canonical_depth and rgbd is None:  # objects of as many pixels are alike in narrow photos
            cameras = replace(cameras, focal=cameras.focal / share)
        depth_offset, predicted_focal = None, cameras.focal
        if focal is not None and rgbd is None:
            cameras = replace(cameras, focal=torch.where(focal.isnan(), predicted_focal, focal))
            depth_offset = FOCAL_EXPONENT * (cameras.focal / predicted_focal).log()
        if self.config.canonical_depth:
            depth_offset = (cameras.focal * share).log()
        votes = self.voting_head(patches, cameras, rows, columns, None if rgbd is None else rgbd.depth, depth_offset)
        if refine_poses and rgbd is None and pixel_values.shape[1] > 1:
            cameras = refine_cameras(votes, cameras)
            votes = votes.with_cameras(cameras)
        if patch_assignment is None:
            patch_assignment = cluster_votes(votes, self.config.num_objects)
        objects = self.proposal_head(votes, patches, patch_assignment, rows, columns)
        grid = self.multi_modal_projector.grid
        return PerceptionOutput(
            cameras,
            votes,
            objects,
            patch_assignment,
            patches,
            camera_tokens,
            predicted_focal,
            depth_bins=self.depth_bin_head(patches) if self.config.depth_bins else None,
            cells=None if grid is None else grid.pool(patches, rows, columns),
            relations=self.relation_head(objects) if self.config.relation_head else None,
            encoder_output=None if isinstance(self.depth_head, DepthHead) else encoded,
            depth_offset=depth_offset,
        )

    def predict_log_depth(
        self, perception: PerceptionOutput, pixel_values: Tensor, rgbd: RGBDInputs | None = None
    ) -> Tensor:
        """Predict log metres (B, V, H, W) of the photos behind ``perception``.

        Pixels that ``rgbd`` has measured keep the measured depth.
        """
        encoded = perception.encoder_output
        if encoded is None:
            log_depth = self.depth_head(perception.patches, pixel_values)
        elif isinstance(self.depth_head, MetricDepth):
            depth = self.encoder.predict_depth(encoded)[0] if encoded.depth is None else encoded.depth
            log_depth = self.depth_head(perception.camera_tokens, depth)
        else:
            log_depth = self.depth_head(perception.patches, encoded.embedded, pixel_values.shape[-2:])
        if perception.depth_offset is not None:
            log_depth = log_depth + perception.depth_offset[..., None, None]
        if rgbd is not None:
            log_depth = torch.where(rgbd.depth > 0, rgbd.depth.clamp(min=1e-3).log(), log_depth)
        return log_depth
