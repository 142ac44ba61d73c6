"""Replacement of labels by other nouns, in questions, answers and object tokens alike.

The language model then learns to match a question's noun to an object's label, not a fixed list of labels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from transformers import PreTrainedTokenizerBase

from dollhouse.questions.nouns import absent_nouns
from dollhouse.questions.referring import plural, with_article
from dollhouse.scenes.labels import LabelMap, default_labels

ALIASES = 0.25  #: share of the replacements that are other words for the label
MOST_TOKENS = 3  #: of a noun


class LabelRenaming:
    """Draws a word for each label, and writes it into texts.

    Args:
        share: probability that a label is replaced.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str], share: float) -> None:
        self.tokenizer, self.labels, self.share = tokenizer, tuple(labels), share
        mapping = LabelMap(self.labels)
        self._aliases = [mapping.aliases(label) for label in self.labels]
        forms = {form: label for label in sorted({*self.labels, *default_labels()}) for form in (label, plural(label))}
        words = "|".join(sorted(map(re.escape, forms), key=len, reverse=True))
        self._pattern = re.compile(rf"\b(an? )?({words})\b")
        self._forms = forms

    @cached_property
    def nouns(self) -> tuple[str, ...]:
        """The nouns of few tokens."""
        nouns = absent_nouns()
        ids = self.tokenizer([f" {noun}" for noun in nouns], add_special_tokens=False)["input_ids"]
        return tuple(noun for noun, tokens in zip(nouns, ids, strict=True) if len(tokens) <= MOST_TOKENS)

    def sample(self, rng: np.random.Generator, texts: Sequence[str]) -> dict[str, str]:
        """Draw label -> word for some labels; no word occurs in ``texts``."""
        joined, drawn = " ".join(texts), dict[str, str]()
        chosen = rng.random(len(self.labels)) < self.share
        by_alias = rng.random(len(self.labels)) < ALIASES
        for number in np.flatnonzero(chosen).tolist():
            words = self._aliases[number] if by_alias[number] and self._aliases[number] else self.nouns
            word = words[int(rng.integers(len(words)))]
            if word not in joined and word not in drawn.values():
                drawn[self.labels[number]] = word
        return drawn

    def rename(self, text: str, words: Mapping[str, str]) -> str:
        """Return a text with each label of ``words`` replaced, singular or plural, with its article."""

        def replacement(match: re.Match[str]) -> str:
            article, form = match.groups()
            label = self._forms[form]
            if (word := words.get(label)) is None:
                return match[0]
            if form != label:
                return (article or "") + plural(word)
            return with_article(word) if article else word

        return self._pattern.sub(replacement, text)

    def label_ids(self, words: Mapping[str, str]) -> list[list[int]]:
        """Return the token ids of every label, or of the word that replaces it."""
        names = [f" {words.get(label, label)}" for label in self.labels]
        return [list(ids) for ids in self.tokenizer(names, add_special_tokens=False)["input_ids"]]
