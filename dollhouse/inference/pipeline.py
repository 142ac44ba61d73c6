"""Load a student with one of two engines, and encode scenes. torch is imported only for its own engine."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import ModelError, SceneError, missing_package
from dollhouse.inference.known_scale import apply_known_lengths
from dollhouse.inference.session import MAX_NEW_TOKENS, SceneSession
from dollhouse.models.model_folder import checked_export
from dollhouse.questions.wording import normalise_question
from dollhouse.scenes.scale import ESTIMATED, ESTIMATED_WITH_FOCAL, MEASURED_DEPTH, NOTHING_KNOWN, KnownScale
from dollhouse.scenes.scene import Scene
from dollhouse.scenes.view_preprocessing import pixel_values
from dollhouse.system.malloc import keep_freed_memory

if TYPE_CHECKING:
    from dollhouse.inference.generation import Decoder
    from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
    from dollhouse.models.dollhouse.processing import DollhouseProcessor
    from dollhouse.runtime.student import OnnxStudent
    from dollhouse.runtime.word_batch import WordBatch

Engine = Literal["torch", "onnx"]
Dtype = Literal["float32", "bfloat16", "float16"]


class DollhousePipeline:
    """A student with its processor; :meth:`encode_scene` returns a session that answers questions.

    Args:
        model: the student; it is put into evaluation mode. None with ``exported``.
        processor: its image processor and tokenizer. None with ``exported``.
        model_id: a name with a hash of the weights, for reports.
        exported: the student as ONNX graphs, instead of the two.
    """

    def __init__(
        self,
        model: DollhouseForConditionalGeneration | None,
        processor: DollhouseProcessor | None,
        model_id: str,
        exported: OnnxStudent | None = None,
    ) -> None:
        self._model = None if model is None else model.eval()
        self._processor = processor
        self.model_id = model_id
        self.exported = exported
        self._decoder: Decoder | None = None

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        device: str | None = None,
        retain_freed_memory: bool = False,
        engine: Engine | None = None,
        precision: str | None = None,
        dtype: Dtype = "float32",
    ) -> DollhousePipeline:
        """Load a student.

        Args:
            model: "nano" or None for the student shipped with the package, else a model folder, or with engine "onnx"
                a folder that ``dollhouse export`` wrote.
            device: a torch device; by default CUDA where there is one, else the CPU.
            retain_freed_memory: change glibc's malloc settings for the whole process, so that it reuses up to 64 MB
                of freed memory instead of returning it to the system; the first answer about a scene then takes about
                a tenth less time on a CPU. No effect with other C libraries.
            engine: "torch", or "onnx": ONNX Runtime on the processor, without torch, where the folder holds
                a certified export. By default torch where it is installed.
            precision: of the export, such as "int8"; by default the first that is certified.
            dtype: of encoder and language model with engine "torch": "float32", "bfloat16" or "float16". Lower ones are
                for large students; a small one answers soonest in float32.

        Raises:
            MissingPackageError: torch is not installed, and the folder holds no export.
            ModelError: for another engine; if the folder is missing, incomplete or not a Dollhouse model; with engine
                "onnx" also if there is no certified export, its files are not the certified ones, or it
                is of other weights than the folder's.
            StorageError: a file of the folder is not that which its ``SHA256SUMS`` lists.
        """
        if retain_freed_memory:
            keep_freed_memory()
        if engine is None:
            engine = "torch" if importlib.util.find_spec("torch") else "onnx"
        if engine not in get_args(Engine):
            raise ModelError(f"engine {engine!r}: give one of {', '.join(get_args(Engine))}; a GPU is named by device")
        if engine == "onnx":
            return cls._from_export(model, precision)
        try:
            import torch

            from dollhouse.models.dollhouse.serialization import load_student
        except ModuleNotFoundError as error:
            raise missing_package(error) from error
        student, processor, model_id = load_student(model)
        if dtype != "float32":
            student.lower_precision(getattr(torch, dtype))
        return cls(student.to(device or ("cuda" if torch.cuda.is_available() else "cpu")), processor, model_id)

    @classmethod
    def _from_export(cls, model: str | Path | None, precision: str | None) -> DollhousePipeline:
        from dollhouse.runtime.student import OnnxStudent

        folder = checked_export(model)
        if folder is None:
            raise ModelError(
                f"{model or 'nano'} holds no certified export: write one with `dollhouse export`, or use engine='torch'"
            )
        student = OnnxStudent(folder, precision)
        return cls(None, None, student.model_id, student)

    @property
    def model(self) -> DollhouseForConditionalGeneration:
        """The torch model; ModelError with engine "onnx"."""
        if self._model is None:
            raise ModelError(f"{self.model_id} runs on ONNX graphs: load it with engine='torch'")
        return self._model

    @property
    def processor(self) -> DollhouseProcessor:
        """The torch model's processor; ModelError with engine "onnx"."""
        if self._processor is None:
            raise ModelError(f"{self.model_id} runs on ONNX graphs: load it with engine='torch'")
        return self._processor

    @property
    def decoder(self) -> Decoder:
        """The fastest decoder of the language model, made anew after a change of its weights."""
        from dollhouse.inference.neox_decoder import select_decoder

        self._decoder = select_decoder(self.model, self._decoder)
        return self._decoder

    @property
    def config(self) -> Any:
        """The model's config, with an attribute for each field."""
        return self.model.config if self.exported is None else SimpleNamespace(**self.exported.config)

    @property
    def image_size(self) -> int:
        """Width in pixels to which photos are resized."""
        return int(self.config.image_size)

    @property
    def num_views(self) -> int:
        """Number of photos of a scene that are encoded by default."""
        return int(self.config.num_views)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the boxes that it predicts."""
        return tuple(self.config.labels)

    @property
    def normalises_questions(self) -> bool:
        """Whether questions are rewritten by :mod:`dollhouse.questions.wording` first."""
        if self.exported is None:
            return bool(self.processor.normalise_questions)
        return bool(self.exported.processor.get("normalise_questions", False))

    def question_ids(self, question: str) -> list[int]:
        """Return the ids of the question's part of the prompt."""
        if self.exported is None:
            return self.processor.question_ids(question)
        return self.exported.question_ids(normalise_question(question) if self.normalises_questions else question)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of token ids."""
        if self.exported is None:
            return str(self.processor.tokenizer.decode(token_ids, skip_special_tokens=True))
        return self.exported.decode(token_ids)

    def word_batch(self, max_new_tokens: int = MAX_NEW_TOKENS) -> WordBatch[Any] | None:
        """Return an empty batch for questions about any scenes; None for language models without one."""
        if self.exported is not None:
            return self.exported.word_batch(max_new_tokens)
        from dollhouse.inference.neox_decoder import NeoxDecoder, TorchWords

        decoder = self.decoder
        return TorchWords(decoder, max_new_tokens) if isinstance(decoder, NeoxDecoder) else None

    def encode_scene(
        self,
        scene: Scene | str | Path,
        views: int | None = None,
        skip_bad: bool = False,
        known: KnownScale = NOTHING_KNOWN,
    ) -> SceneSession:
        """Encode the photos of a scene.

        Args:
            scene: a scene, or what :func:`dollhouse.open_scene` opens; what is left out or not used is logged. Its
                depth and poses are used only by models with ``config.use_rgbd``.
            views: at most so many photos, spread over the scene; by default ``config.num_views``.
            skip_bad: leave out photos that cannot be read; always so for a scene that is opened here.
            known: focal length, camera height or length of an object, known to the user. Without it, the model's own
                estimates are used, even where the photos' EXIF data has a focal length.

        Raises:
            SceneError: for fewer views than one, for a scene without views, with photos of several shapes, or, with
                ``config.use_rgbd``, without depth or poses; and for ``known`` that fixes no scale.
            ModelError: for ``known`` with a blind student.
        """
        if views is not None and views < 1:
            raise SceneError(f"{views} views were asked for; ask for at least 1")
        if not isinstance(scene, Scene):
            from dollhouse.scenes.open import open_scene

            skip_bad, scene = True, open_scene(scene, skip_bad=True)
            for notice in scene.notices:
                logging.getLogger(__name__).warning("%s: %s", scene.name, notice)
        scene, images = scene.read_sample(views or self.num_views, skip_bad)
        if not images:
            raise SceneError(f"scene {scene.name} has no views to encode")
        try:
            pixels = pixel_values(images, self.image_size)
        except ValueError as error:
            raise SceneError(f"scene {scene.name}: {error}; put photos of one shape together") from error
        config = self.config
        if known != NOTHING_KNOWN and (config.blind or config.use_rgbd):
            kind = "is a blind student" if config.blind else "takes its scale from measured depth"
            raise ModelError(f"{self.model_id} {kind}: leave out known focal length, camera height and length")
        focal = None if known.focal is None else known.focal_over_width(scene, images).astype(np.float32)
        encode = self._encode_torch if self.exported is None else self._encode_onnx
        return apply_known_lengths(encode(scene, pixels, focal), known)

    def _encode_onnx(
        self, scene: Scene, pixels: NDArray[np.float32], focal: NDArray[np.float32] | None
    ) -> SceneSession:
        from dollhouse.inference.onnx_session import OnnxSession

        assert self.exported is not None
        state = self.exported.encode(pixels, focal)
        return OnnxSession(self, scene, self.exported, state, ESTIMATED if focal is None else ESTIMATED_WITH_FOCAL)

    def _encode_torch(
        self, scene: Scene, pixels: NDArray[np.float32], focal: NDArray[np.float32] | None
    ) -> SceneSession:
        import torch

        from dollhouse.inference.torch_session import TorchSession
        from dollhouse.models.dollhouse.rgbd_embedding import RGBDInputs
        from dollhouse.scenes.view_preprocessing import rgbd_arrays

        photos = torch.from_numpy(pixels).to(self.model.device)
        config = self.model.config
        with torch.inference_mode():
            if config.blind:
                return TorchSession(self, scene, photos, self.model.get_image_features(photos), None)
            rgbd = None
            if config.use_rgbd:
                arrays = (torch.from_numpy(array).float()[None] for array in rgbd_arrays(scene, self.image_size))
                rgbd = RGBDInputs.from_poses(*(array.to(self.model.device) for array in arrays))
            known = None if focal is None else photos.new_tensor(focal)[None]
            perception = self.model.encode_scene(photos, rgbd=rgbd, refine_poses=True, focal=known)
            prefix = self.model.embed_scene(perception)
        scale = ESTIMATED if focal is None else ESTIMATED_WITH_FOCAL
        if rgbd is not None and scene.metric:
            scale = MEASURED_DEPTH
        return TorchSession(self, scene, photos, prefix, perception, rgbd, scale)
