"""Model folders on this machine: loading without downloads or remote code, provenance and answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from dollhouse.errors import ModelError
from dollhouse.models.generation import GeneratedTokens
from dollhouse.models.pretrained import load_pretrained
from dollhouse.records.types import TeacherAnswer
from dollhouse.system.hashing import folder_hash


def load_part(auto_class: Any, folder: Path, kind: str, **options: Any) -> Any:
    """Load a model or processor from a folder; raises ModelError saying that the folder is no ``kind``."""
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: holds no model (config.json); download it first with `hf download`")
    return load_pretrained(auto_class, folder, f"is no {kind}", **options)


def default_device() -> str:
    """Return "cuda" where there is a GPU, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def model_provenance(
    teacher: str, name: str, weights: str, licence: str, settings: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """Return the provenance of a model, with the versions of torch and transformers and torch's threads.

    Another number of threads gives other last digits, and so perhaps other bytes, under one record id.
    """
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return {
        "teacher": teacher,
        "name": name,
        "weights": weights,
        **more,
        "licence": licence or "as the model's card says",
        "settings": settings,
        "software": versions | {"threads": torch.get_num_threads()},
    }


def folder_provenance(
    teacher: str, folder: Path, licence: str, settings: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """Return the provenance of the model in a folder, all of whose files are hashed."""
    return model_provenance(teacher, folder.resolve().name, folder_hash(folder), licence, settings, **more)


def token_answer(tokenizer: Any, tokens: GeneratedTokens, ends: Sequence[int]) -> TeacherAnswer:
    """Return generated tokens as an answer, with its text; ``ends`` are the ids of tokens that end an answer."""
    text = tokenizer.decode(tokens.token_ids, skip_special_tokens=True).strip()
    ids = np.array(tokens.token_ids, dtype=np.int32)
    texts = _top_texts(tokenizer, tokens, set(ends))
    return TeacherAnswer(text, ids, np.stack(tokens.top_ids), np.stack(tokens.top_log_probs), texts)


def _top_texts(tokenizer: Any, tokens: GeneratedTokens, ends: set[int]) -> list[list[str | None]]:
    """Return what each alternative adds to the text before it (:attr:`TeacherAnswer.top_texts`)."""
    rows = []
    for position, ids in enumerate(tokens.top_ids):
        prefix = list(tokens.token_ids[:position])
        options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        before, *texts = tokenizer.batch_decode([prefix, *([*prefix, int(id)] for id in ids)], **options)
        rows.append([None if int(id) in ends else _added(before, text) for id, text in zip(ids, texts, strict=True)])
    return rows


def _added(before: str, text: str) -> str:
    added = text[len(before) :] if text.startswith(before) else ""
    return "" if "\ufffd" in added else added
