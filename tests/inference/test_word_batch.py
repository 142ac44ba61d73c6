"""Answers of a batch of many scenes equal those of each question alone, whenever a question joins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dollhouse.deploy.graphs import LanguageGraph
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.inference.torch_session import TorchSession
from dollhouse.runtime.student import OnnxWords
from dollhouse.runtime.word_batch import WordBatch
from tests.models.conftest import tiny_pipeline
from tests.models.test_model import QUESTIONS, scene_of

LIMIT = 6


class EagerGraph:
    """The language graph run by torch, with the interface of an ONNX session."""

    def __init__(self, pipeline: DollhousePipeline, layers: int) -> None:
        self.graph = LanguageGraph(pipeline.model).eval()
        names = ["embeds", "ids", "mask", *(f"past_{number}" for number in range(2 * layers))]
        self.inputs = [SimpleNamespace(name=name) for name in names]

    def get_inputs(self) -> list[Any]:
        return self.inputs

    @torch.inference_mode()
    def run(self, _: None, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        embeds, ids, mask, *past = (torch.from_numpy(np.ascontiguousarray(feeds[put.name])) for put in self.inputs)
        return [output.numpy() for output in self.graph(embeds, ids, mask, past)]


def batch_and_caches(engine: str, pipeline: DollhousePipeline, sessions: list[TorchSession]) -> tuple[Any, list[Any]]:
    if engine == "torch":
        return pipeline.word_batch(LIMIT), [session.words_cache for session in sessions]
    config = {
        "eos_token_id": pipeline.config.eos_token_id,
        "text_config": {"hidden_size": sessions[0].prefix.shape[-1]},
    }
    caches = [
        [field.numpy() for layer in session.words_cache.key_values for field in layer.unbind(1)] for session in sessions
    ]
    graph: Any = EagerGraph(pipeline, len(caches[0]) // 2)
    return OnnxWords(graph, config, LIMIT), caches


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_mixed_scenes_answer_as_each_alone(engine: str, photos: list[np.ndarray]) -> None:
    pipeline = tiny_pipeline()
    first, second = (pipeline.encode_scene(scene_of(views)) for views in (photos, photos[::-1]))
    assert isinstance(first, TorchSession)
    assert isinstance(second, TorchSession)
    longer = second.with_prefix(torch.cat([second.prefix, first.prefix], 1))
    sessions = [first, longer, second]
    questions = [*QUESTIONS, "Is there a chair near the table by the window?"]
    asked = [(number, question) for question in questions for number in range(3)]
    alone = {key: sessions[key[0]].answer([key[1]], LIMIT)[0] for key in asked}
    assert len({answer.text for answer in alone.values()}) > 2, "answers alike: the comparison would prove little"

    batch, caches = batch_and_caches(engine, pipeline, sessions)
    assert isinstance(batch, WordBatch)
    found: dict[Any, Any] = {}
    waiting = list(asked)
    for count in (1, 3, 0, 2):  # questions join before, between and after others' words
        rows = [(key, caches[key[0]], sessions[key[0]].prepare(key[1])) for key in waiting[:count]]
        del waiting[:count]
        if rows:
            found.update(batch.add(rows))
        if batch:
            found.update(batch.step())
    found.update(batch.add([(key, caches[key[0]], sessions[key[0]].prepare(key[1])) for key in waiting]))
    while batch:
        found.update(batch.step())
    assert found.keys() == alone.keys()
    for key, text in found.items():
        assert pipeline.decode(text.token_ids).strip() == alone[key].text, key
        assert text.confidence == pytest.approx(alone[key].confidence, abs=1e-4)


def test_models_without_a_batch_have_none() -> None:
    assert tiny_pipeline(family="llama").word_batch() is None
