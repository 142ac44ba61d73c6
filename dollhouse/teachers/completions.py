"""Chat completions as OpenAI-compatible servers send them: answers, thoughts, refusals, error messages."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from dollhouse.system.text import one_line, printable

_TAGS = "think|thinking|thought|thoughts|reasoning"
_END_OF_THOUGHTS = re.compile(rf"</(?:{_TAGS})>|◁/think▷|<\|channel\|>final<\|message\|>|<\|end_of_thought\|>", re.I)
_START_OF_THOUGHTS = re.compile(rf"\s*(?:<(?:{_TAGS})>|◁think▷|<\|channel\|>analysis|<\|begin_of_thought\|>)", re.I)
_THOUGHT_PARTS = ("thinking", "reasoning", "reasoning_content", "redacted_thinking")


@dataclass(frozen=True)
class Completion:
    """The answer of a response, or why it has none, and the tokens that are charged."""

    text: str  #: without thoughts; "" where there is no answer
    failure: str | None = None  #: "refused: ...", "cut off: ...", "cut off while thinking", "empty: ..."
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True)
class ErrorMessage:
    """A server's own words about a failed request."""

    text: str  #: in one line
    code: str = ""  #: such as "content_filter"
    status: int | None = None  #: where the code is an HTTP status


def parse_json(text: str) -> Any:
    """Parse JSON; raises ValueError for anything else, whatever its faults."""
    try:
        return json.loads(text)  # not strict as files are read: odd parts are no reason to lose an answer
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_completion(response: Any) -> Completion:
    """Return the first choice of a parsed response. Raises ValueError where it is no chat completion.

    The finish reason counts first: what the filter or the token limit ended is no answer, whatever its text.
    """
    try:
        choice = response["choices"][0]
        message, reason = choice["message"], choice.get("finish_reason")
        text, refusal = _texts(message.get("content"))
        usage = response.get("usage")
        refusal = message.get("refusal") or refusal
        has_thoughts = bool(message.get("reasoning_content") or message.get("reasoning"))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError("no choices") from error
    answer = clean(strip_thoughts(text))
    counts = usage if isinstance(usage, dict) else {}
    tokens = [_count(counts.get(name)) for name in ("prompt_tokens", "completion_tokens")]
    failure = None
    if refusal or reason == "content_filter":
        failure = f"refused: {one_line(str(refusal or answer)) or 'content filter'}"
    elif reason in ("length", "max_tokens"):
        failure = f"cut off: {one_line(answer)}" if answer else "cut off while thinking"
    elif not answer:
        what = "thoughts alone" if has_thoughts or text.strip() else "no text"
        failure = f"empty: {what}, finish_reason {one_line(str(reason))}"
    return Completion("" if failure else answer, failure, *tokens)


def strip_thoughts(text: str) -> str:
    """Return what follows the inline thoughts of a reasoning model; "" where they do not end."""
    ends = list(_END_OF_THOUGHTS.finditer(text))
    if ends:
        return text[ends[-1].end() :].strip()
    return "" if _START_OF_THOUGHTS.match(text) else text.strip()


def parse_error(body: str) -> ErrorMessage:
    """Return the message of an error response: of its JSON, or else its text without HTML tags."""
    try:
        response = parse_json(body)
    except ValueError:
        return ErrorMessage(one_line(re.sub(r"(?is)<(script|style).*?</\1>|<[^>]*>", " ", body[:20_000])))
    error = response.get("error", response) if isinstance(response, dict) else response
    if not isinstance(error, dict):
        return ErrorMessage(one_line(str(error)))
    text = error.get("message") or error.get("detail") or error.get("msg") or json.dumps(error)
    code = error.get("code")
    status = code if isinstance(code, int) and not isinstance(code, bool) else None
    codes = [code, error.get("type"), _inner_code(error)]
    return ErrorMessage(one_line(str(text)), " ".join(code for code in codes if isinstance(code, str)), status)


def clean(text: str) -> str:
    """Return text that can be stored and printed: no lone surrogates, no control characters but tab and line feed."""
    return printable(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")).strip()


def _texts(content: Any) -> tuple[str, str]:
    """Return the answer's text and the refusal of a message's content: a text, parts, or None."""
    if content is None or isinstance(content, str):
        return content or "", ""
    texts, refusals = [], []
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            texts.append(part)
        elif part.get("type") not in _THOUGHT_PARTS:
            text = part.get("text") or part.get("content") or ""
            texts.append(text.get("value", "") if isinstance(text, dict) else text)
            refusals.append(part.get("refusal") or "")
    return "".join(texts), "".join(refusals)


def _inner_code(error: dict[str, Any]) -> Any:
    inner = error.get("innererror")
    return inner.get("code") if isinstance(inner, dict) else None


def _count(value: Any) -> int:
    """Return a number of tokens; 0 for what is none, which is no reason to lose the answer."""
    number = isinstance(value, int | float) and math.isfinite(value)
    return max(0, min(int(value), 10**12)) if number else 0
