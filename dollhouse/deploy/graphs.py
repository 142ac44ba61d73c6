"""The graphs of a student: patches, encoder, objects, language and depth, as modules of tensors only.

What depends on data lies between them in NumPy (:mod:`dollhouse.runtime`): camera geometry, registration, grouping.

Axes: B batch, V views, h and w patches of a view, M = V*h*w, D trunk width, N object slots, R rows (questions),
T tokens, P past tokens, H heads, W head width, S vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dollhouse.inference.neox_decoder import _pack_qkv, supports_neox_decoder
from dollhouse.models.dollhouse.heads import DepthHead, MetricDepth
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.voting_head import VoteOutput

MASKED = -1e9  #: logit of what is not attended to; finite, since rows of padding attend to nothing


class PatchesGraph(nn.Module):
    """Photos (N, 3, H, W) -> patch tokens (N, h, w, C) and, where depth needs them, finer maps of the stem.

    A graph of its own: each photo is embedded alone, so that memory does not grow with their number.
    """

    def __init__(self, model: DollhouseForConditionalGeneration) -> None:
        super().__init__()
        self.aggregator = model.encoder.aggregator
        self.patch = model.config.get_vision_config().patch_size
        self.outputs = ["tokens"] if isinstance(model.depth_head, DepthHead) else ["tokens", "middle", "fine"]

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        rows, columns = (side // self.patch for side in pixel_values.shape[-2:])
        tokens, *maps = self.aggregator.embed_patches(pixel_values, None)
        return tokens.unflatten(1, (rows, columns)), *maps[: len(self.outputs) - 1]


class EncoderGraph(nn.Module):
    """Patch tokens (B, V, h, w, C) -> raw votes (B, V, h*w, F), cameras, and trunk features (B, V, h, w, D)."""

    outputs = ("votes", "up", "heading", "position", "focal", "features")

    def __init__(self, model: DollhouseForConditionalGeneration) -> None:
        super().__init__()
        self.aggregator, self.trunk, self.camera_head = model.encoder.aggregator, model.trunk, model.camera_head
        self.votes = model.voting_head.mlp

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        views, *grid = tokens.shape[1:4]
        tokens = tokens.flatten(0, 1).flatten(1, 2)
        encoded, _ = self.aggregator.attend(tokens, views, (grid[0], grid[1]))
        camera_tokens, features = self.trunk(encoded, tokens)
        cameras = self.camera_head(camera_tokens)
        outputs = cameras.up, cameras.heading, cameras.position, cameras.focal
        return self.votes(features), *outputs, features.unflatten(2, tuple(grid))


class LanguageBlocks(nn.Module):
    """GPT-NeoX on embeddings, with past keys and values of each layer, and masks instead of lengths."""

    frequencies: Tensor

    def __init__(self, model: DollhouseForConditionalGeneration) -> None:
        super().__init__()
        base = model.language_model.base_model
        config = base.config
        self.heads, self.width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        self.parallel = bool(config.use_parallel_residual)
        self.register_buffer("frequencies", base.rotary_emb.inv_freq.float())
        self.rotary = 2 * len(base.rotary_emb.inv_freq)
        self.layers = base.layers
        self.norm = base.final_layer_norm
        self.act: Callable[[Tensor], Tensor] = F.gelu if config.hidden_act == "gelu" else base.layers[0].mlp.act
        self.qkv = nn.ModuleList()
        for layer in base.layers:
            weight, bias = _pack_qkv(layer.attention.query_key_value, self.heads, self.rotary)
            packed = nn.Linear(weight.shape[1], weight.shape[0])
            packed.weight, packed.bias = nn.Parameter(weight), nn.Parameter(bias)
            self.qkv.append(packed)

    def forward(self, states: Tensor, mask: Tensor, past: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Run all blocks.

        Args:
            states: embeddings (R, T, D).
            mask: (R, P + T), 1 for the tokens of a row, 0 for padding, which may stand anywhere.
            past: keys and values (R, H, P, W) of every layer in turn.

        Returns:
            The last states (R, T, D), and keys and values (R, H, P + T, W).
        """
        rows, count, _ = states.shape
        length = mask.shape[1]
        places = torch.arange(length, device=mask.device)
        position = (mask.cumsum(1) - 1)[:, length - count :].to(states.dtype)
        angles = position[:, :, None] * self.frequencies
        angles = torch.cat([angles, angles], -1)[:, :, None, None]  # (R, T, 1, 1, rotary)
        cosines, sines = angles.cos(), angles.sin()
        causal = places[None] <= places[length - count :, None]
        bias = torch.where(causal[None] & (mask[:, None] > 0), 0.0, MASKED)[:, None]
        fields = 3 * self.heads * self.width
        present = []
        for number, (layer, qkv) in enumerate(zip(self.layers, self.qkv, strict=True)):
            projected = qkv(layer.input_layernorm(states))
            own = projected[..., :fields].unflatten(2, (3, self.heads, self.width))
            swapped = projected[..., fields:].unflatten(2, (2, self.heads, self.rotary))
            turned = own[:, :, :2, :, : self.rotary] * cosines + swapped * sines
            turned = torch.cat([turned, own[:, :, :2, :, self.rotary :]], -1)
            query, key = turned[:, :, 0].transpose(1, 2), turned[:, :, 1].transpose(1, 2)
            value = own[:, :, 2].transpose(1, 2)
            key, value = torch.cat([past[2 * number], key], 2), torch.cat([past[2 * number + 1], value], 2)
            present += [key, value]
            weights = (query @ key.transpose(2, 3) + bias).softmax(-1)
            attended = (weights @ value).transpose(1, 2).reshape(rows, count, -1)
            residual = layer.attention.dense(attended) + states
            after = layer.post_attention_layernorm(states if self.parallel else residual)
            states = layer.mlp.dense_4h_to_h(self.act(layer.mlp.dense_h_to_4h(after))) + residual
        return states, present


