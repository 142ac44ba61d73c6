"""Changed copies of photos keep the answers that stay true."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples import photo_variants


def test_mirrored_copies_have_exchanged_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bright left half: wherever it lies in a copy, the answer names that side."""
    pixels = np.zeros((120, 160, 3), dtype=np.uint8)
    pixels[:, :80] = 200
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{name}.jpg")
    asked = [("orientation", "is the lamp to the left or right of the sofa?", "left"), ("attribute", "what?", "red")]
    rows = [
        {"scene": name, "family": family, "question": question, "answer": answer}
        for name in ("a", "b")
        for family, question, answer in [*asked, ("existence", "is there a lamp?", "yes")]
    ]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [str(tmp_path / "photos"), str(tmp_path / "questions.jsonl"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["photo_variants", *words])
    photo_variants.main()
    written = [json.loads(line) for line in (tmp_path / "out/questions.jsonl").read_text().splitlines()]
    assert len(written) == 2 * photo_variants.VARIANTS * 2, "none about colours"
    sides = set()
    for row in written:
        if row["family"] == "existence":
            assert row["answer"] == "yes"
            continue
        with Image.open(tmp_path / "out/photos" / row["scene"] / f"{row['scene']}.jpg") as copy:
            assert copy.size == (160, 120)
            grey = np.asarray(copy.convert("L"), dtype=float)
        bright = "left" if grey[:, :60].mean() > grey[:, -60:].mean() else "right"
        assert row["answer"] == bright
        sides.add(bright)
    assert sides == {"left", "right"}
