"""The tokenizer of a run: pretrained, or trained on the run's own questions; kept in the run's folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from dollhouse.data.target_source import TargetSource
from dollhouse.errors import RecipeError, StorageError
from dollhouse.models.dollhouse.pretrained_lm import read_tokenizer
from dollhouse.models.dollhouse.serialization import load_processor
from dollhouse.models.dollhouse.tokenization import train_tokenizer
from dollhouse.models.pretrained import load_pretrained
from dollhouse.questions.nouns import absent_nouns
from dollhouse.scenes.synthetic.furniture import COLOURS
from dollhouse.system.atomic_io import atomic_folder
from dollhouse.system.checksums import HASHES, check_checksums, write_checksums
from dollhouse.teachers.chat_template import ChatTemplate
from dollhouse.training.config import Recipe

QUESTION = "QUESTION"  #: in place of a question, where a chat template is rendered
TOKENIZER_SAMPLES = 100  #: of the run, whose questions the tokenizer is trained on


def load_or_train_tokenizer(recipe: Recipe, source: TargetSource, folder: Path) -> PreTrainedTokenizerBase:
    """Return the recipe's tokenizer, pretrained or trained; it is kept in ``folder``, where later calls read it.

    Raises StorageError where the folder cannot be written, or its files are damaged.
    """
    if not folder.exists():
        if (tokenizer := pretrained_tokenizer(recipe)) is None:
            texts = question_texts(source, TOKENIZER_SAMPLES)
            if any(stage.rename_labels for stage in recipe.stages.values()):
                texts += [f" {noun}" for noun in absent_nouns()]
            tokenizer = fit_tokenizer(recipe, texts)
        with atomic_folder(folder) as unfinished:
            tokenizer.save_pretrained(unfinished)
            write_checksums(unfinished)
    try:
        check_checksums(folder)
    except StorageError as error:
        raise StorageError(f"{error}; delete {folder}, to make the tokenizer anew") from error
    return load_pretrained(AutoTokenizer, folder, "the run's tokenizer cannot be read")


def pretrained_tokenizer(recipe: Recipe) -> PreTrainedTokenizerBase | None:
    """Return the tokenizer of the language weights or folder that the recipe names; None where it names none."""
    student = recipe.student
    if student.language_weights is not None:
        return read_tokenizer(student.language_weights, student.num_thinking_tokens)
    if student.tokenizer is None:
        return None
    if (student.tokenizer / HASHES).exists():
        check_checksums(student.tokenizer)
    if (student.tokenizer / "processor_config.json").exists():
        return load_processor(student.tokenizer).tokenizer
    return read_tokenizer(student.tokenizer, student.num_thinking_tokens)


def chat_format(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> list[str] | None:
    """Return the texts of the language model's chat template before and after a question; None for no template.

    Raises RecipeError where the recipe wants a template and there is none, or it does not contain the question once.
    """
    student, template = recipe.student, getattr(tokenizer, "chat_template", None)
    template = template.get("default") if isinstance(template, dict) else template
    if (
        student.language_weights is None
        or student.chat_template is False
        or (template is None and student.chat_template is None)
    ):
        return None
    if template is None:
        raise RecipeError(f"{student.language_weights} has no chat template: take out student.chat_template")
    # without the text that some models think in before they answer
    renderer = ChatTemplate(template, {**tokenizer.special_tokens_map, "enable_thinking": False})
    prompt = renderer.render([[{"role": "user", "content": QUESTION}]])[0]
    parts = prompt.split(QUESTION)
    if len(parts) != 2:
        raise RecipeError(
            f"{student.language_weights}: its chat template has the question {len(parts) - 1} times, not once: set "
            "student.chat_template=false"
        )
    return parts


def fit_tokenizer(recipe: Recipe, texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a tokenizer of the recipe's vocabulary size, in which every word of a label or colour is one token."""
    labels = recipe.student.label_names
    words = [*labels, *COLOURS, *(f"{label}s" for label in labels)]
    return train_tokenizer(sorted(set(texts)), words, recipe.student.vocabulary, recipe.student.num_thinking_tokens)


def question_texts(source: TargetSource, samples: int) -> list[str]:
    """Return the questions and answers of the first samples, each with a leading space."""
    rows = [row for index in range(min(samples, len(source))) for row in source.questions(index)]
    return [f" {text}" for question, answer, _ in rows for text in (question, answer)]