class ObjectsGraph(nn.Module):
    """Votes in the first view's level frame and their groups -> boxes, and the prefix of the language model."""

    inputs = ("label_logits", "colour_logits", "log_depth", "center", "log_size", "front", "axis")
    outputs = ("prefix", "present", "labels", "colours", "box_center", "box_log_size", "box_front", "box_axis")

    def __init__(self, model: DollhouseForConditionalGeneration) -> None:
        super().__init__()
        self.proposal_head, self.projector = model.proposal_head, model.multi_modal_projector
        self.pooled = model.config.prefix != "objects"
        with torch.no_grad():
            self.register_buffer("label_words", model.word_embeddings(model.config.label_ids).clone())
            self.register_buffer("colour_words", model.word_embeddings(model.config.colour_ids).clone())

    def forward(self, features: Tensor, assignment: Tensor, votes: list[Tensor]) -> tuple[Tensor, ...]:
        """``features`` (B, V, h, w, D), ``assignment`` (B, M, N), and ``votes`` as in ``inputs``."""
        rows, columns = features.shape[2:4]
        fields = dict(zip(self.inputs, votes, strict=True))
        unused = {"own_center": fields["center"], "own_front": fields["front"], "own_axis": fields["axis"]}
        objects = self.proposal_head(VoteOutput(**fields, **unused), features.flatten(2, 3), assignment, rows, columns)
        prefix = self.projector(objects, self.label_words, self.colour_words)
        if self.pooled:
            share = objects.present / objects.present.sum(1, keepdim=True).clamp(min=1)
            prefix = share.unsqueeze(1) @ prefix
        boxes = objects.label_logits, objects.colour_logits, objects.center, objects.log_size
        return prefix, objects.present, *boxes, objects.front, objects.axis


class LanguageGraph(nn.Module):
    """Embeddings (R, E, D), then token ids (R, T), after a past -> logits (R, S) of the next token, and the new cache.

    The scene's prefix is embedded already; questions have no embeddings (E = 0). Rows may have different lengths:
    ``mask`` (R, P + E + T) is 0 for padding, and the last token of each row stands last. Tokens that are never
    generated have a bias of minus infinity.
    """

    def __init__(self, model: DollhouseForConditionalGeneration) -> None:
        super().__init__()
        self.blocks: Any = LanguageBlocks(model)
        self.embed: Any = model.get_input_embeddings()
        head: Any = model.get_output_embeddings()
        bias = torch.zeros(head.weight.shape[0]) if head.bias is None else head.bias.detach().clone()
        bias[model.suppress_tokens()] = -torch.inf
        self.head = nn.Linear(head.weight.shape[1], head.weight.shape[0])
        self.head.weight, self.head.bias = nn.Parameter(head.weight.detach().clone()), nn.Parameter(bias)

    def forward(self, embeds: Tensor, ids: Tensor, mask: Tensor, past: list[Tensor]) -> tuple[Tensor, ...]:
        states, present = self.blocks(torch.cat([embeds, self.embed(ids)], 1), mask, past)
        return self.head(self.blocks.norm(states[:, -1:]))[:, 0], *present  # a product of three axes is quantised


class DepthGraph(nn.Module):
    """Trunk features, and the patches' maps or the photos -> log depth (B, V, H, W) for a focal length of the width."""

    def __init__(self, model: DollhouseForConditionalGeneration) -> None:
        super().__init__()
        self.head, self.patch = model.depth_head, model.config.get_vision_config().patch_size

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs."""
        return ["features", *(["pixel_values"] if isinstance(self.head, DepthHead) else ["tokens", "middle", "fine"])]

    def forward(self, features: Tensor, *maps: Tensor) -> Tensor:
        rows, columns = features.shape[2:4]
        features = features.flatten(2, 3)
        if isinstance(self.head, DepthHead):
            return self.head(features, maps[0])
        maps = maps[0].flatten(1, 2), *maps[1:]
        return self.head(features, maps, (rows * self.patch, columns * self.patch))


def why_not_exportable(model: DollhouseForConditionalGeneration) -> str | None:
    """Return why a student cannot be exported; None where it can."""
    config: Any = model.config
    if config.blind:
        return "it is a blind student"
    if config.use_rgbd:
        return "it needs depth and poses beside photos"
    if isinstance(model.depth_head, MetricDepth):
        return "its depth is that of VGGT's head (depth_from: encoder)"
    if config.grid_size:
        return "its language model has cells of the views beside objects (grid_size)"
    if config.chat_format:
        return "its questions are in the chat template of a pretrained language model"
    if config.thinking_placement != "before_question":
        return "its thinking tokens follow the question"
    if not supports_neox_decoder(model):
        return "its language model is not a GPT-NeoX in float32 with one pass over the thinking tokens"
    return None
