"""Name the jobs behind each table, and build the table from what the cache holds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from dollhouse.evaluation.tables.measurements import MeasurementsBuilder, photo_row
from dollhouse.evaluation.tables.statistics import ROUGE
from dollhouse.evaluation.tables.table import Cell, Table
from dollhouse.evaluation.tables.table import Row as TableRow
from dollhouse.questions.sampling import FAMILIES
from dollhouse.system.read_files import decode_json
from dollhouse.training.plots import WEIGHT, losses_of, read_stages
from experiments.paper import efficiency, hidden_cot
from experiments.paper.experiment import Experiment, Job
from experiments.paper.measure import ROOMS_FILE
from experiments.paper.spec import Row

BLIND = "{}, blind"  #: name of a model's blind control
SCORES = [f"BLEU-{order}" for order in range(1, 5)]
SCORES += [name + part for name in ROUGE for part in ("", " precision", " recall")]
LAST = 0.25  #: share of a run over which losses and weights are averaged for the gap to Eq. 2's optimum


def table_jobs(experiment: Experiment, key: str) -> list[Job]:
    """Return the jobs of a table."""
    table, rows = experiment.spec.tables[key], experiment.spec.rows_of(key)
    if table.kind == "timing":  # its rows are the models that are timed
        return [job for job in [efficiency.timing_job(experiment, table.paper_size)] if job is not None]
    jobs: list[Job] = []
    for row in rows.values():
        if table.kind == "controls":
            seeds = experiment.spec.seeds_of(row) if experiment.can_run(row) else []
            jobs += experiment.row_jobs(key, row) if row.recipe else []  # its questions, and its run
            jobs += [hidden_cot.probe_job(experiment, row, seed) for seed in seeds]
        elif table.kind not in ("bench", "real"):
            jobs += experiment.row_jobs(key, row, rows.get(row.compare_with or table.base or ""))
    return jobs


class TableBuilder:
    """Builds tables, and collects the measurements that their cells name."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.builder = MeasurementsBuilder()

    def build(self, key: str) -> Table | None:
        """Return a table without values from what was measured so far; None where nothing was."""
        described = self.experiment.spec.tables[key]
        left_out: list[str] = []
        rows = list(BUILD[described.kind](self, key, left_out))
        if not rows:
            return None
        names = {row.name for row in rows}
        rows = [row if row.base in names else row.model_copy(update={"base": None}) for row in rows]
        filled = {name for row in rows for name in row.cells}
        columns = [column.model_dump(exclude={"figure"}) for column in described.columns if column.name in filled]
        texts: dict[str, Any] = {"sentences": described.sentences, "method": [described.method], "left_out": left_out}
        texts |= {"title": described.title, "paper": described.paper, "picture": described.picture}
        return Table(key=key, columns=columns, rows=rows, **texts)

    def measured(self, name: str, entry: Path) -> str:
        """Add a measurement below a name, and its blind control; returns the name."""
        if name in self.builder.models:
            return name
        facts = json.loads((entry / ROOMS_FILE).read_text(encoding="utf-8"))
        rows = [decode_json(line) for line in (entry / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
        model, _, weights = str(facts["model"]).partition("@")
        report = decode_json((entry / "report.json").read_bytes())
        provenance = {part: report["provenance"].get(part) for part in ("scenes", "commit")}
        self.builder.models[name] = {
            "model": model,
            "weights": weights,
            "parameters": facts["parameters"],
            **provenance,
        }
        self.builder.add_answers(name, rows)
        self.builder.add_rooms(name, facts["rooms"])
        for loss, values in (facts["losses"] or {}).items():
            self.builder.add_series(name, f"loss/{loss}", values)
        if rows and isinstance(rows[0].get("blind_prediction"), str):
            blind = str(report["model"]["blind"]).partition("@")
            self.builder.models[BLIND.format(name)] = {"model": blind[0], "weights": blind[2]}
            self.builder.add_answers(BLIND.format(name), rows, "blind_prediction")
        return name

    def row_models(self, key: str, row: Row, left_out: list[str]) -> dict[str, str]:
        """Add what was measured of a row, one model a seed, and name in ``left_out`` what was not."""
        experiment, models = self.experiment, {}
        if row.model is not None and row.model.endswith(BLIND.format("")):
            return {"0": row.model} if row.model in self.builder.models else {}
        for seed in experiment.spec.seeds_of(row):
            entry = experiment.measured_entry(row, seed)
            if entry is None:
                why = f"give --model {row.model}=FOLDER" if row.model else f"seed {seed}"
                left_out.append(f"{row.name} ({why})")
                continue
            name = row.model or f"{row.same_as or f'{key}/{row.name}'}, seed {seed}"
            name += ", true boxes" if row.oracle_boxes else ""
            models[str(seed)] = self.measured(name, entry)
            self._add_curves(row, seed, name)
        return models

    def _add_curves(self, row: Row, seed: int, name: str) -> None:
        """Add where losses and weights ended, and the gap of each log sigma^2 to the optimum of Eq. 2."""
        folder = self.experiment.run_folder(row, seed)
        if folder is None or any(line["name"].startswith("end/") for line in self.builder.series_of(name)):
            return
        stages = list(read_stages(folder / "metrics.jsonl").values())
        if not stages:
            return
        stage = stages[-1]
        last = [line for line in stage if line["step"] > (1 - LAST) * stage[-1]["step"]]
        for loss in losses_of(stage[0]):
            values = [line[loss] for line in last if loss in line]
            weights = [line[WEIGHT + loss] for line in last if WEIGHT + loss in line]
            if values and weights and fmean(values) > 0:
                self.builder.add_series(name, f"end/{loss}", [fmean(values)])
                log_variances = [-math.log(2 * weight) for weight in weights]
                self.builder.add_series(name, f"log_variance/{loss}", [fmean(log_variances)])
                self.builder.add_series(name, f"gap/{loss}", [fmean(log_variances) - math.log(fmean(values))])

    def comparison(self, key: str, left_out: list[str]) -> Iterator[TableRow]:
        """Yield rows of models and runs."""
        spec, table = self.experiment.spec, self.experiment.spec.tables[key]
        teacher = "teacher" if "teacher" in self.experiment.models else None
        for name, row in spec.rows_of(key).items():
            models = self.row_models(key, row, left_out)
            columns = [column for column in table.columns if not row.columns or column.name in row.columns]
            cells = {}
            for column in columns if models else ():
                if self._has(column.figure, next(iter(models.values()))):
                    reference = teacher if column.figure == "rouge_1" else None
                    cells[column.name] = Cell(figure=column.figure, models=models, reference=reference)
            if cells:
                base = row.compare_with or (table.base if table.base != name else None)
                yield TableRow(name=name, cells=cells, base=base)

    def _has(self, figure: str, model: str) -> bool:
        kind, _, part = figure.partition("/")
        if kind == "series":
            return any(line["name"] == part for line in self.builder.series_of(model))
        if kind == "fact":
            return part in self.builder.models[model]
        return kind in ("accuracy", "chance") or self.builder.has_perception(model)

    def retention(self, key: str, left_out: list[str]) -> Iterator[TableRow]:
        """Yield accuracies of student, teacher and plain VLM by family, and how much the student keeps."""
        rows = self.experiment.spec.rows_of(key)
        found = {name: self.row_models(key, row, left_out) for name, row in rows.items()}
        if not (found["student"] and found["teacher"]):
            return
        student, teacher = found["student"], next(iter(found["teacher"].values()))
        blind = {"0": BLIND.format(next(iter(student.values())))}
        for name in (*FAMILIES, "all four"):
            part = "" if name == "all four" else f"/{name}"
            accuracy, chance = f"accuracy{part}", f"chance{part}"
            cells = {
                "student": Cell(figure=accuracy, models=student),
                "teacher": Cell(figure=accuracy, models=found["teacher"]),
                "kept, above chance": Cell(figure=accuracy, models=student, over=teacher, corrected=True),
                "kept, raw": Cell(figure=accuracy, models=student, over=teacher),
                "chance": Cell(figure=chance, models=student),
            }
            if plain := found.get("plain VLM"):
                cells["plain VLM"] = Cell(figure=accuracy, models=plain)
            if blind["0"] in self.builder.models:
                cells["blind"] = Cell(figure=accuracy, models=blind)
            yield TableRow(name=name, cells=cells)

    def real(self, key: str, left_out: list[str]) -> Iterator[TableRow]:
        """Yield what reports of a benchmark hold: student, composite teacher, blind control, by family."""
        reports = self.experiment.reports
        if missing := [name for name in ("student", "teacher") if name not in reports]:
            left_out += [f"{name} (give --report {name}=FOLDER)" for name in missing]
            return
        names = {name: f"real photos, {name}" for name in reports}
        for name, folder in reports.items():
            report = decode_json((folder / "report.json").read_bytes())
            lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
            rows = [photo_row(decode_json(line)) for line in lines]
            model, provenance = report["model"], report["provenance"]
            facts = {"name": model.get("name") or model.get("teacher") or name, "weights": model.get("weights")}
            self.builder.models[names[name]] = facts | {"commit": provenance.get("commit")}
            self.builder.add_answers(names[name], rows)
            if isinstance(rows[0].get("blind_prediction"), str):
                self.builder.models[BLIND.format(names[name])] = {"name": report["model"].get("blind")}
                self.builder.add_answers(BLIND.format(names[name]), rows, "blind_prediction")
        families = sorted({str(row["family"]) for row in rows})
        student, teacher, blind = {"0": names["student"]}, names["teacher"], {"0": BLIND.format(names["student"])}
        for family in (*families, "all"):
            accuracy, chance = f"accuracy/{family}", f"chance/{family}"
            cells = {
                "student": Cell(figure=accuracy, models=student),
                "teacher": Cell(figure=accuracy, models={"0": teacher}),
                "kept, above chance": Cell(figure=accuracy, models=student, over=teacher, corrected=True),
                "kept, raw": Cell(figure=accuracy, models=student, over=teacher),
                "blind": Cell(figure=accuracy, models=blind),
                "chance": Cell(figure=chance, models=student),
            }
            yield TableRow(name=family, cells=cells)

    def text(self, key: str, left_out: list[str]) -> Iterator[TableRow]:
        """Yield text scores of the student's descriptions against the teacher's."""
        found = {row.model: self.row_models(key, row, left_out) for row in self.experiment.spec.rows_of(key).values()}
        if not all(found.values()):
            return
        (student, teacher), reference = found.values(), next(iter(list(found.values())[1].values()))
        blind = {"0": BLIND.format(next(iter(student.values())))}
        described = {"": student} | ({"blind, ": blind} if blind["0"] in self.builder.models else {})
        for name in SCORES:
            cells = {
                f"{whose}{column}": Cell(figure=f"{kind}/{name}", models=models, reference=reference)
                for whose, models in described.items()
                for column, kind in (("as they are", "text"), ("length-normalised", "short"))
            }
            yield TableRow(name=name, cells=cells)
        for name, models in (("words, student", student), ("words, teacher", teacher)):
            yield TableRow(name=name, cells={"as they are": Cell(figure="words", models=models)})

    def cases(self, key: str, left_out: list[str]) -> Iterator[TableRow]:
        """Yield one success and one failure of the first row's model, beside the other rows' answers."""
        found = {name: self.row_models(key, row, []) for name, row in self.experiment.spec.rows_of(key).items()}
        models = {name: next(iter(models.values())) for name, models in found.items() if models}
        ours = next(iter(found))
        if ours not in models:
            return
        chosen = self.builder.choose_cases(models[ours], BLIND.format(models[ours]))
        for name, id in chosen.items():
            cells = {"room": Cell(figure="scene", answer_to=id), "question": Cell(figure="question", answer_to=id)}
            cells |= {"geometry": Cell(figure="answer", answer_to=id)}
            cells |= {other: Cell(answer_to=id, models={"0": model}) for other, model in models.items()}
            yield TableRow(name=name, cells=cells)

    def controls(self, key: str, left_out: list[str]) -> Iterator[TableRow]:
        """Yield accuracies with the thinking tokens replaced."""
        experiment, columns = self.experiment, self.experiment.spec.tables[key].columns
        for name, row in experiment.spec.rows_of(key).items():
            if not experiment.can_run(row):
                left_out.append(f"{name} (give --model {row.model or experiment.spec.base}=FOLDER)")
                continue
            if row.recipe:
                self.row_models(key, row, [])
            entries = {}
            for seed in experiment.spec.seeds_of(row):
                if probe := experiment.entry(hidden_cot.probe_job(experiment, row, seed)):
                    entries[str(seed)] = probe
                else:
                    left_out.append(f"{name} (seed {seed})")
            figures = {column.name: column.figure for column in columns}
            yield from hidden_cot.control_rows(self.builder, name, entries, figures)

    def optimum(self, key: str, left_out: list[str]) -> Iterator[TableRow]:
        """Yield by loss how far log sigma^2 ended from Eq. 2's optimum."""
        row = next(iter(self.experiment.spec.rows_of(key).values()))
        models = self.row_models(key, row, left_out)
        first = next(iter(models.values()), "")
        for line in self.builder.series_of(first):
            kind, _, loss = line["name"].partition("/")
            if kind == "gap":
                parts = {"loss": "end", "log sigma²": "log_variance", "gap": "gap"}
                cells = {name: Cell(figure=f"series/{part}/{loss}", models=models) for name, part in parts.items()}
                yield TableRow(name=loss, cells=cells)

    def timing(self, key: str, left_out: list[str]) -> Iterator[TableRow]:
        """Yield times of teacher and student."""
        yield from efficiency.timing_rows(self.experiment, self.builder, key, left_out)

    def bench(self, key: str, left_out: list[str]) -> Iterator[TableRow]:
        """Yield what ``dollhouse bench --out`` measured."""
        yield from efficiency.bench_rows(self.experiment, self.builder, key, left_out)


BUILD: dict[str, Callable[[TableBuilder, str, list[str]], Iterator[TableRow]]] = {
    name: getattr(TableBuilder, name)
    for name in ("comparison", "retention", "real", "text", "cases", "controls", "optimum", "bench", "timing")
}  #: by the ``kind`` of a table
