"""Progress without a terminal: a line now and then, with rate and time left."""

from __future__ import annotations

import pytest

from dollhouse.system import progress
from dollhouse.system.progress import ProgressBar


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_have_rate_and_time_left(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("annotate") as bar:
        for done in range(1, 21):
            clock[0] += 2
            bar.update(done, 40, "3 failed")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"annotate {done}/40  30.0 scenes/min, 3 failed  left 0:{left // 60:02d}:{left % 60:02d}"
        for done, left in ((5, 70), (10, 60), (15, 50), (20, 40))
    ]


def test_skipped_items_count_for_no_rate(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("evaluate", total=100, unit="rooms") as bar:
        clock[0] = 10
        bar.update(70, skipped=50)
    assert capsys.readouterr().err == "evaluate 70/100  2.0 rooms/s  left 0:00:15\n"


def test_before_the_first_new_item_there_is_no_rate(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("annotate", total=100) as bar:
        clock[0] = 10
        bar.update(70, note="70 existing", skipped=70)
    assert capsys.readouterr().err == "annotate 70/100  70 existing\n"


def test_nothing_is_printed_where_not_shown(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("evaluate", total=10, shown=False) as bar:
        clock[0] = 100
        bar.update(5)
    assert capsys.readouterr().err == ""
