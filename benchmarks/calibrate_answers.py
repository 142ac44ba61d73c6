"""Store the calibration that a report of ``dollhouse benchmark real-photos`` measured in a model's configuration.

    python -m benchmarks.calibrate_answers REPORT MODEL

``answer_temperature`` and ``min_confidence`` of MODEL/config.json become those of the report, made with that model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from dollhouse.errors import ScoreError
from dollhouse.evaluation.report.report_schema import read_report
from dollhouse.system.atomic_io import write_text
from dollhouse.system.checksums import HASHES, write_checksums


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("model", type=Path)
    given = parser.parse_args()
    report, file = read_report(given.report)
    calibration = report["scores"].get("more", {}).get("calibration")
    if calibration is None:
        raise ScoreError(f"{file}: it holds no calibration; make it with dollhouse benchmark real-photos")
    path = given.model / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["answer_temperature"] = report["model"]["answer_temperature"] * calibration["temperature"]
    config["min_confidence"] = calibration["threshold"]
    write_text(path, json.dumps(config, indent=2) + "\n")
    if (given.model / HASHES).exists():
        write_checksums(given.model)
    print(f"{path}: temperature {config['answer_temperature']:.3f}, threshold {config['min_confidence']}")


if __name__ == "__main__":
    main()
