"""Posed scenes -> what the model sees: against this project's own geometry, and the official layout beside a scan."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dollhouse.errors import SceneError, TeacherError
from dollhouse.geometry import back_project, transform_points
from dollhouse.models.llava3d.camera_json import CameraFile
from dollhouse.models.llava3d.processing import ViewPreprocessing, image_pixels, prepare_views, sample_frames
from dollhouse.models.llava3d.voxel_pooling import world_points
from dollhouse.scenes.open import open_scene
from dollhouse.scenes.scene import Scene
from tests.teachers.conftest import posed_scene

HOLO = Path(__file__).resolve().parents[2].parent / "shared/data/holo_office_a"


@pytest.mark.parametrize(("width", "height"), [(80, 64), (64, 80), (70, 70)])
def test_places_of_the_crop_are_places_of_the_scene(width: int, height: int) -> None:
    """Every unprojected pixel of the crop lies on the surface that the whole depth map shows, portrait or not."""
    scene = posed_scene(2, width, height)
    smooth = tuple(replace(view, open_depth=lambda: np.full((height, width), 2.0, np.float32)) for view in scene.views)
    scene = replace(scene, views=smooth)
    seen = prepare_views(scene, ViewPreprocessing(size=56))
    points = world_points(seen.depths, seen.intrinsics, seen.world_from_camera).numpy()
    for view, crop in zip(scene.views, points, strict=True):
        whole = transform_points(view.world_from_camera, back_project(view.depth, view.intrinsics))
        side = min(width, height)
        top, left = (height - side) // 2, (width - side) // 2
        middle = whole[top : top + side, left : left + side]
        # half a pixel is the most that the official formula (no half-pixel in its scaling) may be off
        pixel = 2.0 / view.intrinsics[0, 0]
        assert np.abs(crop[0, 0] - middle[0, 0]).max() < 1.1 * pixel
        assert np.abs(crop[-1, -1] - middle[-1, -1]).max() < 1.1 * pixel
        assert np.abs(crop.mean((0, 1)) - middle.mean((0, 1))).max() < 0.6 * pixel


def test_the_portrait_fault_moves_portrait_images_only() -> None:
    for (width, height), same in (((80, 64), True), ((64, 80), False)):
        scene = posed_scene(1, width, height)
        right, wrong = (prepare_views(scene, ViewPreprocessing(56, portrait_fault=fault)) for fault in (False, True))
        assert torch.equal(right.intrinsics, wrong.intrinsics) == same
        assert torch.equal(right.depths, wrong.depths)


def test_depth_of_its_own_size_uses_its_own_intrinsics() -> None:
    scene = posed_scene(1, 80, 64)
    view = scene.views[0]
    doubled = view.intrinsics * [[2], [2], [1]]
    large = replace(
        view, intrinsics=doubled, open_image=lambda: np.zeros((128, 160, 3), np.uint8), depth_intrinsics=view.intrinsics
    )
    found, expected = (prepare_views(replace(scene, views=(one,)), ViewPreprocessing(56)) for one in (large, view))
    torch.testing.assert_close(found.intrinsics, expected.intrinsics)
    assert torch.equal(found.depths, expected.depths)


def test_frame_choice() -> None:
    assert sample_frames(7, 3, "official") == [0, 2, 4]
    assert sample_frames(5, 3, "official") == [0, 1, 2]
    assert sample_frames(2, 5, "official") == [0, 1, 0, 1, 0]
    assert sample_frames(3, 3, "official") == sample_frames(3, 3, "uniform") == [0, 1, 2]
    assert sample_frames(7, 3, "uniform") == [0, 3, 6]
    assert sample_frames(2, 5, "uniform") == [0, 1]


def test_scenes_that_cannot_be_looked_at() -> None:
    scene = posed_scene(2, 80, 64)
    flat = replace(scene, views=tuple(replace(view, open_depth=None) for view in scene.views))
    lost = replace(scene, views=tuple(replace(view, world_from_camera=None) for view in scene.views))
    blind = replace(scene, views=tuple(replace(view, intrinsics=None) for view in scene.views))
    for bad, says in (
        (flat, "poses and depth"),
        (lost, "poses and depth"),
        (replace(scene, views=()), "poses and depth"),
        (replace(scene, metric=False), "metres"),
        (blind, "lacks intrinsics"),
    ):
        with pytest.raises(TeacherError, match=says):
            prepare_views(bad, ViewPreprocessing(56))


def test_unknown_depth_becomes_zero() -> None:
    scene = posed_scene(1, 56, 56)
    broken = np.full((56, 56), np.nan, np.float32)
    broken[0] = np.inf
    views = tuple(replace(view, open_depth=lambda: broken) for view in scene.views)
    assert not prepare_views(replace(scene, views=views), ViewPreprocessing(56)).depths.any()


def test_padding_shows_the_whole_image() -> None:
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, :10] = 255
    assert image_pixels(image, 28, "pad")[0].max() > 1.5
    assert image_pixels(image, 28)[0].max() < 0  # the white edge is cropped away


def test_the_official_layout_shows_what_the_scan_shows(tmp_path: Path) -> None:
    if not HOLO.is_dir():
        pytest.skip("holo_office_a is not beside the repository")
    scan = open_scene(HOLO)
    aligned = np.loadtxt(HOLO / "axis_align_matrix.txt")
    cameras: dict[str, object] = {"axis_align_matrix": aligned.tolist()}
    for key, file in (("intrinsic", "intrinsic_color"), ("depth_intrinsic", "intrinsic_depth")):
        cameras[key] = np.loadtxt(HOLO / "intrinsic" / f"{file}.txt").tolist()
    for view in scan.views:
        colour = next(path for path in (HOLO / "color").iterdir() if path.stem == view.name)
        name = f"scannet/color/{colour.name}"
        pose = np.loadtxt(HOLO / "pose" / f"{view.name}.txt").tolist()
        cameras[name] = {"pose": pose, "depth": f"scannet/depth/{view.name}.png"}
    (tmp_path / "cameras.json").write_text(json.dumps({"scannet/holo": cameras}))
    (tmp_path / "scannet").symlink_to(HOLO)
    file = CameraFile(tmp_path / "cameras.json", tmp_path)
    assert file.names == ("scannet/holo",)
    preprocessing = ViewPreprocessing(num_frames=4)
    found, expected = (prepare_views(scene, preprocessing) for scene in (file.open_scene("scannet/holo"), scan))
    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.depths, expected.depths)
    torch.testing.assert_close(found.intrinsics, expected.intrinsics)
    torch.testing.assert_close(found.world_from_camera, expected.world_from_camera, atol=1e-4, rtol=0)


def test_camera_files_that_cannot_be_used(tmp_path: Path) -> None:
    one = np.eye(4).tolist()
    camera = [[50.0, 0, 30, 0], [0, 50.0, 20, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    frame = {"pose": one, "depth": "scannet/0.png"}
    good = {"axis_align_matrix": one, "intrinsic": camera, "depth_intrinsic": camera, "scannet/0.jpg": frame}
    path = tmp_path / "cameras.json"

    def opened(entry: object, name: str = "scannet/a") -> Scene:
        path.write_text(json.dumps({name: entry}))
        return CameraFile(path, tmp_path).open_scene(name)

    lost = good | {"scannet/1.jpg": frame | {"pose": [[-np.inf] * 4] * 4}}
    assert opened(lost).metadata["frames_skipped"] == len(opened(lost).views) == 1
    (tmp_path / "scannet").mkdir()
    Image.new("RGB", (60, 40)).save(tmp_path / "scannet/0.jpg")
    assert opened(good).views[0].image.shape == (40, 60, 3)
    for entry, says in (
        ([], "is not in it"),
        (good | {"axis_align_matrix": [[1]]}, "axis_align_matrix should be a 4x4"),
        (good | {"axis_align_matrix": camera}, "not a rotation"),
        (good | {"intrinsic": (np.eye(4) * 0).tolist()}, "focal lengths"),
        ({key: value for key, value in good.items() if key != "scannet/0.jpg"}, "no frames"),
        (good | {"scannet/0.jpg": frame | {"pose": camera}}, "its pose is not"),
        (good | {"scannet/0.jpg": frame | {"depth": "../../etc/passwd"}}, "leads out"),
        (good | {"scannet/0.jpg": 3}, "should hold an object"),
        (good | {"scannet/0.jpg": frame | {"pose": [[np.inf] * 4] * 4}}, "lost in all"),
    ):
        with pytest.raises(SceneError, match=says):
            opened(entry)
    with pytest.raises(SceneError, match="not known"):
        opened(good, "arkit/a")
    path.write_text("{")
    with pytest.raises(SceneError, match="is not JSON"):
        CameraFile(path, tmp_path)
    path.write_text("[]")
    with pytest.raises(SceneError, match="should hold a JSON object"):
        CameraFile(path, tmp_path)
    with pytest.raises(SceneError, match="cannot be read"):
        CameraFile(tmp_path / "absent.json", tmp_path)
