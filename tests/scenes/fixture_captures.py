"""Writers of posed captures: the same four views of a rendered room in every layout that is read."""

from __future__ import annotations

import json
import struct
import zipfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from dollhouse.geometry import invert_rigid, resize_intrinsics
from dollhouse.scenes.synthetic.meshes import room_meshes
from dollhouse.scenes.synthetic.render import render
from dollhouse.scenes.synthetic.room_scene import room_layout, room_scene

# 160x120 pixels, a quarter of what TUM's default calibration is for.
SIZE = (160, 120)
K = np.array([[131.25, 0.0, 80.0], [0.0, 131.25, 60.0], [0.0, 0.0, 1.0]])
CONFIDENCE = np.pad(np.ones((59, 80), dtype=np.uint8), ((1, 0), (0, 0)))  #: of half-size depth, 0 in its first row
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
Y_UP = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  #: y-up world from z-up world


class Frame(NamedTuple):
    """One rendered view; depth also at half the size, as phones have it."""

    image: np.ndarray
    depth: np.ndarray
    half_depth: np.ndarray
    pose: np.ndarray


@cache
def frames() -> tuple[Frame, ...]:
    """Render four views of rooms:test/0."""
    layout = room_layout("test", 0)
    poses = np.stack([view.world_from_camera for view in room_scene("test", 0).views])
    full = render(room_meshes(layout), layout.lighting, poses, K, *SIZE)
    half = render(room_meshes(layout), layout.lighting, poses, resize_intrinsics(K, 0.5, 0.5), 80, 60)
    return tuple(Frame(*parts) for parts in zip(full.images, full.depths, half.depths, poses, strict=True))


def save_image(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)
    return path


def save_depth(path: Path, depth: np.ndarray, units: float = 1000.0) -> Path:
    return save_image(path, np.round(depth * units).astype(np.uint16))


def words(values: np.ndarray) -> str:
    return " ".join(repr(float(value)) for value in np.ravel(values))


def rows(matrix: np.ndarray) -> str:
    return "\r\n".join(words(row) for row in matrix)


