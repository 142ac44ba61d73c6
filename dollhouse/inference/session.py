"""See a scene once, ask it many questions.

:class:`DollhousePipeline` holds a student and its processor; :class:`SceneSession` holds what it made of one scene: depth,
cameras, boxes, and the language model's keys and values of everything before the question. Knows nothing of
training or scoring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import DynamicCache

from dollhouse.errors import ModelError, QuestionError, SceneError
from dollhouse.geometry import Array
from dollhouse.inference.generation import Decoder, decoder_of
from dollhouse.models.dollhouse.checkpoint import load_student
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration, PerceptionOutput
from dollhouse.models.dollhouse.processing import DollhouseProcessor
from dollhouse.models.dollhouse.proposal_head import ProposalOutput
from dollhouse.models.dollhouse.rgbd_embedding import RGBDInputs
from dollhouse.scenes.scene import Box, Scene
from dollhouse.scenes.view_preprocessing import rgbd_arrays
from dollhouse.system.malloc import keep_freed_memory

SURE = 0.3  #: score from which an object is shown; scoring takes all of them
LONGEST_QUESTION = 256  #: tokens


class DollhousePipeline:
    """A student ready to be asked. ``DollhousePipeline.from_pretrained()`` is the one that comes with the package."""

    def __init__(self, model: DollhouseForConditionalGeneration, processor: DollhouseProcessor, model_id: str) -> None:
        self.model = model.eval()
        self.processor = processor
        self.model_id = model_id
        self._decoder: Decoder | None = None

    @property
    def decoder(self) -> Decoder:
        """What speaks for the language model as it is now."""
        self._decoder = decoder_of(self.model, self._decoder)
        return self._decoder

    @classmethod
    def from_pretrained(cls, folder: str | Path | None = None, device: str | None = None) -> DollhousePipeline:
        """Load a model folder (None: the nano student of the package), in float32 on a CPU.

        Raises ModelError where the folder is missing, incomplete or not a Dollhouse model.
        """
        model, processor, model_id = load_student(folder)
        keep_freed_memory()
        return cls(model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")), processor, model_id)

    @property
    def image_size(self) -> int:
        return int(self.model.config.image_size)

    def see(self, scene: Scene | str | Path, views: int | None = None) -> SceneSession:
        """Look at a scene (or at what :func:`dollhouse.open_scene` opens), ``views`` photos of it at most.

        Only the photos are looked at; depth and poses, where the scene has them, are not - but by a teacher with
        ``config.sensors``, which raises SceneError where the scene lacks them.
        """
        if not isinstance(scene, Scene):
            from dollhouse.scenes.open import open_scene

            scene = open_scene(scene)
        scene = scene.sample_views(views or self.model.config.num_views)
        if not scene.views:
            raise SceneError(f"scene {scene.name} has no views to look at")
        photos = [view.image for view in scene.views]
        try:
            pixels = self.processor.image_processor(photos)["pixel_values"]
        except ValueError as error:
            raise SceneError(f"scene {scene.name}: {error}; put photos of one shape together") from error
        pixel_values = torch.from_numpy(np.asarray(pixels)).to(self.model.device)
        images = (pixel_values[0].permute(0, 2, 3, 1) * 255).round().to(torch.uint8).cpu().numpy()
        with torch.inference_mode():
            if self.model.config.blind:
                return SceneSession(self, scene, images, self.model.get_image_features(pixel_values), None)
            sensors = self._sensors(scene) if self.model.config.sensors else None
            sight = self.model.see(pixel_values, sensors=sensors)
            return SceneSession(self, scene, images, self.model.read_objects(sight.objects), sight)

    def _sensors(self, scene: Scene) -> RGBDInputs:
        """The scene's own depth and poses on the pixels that the model looks at."""
        told = rgbd_arrays(scene, self.image_size)
        return RGBDInputs.of(*(torch.from_numpy(array).float()[None].to(self.model.device) for array in told))


@dataclass(frozen=True)
class Answer:
    """One answer and how sure the student was: the geometric mean probability of its tokens."""

    question: str
    text: str
    confidence: float


