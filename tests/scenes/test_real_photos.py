"""Real photos as people bring them: all formats, upright, of mixed shapes, as a panorama. Skipped without samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from dollhouse.scenes.open import open_scene
from dollhouse.scenes.view_preprocessing import preprocess_view

SUFFIXES = (".jpg", ".heic", ".avif", ".png", ".webp", ".tif")


def test_real_rooms_open_whole(shared_data: Path) -> None:
    folders = [folder for folder in (shared_data / "real" / "rooms").iterdir() if folder.is_dir()]
    for folder in folders:
        scene = open_scene(folder, skip_bad=True)
        assert len(scene.views) == len(list(folder.glob("*.jpg")))
        assert not scene.metadata["skipped"]
        assert len({preprocess_view(view, 252).image.shape for view in scene.views}) == 1


def test_twenty_real_photos_of_all_formats_and_shapes_are_one_scene(shared_data: Path, tmp_path: Path) -> None:
    sources = sorted((shared_data / "real" / "photos").glob("*.jpg"))[:20]
    for number, source in enumerate(sources):
        image = Image.open(source).convert("RGB")
        image.thumbnail((1280, 1280))
        width, height = image.size
        if number % 4 == 1:  # upright
            image = image.crop((0, 0, height * 3 // 4, height))
        elif number % 4 == 2:  # 16:9
            image = image.crop((0, 0, width, width * 9 // 16))
        image.save(tmp_path / f"{number}{SUFFIXES[number % 6]}")
    wide = np.asarray(Image.open(sources[0]).convert("RGB").resize((512, 512)))
    Image.fromarray(np.concatenate([wide, wide[:, ::-1]], 1)).save(
        tmp_path / "pano.jpg", xmp=b'<x GPano:ProjectionType="equirectangular"/>'
    )
    (tmp_path / "0.mov").touch()
    scene = open_scene(tmp_path, skip_bad=True)
    assert len(scene.views) == 26
    assert not scene.metadata["skipped"]
    frames = [preprocess_view(view, 126).image for view in scene.views]
    assert len({frame.shape for frame in frames}) == 1
    assert min(frame.std() for frame in frames) > 5
    assert [notice.partition(":")[0] for notice in scene.notices] == ["warning", "framing", "not used"]
    assert "1 video of a Live Photo (0.mov)" in scene.metadata["unused"]
