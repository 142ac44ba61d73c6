"""Two hand-trained toys: the answers of the first come from its thinking tokens, those of the second do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dollhouse.evaluation.metrics.spatial import normalise
from dollhouse.evaluation.probing.ablations import ABLATIONS, UNMODIFIED, AblationInputs, ablated_answers
from dollhouse.evaluation.probing.accuracy import OVERALL, AblatedQuestion, score_ablations, verdict
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.inference.torch_session import TorchSession
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.modeling_language import select_scenes
from dollhouse.scenes.scene import Scene
from tests.models.conftest import tiny_pipeline

QUESTION = "is the red chair near the table?"
BITS = [number % 2 for number in range(12)]


def prefixes(bits: list[int]) -> Tensor:
    """(B, 4, 32): noise plus either of two fixed signs."""
    draw = torch.Generator().manual_seed(len(bits) + sum(bits))
    signs = torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(9))
    return signs[bits] + 0.3 * torch.randn(len(bits), 4, 32, generator=draw)


def answer_loss(
    model: DollhouseForConditionalGeneration, pipeline: DollhousePipeline, through: str, step: int
) -> Tensor:
    """The bit is asked for; where it can be found is the thinking tokens, or everything but these."""
    draw = np.random.default_rng(step)
    bits, foreign = (draw.integers(0, 2, 24).tolist() for _ in range(2))
    scene, other = model.encode_prefix(prefixes(bits)), model.encode_prefix(prefixes(foreign))
    prefix_of, thoughts_of = (other, scene) if through == "thoughts" else (scene, other)
    mixed = select_scenes(prefix_of, torch.arange(24))
    mixed.crop(-3)
    for number, layer in enumerate(thoughts_of.layers):
        mixed.update(layer.keys[:, :, 4:], layer.values[:, :, 4:], number)
    ids = torch.tensor([pipeline.processor.question_ids(QUESTION)] * 24)
    logits = model(input_ids=ids, past_key_values=mixed).logits[:, -1]
    words = [
        pipeline.processor.tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0] for word in ("no", "yes")
    ]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(words)[bits])


def toy(through: str) -> DollhousePipeline:
    """Trained for a few seconds; it says the first token of "yes" or "no", and then anything."""
    pipeline = tiny_pipeline()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in pipeline.model.language_model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(0.2)
    optimizer = torch.optim.AdamW(pipeline.model.language_model.parameters(), 4e-3)
    loss = torch.tensor(9.0)
    for step in range(400):
        loss = answer_loss(pipeline.model, pipeline, through, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if float(loss.detach()) < 0.02:
            break
    assert float(loss.detach()) < 0.1
    return pipeline


def probed(pipeline: DollhousePipeline) -> dict[str, dict[str, object]]:
    """Every ablation on twelve scenes, paired with scenes of the other sign; only the first token is judged."""
    scenes = [Scene(f"toy:{number}", ()) for number in range(len(BITS))]
    pixels = torch.zeros(1, 1, 3, 28, 28)
    signs = prefixes(BITS)
    sessions = [TorchSession(pipeline, scene, pixels, signs[row : row + 1], None) for row, scene in enumerate(scenes)]
    ablations = [UNMODIFIED, *ABLATIONS]
    rows = []
    for number, session in enumerate(sessions):
        answers = ablated_answers(
            session, sessions[number - 1], [QUESTION], ablations, AblationInputs.of(pipeline, number)
        )
        truth = ("no", "yes")[BITS[number]]
        first = {name: normalise(texts[0])[: len(truth)] for name, texts in answers.items()}
        right = {name: text == truth for name, text in first.items()}
        rows.append(AblatedQuestion(session.scene.name, f"{number}", "proximity", QUESTION, truth, first, right))
    return score_ablations(rows, [ablation.name for ablation in ablations])


@pytest.mark.slow
def test_content_is_distinguished_from_none() -> None:
    with_content = probed(toy("thoughts"))
    assert with_content["unmodified"][OVERALL].accuracy == 1
    assert with_content["shuffled"][OVERALL].accuracy == 0, "the answer goes with the foreign thoughts"
    assert verdict(with_content).startswith("The thinking tokens carry content about the scene")
    without = probed(toy("prefix"))
    assert without["unmodified"][OVERALL].accuracy == 1
    assert without["shuffled"][OVERALL].difference == 0
    assert "carry content about the scene" not in verdict(without)
