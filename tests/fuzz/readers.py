"""Every reader of users' files with a valid small input: written to an empty folder, damaged there, and read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.errors import DollhouseError, SceneError
from dollhouse.evaluation.benchmarks import BENCHMARKS
from dollhouse.evaluation.benchmarks.annotation_file import read_rows
from dollhouse.evaluation.predictions import read_predictions
from dollhouse.evaluation.report.report_schema import model_lineage
from dollhouse.evaluation.verify import verify_report
from dollhouse.questions.answer_balance import AnswerBalance
from dollhouse.questions.question_file import read_questions
from dollhouse.records.partial_answers import PartialAnswers
from dollhouse.records.record import Record
from dollhouse.records.store import RecordStore
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.labels import unmapped_words
from dollhouse.scenes.open import open_scene, open_scenes
from dollhouse.scenes.readers.saved import save_scene
from dollhouse.training.recipes import RECIPES, read_recipe
from tests.fuzz import model_readers
from tests.records.record_fixtures import write_records
from tests.records.small_scenes import small_scene
from tests.scenes import fixture_scans
from tests.scenes.fixture_captures import LAYOUTS, save_json, write_capture
from tests.scenes.fixture_front3d import write_house, write_midi_room


@dataclass(frozen=True)
class FuzzedReader:
    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]
    heavy: bool = False  #: needs torch


def _read_scene(folder: Path, name: str = "") -> None:
    """Open a scene as the commands do, and decode all that it has; where that fails, again without bad views."""
    try:
        _decode_scene(folder / name, skip_bad=False)
    except DollhouseError:
        _decode_scene(folder / name, skip_bad=True)


def _decode_scene(path: Path, *, skip_bad: bool) -> None:
    scene = open_scene(path, skip_bad=skip_bad)
    for view in scene.views:
        _ = view.image, view.depth, view.instances
    json.dumps(scene.metadata, default=str)


def _photos(folder: Path) -> None:
    for number, suffix in enumerate(("jpg", "png", "webp", "tif", "gif", "bmp", "heic", "avif")):
        fixture_scans.write_photo(folder / f"{number}.{suffix}", (200, 40 * number % 255, 40))


def _scan(folder: Path) -> None:
    scan = fixture_scans.write_scan(folder / "scene0000_00", frames=2)
    fixture_scans.write_annotation(scan)
    fixture_scans.write_alignment(scan)
    fixture_scans.write_masks(scan / "scene0000_00_2d-instance-filt.zip", 2)
    (folder / "scannetv2-labels.combined.tsv").write_text(
        "id\traw_category\tnyu40class\n1\tchair\tchair\n2\tgizmo\tlamp\n"
    )


def _read_scan(folder: Path) -> None:
    unmapped_words(folder / "scene0000_00")
    _read_scene(folder, "scene0000_00")


def _scan_list(folder: Path) -> None:
    fixture_scans.write_scan(folder / "scans" / "scene0000_00", frames=1)
    (folder / "list.txt").write_text("scene0000_00\nscene0001_00\n")


def _capture(layout: str, folder: Path) -> None:
    write_capture(layout, folder / "capture")


def _read_capture(folder: Path) -> None:
    _read_scene(next((path for path in sorted(folder.iterdir()) if path.suffix == ".r3d"), folder / "capture"))


def _recipe(folder: Path) -> None:
    (folder / "recipe.yaml").write_bytes((RECIPES / "nano.yaml").read_bytes())


def _questions(suffix: str, folder: Path) -> None:
    rows = [
        {"question": f"Is there a lamp {n}?", "answer": "yes", "scene": "kitchen", "choices": ["a", "b"]}
        for n in range(3)
    ]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    table = "question,answer,choices\nIs there a lamp?,yes,a|b\nHow many?,2,\n"
    text = {"jsonl": lines, "json": json.dumps({"questions": rows}), "csv": table}[suffix]
    (folder / f"questions.{suffix}").write_text(text)


def _read_questions(folder: Path) -> None:
    for path in folder.glob("questions*"):
        entries, _ = read_questions(path)
        json.dumps([entry.model_dump() for entry in entries], ensure_ascii=False).encode()


def questions() -> list[dict[str, Any]]:
    """Return rows of ScanQA's annotations."""
    row = {"scene_id": "scene0000_00", "question": "What is it?", "answers": ["a chair", "brown chair"]}
    return [{"question_id": f"q{n}", **row} for n in range(8)]


