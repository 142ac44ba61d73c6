"""Save and load model folders (``save_pretrained`` of model and processor), atomically and with checks."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, AutoTokenizer

from dollhouse.errors import ModelError
from dollhouse.models.checked_tensors import require_finite
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.image_processing import DollhouseImageProcessor
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.processing import DollhouseProcessor
from dollhouse.models.model_folder import SHIPPED as SHIPPED
from dollhouse.models.model_folder import find_model as find_model
from dollhouse.models.pretrained import load_pretrained
from dollhouse.system.atomic_io import atomic_folder
from dollhouse.system.checksums import HASHES, check_checksums, write_checksums
from dollhouse.system.hashing import file_hash
from dollhouse.system.read_files import read_object


def save_student(model: DollhouseForConditionalGeneration, processor: DollhouseProcessor, folder: Path) -> None:
    """Write a model folder in bfloat16 with its checksums; an existing one is renamed unless it is the same.

    Raises StorageError as :func:`atomic_folder` does, ModelError for weights that are not finite.
    """
    weights = {name: value.to(torch.bfloat16) for name, value in single_weights(model).items()}
    require_finite(weights, f"the student for {folder}")
    with atomic_folder(folder, replace=True) as unfinished:
        model.save_pretrained(unfinished, state_dict=weights)
        processor.save_pretrained(unfinished)
        write_checksums(unfinished)


def single_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return a state dict in which tied weights appear once, under their first name."""
    stored: set[int] = set()
    single = {}
    for name, value in model.state_dict().items():
        if value.data_ptr() not in stored or value.numel() == 0:
            stored.add(value.data_ptr())
            single[name] = value.detach().contiguous()
    return single


def load_config(folder: str | Path | None = None) -> DollhouseConfig:
    """Load the configuration of a model folder without its weights; ``folder`` and errors as :func:`find_model`."""
    path = find_model(folder)
    config: DollhouseConfig = load_pretrained(DollhouseConfig, path, "cannot read config.json")
    return config


def load_student(folder: str | Path | None = None) -> tuple[DollhouseForConditionalGeneration, DollhouseProcessor, str]:
    """Load a model folder: model in float32, processor, and a name with a hash of the weights.

    Only safetensors are read. ``folder`` as of :func:`find_model`.

    Raises:
        ModelError: a file is missing or invalid, or weights are not finite.
        StorageError: a file is not that which the folder's ``SHA256SUMS``, if it has them, lists.
    """
    path = find_model(folder)
    hashes = check_checksums(path) if (path / HASHES).exists() else {}
    options = {"dtype": torch.float32, "use_safetensors": True, "output_loading_info": True}
    model, loading = load_pretrained(AutoModelForImageTextToText, path, "cannot read the weights", **options)
    wrong = {kind: sorted(map(str, loading[kind])) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if any(wrong.values()):
        named = [f"{kind.replace('_', ' ')}: {', '.join(names[:5])}" for kind, names in wrong.items() if names]
        raise ModelError(f"the weights of {path} do not fit its config.json ({'; '.join(named)})")
    weights = hashes.get("model.safetensors") or file_hash(path / "model.safetensors")
    return model, load_processor(path), f"{path.name}@{weights[:12]}"


def load_processor(path: Path) -> DollhouseProcessor:
    """Load the processor of a model folder."""
    try:
        settings = read_object(path / "processor_config.json", ModelError)
        tokenizer = load_pretrained(AutoTokenizer, path, "its tokenizer cannot be read")
        image = settings.get("image_processor", {})
        return DollhouseProcessor(
            DollhouseImageProcessor(image_size=int(image["image_size"])),
            tokenizer,
            prefix_length=int(settings["prefix_length"]),
            num_thinking_tokens=int(settings["num_thinking_tokens"]),
            thinking_placement=str(settings["thinking_placement"]),
            normalise_questions=bool(settings.get("normalise_questions", False)),
            grid_size=int(settings.get("grid_size", 0)),
            chat_format=settings.get("chat_format"),
        )
    except (KeyError, ValueError, OSError, TypeError) as error:
        raise ModelError(f"the processor of {path} cannot be read: {' '.join(str(error).split())[:300]}") from error
