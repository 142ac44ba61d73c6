"""Image-text-to-text models of transformers as teachers, from a folder on this machine.

All views of a scene and one question go through the model's own chat template.

Axes: Q questions generated together, T answer tokens, K alternatives stored per token.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from PIL import Image
from torch import Tensor

from dollhouse.errors import ModelError, TeacherError
from dollhouse.models.dollhouse.tokenization import vocabulary_hash
from dollhouse.models.generation import GeneratedTokens, top_tokens
from dollhouse.questions.generate import Question
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.scene import Scene
from dollhouse.system.text import one_line
from dollhouse.teachers.chat_template import ChatTemplate
from dollhouse.teachers.local_model import default_device, folder_provenance, load_part, token_answer
from dollhouse.teachers.protocol import Teacher, check_minimums, prompt_text


@dataclass(frozen=True)
class HuggingFaceSettings:
    """Generation settings, part of every record; decoding is always greedy."""

    instruction: str = ""  #: appended to each question: "Answer in one word or one phrase."
    max_new_tokens: int = 256
    top_k: int = 16  #: alternatives stored per token
    questions_at_once: int = 1  #: more are padded on the left, which may change rounding
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    licence: str = ""

    def __post_init__(self) -> None:
        check_minimums("huggingface", self, max_new_tokens=1, top_k=1, questions_at_once=1)


class HuggingFaceTeacher(Teacher):
    """Answer with a vision-language model; returns token ids and the top-k log probabilities."""

    def __init__(self, folder: str | os.PathLike[str], settings: HuggingFaceSettings | None = None) -> None:
        """Raises ModelError where the folder is no such model, or has no chat template."""
        self.folder = Path(folder)
        self.settings = settings or HuggingFaceSettings()
        self.processor = load_part(
            transformers.AutoProcessor, self.folder, "model with a processor", padding_side="left"
        )
        template = getattr(self.processor, "chat_template", None)
        if isinstance(template, dict):
            template = template.get("default")
        if not template or not hasattr(self.processor, "tokenizer"):
            raise ModelError(f"{folder}: has no chat template for photos and text; copy chat_template.jinja to it")
        self.template = ChatTemplate(template, self.processor.tokenizer.special_tokens_map)
        kind, options = "image-text-to-text model", {"dtype": self.settings.dtype, "use_safetensors": True}
        model = load_part(transformers.AutoModelForImageTextToText, self.folder, kind, **options)
        self.model = model.to(default_device()).eval()

    def provenance(self) -> dict[str, Any]:
        """Return what produces the answers; hashes all files of the folder."""
        settings = asdict(self.settings)
        licence = settings.pop("licence")
        settings |= {"dtype": str(self.model.dtype).removeprefix("torch."), "decoding": "greedy"}
        vocabulary = {"vocabulary": vocabulary_hash(self.processor.tokenizer), "end_tokens": self._ends}
        return folder_provenance("huggingface", self.folder, licence, settings, **vocabulary)

    def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
        """Return one greedy answer per question. Raises TeacherError where the model cannot take the scene."""
        if not scene.views:
            raise TeacherError(f"scene {scene.name} has no photos")
        images = [{"type": "image", "image": Image.fromarray(view.image)} for view in scene.views]
        chats: list[list[dict[str, Any]]] = []
        for question in questions:
            text = prompt_text(question, self.settings.instruction).strip()
            chats.append([{"role": "user", "content": [*images, {"type": "text", "text": text}]}])
        answers: list[TeacherAnswer] = []
        try:
            for start in range(0, len(chats), self.settings.questions_at_once):
                answers += self._generate(chats[start : start + self.settings.questions_at_once])
        except (ValueError, IndexError, RuntimeError) as error:
            raise TeacherError(
                f"scene {scene.name}: {self.folder.name} cannot take {len(images)} photos and a question "
                f"({one_line(str(error), 200)}); give fewer with --views"
            ) from error
        return answers

    @property
    def _ends(self) -> list[int]:
        """Return the ids of tokens that end an answer."""
        ends = self.model.generation_config.eos_token_id
        return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)

    def _generate(self, chats: Sequence[list[dict[str, Any]]]) -> list[TeacherAnswer]:
        padding = {"padding": len(chats) > 1}
        prompts = self.template.render(chats)
        inputs = self.processor.apply_chat_template(
            [[{**chat[0], "prompt": prompt}] for chat, prompt in zip(chats, prompts, strict=True)],
            chat_template="{{ messages[0].prompt }}",  # rendered already, not trusted to this process
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs=padding,
        ).to(self.model.device, self.model.dtype)
        greedy = {"do_sample": False, "num_beams": 1, "max_new_tokens": self.settings.max_new_tokens}
        with torch.inference_mode():
            output = self.model.generate(**inputs, **greedy, return_dict_in_generate=True, output_logits=True)
        start = inputs["input_ids"].shape[1]
        return [
            self._answer(output.sequences[row, start:], torch.stack([step[row] for step in output.logits]))
            for row in range(len(chats))
        ]

    def _answer(self, ids: Tensor, logits: Tensor) -> TeacherAnswer:
        """Return the answer in ``ids`` (T,) up to its end token; ``logits`` (T, vocabulary) chose them."""
        is_end = torch.isin(ids, torch.tensor(self._ends, device=ids.device))
        count = int(is_end.nonzero()[0]) + 1 if bool(is_end.any()) else len(ids)
        log_probs, top_ids = top_tokens(logits[:count].float(), self.settings.top_k)
        alternatives = list(top_ids.int().cpu().numpy()), list(log_probs.cpu().numpy())
        tokens = GeneratedTokens(ids[:count].tolist(), *alternatives)
        return token_answer(self.processor.tokenizer, tokens, self._ends)
