"""What the command takes of memory, as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import needs_model
from tests.scenes.fixture_scans import write_photo

MEASURED = """
import sys, resource
from dollhouse.cli import main
try:
    main()
finally:
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, file=sys.stderr)
"""


@needs_model
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system counts in other units")
def test_many_equal_photos_take_no_gigabytes(tmp_path: Path) -> None:
    """All their patches vote for the same places, which is the worst case for what groups them."""
    for number in range(16):
        write_photo(tmp_path / "photos" / f"{number:02}.jpg", (120, 80, 60), (1600, 1200))
    words = ["ask", str(tmp_path / "photos"), "How many chairs are there?", "--views", "16"]
    done = subprocess.run([sys.executable, "-c", MEASURED, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stderr.rsplit("peak ", 1)[1]) < 1.5e9  # of which torch itself takes about 0.5
