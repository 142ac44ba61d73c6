"""Image-text-to-text models as teachers, tested with a tiny random LLaVA."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from dollhouse.errors import ModelError, TeacherError
from dollhouse.records.store import RecordStore
from dollhouse.records.types import TeacherAnswer
from dollhouse.teachers import chat_template
from dollhouse.teachers.annotate import annotate_scenes
from dollhouse.teachers.huggingface import HuggingFaceSettings, HuggingFaceTeacher
from tests.records.small_scenes import questions_for, small_scene
from tests.teachers.tiny_models import write_llava


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tiny-llava")
    write_llava(made)
    return made


@pytest.fixture(scope="module")
def teacher(folder: Path) -> HuggingFaceTeacher:
    return HuggingFaceTeacher(folder, HuggingFaceSettings(max_new_tokens=6, top_k=3))


def log_probs(answer: TeacherAnswer) -> NDArray[np.float32]:
    assert answer.top_log_probs is not None
    return answer.top_log_probs


def test_answers_equal_those_of_a_plain_loop(teacher: HuggingFaceTeacher) -> None:
    """The prompt is written by hand, and tokens are generated one at a time without a cache."""
    scene = small_scene(size=40)
    (question,) = questions_for(scene, 1)
    (answer,) = teacher.answer(scene, [question])
    tokenizer = teacher.processor.tokenizer
    prompt = f"user: {'<image>' * 4 * len(scene.views)}{question.text}\nassistant:"
    photos = [Image.fromarray(view.image) for view in scene.views]
    pixels = teacher.processor.image_processor(photos, return_tensors="pt")["pixel_values"]
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert answer.token_ids is not None
    assert answer.top_ids is not None
    assert answer.top_log_probs is not None
    for step, token in enumerate(answer.token_ids):
        with torch.inference_mode():
            logits = teacher.model(input_ids=torch.tensor([ids]), pixel_values=pixels).logits[0, -1]
        best = logits.log_softmax(-1).sort(descending=True, stable=True)
        assert token == best.indices[0] == answer.top_ids[step, 0]
        np.testing.assert_array_equal(answer.top_ids[step], best.indices[:3])
        np.testing.assert_allclose(answer.top_log_probs[step], best.values[:3], atol=1e-4)
        ids.append(int(token))
    assert answer.text == tokenizer.decode(answer.token_ids, skip_special_tokens=True).strip()


def test_answer_is_cut_behind_its_end_token(teacher: HuggingFaceTeacher) -> None:
    logits = torch.zeros(4, 10)
    answer = teacher._answer(torch.tensor([5, teacher.model.generation_config.eos_token_id, 7, 7]), logits)
    assert answer.token_ids is not None
    assert len(answer.token_ids) == 2
    assert answer.top_ids is not None
    assert answer.top_ids.tolist() == [[0, 1, 2], [0, 1, 2]]
    np.testing.assert_allclose(log_probs(answer), np.full((2, 3), -np.log(10)), rtol=1e-6)


def test_batched_questions_get_the_same_answers(folder: Path, teacher: HuggingFaceTeacher) -> None:
    scene = small_scene()
    questions = tuple(
        replace(question, text="why " * number + question.text)
        for number, question in enumerate(questions_for(scene, 3))
    )
    together = HuggingFaceTeacher(folder, replace(teacher.settings, questions_at_once=3)).answer(scene, questions)
    for alone, batched in zip(teacher.answer(scene, questions), together, strict=True):
        assert alone.text == batched.text
        np.testing.assert_allclose(log_probs(alone), log_probs(batched), atol=1e-3)


def test_answers_depend_on_photos_and_questions(teacher: HuggingFaceTeacher) -> None:
    scene, other = small_scene(0), small_scene(1)
    questions = questions_for(scene, 2)
    first, second = teacher.answer(scene, questions)
    assert not np.array_equal(log_probs(first), log_probs(second))
    assert not np.array_equal(log_probs(first), log_probs(teacher.answer(other, questions)[0]))


def test_annotation(teacher: HuggingFaceTeacher, tmp_path: Path) -> None:
    annotate_scenes(teacher, [small_scene()], tmp_path, questions=questions_for)
    (record,) = RecordStore(tmp_path)
    assert record.answers[0].top_ids is not None
    assert record.answers[0].top_ids.shape[1] == 3
    assert len(record.provenance["teacher"]["weights"]) == 12
    assert record.features is None


def test_folders_without_such_a_model(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="hf download"):
        HuggingFaceTeacher(tmp_path)
    no_template = tmp_path / "no-template"
    shutil.copytree(folder, no_template)
    (no_template / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="no chat template"):
        HuggingFaceTeacher(no_template)
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="not a complete safetensors file") as caught:
        HuggingFaceTeacher(broken)
    assert "\n" not in str(caught.value)


def test_settings_are_checked() -> None:
    with pytest.raises(TeacherError, match="top_k is 0"):
        HuggingFaceSettings(top_k=0)


@pytest.fixture(scope="module")
def renderer() -> chat_template.ChatTemplate:
    return chat_template.ChatTemplate("", {})


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for a in range(9) %}", "looking for the following tags"),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}"
            "{% endfor %}",
            "computes for more than 3 s",
        ),
        ("{{ 9 ** 999999999 }}", "computes for more than 3 s"),
        ("{{ 'a' * 100000000 }}", "more than"),
        ("{% for a in range(200) %}{{ 'a' * 100000 }}{% endfor %}", "more than 8,388,608 characters"),
        ("{{ 'a' * 100000000000 }}", "MemoryError"),
        ("{{ messages.__class__.__mro__ }}{{ cycler.__init__.__globals__.os.system('true') }}", "unsafe"),
        ("{{ raise_exception('no photos') }}", "no photos"),
    ],
    ids=["syntax", "loops", "power", "text", "texts", "memory", "escape", "refusal"],
)
def test_templates_are_limited(
    template: str, reason: str, renderer: chat_template.ChatTemplate, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason.endswith("3 s"):  # others keep the limit, which a busy machine does not reach
        monkeypatch.setattr(chat_template, "SECONDS", 3)
    renderer.settings["template"] = template
    chats = [[{"role": "user", "content": [{"type": "text", "text": "How many?"}]}]]
    with pytest.raises(TeacherError, match=reason) as caught:
        renderer.render(chats)
    assert "\n" not in str(caught.value)
