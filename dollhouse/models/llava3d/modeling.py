"""LLaVA-3D: patches of posed RGB-D views become voxel tokens of a LLaMA (``docs/specs/llava3d.md``).

Axes: V views, S image size, P patches of a view (row by row), M voxels, C vision width, D text width.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPVisionModel, LlamaForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast

from dollhouse.errors import ModelError
from dollhouse.models.llava3d.configuration import Llava3DConfig, read_config
from dollhouse.models.llava3d.multimodal_embed import MultimodalInputs, PositionEmbedding, embed_multimodal
from dollhouse.models.llava3d.voxel_pooling import mean_by_voxel, voxel_numbers, world_points
from dollhouse.models.llava3d.weights import load_official

VIEWS_AT_ONCE = 8  #: views that the vision tower encodes together, which bounds its memory


@dataclass(frozen=True, eq=False)
class PosedViews:
    """Preprocessed views of one scene (see :mod:`dollhouse.models.llava3d.processing`)."""

    images: Tensor  #: (V, 3, S, S) normalised by CLIP's mean and deviation
    depths: Tensor  #: (V, S, S) z-depth in metres, 0 unknown
    world_from_camera: Tensor  #: (V, 4, 4), world axes aligned with the room
    intrinsics: Tensor  #: (V, 4, 4) of the S x S crop; the centre of the top left pixel is (0, 0)


@dataclass(frozen=True, eq=False)
class SceneFeatures:
    """Features of one scene pooled into voxels, in lexicographic order of their (x, y, z)."""

    features: Tensor  #: (M, C) vision features plus position embedding
    points: Tensor  #: (M, 3) mean position of the patches that have depth, metres; undefined where ``measured`` is 0
    measured: Tensor  #: (M,) number of its patches that have depth


class Llava3DForConditionalGeneration(nn.Module):
    """Vision tower, 3D position embedding, voxel pooling, projector and language model."""

    def __init__(self, config: Llava3DConfig) -> None:
        super().__init__()
        self.config = config
        vision, text = config.vision.hidden_size, config.text.hidden_size
        self.vision_tower = CLIPVisionModel(config.vision)
        self.scene_position = PositionEmbedding(vision)
        self.click_position = PositionEmbedding(text)
        self.multi_modal_projector = nn.Sequential(nn.Linear(vision, text), nn.GELU(), nn.Linear(text, text))
        self.language_model = LlamaForCausalLM(config.text)

    @classmethod
    def from_official(
        cls,
        folder: str | os.PathLike[str],
        *,
        dtype: torch.dtype = torch.bfloat16,
        geometry_dtype: torch.dtype = torch.float32,
        unseeded_subset: bool = False,
        clip_folder: str | os.PathLike[str] | None = None,
        accept: Collection[str] = (),
        device: str | torch.device = "cpu",
    ) -> Llava3DForConditionalGeneration:
        """Load the weights of a released checkpoint folder (ZCMax/LLaVA-3D-7B); they require no gradient.

        Args:
            folder: ``config.json`` and weights, sharded or not, as ``.bin`` or safetensors.
            dtype: of weights and computation.
            geometry_dtype: of unprojection; the official evaluation uses bfloat16, which moves points by centimetres.
            unseeded_subset: drop surplus voxels at random without a seed, as in the official code.
            clip_folder: a folder of openai/clip-vit-large-patch14-336, for checkpoints without the vision tower.
            accept: settings of ``config.json`` that may differ (:func:`.configuration.read_config`).
            device: target of the weights, tensor by tensor.

        Raises:
            ModelError: naming what is missing, unexpected, misshapen, damaged or configured differently.
        """
        source, clip = Path(folder), None if clip_folder is None else Path(clip_folder)
        for path in (source, clip):
            if path is not None and not path.is_dir():
                raise ModelError(f"{path}: no such folder; name the folder of a downloaded checkpoint")
        config = read_config(source, accept, clip, geometry_dtype=geometry_dtype, unseeded_subset=unseeded_subset)
        with torch.device("meta"):
            model = cls(config)
        load_official(model, source, dtype, clip, torch.device(device))
        return model.eval()

    @property
    def device(self) -> torch.device:
        """Device of the language model."""
        return self.language_model.lm_head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the language model."""
        return self.language_model.lm_head.weight.dtype

    def get_vision_features(self, images: Tensor) -> Tensor:
        """Encode images (V, 3, S, S) to patch features (V, P, C) of the selected layer, without the class token."""
        images = images.to(self.device, self.dtype)
        features = [
            self.vision_tower(pixel_values=chunk, output_hidden_states=True).hidden_states[self.config.select_layer]
            for chunk in images.split(VIEWS_AT_ONCE)
        ]
        return torch.cat(features)[:, 1:]

    def get_image_features(self, image: Tensor) -> Tensor:
        """Encode one image (3, S, S) to its tokens (P, D) by the 2D path, without depth."""
        return self.multi_modal_projector(self.get_vision_features(image[None])[0])

    def get_scene_features(self, views: PosedViews) -> SceneFeatures:
        """Encode posed views and pool their patches; raises ValueError on wrong shapes."""
        config = self.config
        _check_views(views, config.image_size)
        depths, intrinsics, world_from_camera = (
            value.to(self.device, config.geometry_dtype)
            for value in (views.depths, views.intrinsics, views.world_from_camera)
        )
        stride = int(config.vision.patch_size)
        points = world_points(depths, intrinsics, world_from_camera, stride).flatten(0, 2)  # (VP, 3)
        features = self.get_vision_features(views.images).flatten(0, 1) + self.scene_position(points)
        numbers, count = voxel_numbers(points, config.voxel_size)
        has_depth = (depths[:, ::stride, ::stride] > 0).flatten().float()
        return SceneFeatures(
            features=mean_by_voxel(features, numbers, count),
            points=mean_by_voxel(points.float(), numbers, count, has_depth),
            measured=has_depth.new_zeros(count).index_add_(0, numbers, has_depth).long(),
        )

    def get_scene_tokens(self, scene: SceneFeatures) -> Tensor:
        """Project scene features to the language model's tokens (at most ``max_scene_tokens``, D)."""
        count, limit = len(scene.features), self.config.max_scene_tokens
        features = scene.features
        if count > limit:
            if self.config.unseeded_subset:
                subset = torch.randperm(count)[:limit]
            else:
                generator = torch.Generator().manual_seed(self.config.subset_seed)
                subset = torch.randperm(count, generator=generator)[:limit].sort().values
            features = features[subset.to(features.device)]
        return self.multi_modal_projector(features)

    def embed(
        self,
        input_ids: Tensor,
        visual: Sequence[Tensor | PosedViews | None],
        clicks: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> MultimodalInputs:
        """Embed prompts for the language model.

        Args:
            input_ids: (B, T), see :func:`.multimodal_embed.embed_multimodal`.
            visual: an image (3, S, S) or :class:`PosedViews` for each image id, in order over the batch, and an entry
                that may be None for each row without.
            clicks: (n, 3) positions in metres, world axes, in order over the batch.
            attention_mask: (B, T).
            labels: (B, T).
        """
        tokens: list[Tensor | None] = []
        for item in visual:
            if isinstance(item, PosedViews):
                tokens.append(self.get_scene_tokens(self.get_scene_features(item)))
            else:
                tokens.append(None if item is None else self.get_image_features(item))
        positions = torch.zeros(0, 3) if clicks is None else clicks
        points = self.click_position(positions.to(self.device))
        words = self.language_model.get_input_embeddings()
        return embed_multimodal(words, input_ids, tokens, points, attention_mask, labels, self.config.max_length)

    def forward(self, inputs: MultimodalInputs, **kwargs: Any) -> CausalLMOutputWithPast:
        """Compute logits (B, L, vocabulary) and, with labels, the loss from the result of :meth:`embed`."""
        return self.language_model(
            inputs_embeds=inputs.inputs_embeds, attention_mask=inputs.attention_mask, labels=inputs.labels, **kwargs
        )

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        visual: Sequence[Tensor | PosedViews | None],
        clicks: Tensor | None = None,
        max_new_tokens: int = 512,
        **kwargs: Any,
    ) -> Tensor:
        """Generate greedy token ids (1, T) of the answer to one prompt (1, T'), the end token included.

        Many questions about one scene are faster by :mod:`.generation`.
        """
        if len(input_ids) != 1:
            raise ValueError(f"generate takes one prompt, not {len(input_ids)}")
        inputs = self.embed(input_ids, visual, clicks)
        mask = torch.ones(inputs.inputs_embeds.shape[:2], dtype=torch.long, device=self.device)
        return self.language_model.generate(
            inputs_embeds=inputs.inputs_embeds,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=0,
            **kwargs,
        )


def _check_views(views: PosedViews, size: int) -> None:
    count = len(views.images)
    expected = {
        "images": (count, 3, size, size),
        "depths": (count, size, size),
        "world_from_camera": (count, 4, 4),
        "intrinsics": (count, 4, 4),
    }
    for name, shape in expected.items():
        found = tuple(getattr(views, name).shape)
        if not count or found != shape:
            raise ValueError(f"{name} of a scene are {found}, expected {shape} with at least one view")