class SceneSession:
    """What a student made of one scene. 3D is in the level frame of the first view (:mod:`dollhouse.geometry`)."""

    def __init__(
        self,
        house: DollhousePipeline,
        scene: Scene,
        images: NDArray[np.uint8],
        prefix: Tensor,
        sight: PerceptionOutput | None,
    ) -> None:
        self.house = house
        self.scene = scene
        self.images = images  #: (V, H, W, 3) as the student saw them
        self.prefix = prefix  #: (1, N, D) what the language model reads first
        self.sight = sight
        with torch.inference_mode():
            self._scene = self.decoder.read_scene(prefix)

    @property
    def decoder(self) -> Decoder:
        """What goes on from this scene."""
        return self.house.decoder

    @property
    def depth(self) -> NDArray[np.float32]:
        """Predicted z-depth (V, H, W) in metres; made when it is first asked for."""
        with torch.inference_mode():
            return self._eyes.log_depth[0].exp().cpu().numpy()

    @property
    def level_from_camera(self) -> Array:
        """Predicted poses (V, 4, 4)."""
        return self._eyes.cameras.level_from_camera[0].double().cpu().numpy()

    @property
    def focal(self) -> Array:
        """Predicted focal lengths (V,) divided by the image's width."""
        return self._eyes.cameras.focal[0].double().cpu().numpy()

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Predicted objects with their scores, surest first."""
        config = self.house.model.config
        return read_boxes(self._eyes.objects, config.labels, config.colours, config.front_labels)

    @property
    def _eyes(self) -> PerceptionOutput:
        if self.sight is None:
            raise ModelError(f"{self.house.model_id} is a blind student: it has no depth, cameras or boxes")
        return self.sight

    def ask(self, questions: str | Sequence[str]) -> list[str]:
        """Answers to one or many questions, in their order."""
        return [answer.text for answer in self.answer([questions] if isinstance(questions, str) else questions)]

    def answer(self, questions: Sequence[str], max_new_tokens: int = 48) -> list[Answer]:
        """Greedy answers with confidences. Raises QuestionError for an empty or endless question."""
        ids = [self.house.processor.question_ids(self._checked(question)) for question in questions]
        if not ids:
            return []
        with torch.inference_mode():
            return [
                Answer(question, *told)
                for question, told in zip(questions, self._decode(ids, max_new_tokens), strict=True)
            ]

    def open_cache(self, questions: int) -> DynamicCache:
        """Keys and values of all that stands before the question, once a question, in Hugging Face's form."""
        return self.decoder.cache(self._scene, questions)

    def open_past(self, questions: Tensor, max_new_tokens: int) -> Any:
        """The same as :attr:`decoder` goes on from, with room for questions (R, T) of one length and their answers."""
        return self.decoder.open(self._scene, len(questions), questions.shape[1] + max_new_tokens)

    def _checked(self, question: str) -> str:
        if not question.strip():
            raise QuestionError("an empty question cannot be answered: ask in words")
        if len(self.house.processor.question_ids(question)) > LONGEST_QUESTION:
            raise QuestionError(f"the question is longer than {LONGEST_QUESTION} tokens: ask in fewer words")
        return question

    def _decode(self, ids: list[list[int]], max_new_tokens: int) -> list[tuple[str, float]]:
        """Greedy decoding of all questions at once; questions of one length share a batch, so none is padded."""
        told: list[tuple[str, float]] = [("", 0.0)] * len(ids)
        for length in sorted({len(one) for one in ids}):
            rows = [row for row, one in enumerate(ids) if len(one) == length]
            batch = torch.tensor([ids[row] for row in rows], device=self.house.model.device)
            spoken = speak(self.decoder, self.open_past(batch, max_new_tokens), batch, max_new_tokens)
            for row, (tokens, confidence) in zip(rows, spoken, strict=True):
                text = self.house.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
                told[row] = (text, confidence)
        return told


def speak(
    decoder: Decoder, past: Any, ids: Tensor, max_new_tokens: int, skip: int = 0
) -> list[tuple[list[int], float]]:
    """Greedy answers to questions (R, T) of one length: tokens, and the geometric mean of their probabilities.

    ``past`` is the decoder's own: what stands before each question; it grows. ``skip`` positions before the question
    stay empty.
    """
    never = torch.tensor(decoder.model.suppress_tokens(), device=ids.device)
    end = decoder.model.config.eos_token_id
    tokens: list[list[int]] = [[] for _ in ids]
    log_probability = [0.0] * len(ids)
    open_rows = set(range(len(ids)))
    feed = ids
    for _ in range(max_new_tokens):
        logits = decoder.step(past, feed, skip)
        logits[:, never] = -torch.inf
        best, choice = logits.log_softmax(-1).max(-1)
        chances, chosen = best.tolist(), choice.tolist()
        for row in list(open_rows):
            log_probability[row] += chances[row]
            tokens[row].append(chosen[row])
            if chosen[row] == end:
                open_rows.discard(row)
        if not open_rows:
            break
        feed = choice.unsqueeze(-1)
    return [(row, float(np.exp(total / max(len(row), 1)))) for row, total in zip(tokens, log_probability, strict=True)]


def read_boxes(
    objects: ProposalOutput, labels: Sequence[str], colours: Sequence[str], front_labels: Sequence[str]
) -> tuple[Box, ...]:
    """The first scene's slots as boxes, surest first; several labels never share a slot."""
    found = []
    score, label = objects.label_logits[0].float().sigmoid().max(-1)
    colour = objects.colour_logits[0].argmax(-1)
    for slot in objects.present[0].nonzero().squeeze(-1).tolist():
        name = labels[int(label[slot])]
        has_front = name in front_labels
        if has_front:
            yaw = torch.atan2(objects.front[0, slot, 1], objects.front[0, slot, 0])
        else:
            yaw = 0.5 * torch.atan2(objects.axis[0, slot, 1], objects.axis[0, slot, 0])
        found.append(
            Box(
                id=slot + 1,
                label=name,
                center=objects.center[0, slot].double().cpu().numpy(),
                size=objects.log_size[0, slot].double().exp().clamp(0.01, 20).cpu().numpy(),
                yaw=float(yaw),
                has_front=has_front,
                colour=colours[int(colour[slot])] if colours else None,
                score=float(score[slot]),
            )
        )
    return tuple(sorted(found, key=lambda box: -(box.score or 0.0)))
