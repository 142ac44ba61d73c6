"""LLaVA-3D as a teacher: answers about posed RGB-D scenes, and pooled 3D features."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dollhouse.errors import QuestionError, TeacherError
from dollhouse.models.dollhouse.tokenization import vocabulary_hash
from dollhouse.models.llava3d.generation import SharedPrefix
from dollhouse.models.llava3d.modeling import Llava3DForConditionalGeneration, SceneFeatures
from dollhouse.models.llava3d.multimodal_embed import IMAGE_TOKEN_ID
from dollhouse.models.llava3d.processing import FrameSampling, ViewPreprocessing, image_pixels, prepare_views
from dollhouse.models.llava3d.prompt import BOXES, conversation, encoder, expand_boxes, load_tokenizer, prompt_ids
from dollhouse.models.llava3d.weights import weights_hash
from dollhouse.questions.generate import Question
from dollhouse.records.types import SpatialFeatures, TeacherAnswer
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.local_model import default_device, model_provenance, token_answer
from dollhouse.teachers.protocol import Teacher, check_minimums, prompt_text


@dataclass(frozen=True)
class LLaVA3DSettings:
    """Options of the teacher. Decoding is always greedy."""

    visual_input: Literal["scene", "photo"] = "scene"  #: "photo": the first photo alone, without depth, as in the paper
    instruction: str = ""  #: appended to each question: "Answer the question using one word or one phrase."
    max_new_tokens: int = 512
    top_k: int = 16  #: alternatives stored for each token
    questions_at_once: int = 32  #: questions decoded together
    frame_sampling: FrameSampling = "uniform"
    portrait_fault: bool = False
    dtype: Literal["bfloat16", "float16", "float32", "float64"] = "bfloat16"  #: of weights and computation

    # not part of a record from here on
    official_faults: bool = False  #: reproduce all known faults of the official evaluation (``docs/guides/llava3d.md``)
    clip_folder: str = ""  #: source of the vision tower where the checkpoint lacks it

    def __post_init__(self) -> None:
        check_minimums("llava3d", self, max_new_tokens=1, top_k=1, questions_at_once=1)


class LLaVA3DTeacher(Teacher):
    """Answer questions and compute features with LLaVA-3D; depth is an input, so it returns no geometry."""

    def __init__(
        self,
        model: Llava3DForConditionalGeneration,
        tokenizer: Any,
        settings: LLaVA3DSettings | None = None,
        name: str = "",
    ) -> None:
        """Wrap a model and its tokenizer; ``name`` is stored in the provenance."""
        self.model = model
        self.tokenizer = tokenizer
        self.settings = settings or LLaVA3DSettings()
        self.name = name
        self._encoded: tuple[Scene, SceneFeatures] | None = None  # the last scene

    @classmethod
    def from_official(
        cls,
        folder: str | os.PathLike[str],
        settings: LLaVA3DSettings | None = None,
        *,
        accept: Collection[str] = (),
        device: str | None = None,
    ) -> LLaVA3DTeacher:
        """Load the teacher from a released checkpoint folder; ``device``: by default a GPU where there is one.

        Takes and raises what :meth:`.modeling.Llava3DForConditionalGeneration.from_official` does.
        """
        settings = settings or LLaVA3DSettings()
        if settings.official_faults:
            settings = replace(settings, frame_sampling="official", portrait_fault=True)
        model = Llava3DForConditionalGeneration.from_official(
            folder,
            dtype=getattr(torch, settings.dtype),
            geometry_dtype=torch.bfloat16 if settings.official_faults else torch.float32,
            unseeded_subset=settings.official_faults,
            clip_folder=settings.clip_folder or None,
            accept=accept,
            device=device or default_device(),
        )
        return cls(model, load_tokenizer(Path(folder), model.config.text), settings, Path(folder).resolve().name)

    def provenance(self) -> dict[str, Any]:
        """Describe model, settings and software; hashes the weights (half a minute for 7B)."""
        config, settings = self.model.config, asdict(self.settings)
        del settings["official_faults"], settings["clip_folder"]
        settings |= {
            "decoding": "greedy",
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "geometry_dtype": str(config.geometry_dtype).removeprefix("torch."),
            "num_frames": config.num_frames,
            "voxel_size": config.voxel_size,
            "max_scene_tokens": config.max_scene_tokens,
            "subset": "unseeded" if config.unseeded_subset else f"seed {config.subset_seed}",
        }
        vocabulary = {"vocabulary": vocabulary_hash(self.tokenizer), "end_tokens": [int(config.text.eos_token_id)]}
        return model_provenance("LLaVA-3D", self.name, weights_hash(self.model), config.licence, settings, **vocabulary)

    def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
        """Generate one greedy answer for each question, in order.

        ``<boxes>`` in a question is replaced by the centres of the boxes that it lists in ``objects``.

        Raises TeacherError for a scene without poses, depth or metres; QuestionError for a question that is empty or
        too long, or whose boxes do not match.
        """
        if not questions:
            return []
        answers, settings = [], self.settings
        end = int(self.model.config.text.eos_token_id)
        with torch.inference_mode():
            prefix, embedded = self._embed(scene, questions)
            shared = SharedPrefix(self.model.language_model, prefix)
            for start in range(0, len(embedded), settings.questions_at_once):
                group = embedded[start : start + settings.questions_at_once]
                answers += shared.generate(group, settings.max_new_tokens, end, settings.top_k)
        return [token_answer(self.tokenizer, answer, [end]) for answer in answers]

    def features(self, scene: Scene) -> SpatialFeatures | None:
        """Compute voxel features of patches with measured depth, at their mean positions.

        None with ``visual_input="photo"``. Width is the vision tower's (1024), before the projector.
        """
        if self.settings.visual_input == "photo":
            return None
        encoded = self._encode_scene(scene)
        measured = encoded.measured > 0
        return SpatialFeatures(
            features=encoded.features[measured].float().cpu().numpy(),
            points=encoded.points[measured].double().cpu().numpy(),
        )

    def _encode_scene(self, scene: Scene) -> SceneFeatures:
        if self._encoded is None or self._encoded[0] is not scene:
            settings, config = self.settings, self.model.config
            preprocessing = ViewPreprocessing(
                config.image_size, config.num_frames, settings.frame_sampling, settings.portrait_fault
            )
            with torch.inference_mode():
                self._encoded = scene, self.model.get_scene_features(prepare_views(scene, preprocessing))
        return self._encoded[1]

    def _visual_tokens(self, scene: Scene) -> Tensor:
        if self.settings.visual_input == "scene":
            return self.model.get_scene_tokens(self._encode_scene(scene))
        if not scene.views:
            raise TeacherError(f"scene {scene.name} has no photos")
        config = self.model.config
        pixels = image_pixels(scene.views[0].image, config.image_size, config.image_aspect_ratio)
        return self.model.get_image_features(pixels)

    def _embed(self, scene: Scene, questions: Sequence[Question]) -> tuple[Tensor, list[Tensor]]:
        """Embed the prefix that all questions share (P, D), and what follows it for each question (T, D)."""
        prompts = [self._prompt_ids(scene, question) for question in questions]
        place = prompts[0][0].index(IMAGE_TOKEN_ID)
        words = self.model.language_model.get_input_embeddings()
        system = words(torch.tensor(prompts[0][0][:place], device=self.model.device))
        prefix = torch.cat([system, self._visual_tokens(scene).to(system.dtype)])
        embedded = []
        for question, (ids, centres) in zip(questions, prompts, strict=True):
            rest = torch.tensor([ids[place + 1 :]], device=self.model.device)
            # a row without <image> consumes one entry of the visual tokens, which may be None
            embedded.append(self.model.embed(rest, [None], centres).inputs_embeds[0])
            if len(prefix) + len(embedded[-1]) > self.model.config.max_length:
                raise QuestionError(
                    f"question {question.id}: with its scene it has more than {self.model.config.max_length} tokens; "
                    "shorten it"
                )
        return prefix, embedded

    def _prompt_ids(self, scene: Scene, question: Question) -> tuple[list[int], Tensor]:
        """Return the ids of the whole prompt, and the positions (n, 3) of its ``<boxes>``."""
        centres: list[np.ndarray] = []
        if BOXES in question.text:
            try:
                centres = [np.round(scene.box(number).center, 3) for number in question.objects]
            except KeyError as error:
                raise QuestionError(f"question {question.id}: scene {scene.name} has no box {error}") from error
        text = expand_boxes(prompt_text(question, self.settings.instruction), len(centres))
        ids = prompt_ids(conversation([(text, None)]), encoder(self.tokenizer), int(self.tokenizer.bos_token_id))
        return ids, torch.tensor(np.array(centres), dtype=torch.float32).reshape(-1, 3)
