"""The student: VGGT encoder, trunk, heads, and a causal language model that reads what they saw.

Sequence ``[V][T1..TK][Q][A]`` (or with the thinking tokens after the question), see
:mod:`dollhouse.student.scratchpad`. Knows nothing of files, of training or of what questions mean.

Axes: B batch, V views, H and W pixels, P patches of a view, M = V*P, N object slots, D text width, T text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel, initialization
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

from dollhouse.student.config import DollhouseConfig
from dollhouse.student.depth_bins import DepthBinHead, DepthBins
from dollhouse.student.heads import CameraHead, Cameras, DepthHead, MetricDepth
from dollhouse.student.objects import ObjectHead, ObjectPrefix, Objects
from dollhouse.student.registration import register
from dollhouse.student.relations import RelationHead
from dollhouse.student.sensors import SensorPatches, Sensors
from dollhouse.student.thinking import ThinkingMap, think_again
from dollhouse.student.trunk import Trunk
from dollhouse.student.vggt import VggtModel
from dollhouse.student.votes import VoteHead, Votes, group


@dataclass
class Sight:
    """What the student makes of the photos, before any question."""

    log_depth: Tensor  #: (B, V, H, W) log metres
    cameras: Cameras
    votes: Votes
    objects: Objects
    member: Tensor  #: (B, M, N) which patch belongs to which object
    patches: Tensor  #: (B, V, P, trunk width) what the trunk makes of each patch
    depth_bins: Tensor | None = None  #: (B, V, P, bins) logits; None where there is no such head
    relations: Tensor | None = None  #: (B, N, N, 2) logits of right and above; None where there is no such head


class DollhousePreTrainedModel(PreTrainedModel):
    """Weight initialisation and loading, as transformers has them."""

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
        elif isinstance(module, ObjectPrefix):  # pooled features keep silent until training gives them something to say
            initialization.zeros_(module.project.weight)
        elif isinstance(module, SensorPatches):  # so that a model grown from one without sensors begins where it was
            for layer in (module.proj, module.place):
                initialization.zeros_(layer.weight)
                initialization.zeros_(layer.bias)


class DollhouseForConditionalGeneration(DollhousePreTrainedModel, GenerationMixin):
    """Answers questions about a room from plain photos; estimates depth and finds objects on the way.

    With ``config.blind`` it has no eyes: the prefix is a learned constant. That is the control which every
    accuracy stands beside.
    """

    def __init__(self, config: DollhouseConfig) -> None:
        super().__init__(config)
        text = config.get_text_config()
        if config.blind:
            self.blind_prefix = nn.Parameter(torch.zeros(config.num_objects, text.hidden_size))
        else:
            labels, colours = len(config.labels), len(config.colours)
            vision = config.get_vision_config()
            self.encoder = VggtModel(vision)
            special = 1 + vision.num_register_tokens
            width, heads = config.trunk_width, config.trunk_heads
            self.trunk = Trunk(2 * vision.hidden_size, width, config.trunk_layers, heads, special)
            own_depth = config.depth_from == "trunk"
            self.depth_head = DepthHead(width, vision.patch_size) if own_depth else MetricDepth(width)
            if config.sensors:
                self.sensor_patches = SensorPatches(vision.hidden_size, vision.patch_size)
            else:
                self.camera_head = CameraHead(width)
            self.vote_head = VoteHead(width, labels, colours)
            self.object_head = ObjectHead(width, labels, colours, config.object_layers, heads)
            self._make_heads(config.depth_bins, config.relation_head)
            self.multi_modal_projector = ObjectPrefix(width, text.hidden_size, config.max_named_views)
        self.language_model = AutoModelForCausalLM.from_config(text)
        if config.thinking_passes > 1:
            self.thinking_map = ThinkingMap(text.hidden_size, text.hidden_size)
        self.post_init()

    def _make_heads(self, depth_bins: int, relation_head: bool) -> None:
        if depth_bins:
            self.depth_bin_head = DepthBinHead(self.config.trunk_width, depth_bins)
        if relation_head:
            self.relation_head = RelationHead(self.config.trunk_width)

    def add_heads(self, depth_bins: int = 0, relation_head: bool = False) -> None:
        """Give a model the heads that its config has not named so far, fresh."""
        self._make_heads(depth_bins, relation_head)
        made = {"depth_bin_head": depth_bins, "relation_head": relation_head}
        for name in (name for name, wanted in made.items() if wanted):
            getattr(self, name).apply(self._init_weights)
        self.config.depth_bins = depth_bins or self.config.depth_bins
        self.config.relation_head = relation_head or self.config.relation_head

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()

    def silent_ids(self) -> list[int]:
        """Tokens that are never sampled: places, marks and thoughts."""
        config = self.config
        silent = {config.scene_token_id, config.answer_token_id, *config.thinking_ids, config.pad_token_id}
        return sorted(token for token in silent if token is not None and token != config.eos_token_id)

    @property
    def bins(self) -> DepthBins:
        """What the depth bins are."""
        near, far = self.config.depth_bin_range
        return DepthBins(self.config.depth_bins, near, far)

    def see(self, pixel_values: Tensor, member: Tensor | None = None, sensors: Sensors | None = None) -> Sight:
        """Photos (B, V, 3, H, W) in [0, 1] -> depth, cameras, votes and objects.

        ``member`` (B, M, N) groups the patches from outside (a teacher's instances, while training);
        without it they are grouped by their votes. ``sensors`` must be there where ``config.sensors`` says so (else
        ValueError), and are not looked at otherwise.
        """
        if not self.config.sensors:
            sensors = None
        elif sensors is None:
            raise ValueError("this model looks at depth and poses beside the photos: give it sensors")
        patch = self.config.get_vision_config().patch_size
        rows, columns = pixel_values.shape[-2] // patch, pixel_values.shape[-1] // patch
        of_encoder = isinstance(self.depth_head, MetricDepth)
        layers = self.encoder.dense_layers if of_encoder else None
        seen = self.encoder(pixel_values, layers, None if sensors is None else self.sensor_patches(sensors))
        camera_tokens, patches = self.trunk(seen.last_hidden_state)
        cameras = self.camera_head(camera_tokens) if sensors is None else sensors.cameras
        votes = self.vote_head(patches, cameras, rows, columns, None if sensors is None else sensors.depth)
        if sensors is None and not self.training and pixel_values.shape[1] > 1:
            cameras = register(votes, cameras)
            votes = votes.placed(cameras)
        if member is None:
            member = group(votes, self.config.num_objects)
        objects = self.object_head(votes, patches, member, rows, columns)
        if of_encoder:
            log_depth = self.depth_head(camera_tokens, self.encoder.predict_depth(seen)[0])
        else:
            log_depth = self.depth_head(patches, pixel_values)
        if sensors is not None and not self.training:
            log_depth = torch.where(sensors.depth > 0, sensors.depth.clamp(min=1e-3).log(), log_depth)
        return Sight(
            log_depth,
            cameras,
            votes,
            objects,
            member,
            patches,
            depth_bins=self.depth_bin_head(patches) if self.config.depth_bins else None,
            relations=self.relation_head(objects) if self.config.relation_head else None,
        )

    def word_embeddings(self, words: Sequence[Sequence[int]]) -> Tensor:
        """Mean embedding of each word's tokens: (len(words), D)."""
        table = self.get_input_embeddings()
        return torch.stack([table(torch.tensor(list(ids), device=self.device)).mean(0) for ids in words])

    def read_objects(self, objects: Objects) -> Tensor:
        """Objects -> language prefix (B, N, D); (B, 1, D) where it is pooled."""
        labels, colours = self.word_embeddings(self.config.label_ids), self.word_embeddings(self.config.colour_ids)
        tokens = self.multi_modal_projector(objects, labels, colours)
        if self.config.prefix == "objects":
            return tokens
        share = objects.present / objects.present.sum(1, keepdim=True).clamp(min=1)
        return (share.unsqueeze(1) @ tokens).to(tokens.dtype)

    def get_image_features(self, pixel_values: Tensor, sensors: Sensors | None = None) -> Tensor:
        """Photos (B, V, 3, H, W), and depth and poses where the model has ``sensors`` -> language prefix (B, N, D)."""
        if self.config.blind:
            return self.blind_prefix.expand(len(pixel_values), -1, -1)
        return self.read_objects(self.see(pixel_values, sensors=sensors).objects)

    def read_scene(self, prefix: Tensor) -> DynamicCache:
        """Language prefix (B, N, D) -> key-value cache of the scene's part of the sequence.

        It holds the prefix and, where they stand before the question, the thinking tokens; every question
        about the scene continues from it (:meth:`continue_from`).
        """
        return self._read_scene(prefix)[0]

    def read_scene_states(self, prefix: Tensor) -> tuple[DynamicCache, tuple[Tensor, ...]]:
        """As :meth:`read_scene`, with the hidden states (B, N+K, D) after 0, 1, ... blocks; the last is normalised."""
        cache, output = self._read_scene(prefix, output_hidden_states=True)
        return cache, tuple(output.hidden_states)

    def _read_scene(self, prefix: Tensor, **told: bool) -> tuple[DynamicCache, Any]:
        thoughts = self.config.thinking_ids if self.config.thinking_placement == "before_question" else []
        embeds = prefix.to(self.dtype)
        if thoughts:
            ids = torch.tensor(list(thoughts), device=prefix.device).expand(len(prefix), -1)
            embeds = torch.cat([embeds, self.get_input_embeddings()(ids).to(embeds.dtype)], 1)
            thinking = torch.arange(embeds.shape[1], device=prefix.device) >= prefix.shape[1]
            embeds = self.think_over(embeds, thinking.expand(len(prefix), -1))
        cache = DynamicCache(config=self.language_model.config)
        output = self.language_model.base_model(inputs_embeds=embeds, past_key_values=cache, use_cache=True, **told)
        return cache, output

    def thinking_places(self, input_ids: Tensor) -> Tensor:
        """Where thinking tokens stand in ids (B, T): bool (B, T)."""
        return torch.isin(input_ids, torch.tensor(self.config.thinking_ids, dtype=torch.long, device=input_ids.device))

    def think_over(self, embeds: Tensor, thinking: Tensor, **context: Any) -> Tensor:
        """Input embeddings (B, T, D) as the last pass over the thinking tokens, marked by (B, T), reads them.

        ``context``: the cache of what stands before, masks and positions, as the language model takes them.
        """
        again = self.config.thinking_passes - 1
        if not again:
            return embeds
        return think_again(self.language_model.base_model, self.thinking_map, again, embeds, thinking, **context)

    def continue_from(self, scene: DynamicCache, question_ids: Tensor, scene_of_question: Tensor) -> Tensor:
        """Last hidden states (R, T, D) of right-padded questions (R, T), each on its scene (R).

        Every question sees its scene and itself only: the same as one sequence of scene and questions under a
        block-diagonal mask, without computing what the mask throws away. ``scene`` stays as it was.
        """
        states: Tensor = self._continued(scene, question_ids, scene_of_question).last_hidden_state
        return states

    def hidden_states_from(
        self, scene: DynamicCache, question_ids: Tensor, scene_of_question: Tensor
    ) -> tuple[Tensor, ...]:
        """As :meth:`continue_from`, after 0, 1, ... blocks; the last is normalised. Holds all of them in memory."""
        states = self._continued(scene, question_ids, scene_of_question, output_hidden_states=True).hidden_states
        return tuple(states)

    def _continued(self, scene: DynamicCache, question_ids: Tensor, scene_of_question: Tensor, **wanted: bool) -> Any:
        cache = scenes_of(scene, scene_of_question)
        embeds = self.get_input_embeddings()(question_ids)
        return self.language_model.base_model(
            inputs_embeds=self.think_over(embeds, self.thinking_places(question_ids), past_key_values=cache),
            past_key_values=cache,
            use_cache=True,
            **wanted,
        )

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
        """The plain path: one sequence (B, T) a row, ``<scene>`` ids standing where the prefix goes.

        ``labels`` (B, T) with -100 everywhere but on the answer gives ``loss``.
        Raises ValueError where ``<scene>`` ids and photos do not come together.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("forward needs input_ids or inputs_embeds")
            inputs_embeds = self.get_input_embeddings()(input_ids)
            places = input_ids == self.config.scene_token_id
            if bool(places.any()):
                if pixel_values is None and not self.config.blind:
                    raise ValueError("the prompt has <scene> places but no pixel_values came with it")
                if pixel_values is None:
                    prefix = self.blind_prefix.expand(len(input_ids), -1, -1)
                else:
                    prefix = self.get_image_features(pixel_values)
                offered = prefix.shape[0] * prefix.shape[1]
                if int(places.sum()) != offered:
                    raise ValueError(f"the prompt has {int(places.sum())} <scene> places for {offered} tokens")
                prefix = prefix.to(inputs_embeds.dtype)
                inputs_embeds = inputs_embeds.masked_scatter(places.unsqueeze(-1), prefix)
            thinking = self.thinking_places(input_ids)
            if self.config.thinking_passes > 1 and bool(thinking.any()):  # not at every word of the answer
                inputs_embeds = self.think_over(
                    inputs_embeds,
                    thinking,
                    past_key_values=past_key_values,
                    attention_mask=attention_mask,
                    position_ids=position_ids,
                )
        return self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            labels=labels,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, pixel_values: Tensor | None = None, is_first_iteration: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        inputs = super().prepare_inputs_for_generation(input_ids, is_first_iteration=is_first_iteration, **kwargs)
        if is_first_iteration or not kwargs.get("use_cache", True):
            inputs["pixel_values"] = pixel_values
        return inputs


def scenes_of(scene: DynamicCache, rows: Tensor) -> DynamicCache:
    """A cache of its own whose row i is row ``rows[i]`` of ``scene``."""
    chosen = DynamicCache()
    for number, layer in enumerate(scene.layers):
        chosen.update(layer.keys[rows], layer.values[rows], number)
    return chosen
