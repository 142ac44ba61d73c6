"""Start a student's language model from that of another student with another vocabulary and more views."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from dollhouse.errors import ModelError
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.proposal_head import VIEW_FEATURES


@torch.no_grad()
def transfer_language(
    source: DollhouseForConditionalGeneration,
    source_tokenizer: PreTrainedTokenizerBase,
    target: DollhouseForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Copy the language model and the projection of boxes and words.

    Embeddings of tokens that the source lacks become the mean of the embeddings of the tokens that it splits them into.
    The projection of image features stays as it is: features of another encoder have other meanings.

    Raises ModelError where the language models differ in shape.
    """
    if len(_word_tables(source)) != len(_word_tables(target)):
        raise ModelError(
            "of the two language models, one has an output layer of its own: set tie_word_embeddings alike"
        )
    tables = list(zip(_word_tables(source), _word_tables(target), strict=True))
    words = {table.data_ptr() for table in _word_tables(source)}
    layers = {k: v for k, v in source.language_model.state_dict().items() if v.data_ptr() not in words}
    own = target.language_model.state_dict()
    differing = [name for name, value in layers.items() if name not in own or own[name].shape != value.shape]
    if differing or tables[0][0].shape[1] != tables[0][1].shape[1]:
        raise ModelError(f"the language model to start from has another shape: {', '.join(differing) or 'its width'}")
    target.language_model.load_state_dict({**own, **layers})
    known = source_tokenizer.get_vocab()
    for token, row in tokenizer.get_vocab().items():
        pieces = [known[token]] if token in known else source_tokenizer.encode(tokenizer.decode([row]))
        for old, new in tables if pieces else ():
            new[row] = old[pieces].mean(0)
    if target.config.blind:  # it has no photos to project
        return
    projector, others = target.multi_modal_projector, source.multi_modal_projector
    projector.empty_embedding.copy_(others.empty_embedding)
    projector.word_scale.copy_(others.word_scale)
    first, others_first = projector.geometry_mlp[0], others.geometry_mlp[0]
    assert isinstance(first, nn.Linear)
    assert isinstance(others_first, nn.Linear)
    first.weight[:, _columns(first.weight, projector.views, others.views)] = others_first.weight
    first.bias.copy_(others_first.bias)
    projector.geometry_mlp[2].load_state_dict(others.geometry_mlp[2].state_dict())


def _word_tables(model: DollhouseForConditionalGeneration) -> list[Tensor]:
    """Return the weights of the input embedding and, unless it is the same, of the output layer."""
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    assert isinstance(inputs, nn.Embedding)
    assert isinstance(outputs, nn.Linear)
    return [inputs.weight] if model.config.get_text_config().tie_word_embeddings else [inputs.weight, outputs.weight]


def _columns(weight: Tensor, views: int, shared: int) -> list[int]:
    """Return the columns of the projection's features that a student of ``shared`` views has too."""
    box = weight.shape[1] - (VIEW_FEATURES + 1) * views
    seen = box + VIEW_FEATURES * views
    return [*range(box + VIEW_FEATURES * shared), *range(seen, seen + shared)]
