"""A language model that starts from another student's: words keep their embeddings, views their columns."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dollhouse.errors import ModelError
from dollhouse.models.dollhouse.language_transfer import transfer_language
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.proposal_head import ProposalOutput
from dollhouse.models.dollhouse.tokenization import train_tokenizer
from dollhouse.training.model_init import Student, build_student
from tests.fixtures.recipes import STUDENT, tiny_recipe

OLD_TEXTS, NEW_TEXTS = [" is there a chair?", " yes", " no"], [" is there a chair?", " a wardrobe", " yes", " maybe"]


def student(texts: list[str], **changes: Any) -> Student:
    torch.manual_seed(len(texts))
    recipe = tiny_recipe(student={**STUDENT, **changes})
    return build_student(recipe, train_tokenizer(texts, ["chair"], 400, 2))


def objects(model: DollhouseForConditionalGeneration, views: int) -> ProposalOutput:
    torch.manual_seed(5)
    labels, colours = len(model.config.labels), len(model.config.colours)
    fields = {"label_logits": labels, "colour_logits": colours, "center": 3, "log_size": 3, "front": 2, "axis": 2}
    drawn = {name: torch.randn(1, 4, width) for name, width in fields.items()}
    return ProposalOutput(
        features=torch.zeros(1, 4, model.config.trunk_width),
        present=torch.ones(1, 4),
        view_observations=torch.randn(1, 4, views, 4),
        **drawn,
    )


def test_hidden_states_of_shared_words_and_views_are_the_sources() -> None:
    source, old = student(OLD_TEXTS, max_referenced_views=2)
    target, new = student(NEW_TEXTS, max_referenced_views=5)
    transfer_language(source, old.tokenizer, target, new.tokenizer)
    ids = [processor.tokenizer(" is there a chair?", return_tensors="pt").input_ids for processor in (old, new)]
    states = [
        model.language_model(input_ids=row, output_hidden_states=True).hidden_states[-1]
        for model, row in zip((source, target), ids, strict=True)
    ]
    assert torch.equal(*states)
    projectors = [model.multi_modal_projector for model in (source, target)]
    features = [projector.geometry_features(objects(source, 2)) for projector in projectors]
    projected = [each.geometry_mlp(values) for each, values in zip(projectors, features, strict=True)]
    torch.testing.assert_close(*projected)


def test_new_words_are_means_of_the_pieces() -> None:
    source, old = student(OLD_TEXTS)
    target, new = student(NEW_TEXTS)
    transfer_language(source, old.tokenizer, target, new.tokenizer)
    token = "Ġmaybe"
    assert token in new.tokenizer.get_vocab()
    assert token not in old.tokenizer.get_vocab()
    pieces = old.tokenizer.encode(" maybe")
    row = target.get_input_embeddings().weight[new.tokenizer.get_vocab()[token]]
    torch.testing.assert_close(row, source.get_input_embeddings().weight[pieces].mean(0))


def test_another_shape_is_refused() -> None:
    source, old = student(OLD_TEXTS)
    target, new = student(NEW_TEXTS, text={**STUDENT["text"], "intermediate_size": 96})
    with pytest.raises(ModelError, match="another shape: gpt_neox"):
        transfer_language(source, old.tokenizer, target, new.tokenizer)
