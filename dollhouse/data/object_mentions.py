"""Finds where a question names an object: the last token of "the red chair", and the box it refers to.

Names are resolved by label and colour; a name that fits several objects is left out.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from dollhouse.data.targets import ObjectTargets
from dollhouse.models.dollhouse.configuration import DollhouseConfig


@dataclass(frozen=True)
class Mention:
    """An object named in a question."""

    position: int  #: index of the name's last token
    object: int  #: index into the scene's :class:`ObjectTargets`
    view: int  #: the last view named before it, from 0; -1 none


class MentionFinder:
    """Finds mentions in questions encoded by one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: DollhouseConfig) -> None:
        self.num_objects = config.num_objects  # objects beyond have no slot in the language prefix
        self._set_labels(config.label_ids)
        self.colours = {tuple(ids): colour for colour, ids in enumerate(config.colour_ids) if ids}
        self.views = {
            tuple(tokenizer(f" view {view + 1}", add_special_tokens=False)["input_ids"]): view
            for view in range(config.max_referenced_views)
        }

    def _set_labels(self, label_ids: Sequence[Sequence[int]]) -> None:
        self.labels = [tuple(ids) for ids in label_ids]
        self.labels_of_last: dict[int, list[int]] = {}  # the longest first: "office chair" before "chair"
        for label, ids in sorted(enumerate(self.labels), key=lambda item: -len(item[1])):
            if ids:
                self.labels_of_last.setdefault(ids[-1], []).append(label)

    def with_labels(self, label_ids: Sequence[Sequence[int]]) -> MentionFinder:
        """Return a finder of labels with other token ids."""
        finder = copy.copy(self)
        finder._set_labels(label_ids)
        return finder

    def find(self, ids: Sequence[int], objects: ObjectTargets) -> tuple[Mention, ...]:
        """Return the mentions in the token ids of one question (without its answer)."""
        mentions = []
        view = -1
        for position, token in enumerate(ids):
            for words, number in self.views.items():
                if tuple(ids[position + 1 - len(words) : position + 1]) == words:
                    view = number
            for label in self.labels_of_last.get(token, ()):
                before = position - len(self.labels[label])
                if tuple(ids[before + 1 : position + 1]) == self.labels[label]:
                    break
            else:
                continue
            matches = objects.label == label
            for words, colour in self.colours.items():
                if tuple(ids[max(0, before + 1 - len(words)) : before + 1]) == words:
                    matches = matches & (objects.colour == colour)
            if matches.sum() == 1 and matches.argmax() < self.num_objects:
                mentions.append(Mention(position, int(matches.argmax()), view))
        return tuple(mentions)
