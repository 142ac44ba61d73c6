"""The label table, and maps from the words of data sets to lists of labels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from dollhouse.scenes.labels import (
    BUILDING,
    TABLE,
    LabelMap,
    check_labels,
    clean_label,
    default_labels,
    oriented_labels,
    question_noun,
    singular,
    unmapped_words,
)
from dollhouse.scenes.synthetic.furniture import CATEGORIES, KINDS

SETS = Path(__file__).with_name("label_sets.txt").read_text(encoding="utf-8").split("\n[")[1:]
SIZES = {
    "COCO": 80,
    "NYU40": 40,
    "ADE20K": 150,
    "ScanNet200": 200,
    "Objects365": 365,
    "ARKitScenes": 17,
    "3D-FRONT": 34,
}


def names_of(block: str) -> dict[str, str | None]:
    """Return the names of a data set with their labels, None where they are to be ignored."""
    _, _, text = block.partition("]")
    entries = [entry.split(" = ") for entry in text.replace("\n", "; ").split("; ") if entry.strip()]
    return {entry[0]: entry[1] if len(entry) == 2 else None for entry in entries}


def test_every_word_of_the_table_is_clean_and_has_one_label() -> None:
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    words = [
        word.strip()
        for line in lines
        for part in line.replace("*", "").replace("=", ">").split(">")
        for word in part.partition("<")[0].split(",")
        if word.strip()
    ]
    assert [word for word, count in Counter(words).items() if count > 1] == []
    assert [word for word in words if clean_label(word) != word] == []
    assert lines == sorted(lines, key=lambda line: line.partition("*")[0].partition(" =")[0].partition(" <")[0])
    mapping = LabelMap(default_labels())
    assert [label for label in default_labels() if mapping.map(label) != label] == []
    assert all(mapping.map(word) is not None for word in words)


@pytest.mark.parametrize("block", SETS, ids=lambda block: block.partition("]")[0])
def test_names_of_data_sets_map_to_labels(block: str) -> None:
    names, mapping = names_of(block), LabelMap(default_labels())
    assert len(names) == SIZES[block.partition("]")[0]]
    assert {name: mapping.map(name) for name in names} == names


def test_rooms_labels_are_default_labels_with_the_same_fronts() -> None:
    assert set(CATEGORIES) <= set(default_labels())
    assert oriented_labels(CATEGORIES) == tuple(name for name, kind in KINDS.items() if kind.has_front)
    assert [question_noun(label) for label in CATEGORIES] == list(CATEGORIES)


@pytest.mark.parametrize(
    ("name", "noun"),
    [
        *[(name, None) for name in ("5", "40", "remove", "otherfurniture", "object", "unknown", "", "-", "a", "12 3")],
        *[("windows", "window"), ("chairs", "chair"), ("shelves", "shelf"), ("boxes", "box"), ("batteries", "battery")],
        *[("Kitchen_Cabinets", "kitchen cabinet"), ("office-chair", "office chair"), ("chair_02", "chair")],
        *[("glass", "glass"), ("bus", "bus"), ("stairs", "staircase"), ("stacks of chairs", "stack of chairs")],
        *[("sofa, couch, lounge", "sofa"), ("Monitor/TV", None), ("door-stuff", "door"), ("Stühle (alt)", "stühle")],
    ],
)
def test_words_become_singular_nouns(name: str, noun: str | None) -> None:
    assert clean_label(name) == noun


@pytest.mark.parametrize(
    ("name", "noun"),
    [
        *[
            ("refridgerator", "fridge"),
            ("couch", "sofa"),
            ("kitchen cabinets", "cabinet"),
            ("whiteboard", "whiteboard"),
        ],
        *[("clothes", None), ("toilet paper", None), ("remove", None), ("Lounge Chair / Cafe Chair", "chair")],
    ],
)
def test_questions_use_default_labels_or_clean_nouns(name: str, noun: str | None) -> None:
    assert question_noun(name) == noun


def test_coarse_lists_map_through_parents() -> None:
    rooms = LabelMap(CATEGORIES)
    mapped = dict(
        pair.split("=")
        for pair in (
            *(
                "office chair=chair",
                "armchair=armchair",
                "recliner=armchair",
                "swivel chair=chair",
                "bookcase=bookshelf",
            ),
            *("coffee table=table", "crib=bed", "cushion=pillow", "TV=television"),
        )
    )
    assert {name: rooms.map(name) for name in mapped} == mapped
    assert [name for name in ("shelf", "monitor", "nightstand", "whiteboard", "wall") if rooms.map(name)] == []
    assert LabelMap(["chair"]).map("recliner") == "chair", "two steps"
    assert LabelMap(["table", "coffee table"]).map("cocktail table") == "table"
    assert LabelMap(["table", "coffee table"]).map("coffee tables") == "coffee table"
    assert LabelMap(["couch"]).map("settee") == "couch", "a list may use another word of the same meaning"
    assert LabelMap(["monitor"]).map("Monitor/TV") == "monitor"


def test_own_words_and_aliases() -> None:
    own = LabelMap(["robot", "chair"], aliases={"robot": ["vacuum", "mower"], "chair": ["throne"]})
    assert [own.map(name) for name in ("robot", "Mowers", "throne", "stool", "desk chair")] == [
        *("robot", "robot", "chair", None, "chair")
    ]
    of_chairs = set(LabelMap(["armchair", "chair"]).aliases("chair"))
    assert {"office chair", "dining chair"} <= of_chairs
    assert "recliner" not in of_chairs, "it is an armchair"
    assert "couch" in LabelMap(CATEGORIES).aliases("sofa")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "empty"),
        (["chair", "chair"], "occurs twice"),
        (["sofa", "couch"], "'couch' means the same as 'sofa'"),
        (["Chair"], "write 'chair'"),
        (["windows"], "write 'window'"),
        (["chair", " "], "give a noun"),
        (["40"], "give a noun"),
    ],
)
def test_label_lists_are_checked(labels: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_labels(labels)
    check_labels(default_labels())
    check_labels(CATEGORIES)
    check_labels(["table", "coffee table", "robot"])


def test_plurals_of_other_words_stay() -> None:
    kept = ["canvas", "tv", "gas", "lens", "chess", "cactus", "skis", "clothes"]
    assert [singular(word) for word in kept] == kept


def test_nyu40_classes_are_read_where_scannet_s_table_lies_above(tmp_path: Path) -> None:
    scan = tmp_path / "scans" / "scene0000_00"
    scan.mkdir(parents=True)
    assert unmapped_words(scan) == {}
    rows = ["id\traw_category\tnyu40id\tnyu40class", "1\tchair\t5\tchair", "2\tottoman\t5\tchair"]
    rows += ["3\tshower wall\t1\twall", "4\track\t39\totherfurniture", "5\ttv stand\t39"]
    (tmp_path / "scannetv2-labels.combined.tsv").write_text("\n".join(rows), encoding="utf-8")
    assert unmapped_words(scan) == {"ottoman": "chair", "shower wall": "wall"}
    assert "wall" in BUILDING
