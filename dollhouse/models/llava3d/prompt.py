"""Questions -> the exact words and ids that LLaVA-3D was evaluated with (``specs/llava3d.md``, sections 5 and 6).

Knows no model; the tokenizer comes from the checkpoint folder.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, LlamaConfig

from dollhouse.errors import ModelError, QuestionError
from dollhouse.models.llava3d.multimodal_embed import IMAGE_TOKEN, LOCATION_TOKEN

IMAGE, BOXES = "<image>", "<boxes>"
# "human" as in the official evaluation; the official training said "user" (specs/llava3d.md, section 6)
SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
END = "</s>"

_VIEW = re.compile(r"\bview ([1-9][0-9]{0,2})\b", re.IGNORECASE)

Encode = Callable[[str], Sequence[int]]  #: text -> ids, without any begin or end token


def conversation(turns: Sequence[tuple[str, str | None]]) -> str:
    """The prompt of a conversation about one image or scene; the last answer may be None: the model's turn.

    The first question comes without its image, which is put before it.
    """
    text = f"{SYSTEM} "
    for number, (question, answer) in enumerate(turns):
        told = "" if answer is None else f" {answer}{END}"
        text += f"USER: {IMAGE + chr(10) if number == 0 else ''}{question} ASSISTANT:{told}"
    return text


def prompt_ids(prompt: str, encode: Encode, bos: int) -> list[int]:
    """Ids of a prompt: what stands between images and boxes is encoded piece by piece, with one ``bos`` in front."""
    ids = [bos]
    for piece in re.split(f"({IMAGE}|{BOXES})", prompt):
        if piece in (IMAGE, BOXES):
            ids.append(IMAGE_TOKEN if piece == IMAGE else LOCATION_TOKEN)
        else:
            ids.extend(encode(piece))
    return ids


def expand_boxes(question: str, count: int) -> str:
    """A question with as many ``<boxes>`` as there are places to tell: a single one stands for all of them.

    Raises QuestionError where the numbers do not fit, or where the question brings an image of its own.
    """
    if IMAGE in question or "<video>" in question:
        raise QuestionError(f"{question!r}: leave <image> and <video> out, the scene is put before the question")
    places = question.count(BOXES)
    if places == 1 and count > 1:
        return question.replace(BOXES, ", ".join([BOXES] * count))
    if places and places != count:
        raise QuestionError(f"{question!r}: has {places} <boxes> but {count} objects; name an object for each")
    return question


def named_view(question: str) -> int | None:
    """Index from 0 of the view that a question names first ("in view 2, ..."); None where it names none."""
    named = _VIEW.search(question)
    return int(named[1]) - 1 if named else None


def format_boxes(boxes: Sequence[Sequence[float]]) -> str:
    """Boxes (x, y, z, dx, dy, dz) in metres as the official code writes them into text."""
    return "[" + ";".join(",".join(f"{number:.3f}" for number in box) for box in boxes) + "]"


def load_tokenizer(folder: Path, config: LlamaConfig) -> Any:
    """The tokenizer of a checkpoint folder; ModelError where it is missing or does not belong to the model."""
    if not any((folder / name).is_file() for name in ("tokenizer.model", "tokenizer.json")):
        raise ModelError(f"{folder}: has no tokenizer (tokenizer.model or tokenizer.json); copy the whole checkpoint")
    if not (folder / "tokenizer.json").is_file():
        lacking = [name for name in ("sentencepiece", "google.protobuf") if not _installed(name)]
        if lacking:
            raise ModelError(f"{folder}/tokenizer.model needs more libraries: pip install sentencepiece protobuf")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, config=config, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise ModelError(f"{folder}: its tokenizer cannot be read: {' '.join(str(error).split())[:200]}") from error
    found = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    if found != (config.bos_token_id, config.eos_token_id) or len(tokenizer) > config.vocab_size:
        raise ModelError(
            f"{folder}: its tokenizer ({len(tokenizer)} tokens, begin and end {found}) is not that of its model "
            f"({config.vocab_size} tokens, {(config.bos_token_id, config.eos_token_id)}); copy the whole checkpoint"
        )
    return tokenizer


def encoder(tokenizer: Any) -> Encode:
    """``tokenizer`` as SentencePiece would encode: every piece of text begins with a space of its own."""
    return partial(_encode, tokenizer)


def _encode(tokenizer: Any, text: str) -> Sequence[int]:
    text = text.replace("\u2581", " ")
    # The fast tokenizer adds its space only where none stands; SentencePiece, which the model was trained with, always.
    return tokenizer.encode(" " + text if text.startswith(" ") else text, add_special_tokens=False)


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that ``name`` would be in
        return False
