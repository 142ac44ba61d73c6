"""Completions as servers send them: thoughts, parts, refusals, cut answers, and odd numbers of tokens."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dollhouse.teachers.completions import Completion, parse_completion, parse_error, parse_json, strip_thoughts


def completion(message: dict[str, Any], reason: str | None = "stop", usage: Any = None) -> Completion:
    return parse_completion({"choices": [{"message": message, "finish_reason": reason}], "usage": usage})


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("a chair", "a chair"),
        ("<think>Let me count. 1, 2.</think>\n\ntwo", "two"),
        ("Let me count.</think>two", "two"),  # the template has opened the thoughts
        ("<THINK>a</THINK><think>b</think> two", "two"),
        ("<thinking>a</thinking>two", "two"),
        ("◁think▷a◁/think▷two", "two"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>two", "two"),
        ("<think>never ends", ""),
        ("  <think>", ""),
        ("<thinker> is a statue", "<thinker> is a statue"),
    ],
)
def test_thoughts_are_no_part_of_the_answer(text: str, answer: str) -> None:
    assert strip_thoughts(text) == answer


@pytest.mark.parametrize(
    ("message", "reason", "text", "failure"),
    [
        ({"content": "two"}, "stop", "two", None),
        ({"content": "two"}, None, "two", None),
        ({"content": "two", "reasoning_content": "1, 2"}, "stop", "two", None),
        ({"content": [{"type": "text", "text": "tw"}, {"type": "output_text", "text": "o"}]}, "stop", "two", None),
        ({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "two"}]}, "stop", "two", None),
        ({"content": ["two"]}, "stop", "two", None),
        ({"content": "and then the"}, "length", "", "cut off: and then the"),
        ({"content": ""}, "length", "", "cut off while thinking"),
        ({"content": None, "reasoning_content": "1, 2"}, "length", "", "cut off while thinking"),
        ({"content": "<think>1, 2"}, "length", "", "cut off while thinking"),
        ({"content": "<think>1, 2"}, "stop", "", "empty: thoughts alone, finish_reason stop"),
        ({"content": None, "reasoning_content": "1, 2"}, "stop", "", "empty: thoughts alone, finish_reason stop"),
        ({"content": None}, "tool_calls", "", "empty: no text, finish_reason tool_calls"),
        ({"content": None, "refusal": "I can't help\nwith that"}, "stop", "", "refused: I can't help with that"),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "stop", "", "refused: No."),
        ({"content": "The person is"}, "content_filter", "", "refused: The person is"),
        ({}, "content_filter", "", "refused: content filter"),
    ],
)
def test_finish_reason_counts_first(message: dict[str, Any], reason: str, text: str, failure: str | None) -> None:
    assert completion(message, reason) == Completion(text, failure)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4}, (3, 4)),
        ({"prompt_tokens": 1e400, "completion_tokens": 4.0}, (0, 4)),
        ({"prompt_tokens": "many", "completion_tokens": -1}, (0, 0)),
        ([1], (0, 0)),
        (None, (0, 0)),
    ],
)
def test_odd_usage_loses_no_answer(usage: Any, tokens: tuple[int, int]) -> None:
    read = completion({"content": "two"}, usage=usage)
    assert (read.text, read.tokens_in, read.tokens_out) == ("two", *tokens)


def test_answers_can_be_stored_and_printed() -> None:
    """A lone surrogate, and an escape sequence that would steer a terminal."""
    answer = completion(json.loads(r'{"content": "a\ud800b \u001b[31mred\u0000"}')).text
    assert answer == "a\ufffdb [31mred"
    answer.encode()


def test_deep_json_is_an_error() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 100_000)


@pytest.mark.parametrize("response", [None, [], {}, {"choices": []}, {"choices": [{}]}, {"choices": [{"message": 3}]}])
def test_other_json_is_no_completion(response: Any) -> None:
    with pytest.raises(ValueError, match="no choices"):
        parse_completion(response)


@pytest.mark.parametrize(
    ("body", "text", "code"),
    [
        ('{"error": {"message": "Too\\nmany", "code": "x", "type": "y"}}', "Too many", "x y"),
        ('{"error": "wrong"}', "wrong", ""),
        ('{"message": "wrong"}', "wrong", ""),
        ('{"detail": "wrong"}', "wrong", ""),
        ("<html><script>var a</script><p>Bad &\n gateway</p>", "Bad & gateway", ""),
        ("", "", ""),
        ('{"error": {"code": "c", "message": "m", "innererror": {"code": "filter"}}}', "m", "c filter"),
    ],
)
def test_error_messages_of_servers(body: str, text: str, code: str) -> None:
    error = parse_error(body)
    assert (error.text, error.code) == (text, code)
