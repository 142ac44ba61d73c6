"""LLaVA-3D as a teacher: answers about posed RGB-D scenes, and what it saw where.

Knows how to bring scenes, questions and the model together; keeps nothing on disk.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from torch import Tensor

from dollhouse.errors import QuestionError, TeacherError
from dollhouse.geometry import Array, invert_rigid, level_from_world, transform_points
from dollhouse.models.llava3d.generation import GeneratedAnswer, SharedPrefix
from dollhouse.models.llava3d.modeling import Llava3DForConditionalGeneration, SceneFeatures
from dollhouse.models.llava3d.multimodal_embed import IMAGE_TOKEN
from dollhouse.models.llava3d.processing import FrameSampling, ViewPreprocessing, image_pixels, prepare_views
from dollhouse.models.llava3d.prompt import (
    BOXES,
    conversation,
    encoder,
    expand_boxes,
    load_tokenizer,
    named_view,
    prompt_ids,
)
from dollhouse.models.llava3d.weights import weights_hash
from dollhouse.questions.generate import Question
from dollhouse.records.types import SceneGeometry, SpatialFeatures, TeacherAnswer
from dollhouse.scenes.scene import Scene


@dataclass(frozen=True)
class LLaVA3DSettings:
    """How the teacher looks and speaks; part of every record. Decoding is always greedy."""

    visual_input: Literal["scene", "photo"] = (
        "scene"  #: "photo": the first photo alone, without depth, as the paper did
    )
    instruction: str = ""  #: put after each question: "Answer the question using one word or one phrase."
    max_new_tokens: int = 512
    top_k: int = 16  #: alternatives kept a token
    questions_at_once: int = 32  #: questions decoded together
    frame_sampling: FrameSampling = "uniform"
    portrait_fault: bool = False

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "top_k", "questions_at_once"):
            if getattr(self, name) < 1:
                raise TeacherError(f"settings of LLaVA-3D: {name} is {getattr(self, name)}, must be at least 1")


class LLaVA3DTeacher:
    """A teacher in the sense of :class:`dollhouse.teachers.protocol.Teacher`."""

    def __init__(
        self,
        model: Llava3DForConditionalGeneration,
        tokenizer: Any,
        settings: LLaVA3DSettings | None = None,
        name: str = "",
    ) -> None:
        """``tokenizer`` is that of the checkpoint folder; ``name`` says where the weights came from."""
        self.model = model
        self.tokenizer = tokenizer
        self.settings = settings or LLaVA3DSettings()
        self.name = name
        self._hash: str | None = None
        self._scene: Scene | None = None  # the scene looked at last
        self._seen: dict[int | None, SceneFeatures] = {}  # what was seen of it, by the view whose axes were taken

    @classmethod
    def from_official(
        cls,
        folder: str | os.PathLike[str],
        *,
        settings: LLaVA3DSettings | None = None,
        dtype: torch.dtype = torch.bfloat16,
        official_faults: bool = False,
        clip_folder: str | os.PathLike[str] | None = None,
        accept: Collection[str] = (),
        device: str | None = None,
    ) -> LLaVA3DTeacher:
        """The teacher of a released checkpoint folder (:meth:`.model.Llava3DForConditionalGeneration.from_official`).

        ``official_faults`` turns all known faults of the official evaluation on, for parity with its numbers
        (``docs/llava3d.md``). ``device`` is a GPU where there is one, unless named.

        Raises ModelError where the folder is not such a checkpoint.
        """
        chosen = settings or LLaVA3DSettings()
        if official_faults:
            chosen = LLaVA3DSettings(**{**asdict(chosen), "frame_sampling": "official", "portrait_fault": True})
        model = Llava3DForConditionalGeneration.from_official(
            folder,
            dtype=dtype,
            geometry_dtype=torch.bfloat16 if official_faults else torch.float32,
            unseeded_subset=official_faults,
            clip_folder=clip_folder,
            accept=accept,
            device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
        )
        return cls(model, load_tokenizer(Path(folder), model.config.text), chosen, Path(folder).resolve().name)

    def provenance(self) -> dict[str, Any]:
        """What produces the answers. The hash is computed at the first call: half a minute for 7B parameters."""
        self._hash = self._hash or weights_hash(self.model)
        config = self.model.config
        return {
            "teacher": "LLaVA-3D",
            "name": self.name,
            "weights": self._hash,
            "licence": config.licence,
            "settings": {
                **asdict(self.settings),
                "decoding": "greedy",
                "dtype": str(self.model.dtype).removeprefix("torch."),
                "geometry_dtype": str(config.geometry_dtype).removeprefix("torch."),
                "axes": config.axes,
                "num_frames": config.num_frames,
                "voxel_size": config.voxel_size,
                "max_scene_tokens": config.max_scene_tokens,
                "subset": "unseeded" if config.unseeded_subset else f"seed {config.subset_seed}",
            },
            "software": {"torch": torch.__version__, "transformers": transformers.__version__},
        }

    def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
        """One greedy answer a question, in order.

        ``<boxes>`` in a question stands for the centres of the boxes that it names in ``objects``.

        Raises TeacherError for a scene without poses, depth or metres, QuestionError for a question that cannot be
        put: its boxes do not fit, or it is too long.
        """
        if not questions:
            return []
        views = [self._axes(scene, question.text) for question in questions]
        told: dict[int, GeneratedAnswer] = {}
        with torch.inference_mode():
            for view in dict.fromkeys(views):
                numbers = [number for number, one in enumerate(views) if one == view]
                prefix, embedded = self._embedded(scene, [questions[number] for number in numbers], view)
                told.update(zip(numbers, self._decoded(prefix, embedded), strict=True))
        return [self._answer(told[number]) for number in range(len(questions))]

    def features(self, scene: Scene) -> SpatialFeatures | None:
        """The pooled 3D patches that some depth was measured for, at the mean of their places.

        None when the teacher looks at a photo only. Width is the vision tower's (1024), before the projector.
        """
        if self.settings.visual_input == "photo":
            return None
        view = self._axes(scene, "")
        seen = self._look(scene, view)
        known = seen.measured > 0
        points = seen.points[known].double().cpu().numpy()
        return SpatialFeatures(
            features=seen.features[known].float().cpu().numpy(),
            points=transform_points(invert_rigid(_told_from_world(scene, view)), points),
        )

    def geometry(self, scene: Scene) -> SceneGeometry | None:
        """None: LLaVA-3D is given depth, it does not tell any."""
        return None

    @property
    def _end(self) -> int:
        return int(self.model.config.text.eos_token_id)

    def _axes(self, scene: Scene, text: str) -> int | None:
        """The view in whose level frame places are told; None: in the scene's own world."""
        if self.model.config.axes == "scene" or self.settings.visual_input == "photo":
            return None
        view = named_view(text) or 0
        return view if view < len(scene.views) else 0

    def _look(self, scene: Scene, view: int | None) -> SceneFeatures:
        if self._scene is not scene:
            self._scene, self._seen = scene, {}
        if view not in self._seen:
            config = self.model.config
            preprocessing = ViewPreprocessing(
                config.image_size, config.num_frames, self.settings.frame_sampling, self.settings.portrait_fault
            )
            views = prepare_views(scene, preprocessing)
            told_from_world = torch.from_numpy(_told_from_world(scene, view)).float()
            turned = replace(views, world_from_camera=told_from_world @ views.world_from_camera)
            with torch.inference_mode():
                self._seen[view] = self.model.get_scene_features(views if view is None else turned)
        return self._seen[view]

    def _visual_tokens(self, scene: Scene, view: int | None) -> Tensor:
        if self.settings.visual_input == "scene":
            return self.model.get_scene_tokens(self._look(scene, view))
        if not scene.views:
            raise TeacherError(f"scene {scene.name} has no photos to look at")
        config = self.model.config
        return self.model.get_image_features(
            image_pixels(scene.views[0].image, config.image_size, config.image_aspect_ratio)
        )

    def _decoded(self, prefix: Tensor, embedded: Sequence[Tensor]) -> list[GeneratedAnswer]:
        settings = self.settings
        shared = SharedPrefix(self.model.language_model, prefix)
        told: list[GeneratedAnswer] = []
        for start in range(0, len(embedded), settings.questions_at_once):
            group = embedded[start : start + settings.questions_at_once]
            told += shared.generate(group, settings.max_new_tokens, self._end, settings.top_k)
        return told

    def _embedded(self, scene: Scene, questions: Sequence[Question], view: int | None) -> tuple[Tensor, list[Tensor]]:
        """Embeddings of what all questions share (P, D), and of what follows for each (T, D)."""
        prompts = [self._prompt_ids(scene, question, view) for question in questions]
        place = prompts[0][0].index(IMAGE_TOKEN)
        words = self.model.language_model.get_input_embeddings()
        head = words(torch.tensor(prompts[0][0][:place], device=self.model.device))
        prefix = torch.cat([head, self._visual_tokens(scene, view).to(head.dtype)])
        embedded = []
        for question, (ids, centres) in zip(questions, prompts, strict=True):
            after = torch.tensor([ids[place + 1 :]], device=self.model.device)
            # a row without <image> uses up one entry of the visual tokens, which may be None
            embedded.append(self.model.embed(after, [None], centres).inputs_embeds[0])
            if len(prefix) + len(embedded[-1]) > self.model.config.max_length:
                raise QuestionError(
                    f"question {question.id}: with its scene it has more than {self.model.config.max_length} tokens; "
                    "ask in fewer words"
                )
        return prefix, embedded

    def _prompt_ids(self, scene: Scene, question: Question, view: int | None) -> tuple[list[int], Tensor]:
        """Ids of the whole prompt, and the places (n, 3) of its ``<boxes>``."""
        if not question.text.strip():
            raise QuestionError(f"question {question.id} is empty: ask in words")
        centres: list[np.ndarray] = []
        if BOXES in question.text:
            try:
                boxes = [scene.box(number).center for number in question.objects]
            except KeyError as error:
                raise QuestionError(f"question {question.id}: scene {scene.name} has no box {error}") from error
            told_from_world = _told_from_world(scene, view)
            centres = [np.round(transform_points(told_from_world, centre), 3) for centre in boxes]
        text = expand_boxes(question.text, len(centres))
        if self.settings.instruction:
            text = f"{text} {self.settings.instruction}"
        ids = prompt_ids(conversation([(text, None)]), encoder(self.tokenizer), int(self.tokenizer.bos_token_id))
        return ids, torch.tensor(np.array(centres), dtype=torch.float32).reshape(-1, 3)

    def _answer(self, decoded: GeneratedAnswer) -> TeacherAnswer:
        return TeacherAnswer(
            text=self.tokenizer.decode(decoded.token_ids, skip_special_tokens=True).strip(),
            token_ids=np.array(decoded.token_ids, dtype=np.int32),
            top_ids=np.stack(decoded.top_ids),
            top_log_probs=np.stack(decoded.top_log_probs),
        )


def _told_from_world(scene: Scene, view: int | None) -> Array:
    """(4, 4) into the axes in which the model is told places: the level frame of ``view``, or the scene's own."""
    pose = None if view is None else scene.views[view].world_from_camera
    return np.eye(4) if pose is None else level_from_world(np.asarray(pose, dtype=np.float64))
