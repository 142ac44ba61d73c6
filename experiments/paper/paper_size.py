"""LLaVA-3D-7B and the paper's 2.29B student with random weights in bfloat16, for timing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from dollhouse.inference.neox_decoder import select_decoder
from dollhouse.models.dollhouse.image_processing import DollhouseImageProcessor
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.llava3d.configuration import Llava3DConfig
from dollhouse.models.llava3d.generation import SharedPrefix
from dollhouse.models.llava3d.modeling import Llava3DForConditionalGeneration
from dollhouse.models.llava3d.processing import ViewPreprocessing, prepare_views
from dollhouse.scenes.scene import Scene
from dollhouse.training import model_init
from dollhouse.training.recipes import read_recipe
from experiments.paper.timing import generate

HEAD_TOKENS, QUESTION_TOKENS = 35, 16  #: of the teacher's system words, and of a question
WEIGHT_STD = 0.02


class RandomModel:
    """What timing needs of both; a question is any tokens."""

    disk_bytes = 0

    def question_ids(self, questions: Sequence[str]) -> list[Any]:
        return [torch.arange(QUESTION_TOKENS)[None]]


class RandomTeacher(RandomModel):
    """LLaVA-3D of ``config`` over all views of a posed scene."""

    def __init__(self, config: Llava3DConfig) -> None:
        self.config = config
        self.model = random_weights(lambda: Llava3DForConditionalGeneration(config))
        self.words = self.model.language_model.get_input_embeddings().weight

    def encode(self, scene: Scene) -> SharedPrefix:
        views = prepare_views(scene, ViewPreprocessing(self.config.image_size, self.config.num_frames))
        tokens = self.model.get_scene_tokens(self.model.get_scene_features(views)).to(self.words.dtype)
        return SharedPrefix(self.model.language_model, torch.cat([self.words[:HEAD_TOKENS], tokens]))

    def answer(self, encoded: SharedPrefix, ids: Any, tokens: int) -> None:
        encoded.generate([self.words[:QUESTION_TOKENS]], tokens, eos_token_id=-1, top_k=1)


class RandomStudent(RandomModel):
    """The student of ``config`` over the photos of a scene."""

    def __init__(self, config: Any) -> None:
        self.model = random_weights(lambda: DollhouseForConditionalGeneration(config))
        for name, part in self.model.named_children():
            if name not in ("encoder", "language_model"):  # small heads, in float32 in use too
                part.float()
        self.model.trunk.register_forward_pre_hook(lambda part, inputs: tuple(tensor.float() for tensor in inputs))
        self.image_processor = DollhouseImageProcessor(config.image_size)
        self.decoder = select_decoder(self.model)

    def encode(self, scene: Scene) -> Any:
        pixels = torch.from_numpy(self.image_processor([view.image for view in scene.views])["pixel_values"])
        return self.decoder.encode_prefix(self.model.get_image_features(pixels.to(self.model.device, torch.bfloat16)))

    def answer(self, encoded: Any, ids: Any, tokens: int) -> None:
        generate(self.decoder, self.decoder.expand(encoded, 1, QUESTION_TOKENS + tokens), ids, tokens)


def student_config(recipe: str = "paper") -> Any:
    """Return the config of a recipe's student; which ids words have does not matter."""
    config = model_init.student_config(read_recipe(recipe))
    config.label_ids, config.colour_ids = [[0] for _ in config.labels], [[0] for _ in config.colours]
    config.thinking_ids = [0] * config.num_thinking_tokens
    config.pad_token_id, config.eos_token_id = 0, 1
    return config


def random_weights(build: Callable[[], Any], dtype: torch.dtype = torch.bfloat16) -> Any:
    """Return what ``build`` makes in ``dtype`` with small random weights, norms near one."""
    torch.manual_seed(0)
    with torch.device("meta"):
        model = build()
    model = model.to(dtype).to_empty(device="cuda" if torch.cuda.is_available() else "cpu").eval()
    with torch.no_grad():
        for name, weight in (*model.named_parameters(), *model.named_buffers()):
            if weight.is_floating_point():
                weight.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, WEIGHT_STD)
            else:
                weight.copy_(torch.arange(weight.numel()).reshape(weight.shape))  # position ids
    return model


PAPER_SIZE_MODELS: dict[str, Callable[[], RandomModel]] = {
    "teacher": lambda: RandomTeacher(Llava3DConfig()),
    "student": lambda: RandomStudent(student_config()),
}
