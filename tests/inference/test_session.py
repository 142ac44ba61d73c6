"""Sessions answer like transformers' ``generate``, and predict depth on demand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dollhouse.errors import ModelError, QuestionError, SceneError
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.models.dollhouse.serialization import SHIPPED
from tests.models.conftest import tiny_pipeline
from tests.models.test_model import QUESTIONS, scene_of


@pytest.mark.parametrize("placement", ["before_question", "after_question"])
@pytest.mark.parametrize("family", ["gpt_neox", "llama"])
@pytest.mark.parametrize("blind", [False, True])
def test_a_session_answers_like_generate(placement: str, family: str, blind: bool, photos: list[np.ndarray]) -> None:
    pipeline = tiny_pipeline(placement, blind, family)
    inputs = pipeline.processor(images=photos, text=QUESTIONS)
    generated = pipeline.model.generate(**inputs, max_new_tokens=6, do_sample=False)
    plain = pipeline.processor.tokenizer.batch_decode(
        generated[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    session = pipeline.encode_scene(scene_of(photos))
    answers = [answer.text for answer in session.answer(QUESTIONS, max_new_tokens=6)]
    assert answers == [text.strip() for text in plain]
    assert len(set(answers)) > 1, "all answers alike: the comparison would prove little"
    assert [session.answer([question], max_new_tokens=6)[0].text for question in QUESTIONS] == answers


def test_questions_do_not_change_the_scene_cache(photos: list[np.ndarray]) -> None:
    pipeline = tiny_pipeline()
    session = pipeline.encode_scene(scene_of(photos))
    before = session._scene_cache.key_values.clone()
    alone = session.dynamic_cache(2)
    assert alone.layers[0].keys.shape[0] == 2
    session.ask(QUESTIONS)
    assert torch.equal(session._scene_cache.key_values, before)


def test_invalid_questions_are_refused(photos: list[np.ndarray]) -> None:
    session = tiny_pipeline().encode_scene(scene_of(photos))
    with pytest.raises(QuestionError, match="empty"):
        session.ask(["  "])
    with pytest.raises(QuestionError, match="longer than 256 tokens"):
        session.ask("chair " * 400)
    with pytest.raises(QuestionError, match="longer than 4000 characters"):
        session.ask("a" * 100_000)
    with pytest.raises(QuestionError, match=r"^\\ud800 what\?: .* no Unicode"):
        session.ask("\ud800 what?")


def test_arguments_that_would_mean_something_else_are_refused(photos: list[np.ndarray]) -> None:
    pipeline = tiny_pipeline()
    with pytest.raises(QuestionError, match=r"answer\(\[question\]\)"):
        pipeline.encode_scene(scene_of(photos)).answer("is there a bed?")
    for views in (0, -1):
        with pytest.raises(SceneError, match=f"{views} views were asked for"):
            pipeline.encode_scene(scene_of(photos), views)
    with pytest.raises(ModelError, match="engine 'cuda': give one of torch, onnx; a GPU is named by device"):
        DollhousePipeline.from_pretrained("nano", engine="cuda")  # type: ignore[arg-type]


def test_a_blind_student_ignores_photos(photos: list[np.ndarray]) -> None:
    pipeline = tiny_pipeline(blind=True)
    session, other = pipeline.encode_scene(scene_of(photos)), pipeline.encode_scene(scene_of(photos[::-1]))
    assert session.ask(QUESTIONS) == other.ask(QUESTIONS)
    with pytest.raises(ModelError, match="blind"):
        _ = session.depth


def test_depth_is_computed_on_first_use(photos: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = tiny_pipeline()
    calls = []
    forward = pipeline.model.depth_head.forward
    monkeypatch.setattr(pipeline.model.depth_head, "forward", lambda *given: calls.append(1) or forward(*given))
    session = pipeline.encode_scene(scene_of(photos))
    session.ask(QUESTIONS)
    assert not calls
    depth = session.depth
    assert depth.shape == (2, 28, 28)
    assert np.array_equal(session.depth, depth)
    assert len(calls) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["gpt_neox", "llama"])
def test_encoder_and_language_model_in_16_bits(family: str, dtype: torch.dtype, photos: list[np.ndarray]) -> None:
    exact, lowered = tiny_pipeline(family=family), tiny_pipeline(family=family)
    lowered.model.lower_precision(dtype)
    kinds = {name.split(".")[0]: weight.dtype for name, weight in lowered.model.named_parameters()}
    assert {name for name, kind in kinds.items() if kind == dtype} == {"encoder", "language_model"}
    first, second = (pipeline.encode_scene(scene_of(photos)) for pipeline in (exact, lowered))
    np.testing.assert_allclose(second.depth, first.depth, rtol=0.02)
    assert len(second.ask(QUESTIONS)) == len(QUESTIONS)


@pytest.mark.skipif(not SHIPPED.is_dir(), reason="the shipped model is not in this tree")
def test_the_shipped_student_answers_in_bfloat16() -> None:
    """Its stem of convolutions stays in float32."""
    questions = ["Is there a sofa?", "Which is bigger, the sofa or the picture?", "How many pictures are there?"]
    exact, lowered = (
        DollhousePipeline.from_pretrained(engine="torch", dtype=dtype).encode_scene("example")
        for dtype in ("float32", "bfloat16")
    )
    assert lowered.ask(questions) == exact.ask(questions)
    assert np.abs(lowered.depth / exact.depth - 1).mean() < 0.005


@pytest.mark.skipif(not SHIPPED.is_dir(), reason="the shipped model is not in this tree")
def test_a_mended_refusal_is_shown_and_the_models_words_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    session = DollhousePipeline.from_pretrained().encode_scene("example")
    answer = session.finish("What colour is the elephant?", "there is no clockphant", 0.9)
    assert (answer.shown, answer.text) == ("there is no elephant", "there is no clockphant")
    monkeypatch.setattr(type(session), "answer", lambda *given: [answer])
    assert session.ask("What colour is the elephant?") == ["there is no elephant"]
    assert not session.finish("Describe the room", "no descriis", 0.1).unsure  # it is certain that it cannot