def save_text(path: Path, text: str) -> Path:
    """Write with a byte-order mark and CRLF, as editors on Windows do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\r\n", "\n").replace("\n", "\r\n").encode())
    return path


def save_json(path: Path, **content: object) -> None:
    save_text(path, json.dumps(content))


def quaternion(pose: np.ndarray) -> np.ndarray:
    return Rotation.from_matrix(pose[:3, :3]).as_quat()


def write_nerfstudio(folder: Path) -> None:
    applied = np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0.5], [0, 0, 0, 1]])
    entries = []
    for i, frame in enumerate(frames()):
        save_image(folder / f"images/{i}.jpg", frame.image)
        save_depth(folder / f"depth/{i}.png", frame.half_depth)
        matrix = (applied @ frame.pose @ OPENGL).tolist()
        entries.append({"file_path": f"images\\{i}", "depth_file_path": f"depth/{i}.png", "transform_matrix": matrix})
    camera = {"fl_x": 262.5, "cx": 160.0, "cy": 120.0, "w": 320, "h": 240}
    save_json(folder / "transforms.json", **camera, frames=entries, applied_transform=applied[:3].tolist())


def write_instant_ngp(folder: Path) -> None:
    entries = []
    for i, frame in enumerate(frames()):
        save_image(folder / f"{i}.png", frame.image)
        save_depth(folder / f"d{i}.png", frame.depth, 5000)
        matrix = (frame.pose @ OPENGL).tolist()
        entries.append({"file_path": f"./{i}.png", "depth_path": f"d{i}.png", "transform_matrix": matrix})
    angle = 2 * np.arctan(80 / 131.25)
    save_json(folder / "transforms.json", camera_angle_x=angle, integer_depth_scale=1 / 5000, frames=entries)


def write_colmap_text(folder: Path) -> None:
    lines = ["# Image list with two lines of data per image"]
    for i, frame in enumerate(frames()):
        save_image(folder / f"images/a b {i}.jpg", frame.image)
        x, y, z, w = quaternion(view := invert_rigid(frame.pose))
        lines += [f"{i + 1} {words(np.array([w, x, y, z, *view[:3, 3]]))} 7 a b {i}.jpg", "1.0 2.0 -1" * (i % 2)]
    save_text(folder / "sparse/0/cameras.txt", "# cameras\n7 SIMPLE_PINHOLE 320 240 262.5 160 120\n")
    save_text(folder / "sparse/0/images.txt", "\n".join(lines))


def write_colmap_binary(folder: Path) -> None:
    images = [struct.pack("<Q", len(frames()))]
    for i, frame in enumerate(frames()):
        save_image(folder / f"images/{i}.jpg", frame.image)
        x, y, z, w = quaternion(view := invert_rigid(frame.pose))
        images.append(struct.pack("<i7di", i, w, x, y, z, *view[:3, 3], 7) + f"{i}.png\0".encode())  # re-encoded since
        images.append(struct.pack("<Q", i) + bytes(24 * i))
    camera = struct.pack("<QiiQQ8d", 1, 7, 4, *SIZE, 131.25, 131.25, 80, 60, 0, 0, 0, 0)
    (folder / "sparse/0").mkdir(parents=True)
    (folder / "sparse/0/cameras.bin").write_bytes(camera)
    (folder / "sparse/0/images.bin").write_bytes(b"".join(images))


def write_polycam(folder: Path) -> None:
    save_image(folder / "thumbnail.jpg", frames()[0].image)
    (folder / "keyframes/cameras").mkdir(parents=True)
    (folder / "keyframes/images").mkdir()
    for i, frame in enumerate(frames()):
        name, pose = f"{1_700_000_000_000 + i}", Y_UP @ frame.pose @ OPENGL
        values = {f"t_{row}{column}": pose[row, column] for row in range(3) for column in range(4)}
        values |= {"fx": 131.25, "fy": 131.25, "cx": 80.0, "cy": 60.0, "width": 160, "height": 120}
        save_json(folder / f"keyframes/corrected_cameras/{name}.json", **values)
        save_image(folder / f"keyframes/corrected_images/{name}.jpg", frame.image)
        save_depth(folder / f"keyframes/depth/{name}.png", frame.half_depth)
        save_image(folder / f"keyframes/confidence/{name}.png", 255 * CONFIDENCE)


def write_stray(folder: Path) -> None:
    av = pytest.importorskip("av")
    folder.mkdir()
    with av.open(str(folder / "rgb.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = *SIZE, "yuv420p", 8_000_000
        for frame in frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, format="rgb24")))
        container.mux(stream.encode())
    lines = ["timestamp, frame, x, y, z, qx, qy, qz, qw"]
    for i, frame in enumerate(frames()):
        pose = Y_UP @ frame.pose
        save_depth(folder / f"depth/{i:06d}.png", frame.half_depth)
        save_image(folder / f"confidence/{i:06d}.png", 2 * CONFIDENCE)
        lines.append(f"{i / 10}, {i:06d}, " + words(np.array([*pose[:3, 3], *quaternion(pose)])).replace(" ", ", "))
    save_text(folder / "odometry.csv", "\n".join(lines))
    save_text(folder / "camera_matrix.csv", "\n".join(",".join(map(str, row)) for row in K))


def write_record3d(folder: Path) -> None:
    lzfse = pytest.importorskip("lzfse")
    poses = [Y_UP @ frame.pose @ OPENGL for frame in frames()]
    content = {"w": 160, "h": 120, "dw": 80, "dh": 60, "K": K.T.ravel().tolist()}
    content["poses"] = [[*quaternion(pose), *pose[:3, 3]] for pose in poses]
    with zipfile.ZipFile(folder.with_suffix(".r3d"), "w") as archive:
        archive.writestr("metadata", json.dumps(content))
        for i, frame in enumerate(frames()):
            photo = save_image(folder / "photo.jpg", frame.image)
            archive.write(photo, f"rgbd/{i}.jpg")
            archive.writestr(f"rgbd/{i}.depth", lzfse.compress(frame.half_depth.astype("<f4").tobytes()))


def write_arkitscenes(folder: Path) -> None:
    root, lines = folder / f"{folder.name}_frames", []
    for i, frame in enumerate(frames()):
        name, view = f"{folder.name}_{100 + i / 10:.3f}", invert_rigid(frame.pose)
        save_image(root / f"lowres_wide/{name}.png", frame.image)
        save_depth(root / f"lowres_depth/{name}.png", frame.depth)
        off = f"{folder.name}_{100 + i / 10 + 0.001 * (i % 2):.3f}"
        save_text(root / f"lowres_wide_intrinsics/{off}.pincam", "160 120 131.25 131.25 80 60")
        vector = Rotation.from_matrix(view[:3, :3]).as_rotvec()
        lines.append(words(np.array([100.004 + i / 10, *vector, *view[:3, 3]])))
    save_text(root / "lowres_wide.traj", "\n".join(lines))
    bounds = {"centroid": [1, 2, 0.4], "axesLengths": [2, 1, 0.8], "normalizedAxes": [0, 1, 0, -1, 0, 0, 0, 0, 1]}
    entries = [{"uid": "a", "label": "tv_monitor", "segments": {"obbAligned": bounds}}, {"uid": "b", "label": "bed"}]
    save_json(folder / f"{folder.name}_3dod_annotation.json", data=entries)


def write_tum(folder: Path) -> None:
    lists = {name: [f"# {name}"] for name in ("rgb", "depth", "groundtruth")}
    for i, frame in enumerate(frames()):
        time = 1305031102.175304 + i / 5
        save_image(folder / f"rgb/{time:.6f}.png", frame.image)
        save_depth(folder / f"depth/{time + 0.015:.6f}.png", frame.depth, 5000)
        lists["rgb"].append(f"{time:.6f} rgb/{time:.6f}.png")
        lists["depth"].append(f"{time + 0.015:.6f} depth/{time + 0.015:.6f}.png")
        for shift, offset in ((-0.012, 1.0), (0.006, 0.0)):  # the nearest pose is the right one
            values = np.array([time + shift, *(frame.pose[:3, 3] + offset), *quaternion(frame.pose)])
            lists["groundtruth"].append(words(values))
    for name, lines in lists.items():
        save_text(folder / f"{name}.txt", "\n".join(lines))


def write_seven_scenes(folder: Path) -> None:
    for i, frame in enumerate(frames()):
        depth = frame.depth.copy()
        depth[0] = 65.535  # written as 65535, no measurement
        save_image(folder / f"frame-{i:06d}.color.png", frame.image)
        save_depth(folder / f"frame-{i:06d}.depth.png", depth)
        save_text(folder / f"frame-{i:06d}.pose.txt", rows(frame.pose))
    info = {"m_colorWidth": 160, "m_colorHeight": 120, "m_depthShift": 1000}
    info["m_calibrationColorIntrinsic"] = words(np.pad(K, (0, 1)) + np.diag([0, 0, 0, 1]))
    save_text(folder / "info.txt", "\n".join(f"{key} = {value}" for key, value in info.items()))


def write_3rscan(folder: Path) -> None:
    for i, frame in enumerate(frames()):
        save_image(folder / f"sequence/frame-{i:06d}.color.jpg", frame.image)
        save_depth(folder / f"sequence/frame-{i:06d}.depth.pgm", frame.half_depth)
        save_text(folder / f"sequence/frame-{i:06d}.pose.txt", rows(frame.pose))
    info = {"m_colorWidth": 160, "m_colorHeight": 120, "m_depthWidth": 80, "m_depthHeight": 60, "m_depthShift": 1000}
    for stream, scale in (("Color", 1.0), ("Depth", 0.5)):
        matrix = np.pad(resize_intrinsics(K, scale, scale), (0, 1)) + np.diag([0, 0, 0, 1])
        info[f"m_calibration{stream}Intrinsic"] = words(matrix)
    save_text(folder / "sequence/_info.txt", "\n".join(f"{key} = {value}" for key, value in info.items()))


def write_replica(folder: Path) -> None:
    for i, frame in enumerate(frames()):
        save_image(folder / f"results/frame{i:06d}.jpg", frame.image)
        save_depth(folder / f"results/depth{i:06d}.png", frame.depth, 6553.5)
    save_text(folder / "traj.txt", "\n".join(words(frame.pose) for frame in frames()))
    camera = {"w": 160, "h": 120, "fx": 131.25, "fy": 131.25, "cx": 79.5, "cy": 59.5, "scale": 6553.5}
    save_json(folder / "cam_params.json", camera=camera)


def write_open3d(folder: Path) -> None:
    lines = []
    for i, frame in enumerate(frames()):
        save_image(folder / f"color/{i:05d}.jpg", frame.image)
        save_depth(folder / f"depth/{i:05d}.png", frame.depth)
        lines += [f"{i} {i} {i + 1}", rows(frame.pose)]
    save_text(folder / "trajectory.log", "\n".join(lines))
    matrix = [131.25, 0.0, 0.0, 0.0, 131.25, 0.0, 79.5, 59.5, 1.0]
    save_json(folder / "camera_intrinsic.json", width=160, height=120, intrinsic_matrix=matrix)


LAYOUTS = [name.removeprefix("write_") for name in dir() if name.startswith("write_")]


def write_capture(layout: str, folder: Path) -> Path:
    """Write the capture and return what a user would open."""
    globals()[f"write_{layout}"](folder)
    return folder.with_suffix(".r3d") if layout == "record3d" else folder
