"""The table of faults names tests that exist, and so do the pages of promises."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAULTS = 21


def functions(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_fault_names_its_tests() -> None:
    page = (ROOT / "docs/faults.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| .+ \| (.+) \|$", page, re.MULTILINE)
    assert {int(fault) for fault, _ in rows} == set(range(1, FAULTS + 1))
    for _, tests in rows:
        named = [re.fullmatch(r"`(tests/[\w/]+\.py)::(test_\w+)`", test) for test in tests.split(", ")]
        assert all(match and match[2] in functions(match[1]) for match in named), tests


@pytest.mark.parametrize("page", ["security.md", "guarantees.md"])
def test_every_promise_names_files_that_exist(page: str) -> None:
    named = re.findall(r"`(tests/[^`]*)`", (ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert named
    assert not [path for path in named if not (ROOT / path).exists()]
