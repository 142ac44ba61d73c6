"""Official LLaVA-3D checkpoints: names of tensors, loading, and a hash (``docs/specs/llava3d.md``, section 2)."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from dollhouse.errors import ModelError
from dollhouse.models.checkpoints import Checkpoint

#: prefix here -> official prefix; transformers 5 dropped the ``vision_model.`` level that the checkpoint has
PREFIXES = {
    "vision_tower.": "model.vision_tower.vision_tower.vision_model.",
    "scene_position.": "model.video_tower.video_tower.positional_embedding.",
    "click_position.": "model.video_tower.prompt_encoder.pos_emb3d.",
    "multi_modal_projector.": "model.mm_projector.",
    "language_model.model.": "model.",
    "language_model.lm_head.": "lm_head.",
}
_VISION = PREFIXES["vision_tower."]
_COMPUTED = ("rotary_emb.inv_freq", "embeddings.position_ids")  #: stored by older versions, never loaded


def official_name(name: str) -> str:
    """Return the official name of a parameter."""
    for prefix, official in PREFIXES.items():
        if name.startswith(prefix):
            return official + name.removeprefix(prefix)
    raise KeyError(name)


def load_official(
    model: nn.Module, folder: Path, dtype: torch.dtype, clip_folder: Path | None, device: torch.device
) -> None:
    """Load a checkpoint folder into ``model``, which is on the meta device.

    No parameter will require a gradient. All names and shapes are compared before the first tensor is read.
    Raises ModelError on a mismatch.
    """
    checkpoint = Checkpoint(folder)
    if not any(name.startswith(_VISION) for name in checkpoint.shapes):
        expected = {official_name(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        rest = {name: shape for name, shape in expected.items() if not name.startswith(_VISION)}
        checkpoint.check(rest, _is_computed)
        if clip_folder is None:
            raise ModelError(
                f"{folder}: has no vision tower; give clip_folder, a folder of openai/clip-vit-large-patch14-336"
            )
        clip = Checkpoint(clip_folder)
        vision = [name for name in clip.shapes if name.startswith("vision_model.")]
        if not vision:
            raise ModelError(f"{clip_folder}: no CLIP weights there (tensors named vision_model.*)")
        checkpoint.include(clip, {name: _VISION + name.removeprefix("vision_model.") for name in vision})
    checkpoint.load_into(model, dtype, device=device, key_of=official_name, ignore=_is_computed)
    model.requires_grad_(False)
    _fill_buffers(model, device)


def weights_hash(model: nn.Module) -> str:
    """Hash the loaded parameters (12 hex digits of SHA-256 of names, dtypes, values).

    The file format does not matter: the same weights as ``.bin`` or safetensors have the same hash.
    """
    digest = sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{official_name(name)} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:12]


def _is_computed(name: str) -> bool:
    return name.endswith(_COMPUTED)


def _fill_buffers(model: nn.Module, device: torch.device) -> None:
    """Compute what no checkpoint stores: rotary frequencies (always float32) and position ids."""
    for name, module in model.named_modules():
        if isinstance(module, LlamaRotaryEmbedding):
            with torch.device(device):
                model.get_submodule(name.rpartition(".")[0]).rotary_emb = LlamaRotaryEmbedding(config=module.config)
        elif "position_ids" in module._buffers:
            module.position_ids = torch.arange(module.position_ids.shape[-1], device=device)[None]
    if unknown := [name for name, tensor in model.named_buffers() if tensor.is_meta]:
        raise ModelError(f"this version of transformers has unknown buffers: {', '.join(unknown)}")
