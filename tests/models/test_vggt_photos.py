"""Official preprocessing: what the golden files do not show (faults, files, places)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dollhouse.errors import SceneError
from dollhouse.models.vggt.image_processing import Mode, official_photos
from dollhouse.scenes.view_preprocessing import preprocess_image

PHOTO = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)


def test_crop_is_what_the_student_is_fed() -> None:
    made = official_photos([PHOTO], size=56).pixel_values
    expected = torch.from_numpy(preprocess_image(PHOTO, 56).copy()).permute(2, 0, 1) / 255
    torch.testing.assert_close(made[0], expected)


@pytest.mark.parametrize("mode", ["crop", "pad", "square"])
@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (50, 50)])
def test_the_photo_lies_where_it_is_said_to(mode: Mode, shape: tuple[int, int]) -> None:
    """A grey photo on the fill: what is grey is what ``placed`` says, to a pixel's width at its borders."""
    made = official_photos([np.full((*shape, 3), 128, np.uint8)], mode, 56)
    left, top, right, bottom, width, height = made.placed[0].tolist()
    assert (height, width) == shape
    grey = (made.pixel_values[0, 0] - 128 / 255).abs() < 0.01
    rows, columns = grey.any(1).nonzero().squeeze(-1), grey.any(0).nonzero().squeeze(-1)
    tall, wide = made.pixel_values.shape[-2:]
    assert abs(int(rows[0]) - max(top, 0)) <= 1
    assert abs(int(rows[-1]) + 1 - min(bottom, tall)) <= 1
    assert abs(int(columns[0]) - max(left, 0)) <= 1
    assert abs(int(columns[-1]) + 1 - min(right, wide)) <= 1


def test_grey_and_palette_files_are_read_as_colour(tmp_path: Path) -> None:
    for mode in ("L", "P"):
        path = tmp_path / f"{mode}.png"
        Image.fromarray(PHOTO).convert(mode).save(path)
        assert official_photos([path], size=56).pixel_values.shape == (1, 3, 42, 56)


def test_faults_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    with pytest.raises(SceneError, match=r"text\.jpg cannot be read"):
        official_photos([tmp_path / "text.jpg"])
    with pytest.raises(SceneError, match=r"absent\.jpg"):
        official_photos([tmp_path / "absent.jpg"])
    with pytest.raises(SceneError, match="photo 1 is an array"):
        official_photos([PHOTO, PHOTO[..., 0]])
    with pytest.raises(SceneError, match="float64"):
        official_photos([PHOTO / 255])
    with pytest.raises(SceneError, match="no photos"):
        official_photos([])
    with pytest.raises(ValueError, match="choose crop, pad or square"):
        official_photos([PHOTO], "stretch")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="multiple of 14"):
        official_photos([PHOTO], size=500)
