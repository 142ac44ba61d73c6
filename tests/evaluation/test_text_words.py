"""Words of captions against those of the Java program that COCO's evaluation calls."""

import json
from pathlib import Path

import pytest

from dollhouse.evaluation.metrics.text.ptb import caption_words, split_captions

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "ptb_words.json").read_text(encoding="utf-8"))


def test_made_lines_are_split_as_the_reference_splits_them():
    lines = [line for line, _ in GOLDEN["lines"]]
    expected = [tuple(words.split(" ")) if words else () for _, words in GOLDEN["lines"]]
    wrong = [
        (line, ours, theirs)
        for line, ours, theirs in zip(lines, split_captions(lines), expected, strict=True)
        if ours != theirs
    ]
    assert len(lines) > 800
    assert not wrong, f"{len(wrong)} lines differ, first {wrong[0]}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        ("  ...  ", ()),
        ("Yes.", ("yes",)),
        ("It's a two-seater (red).", ("it", "'s", "a", "two-seater", "-lrb-", "red", "-rrb-")),
        ("I can't", ("i", "ca", "n't")),
        ("1 1/2 ft.", ("1\xa01/2", "ft.")),
        ("no. There is no. 5", ("no", "there", "is", "no.", "5")),
        ("tab\tnew\nline", ("tab", "new", "line")),
        ("See Http://a.org/b?", ("see", "http://a.org/b")),
        ("\x00a\x07b \ud83d\ude00 😀", ("a", "b")),
    ],
)
def test_single_texts(text, words):
    assert caption_words(text) == words


def test_the_next_line_may_matter_as_it_does_in_the_reference():
    assert split_captions(["No.", "2 chairs"])[0] == ("no.",)
    assert split_captions(["No.", "two chairs"])[0] == ("no",)
    assert split_captions(["about 5 m.", "The door"])[0] == ("about", "5", "m")
    assert split_captions(["about 5 m.", "the door"])[0] == ("about", "5", "m.")


def test_the_quick_way_is_the_long_way():
    plain = "the Chair is left of a table"
    assert caption_words(plain) == caption_words(plain + " ") == tuple(plain.lower().split())
    assert caption_words("the cannot chair.") == ("the", "can", "not", "chair")
