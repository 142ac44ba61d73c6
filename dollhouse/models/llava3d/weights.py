"""The official checkpoint's keys and ours, in both directions; nothing half loaded (``specs/llava3d.md``, section 2).

Knows names and shapes; how files are read is :mod:`.shards`'s business, what the weights compute the model's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from dollhouse.errors import ModelError, StorageError
from dollhouse.models.checkpoints import Shape, checkpoint_files, read_tensors, tensor_shapes
from dollhouse.models.llava3d.configuration import Llava3DConfig, official_settings

#: ours -> official; transformers 5 has no ``vision_model.`` level of its own, the checkpoint has
PREFIXES = {
    "vision_tower.": "model.vision_tower.vision_tower.vision_model.",
    "scene_position.": "model.video_tower.video_tower.positional_embedding.",
    "click_position.": "model.video_tower.prompt_encoder.pos_emb3d.",
    "multi_modal_projector.": "model.mm_projector.",
    "language_model.model.": "model.",
    "language_model.lm_head.": "lm_head.",
}
_VISION = PREFIXES["vision_tower."]
_TOLERATED = ("rotary_emb.inv_freq", "embeddings.position_ids")  #: computed, never read
_LISTED = 5  #: keys of one kind that a message names before it counts the rest


def official_name(name: str) -> str:
    """The official key of one of our parameters."""
    for ours, official in PREFIXES.items():
        if name.startswith(ours):
            return official + name.removeprefix(ours)
    raise KeyError(name)


def load_official(
    model: nn.Module, folder: Path, dtype: torch.dtype, clip_folder: Path | None, device: torch.device
) -> None:
    """Fill ``model``, which is on the meta device, from a checkpoint folder, tensor by tensor.

    All keys and shapes of all shards are compared before the first tensor is read. Raises ModelError.
    """
    wanted = {official_name(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    ours = {official_name(name): name for name in model.state_dict()}
    places, found = _inventory(checkpoint_files(folder))
    if not any(name.startswith(_VISION) for name in found):
        _check_keys(folder, {name: shape for name, shape in wanted.items() if not name.startswith(_VISION)}, found)
        if clip_folder is None:
            raise ModelError(
                f"{folder}: has no vision tower; give clip_folder, a folder of openai/clip-vit-large-patch14-336"
            )
        _add_clip(clip_folder, places, found)
    _check_keys(folder, wanted, found)
    for path in dict.fromkeys(path for path, _ in places.values()):
        keys = {stored: name for name, (place, stored) in places.items() if place == path and name in wanted}
        for stored, tensor in read_tensors(path, keys):
            converted = _converted(path, stored, tensor, dtype, device)
            _put(model, ours[keys[stored]], converted)
    _fill_buffers(model, device)


def compare_keys(wanted: Mapping[str, Shape], found: Mapping[str, Shape]) -> list[str]:
    """What is missing, unexpected or misshapen in ``found`` (key -> shape), one line a kind; empty if all is right."""
    unexpected = [
        f"{name} {shape}" for name, shape in found.items() if name not in wanted and not name.endswith(_TOLERATED)
    ]
    kinds = {
        "missing": [f"{name} {shape}" for name, shape in wanted.items() if name not in found],
        "unexpected": unexpected,
        "misshapen": [
            f"{name} {found[name]}, expected {shape}"
            for name, shape in wanted.items()
            if found.get(name, shape) != shape
        ],
    }
    return [f"{kind} {_some(names)}" for kind, names in kinds.items() if names]


def _check_keys(folder: Path, wanted: Mapping[str, Shape], found: Mapping[str, Shape]) -> None:
    if problems := compare_keys(wanted, found):
        raise ModelError(f"{folder}: not the weights of this LLaVA-3D: {'; '.join(problems)}")


def to_official(model: nn.Module, config: Llava3DConfig, folder: Path, max_shard_size: str = "5GB") -> None:
    """Write the model as a checkpoint folder in the official layout: safetensors shards, index and ``config.json``.

    Raises StorageError where it cannot be written. The tokenizer's files are not part of it.
    """
    weights = {official_name(name): tensor.detach() for name, tensor in model.state_dict().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_torch_state_dict(weights, folder, max_shard_size=max_shard_size)
        (folder / "config.json").write_text(json.dumps(official_settings(config), indent=1), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write checkpoint {folder}: {error.strerror or error}") from error


def weights_hash(model: nn.Module) -> str:
    """The first 12 hex digits of the SHA-256 of the loaded parameters: names, dtypes and values.

    Of what answers, not of files: the same weights as ``.bin`` or safetensors have one hash, in another dtype another.
    """
    digest = sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{official_name(name)} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:12]


def _inventory(files: Iterable[Path]) -> tuple[dict[str, tuple[Path, str]], dict[str, Shape]]:
    """Key -> (file, key in that file), and key -> shape."""
    places: dict[str, tuple[Path, str]] = {}
    shapes: dict[str, Shape] = {}
    for path in files:
        for name, shape in tensor_shapes(path).items():
            if name in places:
                raise ModelError(f"{path}: holds {name}, which {places[name][0].name} holds too")
            places[name], shapes[name] = (path, name), shape
    return places, shapes


def _add_clip(folder: Path, places: dict[str, tuple[Path, str]], shapes: dict[str, Shape]) -> None:
    """Add the vision part of a CLIP checkpoint; its text part and projections are left out."""
    clip, found = _inventory(checkpoint_files(folder))
    vision = {name: place for name, place in clip.items() if name.startswith("vision_model.")}
    if not vision:
        raise ModelError(f"{folder}: no CLIP weights there (keys that start with vision_model.)")
    for name, place in vision.items():
        official = _VISION + name.removeprefix("vision_model.")
        places[official], shapes[official] = place, found[name]


def _converted(path: Path, name: str, stored: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    if not stored.is_floating_point():
        raise ModelError(f"{path}: {name} holds {stored.dtype}, expected floating point numbers")
    tensor = stored.to(device, dtype, copy=True)  # never a view of the mapped file
    if not torch.isfinite(tensor).all():
        if torch.isfinite(stored).all():
            raise ModelError(f"{path}: {name} overflows in {dtype}; load it in bfloat16 or float32")
        raise ModelError(f"{path}: {name} holds values that are not finite; the file is damaged")
    return tensor


def _put(model: nn.Module, name: str, tensor: Tensor) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, nn.Parameter(tensor, requires_grad=False))


def _fill_buffers(model: nn.Module, device: torch.device) -> None:
    """Compute what no checkpoint stores: rotary frequencies (always float32) and position numbers."""
    for name, module in model.named_modules():
        if isinstance(module, LlamaRotaryEmbedding):
            with torch.device(device):
                model.get_submodule(name.rpartition(".")[0]).rotary_emb = LlamaRotaryEmbedding(config=module.config)
        elif "position_ids" in module._buffers:
            module.position_ids = torch.arange(module.position_ids.shape[-1], device=device)[None]
    left = [name for name, tensor in model.named_buffers() if tensor.is_meta]
    if left:
        raise ModelError(f"this version of transformers has buffers that are not known here: {_some(left)}")


def _some(items: Iterable[str]) -> str:
    listed = list(items)
    rest = len(listed) - _LISTED
    return f"{len(listed)}: " + ", ".join(listed[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")
