"""A student as ONNX graphs: encode photos, predict depth, generate answers.

Axes: V views, H and W pixels, N object slots, R questions, T tokens, S vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from dollhouse.errors import ModelError
from dollhouse.runtime.certificate import check_certificate, read_certificate
from dollhouse.runtime.perception import (
    FOCAL_EXPONENT,
    Floats,
    ViewCameras,
    cluster,
    register,
    softmax,
    split_votes,
)
from dollhouse.runtime.prompt import MAX_TOKENIZER, question_text
from dollhouse.system.read_files import decoding, read_object, read_text

BATCH = 64  #: questions that are answered at once


@dataclass(frozen=True, eq=False)
class SceneState:
    """One encoded scene."""

    cameras: ViewCameras
    boxes: dict[str, NDArray[Any]]  #: outputs of the objects graph, by name, of N slots
    cache: list[Floats]  #: keys and values (1, H, positions, W) of each layer
    features: dict[str, Floats]  #: outputs of the encoder that the depth graph needs
    pixels: Floats  #: (1, V, 3, H, W)
    depth_offset: Floats | None  #: (V,) added to predicted log depth


@dataclass
class GeneratedText:
    """Token ids of an answer without the end token, and the mean log-probability of all tokens."""

    token_ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)

    @property
    def confidence(self) -> float:
        """Geometric mean of the probabilities of the chosen tokens."""
        return float(np.exp(sum(self.log_probs) / max(len(self.log_probs), 1)))


class OnnxStudent:
    """The graphs of an exported folder.

    Args:
        folder: what ``dollhouse export`` wrote.
        precision: of the graphs; by default the first that the certificate lists.
        certified: whether to require the certificate; only the certificate's own measurement leaves it out.

    Raises:
        ModelError: the folder has no certificate, or a file is not the certified one.
    """

    def __init__(self, folder: Path, precision: str | None = None, certified: bool = True) -> None:
        if certified:
            precision = check_certificate(folder, precision)
        assert precision is not None
        self.folder, self.precision = folder, precision
        self.config: dict[str, Any] = read_object(folder / "config.json", ModelError)
        self.processor: dict[str, Any] = read_object(folder / "processor_config.json", ModelError)
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._tokenizer: Tokenizer | None = None

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, read on first use."""
        if self._tokenizer is None:
            path = self.folder / "tokenizer.json"
            text = read_text(path, ModelError, limit=MAX_TOKENIZER)
            with decoding(path, "a tokenizer", ModelError):
                self._tokenizer = Tokenizer.from_str(text)
        return self._tokenizer

    @property
    def model_id(self) -> str:
        """The student's name with a hash of its weights, and the precision."""
        return f"{read_certificate(self.folder)['model']}/{self.precision}"

    def graph(self, name: str) -> onnxruntime.InferenceSession:
        """Return a graph's session, opened on first use."""
        if name not in self._sessions:
            again = name not in ("objects", "language")  # convolutions are laid out for the processor
            self._sessions[name] = open_graph(self.folder / self.precision / f"{name}.onnx", again)
        return self._sessions[name]

    def encode(self, pixels: Floats, focal: Floats | None = None) -> SceneState:
        """Encode photos (1, V, 3, H, W) in [0, 1].

        ``focal`` (V,) are known focal lengths over the image's width, NaN for the predicted ones.
        """
        config, encoder = self.config, self.graph("encoder")
        names = [output.name for output in encoder.get_outputs()]
        encoded = dict(zip(names, encoder.run(None, {"pixel_values": pixels}), strict=True))
        cameras = ViewCameras(*(encoded.pop(name)[0] for name in ("up", "heading", "position", "focal")))
        share = np.float32(pixels.shape[-1] / config["image_size"])
        if config["canonical_depth"]:
            cameras = replace(cameras, focal=cameras.focal / share)
        predicted, offset = cameras.focal, None
        if focal is not None:
            cameras = replace(cameras, focal=np.where(np.isnan(focal), predicted, focal).astype(np.float32))
            offset = np.float32(FOCAL_EXPONENT) * np.log(cameras.focal / predicted)
        if config["canonical_depth"]:
            offset = np.log(cameras.focal * share)
        rows, columns = encoded["patches"].shape[2:4]
        votes = split_votes(encoded.pop("votes")[0], cameras, rows, columns, len(config["colours"]), offset)
        if len(cameras.focal) > 1:
            cameras = register(votes, cameras)
        fields = votes.in_first_frame(cameras)
        groups = cluster(
            softmax(votes.label_logits),
            softmax(votes.colour_logits),
            votes.log_size,
            fields["center"][0],
            config["num_objects"],
        )
        objects = self.graph("objects")
        outputs = objects.run(None, {"patches": encoded["patches"], "assignment": groups[None], **fields})
        named = dict(zip((output.name for output in objects.get_outputs()), outputs, strict=True))
        cache = self._prefill(named.pop("prefix"))
        boxes = {name: value[0] for name, value in named.items()}
        return SceneState(cameras, boxes, cache, encoded, pixels, offset)

    def _prefill(self, prefix: Floats) -> list[Floats]:
        """Return the language model's cache of a prefix (1, N, D) and, before the question, the thinking tokens."""
        config, language = self.config, self.graph("language")
        before = config["thinking_placement"] == "before_question"
        ids = np.array([config["thinking_ids"] if before else []], np.int64)
        mask = np.ones((1, prefix.shape[1] + ids.shape[1]), np.int64)
        past = {put.name: np.zeros((1, put.shape[1], 0, put.shape[3]), np.float32) for put in language.get_inputs()[3:]}
        _, *cache = language.run(None, {"embeds": prefix, "ids": ids, "mask": mask, **past})
        return cache

    def log_depth(self, state: SceneState) -> Floats:
        """Predict log metres (V, H, W)."""
        depth = self.graph("depth")
        known = {**state.features, "pixel_values": state.pixels}
        (log_depth,) = depth.run(None, {put.name: known[put.name] for put in depth.get_inputs()})
        found: Floats = log_depth[0]
        return found if state.depth_offset is None else found + state.depth_offset[:, None, None]

    def question_ids(self, question: str) -> list[int]:
        """Return the ids of the question's part of the prompt."""
        settings = self.processor
        text = question_text(question, settings["num_thinking_tokens"], settings["thinking_placement"])
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of token ids."""
        text: str = self.tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text

    def generate(self, scene: SceneState, questions: Sequence[Sequence[int]], limit: int) -> list[GeneratedText]:
        """Generate greedy answers to tokenized questions of any lengths."""
        starts = range(0, len(questions), BATCH)
        return [text for at in starts for text in self._generate(scene, questions[at : at + BATCH], limit)]

    def _generate(self, scene: SceneState, questions: Sequence[Sequence[int]], limit: int) -> list[GeneratedText]:
        language, end = self.graph("language"), self.config["eos_token_id"]
        names = [put.name for put in language.get_inputs()][3:]
        rows, longest = len(questions), max(map(len, questions), default=0)
        past = [np.repeat(value, rows, axis=0) if rows > 1 else value for value in scene.cache]
        mask = np.ones((rows, past[0].shape[2] + longest), np.int64)
        ids = np.zeros((rows, longest), np.int64)
        for row, question in enumerate(questions):  # padded at the left
            ids[row, longest - len(question) :] = question
            mask[row, past[0].shape[2] : past[0].shape[2] + longest - len(question)] = 0
        embeds = np.zeros((rows, 0, self.config["text_config"]["hidden_size"]), np.float32)
        texts, open_rows = [GeneratedText() for _ in questions], np.arange(rows)
        for _ in range(limit if rows else 0):
            state = dict(zip(names, past, strict=True))
            logits, *past = language.run(None, {"embeds": embeds[: len(ids)], "ids": ids, "mask": mask, **state})
            best = logits.argmax(-1)
            highest = logits.max(-1, keepdims=True)
            log_probs = -np.log(np.exp(logits - highest).sum(-1))
            for row, token, log_prob in zip(open_rows.tolist(), best.tolist(), log_probs.tolist(), strict=True):
                texts[row].token_ids.append(token)
                texts[row].log_probs.append(log_prob)
            goes_on = best != end
            if not goes_on.all():
                open_rows, best, mask = open_rows[goes_on], best[goes_on], mask[goes_on]
                past = [value[goes_on] for value in past]
                if not len(open_rows):
                    break
            ids, mask = best[:, None], np.pad(mask, ((0, 0), (0, 1)), constant_values=1)
        return texts


def open_graph(path: Path, optimise: bool = False) -> onnxruntime.InferenceSession:
    """Open a graph that was optimised when it was written, with sleeping instead of spinning threads.

    ``optimise`` lays it out for this processor, too. Memory is not kept for later runs: ONNX Runtime's pool grows by
    powers of two, which takes 20 MB more for four photos, and no less time.
    """
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_ENABLE_BASIC
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    with decoding(path, "an ONNX graph", ModelError):
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
