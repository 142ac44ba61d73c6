"""Where a question names an object: the last token of "the red chair", and which true box that is.

Found from the words alone, by label and colour; a name that fits several objects is left out. Knows nothing of
models: what is made of a mention is told by :mod:`dollhouse.training.losses.grounding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from dollhouse.data.targets import ObjectTargets
from dollhouse.models.dollhouse.configuration import DollhouseConfig


@dataclass(frozen=True)
class Mention:
    """One object named in one question."""

    place: int  #: index of the name's last token
    object: int  #: index into the scene's :class:`ObjectTargets`
    view: int  #: the view that the question has named so far, from 0; -1 none


class MentionFinder:
    """Finds mentions in questions of one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: DollhouseConfig) -> None:
        self.slots = config.num_objects  # further objects have none, so nothing could be known of them
        self.labels = [tuple(ids) for ids in config.label_ids]
        self.label_of_last = {ids[-1]: label for label, ids in enumerate(self.labels) if ids}
        self.colour_of_last = {ids[-1]: colour for colour, ids in enumerate(config.colour_ids) if ids}
        self.views: dict[tuple[int, ...], int] = {
            tuple(tokenizer(f" view {view + 1}", add_special_tokens=False)["input_ids"]): view
            for view in range(config.max_referenced_views)
        }

    def find(self, ids: Sequence[int], objects: ObjectTargets) -> tuple[Mention, ...]:
        """Mentions in one tokenised question (without its answer)."""
        found = []
        view = -1
        for place, token in enumerate(ids):
            for words, number in self.views.items():
                if tuple(ids[place + 1 - len(words) : place + 1]) == words:
                    view = number
            label = self.label_of_last.get(token)
            if label is None:
                continue
            before = place - len(self.labels[label])
            if tuple(ids[before + 1 : place + 1]) != self.labels[label]:
                continue
            fits = objects.label == label
            colour = self.colour_of_last.get(ids[before]) if before >= 0 else None
            if colour is not None:
                fits = fits & (objects.colour == colour)
            if fits.sum() == 1 and fits.argmax() < self.slots:
                found.append(Mention(place, int(fits.argmax()), view))
        return tuple(found)
