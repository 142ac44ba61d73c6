"""The student's language model: the scene's part of the sequence is encoded once for all questions.

That part is ``[V][T1..TK]`` with thinking tokens before the question, else ``[V]``.

Axes: B batch, N object slots, K thinking tokens, R questions, T text, D text width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, initialization
from transformers.cache_utils import DynamicCache

from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.proposal_head import ObjectProjector
from dollhouse.models.dollhouse.rgbd_embedding import RGBDPatchEmbedding
from dollhouse.models.dollhouse.thinking_tokens import ThinkingMap, iterate_thinking


class DollhousePreTrainedModel(PreTrainedModel):
    """Weight initialisation and loading in transformers' conventions."""

    config: DollhouseConfig
    config_class = DollhouseConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ("image", "text")
    _supports_sdpa = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, ThinkingMap):
            initialization.zeros_(module.weight)
            initialization.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            initialization.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                initialization.zeros_(module.bias)
        elif isinstance(module, ObjectProjector):  # pooled features start without effect
            initialization.zeros_(module.feature_proj.weight)
        elif isinstance(module, RGBDPatchEmbedding):  # the RGB-D embedding starts at zero
            for layer in (module.proj, module.point_proj):
                initialization.zeros_(layer.weight)
                initialization.zeros_(layer.bias)


class SceneLanguageModel(DollhousePreTrainedModel):
    """Causal language model with one key-value cache per scene."""

    language_model: Any
    thinking_map: ThinkingMap  #: only where ``config.thinking_passes`` is above 1

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()

    def encode_prefix(self, prefix: Tensor) -> DynamicCache:
        """Encode the language prefix (B, N, D) into a key-value cache.

        The cache holds the prefix and, if they precede the question, the thinking tokens.
        """
        return self._encode_prefix(prefix)[0]

    def encode_prefix_with_states(self, prefix: Tensor) -> tuple[DynamicCache, tuple[Tensor, ...]]:
        """Like :meth:`encode_prefix`, with hidden states (B, N+K, D) after 0, 1, ... blocks; the last is normalised."""
        cache, output = self._encode_prefix(prefix, output_hidden_states=True)
        return cache, tuple(output.hidden_states)

    def _encode_prefix(self, prefix: Tensor, **options: bool) -> tuple[DynamicCache, Any]:
        embeds = prefix.to(self.dtype)
        ids = self.scene_thinking_ids(len(prefix))
        if ids.shape[1]:
            embeds = torch.cat([embeds, self.get_input_embeddings()(ids).to(embeds.dtype)], 1)
            thinking = torch.arange(embeds.shape[1], device=prefix.device) >= prefix.shape[1]
            embeds = self.apply_thinking_passes(embeds, thinking.expand(len(prefix), -1))
        cache = DynamicCache(config=self.language_model.config)
        output = self.language_model.base_model(inputs_embeds=embeds, past_key_values=cache, use_cache=True, **options)
        return cache, output

    def scene_thinking_ids(self, rows: int) -> Tensor:
        """Return ids (rows, K) of the thinking tokens before the question; K is 0 if they follow it."""
        thoughts = self.config.thinking_ids if self.config.thinking_placement == "before_question" else []
        return torch.tensor(list(thoughts), dtype=torch.long, device=self.device).expand(rows, -1)

    def thinking_mask(self, input_ids: Tensor) -> Tensor:
        """Return which of the ids (B, T) are thinking tokens: bool (B, T)."""
        return torch.isin(input_ids, torch.tensor(self.config.thinking_ids, dtype=torch.long, device=input_ids.device))

    def apply_thinking_passes(self, embeds: Tensor, thinking: Tensor, **context: Any) -> Tensor:
        """Return the input embeddings (B, T, D) of the last pass over the thinking tokens, marked by (B, T).

        ``context``: cache, masks and positions for the language model.
        """
        again = self.config.thinking_passes - 1
        if not again:
            return embeds
        return iterate_thinking(self.language_model.base_model, self.thinking_map, again, embeds, thinking, **context)

    def encode_questions(self, scene: DynamicCache, question_ids: Tensor, scene_of_question: Tensor) -> Tensor:
        """Return last hidden states (R, T, D) of right-padded questions (R, T), each on its scene (R).

        A question attends to its scene and itself only. ``scene`` is not modified.
        """
        states: Tensor = self._encode_questions(scene, question_ids, scene_of_question).last_hidden_state
        return states

    def question_hidden_states(
        self, scene: DynamicCache, question_ids: Tensor, scene_of_question: Tensor
    ) -> tuple[Tensor, ...]:
        """Like :meth:`encode_questions`, after 0, 1, ... blocks; the last is normalised."""
        states = self._encode_questions(scene, question_ids, scene_of_question, output_hidden_states=True).hidden_states
        return tuple(states)

    def _encode_questions(
        self, scene: DynamicCache, question_ids: Tensor, scene_of_question: Tensor, **options: bool
    ) -> Any:
        cache = select_scenes(scene, scene_of_question)
        embeds = self.get_input_embeddings()(question_ids)
        return self.language_model.base_model(
            inputs_embeds=self.apply_thinking_passes(embeds, self.thinking_mask(question_ids), past_key_values=cache),
            past_key_values=cache,
            use_cache=True,
            **options,
        )


def select_scenes(scene: DynamicCache, rows: Tensor) -> DynamicCache:
    """Return a new cache whose row i is row ``rows[i]`` of ``scene``."""
    chosen = DynamicCache()
    for number, layer in enumerate(scene.layers):
        chosen.update(layer.keys[rows], layer.values[rows], number)
    return chosen
