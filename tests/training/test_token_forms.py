"""A student learns a teacher's token probabilities: with the teacher's vocabulary, and with another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from benchmarks.full_size_llava3d import config_of, write_checkpoint
from dollhouse.data.config import DataConfig, SamplingConfig
from dollhouse.data.dataset import StepDataset
from dollhouse.data.record_dataset import open_target_source
from dollhouse.models.dollhouse.serialization import load_student
from dollhouse.models.llava3d.processing import ViewPreprocessing, prepare_views
from dollhouse.models.llava3d.prompt import conversation, encoder, prompt_ids
from dollhouse.records.store import RecordStore
from dollhouse.scenes.open import open_scene
from dollhouse.teachers.dollhouse import DollhouseTeacher
from dollhouse.teachers.llava3d import LLaVA3DSettings, LLaVA3DTeacher
from dollhouse.training.config import Recipe
from dollhouse.training.loss_module import LossModule
from dollhouse.training.loss_weighting import build_weighting
from dollhouse.training.recipes import check_recipe
from dollhouse.training.train import distill, prepare_student
from tests.fixtures.recipes import tiny_tree
from tests.fixtures.records import annotate_rooms
from tests.test_teacher_to_student import write_language_model

TRAINED, HELD_OUT = "rooms:train/3-6", "rooms:train/7-8"
VOCABULARY = config_of("tiny").text.vocab_size
LOSSES = ["text", "text_kl"]


@pytest.fixture(scope="module")
def llava3d(tmp_path_factory: pytest.TempPathFactory) -> tuple[LLaVA3DTeacher, Path]:
    """A random LLaVA-3D in the official layout, and a student's language model with its tokenizer."""
    folder = tmp_path_factory.mktemp("LLaVA-3D")
    write_checkpoint(folder, config_of("tiny"), torch.float32)
    settings = LLaVA3DSettings(dtype="float32", max_new_tokens=6, top_k=VOCABULARY)
    teacher = LLaVA3DTeacher.from_official(folder, settings)
    with torch.no_grad():  # so that some tokens are far likelier than others
        teacher.model.language_model.lm_head.weight.mul_(20)
    write_language_model(folder, folder / "language")
    return teacher, folder / "language"


def recipe_on(records: Path, losses: list[str], student: dict[str, Any]) -> Recipe:
    data = {"records": str(records), "views": 4, "questions_per_scene": 16, "workers": 0}
    stage = {"steps": 60, "batch_size": 2, "losses": losses, "train": ["encoder", "projector", "language_model"]}
    tree = tiny_tree(data=data, stages={"finetune": {**stage, "learning_rate": 3e-3, "temperature": 1.0}})
    return check_recipe({**tree, "student": tree["student"] | student}, "test")


def divergence(model: Any, tokenizer: Any, records: Path, temperature: float = 1.0) -> float:
    """The KL divergence of a student from its teacher on all answers of records."""
    source = open_target_source(DataConfig(records=records, views=4), model.config)
    sampling = SamplingConfig(steps=1, batch_size=len(source), questions_per_scene=16)
    module = LossModule(model, build_weighting("equal", LOSSES, {}), LOSSES, temperature=temperature).eval()
    with torch.no_grad():
        return float(module(StepDataset(source, sampling, 0, tokenizer, model.config)[0])["text_kl"])


def check_held_out(
    teacher: Any, student: dict[str, Any], form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Check that the divergence falls on answers about other rooms, further than by training on texts alone."""
    records = annotate_rooms(teacher, tmp_path / "records", TRAINED, limit=16)
    held_out = annotate_rooms(teacher, tmp_path / "held out", HELD_OUT, limit=16)
    model, processor, _ = prepare_student(recipe_on(records, LOSSES, student), tmp_path / "untrained")
    values = [divergence(model, processor.tokenizer, held_out)]
    for name, losses in (("texts", ["text"]), ("probabilities", LOSSES)):
        capsys.readouterr()
        trained = distill(recipe_on(records, losses, student), tmp_path / name, progress=False)
        assert f"the teacher's tokens: 4 records: {form}" in capsys.readouterr().out
        model, processor, _ = load_student(trained)
        values.append(divergence(model, processor.tokenizer, held_out))
    print(f"{form}: divergence on held-out answers: untrained, texts alone, probabilities: {values}")
    untrained, texts, probabilities = values
    assert probabilities < 0.5 * untrained
    assert probabilities < texts


@pytest.mark.slow
def test_probabilities_of_llava3d_are_learnt_in_one_vocabulary(
    llava3d: tuple[LLaVA3DTeacher, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher, language = llava3d
    check_held_out(teacher, {"language_weights": str(language)}, "one vocabulary", tmp_path, capsys)


@pytest.mark.slow
def test_probabilities_are_learnt_across_tokenizers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_held_out(DollhouseTeacher.from_pretrained(None), {}, "aligned across tokenizers", tmp_path, capsys)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_whole_vocabulary_is_exact(llava3d: tuple[LLaVA3DTeacher, Path], temperature: float, tmp_path: Path) -> None:
    """The divergence from records equals that of the two models' own logits."""
    teacher, language = llava3d
    records = annotate_rooms(teacher, tmp_path / "records", "rooms:train/3-3", limit=1)
    model, processor, _ = prepare_student(recipe_on(records, LOSSES, {"language_weights": str(language)}), tmp_path)
    captured: list[Tensor] = []
    model.get_output_embeddings().register_forward_hook(lambda _, inputs, output: captured.append(output))
    got = divergence(model, processor.tokenizer, records, temperature)

    (record,) = RecordStore(records)
    views = [prepare_views(open_scene(record.source), ViewPreprocessing(teacher.model.config.image_size))]
    prompt = prompt_ids(conversation([(record.questions[0].text, None)]), encoder(teacher.tokenizer), 1)
    answer = record.answers[0].token_ids.tolist()
    with torch.no_grad():
        logits = teacher.model(teacher.model.embed(torch.tensor([prompt + answer]), views)).logits[0]
    expected = logits[-len(answer) - 1 : -1].log_softmax(-1)
    (student,) = captured
    assert student.shape[1] > expected.shape[1] == VOCABULARY
    # the student's end token stands for the teacher's; what it has beyond is one outcome, which the teacher never gives
    end, own_end = teacher.tokenizer.eos_token_id, processor.tokenizer.eos_token_id
    order = [own_end if token == end else token for token in range(VOCABULARY)]
    beyond = [token for token in range(student.shape[1]) if token not in order]
    predicted = student.log_softmax(-1)
    predicted = torch.cat([predicted[:, order], predicted[:, beyond].logsumexp(-1, keepdim=True)], -1)
    target = torch.cat([expected, torch.full((len(answer), 1), -torch.inf)], -1)
    dense = kl_divergence(Categorical(logits=target / temperature), Categorical(logits=predicted / temperature))
    assert got == pytest.approx(temperature**2 * float(dense.sum()) / len(answer) ** 0.5, rel=1e-4)
    assert got > 0.1
