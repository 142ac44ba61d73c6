"""A student as ONNX graphs: encode photos, predict depth, generate answers.

Axes: V views, H and W pixels, N object slots, R questions, T tokens, S vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from dollhouse.errors import ModelError
from dollhouse.runtime.certificate import check_certificate, read_certificate
from dollhouse.runtime.perception import FOCAL_EXPONENT, Floats, ViewCameras, cluster, register, softmax, split_votes
from dollhouse.runtime.prompt import MAX_TOKENIZER, question_text
from dollhouse.runtime.word_batch import GeneratedText, Integers, WordBatch
from dollhouse.system.malloc import return_freed_memory
from dollhouse.system.read_files import decoding, read_object, read_text

BATCH = 64  #: questions that are answered at once


@dataclass(frozen=True, eq=False)
class SceneState:
    """One encoded scene."""

    cameras: ViewCameras
    boxes: dict[str, NDArray[Any]]  #: outputs of the objects graph, by name, of N slots
    cache: list[Floats]  #: keys and values (1, H, positions, W) of each layer
    features: dict[str, Floats]  #: outputs of the graphs patches and encoder that the depth graph needs
    pixels: Floats  #: (1, V, 3, H, W)
    depth_offset: Floats | None  #: (V,) added to predicted log depth


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
            again = name in ("patches", "depth")  # convolutions are laid out for the processor
            self._sessions[name] = open_graph(self.folder / self.precision / f"{name}.onnx", again)
        return self._sessions[name]

    def encode(self, pixels: Floats, focal: Floats | None = None) -> SceneState:
        """Encode photos (1, V, 3, H, W) in [0, 1].

        ``focal`` (V,) are known focal lengths over the image's width, NaN for the predicted ones.
        """
        config, embedded = self.config, self._embed(pixels)
        encoded = _run(self.graph("encoder"), {"tokens": embedded["tokens"][None]})
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
        features = encoded["features"]
        rows, columns = features.shape[2:4]
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
        boxes = _run(self.graph("objects"), {"features": features, "assignment": groups[None], **fields})
        cache = self._prefill(boxes.pop("prefix"))
        boxes = {name: value[0] for name, value in boxes.items()}
        return SceneState(cameras, boxes, cache, {**embedded, "features": features}, pixels, offset)

    def _embed(self, pixels: Floats) -> dict[str, Floats]:
        """Embed photos (1, V, 3, H, W) one by one; outputs of the graph, (V, ...)."""
        graph = self.graph("patches")
        single = [_run(graph, {"pixel_values": photo[None]}) for photo in pixels[0]]
        return {name: np.concatenate([outputs[name] for outputs in single]) for name in single[0]}

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

    def word_batch(self, limit: int) -> OnnxWords:
        """Return an empty batch for questions about any scenes."""
        return OnnxWords(self.graph("language"), self.config, limit)

    def generate(self, scene: SceneState, questions: Sequence[Sequence[int]], limit: int) -> list[GeneratedText]:
        """Generate greedy answers to tokenized questions of any lengths."""
        batch = self.word_batch(limit)
        texts: dict[int, GeneratedText] = {}
        for start in range(0, len(questions), BATCH):
            rows = [(row, scene.cache, questions[row]) for row in range(start, min(start + BATCH, len(questions)))]
            texts.update(batch.add(rows))
            while batch:
                texts.update(batch.step())
        return [texts[row] for row in range(len(questions))]


def _run(graph: onnxruntime.InferenceSession, inputs: dict[str, Floats]) -> dict[str, Floats]:
    """Return the outputs of a graph by name."""
    names = [output.name for output in graph.get_outputs()]
    return dict(zip(names, graph.run(names, inputs), strict=True))


class OnnxWords(WordBatch[list[Floats]]):
    """A batch of the language graph; caches are keys and values (R, H, L, W) of each layer."""

    def __init__(self, graph: onnxruntime.InferenceSession, config: dict[str, Any], limit: int) -> None:
        super().__init__(config["eos_token_id"], limit)
        self._graph, self._names = graph, [put.name for put in graph.get_inputs()][3:]
        self._text_width = config["text_config"]["hidden_size"]

    def _width(self, cache: list[Floats]) -> int:
        return int(cache[0].shape[2])

    def _joined(self, caches: Sequence[list[Floats]], room: int) -> list[Floats]:
        width, rows = max(map(self._width, caches)), sum(len(cache[0]) for cache in caches)
        joined: list[Floats] = []
        for values in zip(*caches, strict=True):
            _, heads, _, channels = values[0].shape
            field, row = np.zeros((rows, heads, width, channels), np.float32), 0
            for value in values:
                field[row : row + len(value), :, width - value.shape[2] :] = value
                row += len(value)
            joined.append(field)
        return joined

    def _selected(self, cache: list[Floats], rows: Integers, first: int) -> list[Floats]:
        return [value[rows, :, first:] for value in cache]

    def _run(self, cache: list[Floats], ids: Integers, mask: Integers) -> tuple[list[Floats], Integers, Floats]:
        embeds = np.zeros((len(ids), 0, self._text_width), np.float32)
        past = dict(zip(self._names, cache, strict=True))
        logits, *present = self._graph.run(None, {"embeds": embeds, "ids": ids, "mask": mask, **past})
        log_probs = -np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1))
        return present, logits.argmax(-1), log_probs


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
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return_freed_memory()  # a file's weights before they were laid out: as much as the graph itself
    return session
