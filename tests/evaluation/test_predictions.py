"""Predictions files of every form, and every way in which one can be bad: one line, with rows."""

import json
import tracemalloc

import pytest

from dollhouse.errors import ScoreError
from dollhouse.evaluation.benchmarks.benchmark import Sample
from dollhouse.evaluation.predictions import LONGEST_LINE, SHOWN, read_predictions

SAMPLES = [Sample(f"q{n}", "scene", "kind", "What?", (f"answer {n}",)) for n in range(4)]
WANTED = ["a", "b", "ç", ""]


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def ours():
    return [{"id": f"q{n}", "prediction": text} for n, text in enumerate(WANTED)]


FORMS = {
    "Dollhouse": ours(),
    "LLaVA-3D": [
        {"question_id": f"q{n}", "prompt": "What?", "text": text, "answer_id": "x", "model_id": "m", "metadata": {}}
        for n, text in enumerate(WANTED)
    ],
    "ScanQA": [
        {"scene_id": "s", "question_id": f"q{n}", "answer_top10": [text, "z"], "bbox": []}
        for n, text in enumerate(WANTED)
    ],
    "lmms-eval": [
        {"doc_id": n, "target": f"answer {n}", "filtered_resps": [text], "input": "What?", "doc_hash": "0"}
        for n, text in enumerate(WANTED)
    ],
    "VLMEvalKit": [{"index": n, "qid": f"q{n}", "prediction": text} for n, text in enumerate(WANTED)],
}


@pytest.mark.parametrize("program", FORMS)
def test_every_form_as_lines_and_as_a_list(program, tmp_path):
    rows = FORMS[program][::-1]  # the order of the file does not matter
    (tmp_path / "a.jsonl").write_text("\n" + lines(rows), encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=1), encoding="utf-8-sig")
    for name in ("a.jsonl", "a.json"):
        read = read_predictions(tmp_path / name, SAMPLES)
        assert (read.program, read.texts) == (program, WANTED)
        assert read.prompts == (["What?"] * 4 if program in ("LLaVA-3D", "lmms-eval") else [None] * 4)


def test_tables_and_progress(tmp_path, capsys):
    path = tmp_path / "a.csv"
    path.write_text('id,prediction\nq0,a\nq1,"b"\nq2,ç\nq3,\n', encoding="utf-8")
    assert read_predictions(path, SAMPLES, progress=True).texts == WANTED
    assert "reading" in capsys.readouterr().err


def test_lmms_eval_rows_that_hold_their_own_id(tmp_path):
    rows = [
        {"doc_id": 3 - n, "target": "x", "resps": [[text]], "some_score": {"id": f"q{n}", "prediction": text}}
        for n, text in enumerate(WANTED)
    ]
    (tmp_path / "a.jsonl").write_text(lines(rows), encoding="utf-8")
    assert read_predictions(tmp_path / "a.jsonl", SAMPLES).texts == WANTED


def changed(place, **fields):
    rows = ours()
    rows[place] = fields
    return lines(rows).encode()


BAD = {
    "wrong columns": (b'{"question": 1, "answer": 2}\n', r"row 1: wrong columns \('question', 'answer'\); known are"),
    "another form": (changed(2, question_id="q2", text="c"), r"row 3: without 'id' and 'prediction'"),
    "missing": (lines(ours()[:2]).encode(), r"no prediction for 2 of 4 questions: q2, q3;"),
    "duplicate": (lines([*ours(), ours()[1]]).encode(), r"more than once: q1 in rows 2, 5;"),
    "unknown": (lines([*ours(), {"id": "q9", "prediction": "x"}]).encode(), r"do not hold: q9 in row 5;"),
    "mixed encodings": (lines(ours()[:2]).encode() + lines(ours()[2:]).encode("latin-1"), r"row 3: not UTF-8.*0xe7"),
    "utf-16": (lines(ours()).encode("utf-16"), "is UTF-16"),
    "half a character": (changed(1, id="q1", prediction="x").replace(b'"x"', b'"\\ud83d"'), "row 2: .*half a char"),
    "not json": (lines(ours()).encode() + b"{oops\n", "row 5: not JSON"),
    "deep": (b'{"id": "q0", "prediction": ' + b"[" * 100_000 + b"\n", "row 1: not JSON"),
    "not objects": (b"3\n" + lines(ours()).encode(), "row 1: not an object"),
    "not text": (changed(0, id="q0", prediction=3), "row 1: the prediction is not text"),
    "odd id": (changed(0, id=True, prediction="x"), "row 1: 'id' is neither"),
    "empty": (b"", "holds no prediction"),
    "broken list": (b'[{"id": "q0",\n', "line 2: not JSON"),
    "shuffled": (lines([{**row, "doc_id": 3 - row["doc_id"]} for row in FORMS["lmms-eval"]]).encode(), "was the task"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_files_are_one_line_with_rows(what, tmp_path):
    data, message = BAD[what]
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    with pytest.raises(ScoreError, match=message) as error:
        read_predictions(path, SAMPLES)
    assert "\n" not in str(error.value)
    assert "a.jsonl" in str(error.value)


def test_many_bad_rows_are_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(lines([*ours(), *({"id": f"x{n}", "prediction": ""} for n in range(SHOWN + 5))]), encoding="utf-8")
    with pytest.raises(ScoreError, match=r"x0 in row 5, .*x7 in row 12 and 5 more"):
        read_predictions(path, SAMPLES)


def test_a_line_of_two_gigabytes_is_refused_unread(tmp_path):
    """The file is sparse: it takes no disk."""
    for name, start in (("a.jsonl", lines(ours()[:1]).encode() + b"{"), ("b.json", b"[")):
        path = tmp_path / name
        path.write_bytes(start)
        with path.open("r+b") as file:
            file.truncate(2 << 30)
        tracemalloc.start()
        with pytest.raises(ScoreError, match=r"row 2: longer than 4 MiB|is too large \(2,147,483,648 bytes"):
            read_predictions(path, SAMPLES)
        assert tracemalloc.get_traced_memory()[1] < 4 * LONGEST_LINE
        tracemalloc.stop()


def test_tables_that_are_none(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("id\tprediction\nq0\ta\tb\nq1\n", encoding="utf-8")
    with pytest.raises(ScoreError, match="rows 2, 3: not 2 cells"):
        read_predictions(path, SAMPLES)
    with pytest.raises(ScoreError, match="cannot be read"):
        read_predictions(tmp_path / "absent.jsonl", SAMPLES)