def _annotations(folder: Path) -> None:
    (folder / "val.json").write_text(json.dumps(questions()))
    (folder / "val.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in questions()[:5]))
    (folder / "table.tsv").write_text("index\tquestion\n1\twhat\n2\twhere\n")
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"index": [1, 2, 3], "question": ["what", "where", "who"]}), folder / "table.parquet")
    rows = [{"question_id": n, "question": "Is it?", "scene_id": "s", "situation": "here"} for n in range(3)]
    save_json(folder / "questions.json", questions=rows)
    save_json(
        folder / "answers.json", annotations=[{"question_id": n, "answers": [{"answer": "yes"}]} for n in range(3)]
    )


def _read_annotations(folder: Path) -> None:
    BENCHMARKS["scanqa"].read([folder / "val.json"])
    BENCHMARKS["sqa3d"].read([folder / "questions.json", folder / "answers.json"])
    for name in ("table.tsv", "table.parquet", "val.jsonl"):
        read_rows(folder / name, ["index", "question"])


def _predictions(suffix: str, folder: Path) -> None:
    rows = [{"id": f"q{n}", "prediction": f"thing {n}", "prompt": "What?"} for n in range(4)]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    table = "id,prediction\n" + "".join(f"q{n},thing {n}\n" for n in range(4))
    lmms = json.dumps([{"doc_id": n, "filtered_resps": ["a"], "target": "x"} for n in range(4)])
    (folder / f"predictions.{suffix}").write_text({"jsonl": lines, "csv": table, "json": lmms}[suffix])


def _read_predictions(folder: Path) -> None:
    (folder.parent / "val.json").write_text(json.dumps(questions()[:4]))
    for path in folder.glob("predictions*"):
        read_predictions(path, BENCHMARKS["scanqa"].read([folder.parent / "val.json"]))


def _report(folder: Path) -> None:
    from tests.evaluation.small_report import scored

    scored(folder, "report", range(10))


def _records(folder: Path) -> None:
    write_records(folder / "records", 2)


def _read_records(folder: Path) -> None:
    store = RecordStore(folder / "records")
    store.summary()
    for record in store:
        assert isinstance(record, Record)
    for id in store.ids():
        store.answered(id)
    problems = store.check()
    if problems:
        raise SceneError(problems[0])


def _partial(folder: Path) -> None:
    parts = PartialAnswers(folder)
    for index in range(3):
        parts.add(
            "a" * 32,
            index,
            TeacherAnswer("yes", np.array([1, 2]), np.array([[1], [2]]), np.zeros((2, 1)), [["a"], [None]]),
        )


def _run_json(folder: Path) -> None:
    data = {"records": str(folder / "records"), "seed": 1}
    (folder / "model").mkdir()
    save_json(folder / "run.json", recipe={"seed": 1, "data": data, "init_from": None}, commit="abc", records={"n": 1})


def _balance(folder: Path) -> None:
    AnswerBalance({("count", "chair"): {"2": 3}}, 0, 0.0).save(folder / "balance.json.gz")


def _completions(folder: Path) -> None:
    choice = {"message": {"content": [{"type": "text", "text": "a chair"}], "refusal": None}, "finish_reason": "stop"}
    save_json(folder / "response.json", choices=[choice], usage={"prompt_tokens": 5, "completion_tokens": 2})
    save_json(folder / "error.json", error={"message": "no", "code": "x", "innererror": {"code": "content_filter"}})


def _read_completions(folder: Path) -> None:
    from dollhouse.teachers.completions import parse_completion, parse_error, parse_json

    for path in folder.glob("*.json"):
        if not path.is_file() or path.stat().st_size > 1 << 23:
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        parse_error(text)
        try:
            completion = parse_completion(parse_json(text))
            completion.text.encode()
        except ValueError as error:  # the client turns it into a failure of the request
            raise SceneError("no completion") from error


