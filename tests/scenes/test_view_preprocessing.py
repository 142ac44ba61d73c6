"""View preprocessing: sizes of VGGT's preprocessing, and all maps on one grid."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dollhouse.geometry import camera_rays, intrinsics_from_fov
from dollhouse.scenes.scene import View
from dollhouse.scenes.view_preprocessing import preprocess_image, preprocess_view


@pytest.mark.parametrize(
    ("size", "width", "framed"),
    [
        ((640, 480), 518, (518, 392)),
        ((1296, 968), 518, (518, 392)),
        ((540, 360), 126, (126, 84)),
        ((126, 126), 126, (126, 126)),
        ((480, 640), 126, (98, 126)),
        ((480, 500), 126, (126, 126)),
        ((2000, 100), 126, (126, 14)),
        ((480, 640), 252, (196, 252)),
        ((14, 14), 28, (28, 28)),
    ],
)
def test_sizes_are_whole_patches(size: tuple[int, int], width: int, framed: tuple[int, int]) -> None:
    image = np.zeros((size[1], size[0], 3), np.uint8)
    assert preprocess_image(image, width).shape == (framed[1], framed[0], 3)


def test_an_image_of_the_target_size_is_unchanged() -> None:
    image = np.random.default_rng(0).integers(0, 255, (84, 126, 3), np.uint8)
    np.testing.assert_array_equal(preprocess_image(image, 126), image)


def test_a_tall_image_keeps_all_rows() -> None:
    image = np.random.default_rng(0).integers(0, 255, (300, 165, 3), np.uint8)
    resized = np.asarray(Image.fromarray(image).resize((70, 126), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(preprocess_image(image, 126), resized)


def test_depth_and_ids_are_aligned_with_colour() -> None:
    """A slanted wall in two cameras of different size and focal length; the resampled depth is exact."""
    colour_k = intrinsics_from_fov(np.radians(70), 300, 400)
    colour_k[0, 2] += 6.0
    depth_k = intrinsics_from_fov(np.radians(60), 640, 480)

    def wall(intrinsics: np.ndarray, width: int, height: int) -> np.ndarray:
        """z-depth of the plane z = 3 + 0.2 x - 0.1 y."""
        rays = camera_rays(intrinsics, width, height)
        return (3.0 / (1 - 0.2 * rays[..., 0] + 0.1 * rays[..., 1])).astype(np.float32)

    ids = np.repeat(np.arange(400, dtype=np.int32)[:, None], 300, axis=1)
    view = View(
        name="wall",
        open_image=lambda: np.zeros((400, 300, 3), np.uint8),
        intrinsics=colour_k,
        open_depth=lambda: wall(depth_k, 640, 480),
        depth_intrinsics=depth_k,
        open_instances=lambda: ids,
    )
    frame = preprocess_view(view, 126)
    assert frame.intrinsics is not None
    assert frame.depth is not None
    assert frame.instances is not None
    assert frame.image.shape == (126, 98, 3)
    assert frame.depth.dtype == np.float32
    assert frame.instances.dtype == np.int32
    expected = wall(frame.intrinsics, 98, 126)
    seen = frame.depth > 0
    assert 0.3 < seen.mean() < 0.9  # the sides are outside the narrower depth camera
    np.testing.assert_allclose(frame.depth[seen], expected[seen], atol=0.004)
    np.testing.assert_array_equal(frame.instances[:, 0], np.floor((np.arange(126) + 0.5) * 400 / 126))


def test_without_intrinsics_depth_is_scaled_to_the_image() -> None:
    depth = np.arange(42 * 63, dtype=np.float32).reshape(42, 63) + 1
    view = View("plain", lambda: np.zeros((84, 126, 3), np.uint8), open_depth=lambda: depth)
    frame = preprocess_view(view, 126)
    assert frame.intrinsics is None
    np.testing.assert_array_equal(frame.depth, depth.repeat(2, 0).repeat(2, 1))


def test_a_view_of_the_target_size_is_unchanged() -> None:
    generator = np.random.default_rng(1)
    image = generator.integers(0, 255, (126, 126, 3), np.uint8)
    depth = generator.random((126, 126), np.float32)
    ids = generator.integers(0, 9, (126, 126)).astype(np.int32)
    intrinsics = intrinsics_from_fov(1.1, 126, 126)
    for depth_intrinsics in (None, intrinsics):
        view = View("made", lambda: image, intrinsics, None, lambda: depth, depth_intrinsics, lambda: ids)
        frame = preprocess_view(view, 126)
        np.testing.assert_array_equal(frame.image, image)
        np.testing.assert_array_equal(frame.depth, depth)
        np.testing.assert_array_equal(frame.instances, ids)
        np.testing.assert_allclose(frame.intrinsics, intrinsics)


@pytest.mark.parametrize("width", [0, 13, 100])
def test_other_widths_are_refused(width: int) -> None:
    with pytest.raises(ValueError, match="multiple of 14"):
        preprocess_view(View("made", lambda: np.zeros((20, 20, 3), np.uint8)), width)
