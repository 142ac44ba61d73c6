"""The only door to ``from_pretrained`` of transformers: folders on this machine, no code of others, checked sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, dynamic_module_utils

from dollhouse.errors import DollhouseError, ModelError
from dollhouse.models.checked_tensors import require_finite
from dollhouse.models.checkpoints import Checkpoint, read_json
from dollhouse.runtime.prompt import MAX_TOKENIZER
from dollhouse.system.read_files import open_file

LOCAL = {"local_files_only": True, "trust_remote_code": False}
#: implementations of attention and experts that load no code; any other name is fetched from a hub of kernels
IMPLEMENTATIONS = {"eager", "sdpa", "flex_attention", "batched_mm", "grouped_mm", ""}
TEXTS = {".json", ".jinja", ".txt", ".model"}  #: suffixes of files that are read as a whole
MAX_TEXT = 1 << 24  #: bytes of other text files
MAX_LAYERS = 1000
MAX_PARAMETER_RATIO = 8  #: parameters of a model per stored number; packed 4-bit weights have 8
_LAYERS = re.compile(r"(\w+_)?n?(layers?|depths?|blocks?|stages?|experts)")

dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0  # transformers then raises instead of asking on the terminal


def load_pretrained(auto_class: Any, folder: Path, fault: str, **options: Any) -> Any:
    """Call ``auto_class.from_pretrained`` with a folder; nothing is downloaded, no code in it is run.

    Raises ModelError "FOLDER: FAULT: reason" for whatever cannot be loaded, and for weights that are not finite.
    """
    for path in (*folder.glob("*"), *folder.glob("additional_chat_templates/*")):
        if path.suffix in TEXTS:
            open_file(path, ModelError, limit=MAX_TOKENIZER if path.name == "tokenizer.json" else MAX_TEXT).close()
    try:
        if (folder / "config.json").is_file():
            _check_settings(folder / "config.json", read_json(folder / "config.json"))
            # of Auto classes and of models
            if build := getattr(auto_class, "from_config", None) or getattr(auto_class, "_from_config", None):
                config = (getattr(auto_class, "config_class", None) or AutoConfig).from_pretrained(folder, **LOCAL)
                check_parameters(folder, lambda: build(config))
        loaded = auto_class.from_pretrained(folder, **LOCAL, **options)
    except DollhouseError:
        raise
    except Exception as error:  # transformers, tokenizers and safetensors raise of every kind for damaged files
        words = " ".join(str(error).split()) or type(error).__name__
        reason = "it needs code of its own, which is never run" if "trust_remote_code" in words else words[:300]
        raise ModelError(f"{folder}: {fault}: {reason}") from error
    model = loaded[0] if isinstance(loaded, tuple) else loaded
    if isinstance(model, nn.Module):
        require_finite(model.state_dict(), folder)
    return loaded


def check_parameters(folder: Path, build: Callable[[], nn.Module]) -> None:
    """Raise ModelError where a model is far larger than the weights in its folder, before memory is taken for it."""
    stored = sum(map(math.prod, Checkpoint(folder).shapes.values()))
    with torch.device("meta"):
        needed = sum(parameter.numel() for parameter in build().parameters())
    if needed > MAX_PARAMETER_RATIO * stored:
        raise ModelError(
            f"{folder}: config.json describes {needed:,} parameters, and the weights hold {stored:,}; "
            "copy the whole folder again"
        )


def _check_settings(path: Path, value: Any, name: str = "") -> None:
    """Raise ModelError for implementations that load code and for numbers of layers that no model has."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_settings(path, inner, name if "implementation" in name else str(key))
    elif "implementation" in name and value is not None and value not in IMPLEMENTATIONS:
        raise ModelError(f"{path}: {name} {value!r} is code of others, which is never run; write sdpa or eager there")
    elif _LAYERS.fullmatch(name):
        counts = [count for count in (value if isinstance(value, list) else [value]) if isinstance(count, int)]
        if counts and (sum(counts) > MAX_LAYERS or min(counts) < -MAX_LAYERS):
            raise ModelError(f"{path}: {name} is {sum(counts):,}, more than the {MAX_LAYERS:,} that a model may have")
    elif isinstance(value, list):
        for inner in value:
            _check_settings(path, inner, name)
