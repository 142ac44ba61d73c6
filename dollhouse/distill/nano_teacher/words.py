"""The words of a nano teacher: its tokenizer, and questions as LLaVA-3D is asked them.

Knows prompts and ids, no pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import LlamaConfig

from dollhouse.distill.asked import Asked
from dollhouse.distill.lessons import Lessons
from dollhouse.distill.mentions import MentionFinder
from dollhouse.distill.targets import ObjectTargets
from dollhouse.scenes.furniture import CATEGORIES, COLOURS
from dollhouse.student.config import DollhouseConfig
from dollhouse.teachers.llava3d.prompt import conversation, encoder, load_tokenizer, prompt_ids
from dollhouse.teachers.llava3d.splice import IMAGE_TOKEN
from dollhouse.teachers.llava3d.vocabulary import learn_pieces, write_tokenizer

TOKENIZER_LESSONS = 100


def run_tokenizer(lessons: Lessons, size: int, folder: Path) -> Any:
    """The run's tokenizer: learnt once from its first lessons, then kept in ``folder``."""
    if not (folder / "done").exists():
        texts = {conversation([("", None)])}
        for number in range(min(TOKENIZER_LESSONS, len(lessons))):
            for question, answer, _ in lessons.questions(number):
                texts |= {_after_the_scene(question), answer}
        words = [*CATEGORIES, *COLOURS, *(f"{category}s" for category in CATEGORIES)]
        pieces, merges = learn_pieces(sorted(texts), words, size)
        write_tokenizer(folder, pieces, merges)
        (folder / "done").touch()
    return load_tokenizer(folder, LlamaConfig(vocab_size=size))


def fill_word_ids(named: DollhouseConfig, tokenizer: Any) -> None:
    """Write the ids of labels and colours into ``named``."""
    encode = encoder(tokenizer)
    named.label_ids = [list(encode(word)) for word in named.labels]
    named.colour_ids = [list(encode(word)) for word in named.colours]


class Phrasebook:
    """Questions with answers -> ids, split where the scene stands."""

    def __init__(self, tokenizer: Any, named: DollhouseConfig) -> None:
        self.encode = encoder(tokenizer)
        self.begin, self.end = int(tokenizer.bos_token_id), int(tokenizer.eos_token_id)
        self.finder = MentionFinder(tokenizer, named)

    @property
    def head(self) -> list[int]:
        """Ids of what every prompt begins with, before its scene."""
        return self._prompt("")[0]

    def asked(self, questions: Sequence[tuple[str, str]], objects: ObjectTargets | None, view: int) -> list[Asked]:
        """What follows the scene: question, answer and end; with the mentions of ``objects`` where there are any.

        ``view`` is the one whose axes places are told in; every mention counts as one in that view.
        """
        told = []
        for question, answer in questions:
            ids = self._prompt(question)[1]
            mentions = () if objects is None else self.finder.find(ids, objects)
            answer_ids = [*self.encode(answer.strip()), self.end]
            told.append(Asked([*ids, *answer_ids], len(ids), tuple(replace(one, view=view) for one in mentions)))
        return told

    def _prompt(self, question: str) -> tuple[list[int], list[int]]:
        ids = prompt_ids(conversation([(question, None)]), self.encode, self.begin)
        place = ids.index(IMAGE_TOKEN)
        return ids[:place], ids[place + 1 :]


def _after_the_scene(question: str) -> str:
    return conversation([(question, None)]).partition("<image>")[2]
