"""The Dollhouse student: VGGT encoder, trunk, heads, and a causal language model over object tokens.

The sequence is ``[V][T1..TK][Q][A]``, see :mod:`dollhouse.models.dollhouse.special_tokens`.

Axes: B batch, V views, H and W pixels, P patches of a view, M = V*P, N object slots, D text width, T text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast

from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.depth_bins import DepthBinHead, DepthBins
from dollhouse.models.dollhouse.heads import Cameras, DepthHead, LevelCameraHead, MetricDepth, build_depth_head
from dollhouse.models.dollhouse.modeling_language import SceneLanguageModel
from dollhouse.models.dollhouse.pose_refinement import refine_cameras
from dollhouse.models.dollhouse.proposal_head import INIT_STD, ObjectProjector, ProposalHead, ProposalOutput
from dollhouse.models.dollhouse.relation_head import RelationHead
from dollhouse.models.dollhouse.rgbd_embedding import RGBDInputs, RGBDPatchEmbedding
from dollhouse.models.dollhouse.thinking_tokens import ThinkingMap
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
    #: (B, V, H, W); None until set from :meth:`DollhouseForConditionalGeneration.predict_log_depth`
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


class DollhouseForConditionalGeneration(SceneLanguageModel, GenerationMixin):
    """Answer questions about a scene from photos; predicts depth, cameras and 3D boxes on the way.

    With ``config.blind`` the prefix is a learned constant and photos have no effect: the control for every accuracy.
    """

    def __init__(self, config: DollhouseConfig, blank_encoder: bool = False) -> None:
        """Build the model; ``blank_encoder`` leaves the encoder on the meta device, until its weights are loaded."""
        super().__init__(config)
        text = config.get_text_config()
        if config.blind:
            self.blind_prefix = nn.Parameter(INIT_STD * torch.randn(config.num_objects, text.hidden_size))
        else:
            labels, colours = len(config.labels), len(config.colours)
            vision = config.get_vision_config()
            with torch.device("meta") if blank_encoder else nullcontext():
                self.encoder = VggtModel(vision)
            special = 1 + vision.num_register_tokens
            width, heads = config.trunk_width, config.trunk_heads
            shortcut = vision.hidden_size if vision.patch_embed == "efficientnet" else 0
            self.trunk = Trunk(2 * vision.hidden_size, width, config.trunk_layers, heads, special, shortcut)
            self.depth_head = build_depth_head(config)
            if config.use_rgbd:
                self.rgbd_encoder = RGBDPatchEmbedding(vision.hidden_size, vision.patch_size)
            else:
                self.camera_head = LevelCameraHead(width)
            self.voting_head = VotingHead(width, labels, colours)
            self.proposal_head = ProposalHead(width, labels, colours, config.object_layers, heads)
            self._make_heads(config.depth_bins, config.relation_head)
            self.multi_modal_projector = ObjectProjector(
                width, text.hidden_size, config.max_referenced_views, config.grid_size
            )
        self.language_model = AutoModelForCausalLM.from_config(text, trust_remote_code=False)
        if config.thinking_passes > 1:
            self.thinking_map = ThinkingMap(text.hidden_size, text.hidden_size)
        self.post_init()

    def _make_heads(self, depth_bins: int, relation_head: bool) -> None:
        if depth_bins:
            self.depth_bin_head = DepthBinHead(self.config.trunk_width, depth_bins)
        if relation_head:
            self.relation_head = RelationHead(self.config.trunk_width)

    def add_heads(self, depth_bins: int = 0, relation_head: bool = False) -> None:
        """Add freshly initialised heads and name them in the config."""
        self._make_heads(depth_bins, relation_head)
        for name, wanted in (("depth_bin_head", depth_bins), ("relation_head", relation_head)):
            if wanted:
                getattr(self, name).apply(self._init_weights)
        self.config.depth_bins = depth_bins or self.config.depth_bins
        self.config.relation_head = relation_head or self.config.relation_head

    def lower_precision(self, dtype: torch.dtype) -> None:
        """Compute encoder and language model in ``dtype``; the heads, and a stem of convolutions, stay in float32."""
        self.encoder.to(dtype)
        self.language_model.to(dtype)
        if self.encoder.stem is not None:
            self.encoder.aggregator.patch_embed.float()

    def suppress_tokens(self) -> list[int]:
        """Return the special tokens that are never generated."""
        config = self.config
        silent = {config.scene_token_id, config.answer_token_id, *config.thinking_ids, config.pad_token_id}
        return sorted(token for token in silent if token is not None and token != config.eos_token_id)

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

    def word_embeddings(self, words: Sequence[Sequence[int]] | Tensor) -> Tensor:
        """Return the mean embedding of each word's tokens: (..., D); ids (..., W) may be padded with negative ones."""
        if not isinstance(words, Tensor):
            longest = max(map(len, words), default=1)
            words = torch.tensor([[*word, *[-1] * (longest - len(word))] for word in words], device=self.device)
        known = words >= 0
        share = known / known.sum(-1, keepdim=True)
        return (self.get_input_embeddings()(words.clamp(min=0)) * share.unsqueeze(-1)).sum(-2)

    def embed_scene(self, perception: PerceptionOutput, label_ids: Tensor | None = None) -> Tensor:
        """Project a scene to the language prefix (B, N, D): its objects, then the cells of its views, if any."""
        tokens = self.embed_objects(perception.objects, label_ids)
        grid = self.multi_modal_projector.grid
        if grid is None or perception.cells is None:
            return tokens
        return torch.cat([tokens, grid(perception.cells).to(tokens.dtype)], 1)

    def embed_objects(self, objects: ProposalOutput, label_ids: Tensor | None = None) -> Tensor:
        """Project objects to their tokens of the language prefix (B, N, D), or (B, 1, D) if these are pooled.

        ``label_ids`` (B, L, W) are the tokens of each label's word in each scene, by default the config's.
        """
        labels = self.word_embeddings(self.config.label_ids if label_ids is None else label_ids)
        colours = self.word_embeddings(self.config.colour_ids)
        tokens = self.multi_modal_projector(objects, labels, colours)
        if self.config.prefix == "objects":
            return tokens
        share = objects.present / objects.present.sum(1, keepdim=True).clamp(min=1)
        return (share.unsqueeze(1) @ tokens).to(tokens.dtype)

    def get_image_features(
        self, pixel_values: Tensor, rgbd: RGBDInputs | None = None, refine_poses: bool = True
    ) -> Tensor:
        """Encode photos (B, V, 3, H, W) into the language prefix (B, N, D); see :meth:`encode_scene`."""
        if self.config.blind:
            return self.blind_prefix.expand(len(pixel_values), -1, -1)
        return self.embed_scene(self.encode_scene(pixel_values, rgbd=rgbd, refine_poses=refine_poses))

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Run whole sequences (B, T) in which ``<scene>`` ids are placeholders of the prefix.

        ``labels`` (B, T), -100 everywhere but on the answer, give ``loss``.

        Raises:
            ValueError: if ``<scene>`` placeholders and photos do not match.
        """
        context = dict(attention_mask=attention_mask, position_ids=position_ids, past_key_values=past_key_values)
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("forward needs input_ids or inputs_embeds")
            inputs_embeds = self.get_input_embeddings()(input_ids)
            places = input_ids == self.config.scene_token_id
            if bool(places.any()):
                if pixel_values is None and not self.config.blind:
                    raise ValueError("the prompt has <scene> places but no pixel_values came with it")
                # a blind student's prefix depends on the number of rows only
                prefix = self.get_image_features(input_ids if pixel_values is None else pixel_values)
                offered = prefix.shape[0] * prefix.shape[1]
                if int(places.sum()) != offered:
                    raise ValueError(f"the prompt has {int(places.sum())} <scene> places for {offered} tokens")
                inputs_embeds = inputs_embeds.masked_scatter(places.unsqueeze(-1), prefix.to(inputs_embeds.dtype))
            thinking = self.thinking_mask(input_ids)
            if self.config.thinking_passes > 1 and bool(thinking.any()):  # not at every word of the answer
                inputs_embeds = self.apply_thinking_passes(inputs_embeds, thinking, **context)
        return self.language_model(
            inputs_embeds=inputs_embeds,
            labels=labels,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            **context,
            **kwargs,
        )

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, pixel_values: Tensor | None = None, is_first_iteration: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        inputs = super().prepare_inputs_for_generation(input_ids, is_first_iteration=is_first_iteration, **kwargs)
        if is_first_iteration or not kwargs.get("use_cache", True):
            inputs["pixel_values"] = pixel_values
        return inputs
