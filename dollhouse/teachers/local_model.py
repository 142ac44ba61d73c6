"""Model folders on this machine: loading without downloads or remote code, provenance and answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor

from dollhouse.errors import ModelError, TeacherError
from dollhouse.records.types import TeacherAnswer

#: what transformers and safetensors raise for folders that they cannot use
LOADING_ERRORS = (
    SafetensorError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    RuntimeError,
)


def load_pretrained(auto_class: Any, folder: Path, kind: str, **options: Any) -> Any:
    """Load a model or processor with ``auto_class.from_pretrained``, from the folder alone.

    Raises ModelError saying that the folder is no ``kind``.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: holds no model (config.json); download it first with `hf download`")
    try:
        return auto_class.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
    except LOADING_ERRORS as error:
        raise ModelError(f"{folder}: is no {kind}: {one_line(error)}") from error


def default_device() -> str:
    """Return "cuda" where there is a GPU, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def model_provenance(
    teacher: str, name: str, weights: str, licence: str, settings: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """Return the provenance of a model, with the versions of torch and transformers."""
    return {
        "teacher": teacher,
        "name": name,
        "weights": weights,
        **more,
        "licence": licence or "as the model's card says",
        "settings": settings,
        "software": {"torch": torch.__version__, "transformers": transformers.__version__},
    }


def check_minimums(kind: str, settings: Any, **minimums: int) -> None:
    """Raise TeacherError for the first setting below its minimum."""
    for name, minimum in minimums.items():
        if getattr(settings, name) < minimum:
            raise TeacherError(f"settings of {kind}: {name} is {getattr(settings, name)}, must be at least {minimum}")


def top_tokens(log_probs: Tensor, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and log probabilities (T, top_k) of the most likely tokens of ``log_probs`` (T, vocabulary)."""
    # a stable sort, so that ties go to the smaller id on every machine
    best = log_probs.sort(descending=True, stable=True)
    return best.indices[:, :top_k].int().cpu().numpy(), best.values[:, :top_k].cpu().numpy().astype(np.float32)


def token_answer(tokenizer: Any, ids: Any, top_ids: np.ndarray, top_log_probs: np.ndarray) -> TeacherAnswer:
    """Return the answer of token ids (T,) and their alternatives (T, K)."""
    return TeacherAnswer(
        text=tokenizer.decode(ids, skip_special_tokens=True).strip(),
        token_ids=np.asarray(ids, dtype=np.int32),
        top_ids=top_ids,
        top_log_probs=top_log_probs,
    )


def one_line(error: Exception) -> str:
    """Return the beginning of an error's message in one line."""
    return " ".join(str(error).split())[:200]
