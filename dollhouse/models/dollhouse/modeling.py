"""The Dollhouse student: VGGT encoder, trunk, heads, and a causal language model over object tokens.

The sequence is ``[V][T1..TK][Q][A]``, see :mod:`dollhouse.models.dollhouse.special_tokens`.

Axes: B batch, V views, H and W pixels, N tokens of the prefix, D text width, T text.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast

from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.heads import DepthBinHead, LevelCameraHead, build_depth_head
from dollhouse.models.dollhouse.modeling_language import SceneLanguageModel
from dollhouse.models.dollhouse.modeling_perception import PerceptionOutput, ScenePerception
from dollhouse.models.dollhouse.proposal_head import (
    INIT_STD,
    ObjectProjector,
    ProposalHead,
    ProposalOutput,
    RelationHead,
)
from dollhouse.models.dollhouse.rgbd_embedding import RGBDInputs, RGBDPatchEmbedding
from dollhouse.models.dollhouse.thinking_tokens import ThinkingMap
from dollhouse.models.dollhouse.trunk import Trunk
from dollhouse.models.dollhouse.voting_head import VotingHead
from dollhouse.models.vggt.modeling import VggtModel


class DollhouseForConditionalGeneration(ScenePerception, SceneLanguageModel, GenerationMixin):
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
        self.language_model.to(dtype)
        if self.config.blind:  # it has no encoder
            return
        self.encoder.to(dtype)
        if self.encoder.stem is not None:
            self.encoder.aggregator.patch_embed.float()

    def suppress_tokens(self) -> list[int]:
        """Return the special tokens that are never generated."""
        config = self.config
        silent = {config.scene_token_id, config.answer_token_id, *config.thinking_ids, config.pad_token_id}
        return sorted(token for token in silent if token is not None and token != config.eos_token_id)

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

        ``labels`` (B, T), -100 everywhere but on the answer, give ``loss``. Raises ValueError if ``<scene>``
        placeholders and photos do not match.
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
