"""Any image-text-to-text model of transformers as a teacher, from a folder on this machine.

All views of a scene and the question go through the model's own chat template. Nothing is downloaded and no code that
comes with a model is run. Knows nothing of any one model.

Axes: Q questions asked together, T answer tokens, K kept alternatives.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor

from dollhouse.errors import ModelError, QuestionError, TeacherError
from dollhouse.questions.generate import Question
from dollhouse.system.hashing import folder_hash
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.pipelines import UNREADABLE


@dataclass(frozen=True)
class HuggingFaceSettings:
    """How the model looks and speaks; part of every record. Decoding is always greedy."""

    instruction: str = ""  #: put after each question: "Answer in one word or one phrase."
    max_new_tokens: int = 256
    top_k: int = 16  #: alternatives kept a token
    questions_at_once: int = 1  #: more are padded on the left; rounding may then differ a little
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    licence: str = ""

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "top_k", "questions_at_once"):
            if getattr(self, name) < 1:
                raise TeacherError(f"settings of huggingface: {name} is {getattr(self, name)}, must be at least 1")


class HuggingFaceTeacher:
    """A teacher in the sense of :class:`dollhouse.teachers.protocol.Teacher`."""

    def __init__(self, folder: str | os.PathLike[str], settings: HuggingFaceSettings | None = None) -> None:
        """Raises ModelError where the folder is no such model, or has no chat template."""
        self.folder = Path(folder)
        self.settings = settings or HuggingFaceSettings()
        if not (self.folder / "config.json").is_file():
            raise ModelError(f"{self.folder}: no model is there (config.json); download it first with `hf download`")
        self.processor = _load_processor(self.folder)
        try:
            model = transformers.AutoModelForImageTextToText.from_pretrained(
                self.folder,
                dtype=self.settings.dtype,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
            )
        except UNREADABLE as error:
            raise ModelError(f"{self.folder}: is no image-text-to-text model: {_line(error)}") from error
        self.model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    @cached_property
    def _hash(self) -> str:
        return folder_hash(self.folder)

    def provenance(self) -> dict[str, Any]:
        """What produces the answers. The files are hashed at the first call."""
        settings = asdict(self.settings)
        licence = settings.pop("licence") or "as the model's card says"
        settings["dtype"] = str(self.model.dtype).removeprefix("torch.")
        return {
            "teacher": "huggingface",
            "name": self.folder.resolve().name,
            "weights": self._hash,
            "licence": licence,
            "settings": {**settings, "decoding": "greedy"},
            "software": {"torch": torch.__version__, "transformers": transformers.__version__},
        }

    def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
        """One greedy answer a question, in order. Raises TeacherError where the model cannot take the scene."""
        if not scene.views:
            raise TeacherError(f"scene {scene.name} has no photos to look at")
        photos = [Image.fromarray(view.image) for view in scene.views]
        answers: list[TeacherAnswer] = []
        for start in range(0, len(questions), self.settings.questions_at_once):
            answers += self._answer(scene, photos, questions[start : start + self.settings.questions_at_once])
        return answers

    def features(self, scene: Scene) -> None:
        return None

    def geometry(self, scene: Scene) -> None:
        return None

    def _answer(
        self, scene: Scene, photos: Sequence[Image.Image], questions: Sequence[Question]
    ) -> list[TeacherAnswer]:
        try:
            inputs = self.processor.apply_chat_template(
                [self._chat(photos, question) for question in questions],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": len(questions) > 1},
            ).to(self.model.device, self.model.dtype)
            with torch.inference_mode():
                told = self.model.generate(
                    **inputs,
                    do_sample=False,
                    num_beams=1,
                    max_new_tokens=self.settings.max_new_tokens,
                    return_dict_in_generate=True,
                    output_logits=True,
                )
        except (ValueError, IndexError, RuntimeError) as error:
            raise TeacherError(
                f"scene {scene.name}: {self.folder.name} cannot take {len(photos)} photos and a question "
                f"({_line(error)}); take fewer with --views"
            ) from error
        start = inputs["input_ids"].shape[1]
        return [
            self._spoken(told.sequences[row, start:], torch.stack([step[row] for step in told.logits]))
            for row in range(len(questions))
        ]

    def _chat(self, photos: Sequence[Image.Image], question: Question) -> list[dict[str, Any]]:
        if not question.text.strip():
            raise QuestionError(f"question {question.id} is empty: ask in words")
        text = f"{question.text} {self.settings.instruction}".strip()
        images: list[dict[str, Any]] = [{"type": "image", "image": photo} for photo in photos]
        return [{"role": "user", "content": [*images, {"type": "text", "text": text}]}]

    def _spoken(self, ids: Tensor, logits: Tensor) -> TeacherAnswer:
        """The answer in ``ids`` (T,), cut behind its end; ``logits`` (T, vocabulary) chose them."""
        ends = self.model.generation_config.eos_token_id
        ending = torch.isin(ids, torch.tensor(ends, device=ids.device)) if ends is not None else torch.zeros(0)
        count = int(ending.nonzero()[0]) + 1 if bool(ending.any()) else len(ids)
        # a stable sort, so that ties go to the smaller id on every machine
        best = logits[:count].float().log_softmax(-1).sort(descending=True, stable=True)
        return TeacherAnswer(
            text=self.processor.tokenizer.decode(ids[:count], skip_special_tokens=True).strip(),
            token_ids=ids[:count].int().cpu().numpy(),
            top_ids=best.indices[:, : self.settings.top_k].int().cpu().numpy(),
            top_log_probs=best.values[:, : self.settings.top_k].cpu().numpy().astype(np.float32),
        )


def _load_processor(folder: Path) -> Any:
    try:
        processor = transformers.AutoProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, padding_side="left"
        )
    except UNREADABLE as error:
        raise ModelError(f"{folder}: its processor cannot be read: {_line(error)}") from error
    if not getattr(processor, "chat_template", None) or not hasattr(processor, "tokenizer"):
        raise ModelError(f"{folder}: has no chat template for photos and text; copy chat_template.jinja to it")
    return processor


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