def _export(folder: Path) -> None:
    from onnx import TensorProto, helper
    from tokenizers import Tokenizer, models

    from tests.runtime.test_certificate import write_export

    a, b = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ab")
    graph = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "encoder", [a], [b])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    contents = {"float32/encoder.onnx": model.SerializeToString(), "config.json": b"{}", "processor_config.json": b"{}"}
    contents["tokenizer.json"] = Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).to_str().encode()
    write_export(folder / "onnx", contents)


def _read_export(folder: Path) -> None:
    from dollhouse.runtime.certificate import check_certificate
    from dollhouse.runtime.student import OnnxStudent

    check_certificate(folder / "onnx")
    student = OnnxStudent(folder / "onnx", "float32", certified=False)
    _ = student.tokenizer, student.model_id
    student.graph("encoder")


def _house(folder: Path) -> None:
    write_house(folder / "house")


def _read_house(folder: Path) -> None:
    for scene in open_scenes(folder / "house", skip_bad=True, frames=1):  # drawing takes most of the time
        _ = scene.views[0].depth if scene.views else None


READERS: tuple[FuzzedReader, ...] = (
    FuzzedReader("recipe", _recipe, lambda folder: read_recipe(folder / "recipe.yaml")),
    FuzzedReader("scene.json", lambda f: save_scene(small_scene(), f / "saved"), partial(_read_scene, name="saved")),
    FuzzedReader("scannet", _scan, _read_scan),
    FuzzedReader("scan list", _scan_list, lambda folder: len(open_scenes(folder / "list.txt"))),
    FuzzedReader("stream", lambda f: fixture_scans.write_stream(f / "a.sens"), partial(_read_scene, name="a.sens")),
    *(FuzzedReader(layout, partial(_capture, layout), _read_capture) for layout in LAYOUTS),
    FuzzedReader("3d-front", _house, _read_house),
    FuzzedReader("midi3d", lambda f: write_midi_room(f / "room", small_scene()), partial(_read_scene, name="room")),
    FuzzedReader("photos", _photos, _read_scene),
    *(
        FuzzedReader(f"questions.{kind}", partial(_questions, kind), _read_questions)
        for kind in ("jsonl", "json", "csv")
    ),
    *(
        FuzzedReader(f"predictions.{kind}", partial(_predictions, kind), _read_predictions)
        for kind in ("jsonl", "json", "csv")
    ),
    FuzzedReader("annotations", _annotations, _read_annotations),
    FuzzedReader("report", _report, lambda folder: verify_report(folder / "report"), heavy=True),
    FuzzedReader("records", _records, _read_records),
    FuzzedReader("partial answers", _partial, lambda folder: PartialAnswers(folder).read("a" * 32)),
    FuzzedReader("run.json", _run_json, lambda folder: model_lineage(folder / "model")),
    FuzzedReader("answer balance", _balance, lambda folder: AnswerBalance.load(folder / "balance.json.gz")),
    FuzzedReader("completions", _completions, _read_completions),
    FuzzedReader("export", _export, _read_export),
    FuzzedReader("run folder", model_readers.write_run, model_readers.read_run, heavy=True),
    FuzzedReader("weights", model_readers.write_weights, model_readers.read_weights, heavy=True),
    FuzzedReader("student", model_readers.write_student, model_readers.read_student, heavy=True),
    FuzzedReader("teacher", model_readers.write_teacher, model_readers.read_teacher, heavy=True),
)


def outcome(read: Callable[[Path], Any], folder: Path) -> tuple[str, str]:
    """Read a damaged input: "works", "named error" or "traceback", and the error's place and words."""
    try:
        read(folder)
    except DollhouseError as error:
        text = str(error)
        try:
            text.encode()
        except UnicodeEncodeError:
            return "traceback", f"message with half a character: {text!a:.200}"
        return (
            ("named error", "")
            if text and "\n" not in text
            else ("traceback", f"message of several lines: {text!r:.200}")
        )
    except Exception as error:
        import traceback

        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "/dollhouse/" in frame.filename] or frames
        place = f"{own[-1].filename.rpartition('/dollhouse/')[2]}:{own[-1].lineno}"
        return "traceback", f"{place}: {type(error).__name__}: {str(error)!a:.160}"
    return "works", ""
