"""Time opening 1,000 frames of every layout of posed captures, and check their poses.

    python -m benchmarks.open_captures [--frames 1000]

The four views of the tests' fixtures are repeated, so files are small: what is timed is listing, parsing and checking
headers, not decoding. Prints views, seconds, the median depth error between views, and what was left out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from dollhouse.scenes.open import open_scene
from dollhouse.scenes.scannet_writer import write_scannet
from dollhouse.scenes.scene import Scene, View
from dollhouse.scenes.synthetic.room_scene import room_scene
from tests.scenes import fixture_captures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=1000)
    count = parser.parse_args().frames
    four = fixture_captures.frames()
    fixture_captures.frames = lambda: tuple(four[index * 4 // count] for index in range(count))  # type: ignore[assignment]
    print(f"{'layout':16} {'views':>6} {'seconds':>8} {'pose error':>11}  left out")
    for layout in (*fixture_captures.LAYOUTS, "scannet", "scannet_sens"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scan"
            if layout.startswith("scannet"):
                write_scannet(_repeated(room_scene("test", 0), count), path, stream=layout.endswith("sens"))
            else:
                path = fixture_captures.write_capture(layout, path)
            started = time.perf_counter()
            scene = open_scene(path)
            seconds = time.perf_counter() - started
            check = scene.metadata.get("pose_check") or {}
            left_out = len(scene.metadata["skipped"]) + scene.metadata["frames_skipped"]
            print(f"{layout:16} {len(scene.views):6} {seconds:8.2f} {check.get('error')!s:>11}  {left_out}", flush=True)


def _repeated(scene: Scene, count: int) -> Scene:
    views: tuple[View, ...] = tuple(scene.views[index * len(scene.views) // count] for index in range(count))
    return Scene(scene.name, views, scene.boxes, metadata=scene.metadata)


if __name__ == "__main__":
    main()
