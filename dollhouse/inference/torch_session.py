"""Sessions of the torch engine.

Axes: V views, H and W pixels, N prefix tokens, D text width, R questions, T tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import DynamicCache

from dollhouse.errors import ModelError
from dollhouse.geometry import Array
from dollhouse.inference.generation import Decoder, equal_length_batches, generate
from dollhouse.inference.session import ObjectArrays, SceneSession
from dollhouse.models.dollhouse.modeling_perception import PerceptionOutput
from dollhouse.models.dollhouse.rgbd_embedding import RGBDInputs
from dollhouse.models.generation import GeneratedTokens
from dollhouse.scenes.scale import ESTIMATED, Scale
from dollhouse.scenes.scene import Scene

if TYPE_CHECKING:
    from dollhouse.inference.pipeline import DollhousePipeline


class TorchSession(SceneSession):
    """A session with the tensors that training, teachers and probes use."""

    def __init__(
        self,
        pipeline: DollhousePipeline,
        scene: Scene,
        pixel_values: Tensor,
        prefix: Tensor,
        perception: PerceptionOutput | None,
        rgbd: RGBDInputs | None = None,
        scale: Scale = ESTIMATED,
    ) -> None:
        super().__init__(pipeline, scene, scale)
        self.pixel_values = pixel_values  #: (1, V, 3, H, W) in [0, 1]
        self.perception = perception  #: None for a blind student
        self.rgbd = rgbd
        self._encode_prefix(prefix)

    def _encode_prefix(self, prefix: Tensor) -> None:
        self.prefix = prefix  #: (1, N, D) input embeddings of the language model
        with torch.inference_mode():
            self._scene_cache = self.decoder.encode_prefix(prefix)

    def with_prefix(self, prefix: Tensor) -> TorchSession:
        """Return a session on the same scene with another language prefix (1, N, D)."""
        session = copy.copy(self)
        session._encode_prefix(prefix)
        return session

    def _rescale(self, factor: float) -> None:
        self.perception = self.require_perception().scaled(factor)

    @property
    def decoder(self) -> Decoder:
        """The pipeline's decoder."""
        return self.pipeline.decoder

    @property
    def images(self) -> NDArray[np.uint8]:
        return (self.pixel_values[0].permute(0, 2, 3, 1) * 255).round().to(torch.uint8).cpu().numpy()

    @cached_property
    def depth(self) -> NDArray[np.float32]:
        with torch.inference_mode():
            log_depth = self.pipeline.model.predict_log_depth(self.require_perception(), self.pixel_values, self.rgbd)
            return log_depth[0].exp().cpu().numpy()

    @property
    def level_from_camera(self) -> Array:
        return self.require_perception().cameras.level_from_camera[0].double().cpu().numpy()

    @property
    def focal(self) -> Array:
        return self.require_perception().cameras.focal[0].double().cpu().numpy()

    def _objects(self) -> ObjectArrays:
        objects = self.require_perception().objects
        slots = objects.present[0].nonzero().squeeze(-1)
        score, label = objects.label_logits[0, slots].float().sigmoid().max(-1)
        front, axis = (torch.atan2(field[0, slots, 1], field[0, slots, 0]) for field in (objects.front, objects.axis))
        colour = objects.colour_logits[0, slots]
        arrays = (
            slots,
            label,
            score,
            colour.argmax(-1) if colour.shape[-1] else slots,
            objects.center[0, slots].double(),
            objects.log_size[0, slots].double().exp().clamp(0.01, 20),
            front,
            axis,
        )
        return ObjectArrays(*(array.cpu().numpy() for array in arrays))

    def require_perception(self) -> PerceptionOutput:
        """Return what was predicted from the photos; ModelError for a blind student."""
        if self.perception is None:
            raise self._blind_error()
        return self.perception

    @property
    def words_cache(self) -> Any:
        return self._scene_cache

    def _generate_texts(self, ids: Sequence[list[int]], max_new_tokens: int) -> list[tuple[str, float]]:
        texts: dict[int, tuple[str, float]] = {}
        for rows, batch in equal_length_batches(ids, self.pipeline.model.device):
            for row, generated in zip(rows, self.generate(batch, max_new_tokens), strict=True):
                texts[row] = self.pipeline.decode(generated.token_ids), generated.confidence
        return [texts[row] for row in range(len(ids))]

    def generate(self, ids: Tensor, max_new_tokens: int, top_k: int = 1) -> list[GeneratedTokens]:
        """Generate greedy answers to tokenized questions (R, T) of one length."""
        with torch.inference_mode():
            return generate(self.decoder, self.prefill(ids, max_new_tokens), ids, max_new_tokens, top_k=top_k)

    def prefill(self, ids: Tensor, max_new_tokens: int) -> Any:
        """Return the decoder's cache of the scene, with room for questions (R, T) and their answers."""
        return self.decoder.expand(self._scene_cache, len(ids), ids.shape[1] + max_new_tokens)

    def dynamic_cache(self, rows: int) -> DynamicCache:
        """Return the key-value cache of the scene for ``rows`` questions in transformers' format."""
        return self.decoder.dynamic_cache(self._scene_cache, rows)


def torch_session(session: SceneSession) -> TorchSession:
    """Return ``session`` if it is of the torch engine; ModelError otherwise."""
    if not isinstance(session, TorchSession):
        raise ModelError(f"{session.pipeline.model_id} runs on ONNX graphs: load it with engine='torch'")
    return session
