"""Files of questions: JSONL, a JSON list or CSV, with names and values as people write them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dollhouse.errors import QuestionError, first_fault
from dollhouse.system.read_files import decode_json, parse_json, read_text

ADVICE = 'write a line for each question, such as {"question": "Is there a lamp?", "scene": "kitchen", "answer": "yes"}'
_LISTS = ("choices", "objects")
_SYNONYMS = {"reply": "answer", "response": "answer", "answers": "answer", "ground_truth": "answer", "label": "answer"}
_SYNONYMS |= {"scene_id": "scene", "room": "scene", "options": "choices", "text": "question", "prompt": "question"}


class QuestionEntry(BaseModel):
    """One question of a file; other fields than these are ignored, and named by :func:`read_questions`."""

    model_config = ConfigDict(extra="ignore")

    question: str = Field(min_length=1)
    scene: str | None = None  #: name; None: for every scene
    answer: str = ""
    id: str | None = None
    family: str = "custom"
    form: str = "custom"
    choices: tuple[str, ...] = ()
    objects: tuple[int, ...] = ()
    view: int | None = None

    @field_validator("question", "scene", "answer", "id", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        """Take numbers and truth values as text, and the first of several equivalent answers."""
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, bool):
            return "yes" if value else "no"
        return str(value) if isinstance(value, int) else f"{value:.15g}" if isinstance(value, float) else value

    @field_validator("choices", mode="before")
    @classmethod
    def _choices(cls, value: Any) -> Any:
        """Take choices by letter, and numbers as text."""
        value = list(value.values()) if isinstance(value, Mapping) else value
        return [cls._text(item) for item in value] if isinstance(value, list) else value


def read_questions(path: Path) -> tuple[list[QuestionEntry], list[str]]:
    """Read a file's questions, and the names of fields that are not used.

    Raises QuestionError naming the line that is not valid.
    """
    text = read_text(path, QuestionError, "give a JSONL file of questions")
    entries, ignored = [], dict[str, None]()
    for where, row in _rows(path, text):
        try:
            entries.append(QuestionEntry.model_validate(row))
        except ValidationError as error:
            has = f" (it has {', '.join(map(str, row))})" if isinstance(row, Mapping) and "question" not in row else ""
            raise QuestionError(f"{path}: {where}: {first_fault(error)}{has}; {ADVICE}") from error
        for name in [name for name in row if name not in QuestionEntry.model_fields]:
            if meant := _meant(str(name), row):
                raise QuestionError(f"{path}: {where}: {name} is no field; rename it to {meant}")
            ignored[str(name)] = None
    if not entries:
        raise QuestionError(f"{path}: holds no questions; {ADVICE}")
    return entries, list(ignored)


def _meant(name: str, row: Mapping[str, Any]) -> str | None:
    """Return the field that an unknown one probably stands for, unless the row has that too."""
    unused = [field for field in QuestionEntry.model_fields if field not in row]
    near = get_close_matches(name.lower(), unused, 1, 0.75) or [_SYNONYMS.get(name.lower(), "")]
    return near[0] if near[0] in unused else None


def _rows(path: Path, text: str) -> list[tuple[str, Any]]:
    """Return the rows of a file, each with its place."""
    if path.suffix.lower() in (".csv", ".tsv"):
        return _csv_rows(path, text)
    # at line feeds alone: a question may hold other separators of lines
    lines = [(f"line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    try:
        whole = decode_json(text)
    except ValueError:
        if text.lstrip().startswith("["):
            lines = [("the file", text)]
        return [(where, parse_json(line, f"{path}: {where}", QuestionError, ADVICE)) for where, line in lines]
    if isinstance(whole, Mapping) and isinstance(whole.get("questions"), list):
        whole = whole["questions"]
    if isinstance(whole, list):
        return [(f"question {number}", row) for number, row in enumerate(whole, 1)]
    return [(lines[0][0], whole)]


def _csv_rows(path: Path, text: str) -> list[tuple[str, Any]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ";" if text.partition("\n")[0].count(";") else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = []
    try:
        for row in reader:
            values = {(name or "").strip().lower(): value for name, value in row.items() if value not in (None, "")}
            lists = {name: [part.strip() for part in values[name].split("|")] for name in _LISTS if name in values}
            rows.append((f"line {reader.line_num}", values | lists))
    except csv.Error as error:
        raise QuestionError(f"{path}: line {reader.line_num}: {error}") from error
    return rows
