"""Variables have names that say what they hold."""

from __future__ import annotations

import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]
FORBIDDEN = {"told", "said", "one", "thing"}


def test_no_variable_has_a_name_that_says_nothing() -> None:
    folders = ("dollhouse", "experiments", "benchmarks", "examples", "tests")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 400
    found = []
    for path in files:
        with path.open(encoding="utf-8") as file:
            tokens = tokenize.generate_tokens(file.readline)
            found += [f"{path}:{t.start[0]}" for t in tokens if t.type == tokenize.NAME and t.string in FORBIDDEN]
    assert not found
