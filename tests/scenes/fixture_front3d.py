"""Writers of 3D-FRONT houses, 3D-FUTURE models and MIDI-3D renders, from the definitions of these formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dollhouse.scenes.scene import Scene

HOUSE = "0a8d471a-2587-458a-9214-586e003e9cf9"
TURNED = [0.0, float(np.sin(np.pi / 4)), 0.0, float(np.cos(np.pi / 4))]  #: by 90 degrees about y: z becomes x
IDENTITY = [0.0, 0.0, 0.0, 1.0]
#: model -> category and size x, y, z in metres; the front of each is at +z and red, the rest is blue
MODELS: dict[str, tuple[str, tuple[float, float, float]]] = {
    "bed-1": ("King-size Bed", (1.8, 0.6, 2.1)),
    "stand-1": ("Nightstand", (0.5, 0.5, 0.4)),
    "sofa-1": ("Three-Seat / Multi-seat Sofa", (2.0, 0.8, 0.9)),
    "table-1": ("Coffee Table", (0.9, 0.4, 0.6)),
    "lamp-1": ("Pendant Lamp", (0.4, 0.3, 0.4)),
}
_QUADS = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]  # the last is at +z


def write_model(folder: Path, size: tuple[float, float, float]) -> None:
    """Write a box of ``size`` that stands on y = 0, as an OBJ of quads with a texture."""
    folder.mkdir(parents=True)
    x, y, z = size
    corners = [(a * x, b * y, c * z) for a in (-0.5, 0.5) for b in (0.0, 1.0) for c in (-0.5, 0.5)]
    lines = ["mtllib model.mtl", *(f"v {a} {b} {c}" for a, b, c in corners), "vt 0.25 0.5", "vt 0.75 0.5"]
    lines += ["usemtl wood"]
    lines += ["f " + " ".join(f"{corner + 1}/{2 if k == 5 else 1}" for corner in quad) for k, quad in enumerate(_QUADS)]
    (folder / "raw_model.obj").write_text("\n".join(lines))
    (folder / "model.mtl").write_text("newmtl wood\nmap_Kd ../../../secret.png\n")
    texture = np.zeros((16, 16, 3), dtype=np.uint8)
    texture[:, :8, 2], texture[:, 8:, 0] = 255, 255
    Image.fromarray(texture).save(folder / "texture.png")


def plane(uid: str, type: str, corners: list[tuple[float, float, float]], **fields: Any) -> dict[str, Any]:
    """Build a mesh entry of one rectangle."""
    normal = [0.0, 1.0, 0.0] * 4
    return {
        "uid": uid,
        "jid": "",
        "xyz": np.ravel(corners).tolist(),
        "normal": normal,
        "uv": [None] * 8,
        "faces": [0, 1, 2, 0, 2, 3],
        "material": "paint",
        "type": type,
        "constructid": "",
        "instanceid": "",
    } | fields


def room_meshes(
    name: str, x: float, width: float = 5.0, depth: float = 4.0, height: float = 2.8
) -> list[dict[str, Any]]:
    """Build floor, ceiling and walls of a room from ``x`` to ``x + width``; one type is padded, one is empty."""
    a, b, c, d = x, x + width, 0.0, depth
    sides = [((a, c), (b, c)), ((b, c), (b, d)), ((b, d), (a, d)), ((a, d), (a, c))]
    walls = [
        plane(f"{name}/wall{k}", "WallInner" if k else "", [(*p, 0), (*q, 0), (*q, height), (*p, height)], uv=[])
        for k, (p, q) in enumerate(sides)
    ]
    for wall in walls:  # from plan x, z and height to x, y, z
        wall["xyz"] = np.reshape(wall["xyz"], (-1, 3))[:, [0, 2, 1]].ravel().tolist()
    corners = [(a, 0.0, c), (a, 0.0, d), (b, 0.0, d), (b, 0.0, c)]
    ceiling = [(p, height, q) for p, _, q in corners]
    return [plane(f"{name}/floor", " Floor ", corners), plane(f"{name}/ceiling", "Ceiling", ceiling), *walls]


def piece(
    ref: str, x: float, z: float, rot: list[float] | None = None, y: float = 0.0, **fields: Any
) -> dict[str, Any]:
    return {
        "ref": ref,
        "instanceid": f"furniture/{ref}",
        "pos": [x, y, z],
        "rot": rot or IDENTITY,
        "scale": [1, 1, 1],
    } | fields


def house_content() -> dict[str, Any]:
    """Build a house of two usable rooms, two unusable ones, an invalid piece and one whose model is missing."""
    furniture: list[dict[str, Any]] = [
        {"uid": f"{jid}/model", "jid": jid, "aid": [], "title": "", "valid": True} for jid in MODELS
    ]
    furniture += [
        {"uid": "gone/model", "jid": "gone-1", "title": "chair/dining chair", "valid": True},
        {"uid": "invalid/model", "jid": "bed-1", "category": "King-size Bed", "valid": False},
        {"uid": "unmarked/model", "jid": "bed-1", "category": "King-size Bed"},
    ]
    bedroom = [
        piece("bed-1/model", 2.5, 1.1),
        # Seen from the bed's foot (from +z towards -z), the first nightstand is on the left.
        piece("stand-1/model", 1.2, 0.3),
        piece("stand-1/model", 3.8, 0.3, scale=[1.0, 1.5, 1.0]),
        piece("lamp-1/model", 2.5, 2.0, y=2.5),
        piece("gone/model", 4.0, 3.0),
        piece("invalid/model", 1.0, 3.0),
        piece("unmarked/model", 1.0, 3.0),
    ]
    living = [piece("sofa-1/model", 10.6, 2.0, TURNED), piece("table-1/model", 12.0, 2.0, TURNED)]
    rooms = {"MasterBedroom-1": (0.0, bedroom), "LivingRoom-360": (10.0, living)}
    rooms |= {"Hallway-7": (20.0, living[:1]), "Library-8": (30.0, [*living[:1], {**living[1], "scale": [9, 1, 1]}])}
    meshes = {name: room_meshes(name, x) for name, (x, _) in rooms.items()}
    return {
        "uid": HOUSE,
        "furniture": furniture,
        "mesh": [mesh for room in meshes.values() for mesh in room],
        "material": [{"uid": "paint", "texture": "https://example.org/wall.png", "color": [255, 255, 255, 255]}],
        "scene": {
            "room": [
                {
                    "type": name.split("-")[0],
                    "instanceid": name,
                    "children": [*children, *({"ref": mesh["uid"], "instanceid": "mesh/0"} for mesh in meshes[name])],
                }
                for name, (_, children) in rooms.items()
            ]
        },
    }


def write_house(folder: Path, content: dict[str, Any] | None = None) -> Path:
    """Write ``3D-FRONT/<house>.json`` and ``3D-FUTURE-model/`` into a folder; returns the house."""
    for jid, (_, size) in MODELS.items():
        write_model(folder / "3D-FUTURE-model" / jid, size)
    info = [{"model_id": jid, "super-category": None, "category": name} for jid, (name, _) in MODELS.items()]
    (folder / "3D-FUTURE-model" / "model_info.json").write_text(json.dumps(info))
    house = folder / "3D-FRONT" / f"{HOUSE}.json"
    house.parent.mkdir()
    house.write_text(json.dumps(house_content() if content is None else content))
    return house


def write_midi_room(folder: Path, scene: Scene, *, exr: bool = False) -> Path:
    """Write a rendered scene as ``<house>/<room>/`` of MIDI-3D's renders; returns the folder of the room."""
    room = folder / HOUSE / "MasterBedroom-1"
    room.mkdir(parents=True)
    locations = []
    for number, view in enumerate(scene.views):
        index, size = f"{number:04d}", view.image.shape[0]
        names = {"render": f"render_{index}.webp", "semantic": f"semantic_{index}.png", "depth": f"depth_{index}.exr"}
        transparent = np.dstack([view.image, np.full((size, size), 255, dtype=np.uint8)])
        Image.fromarray(transparent).save(room / names["render"], lossless=True)
        Image.fromarray(transparent).save(room / f"rerender_{index}.webp")
        Image.fromarray(view.instances.astype(np.uint8)).save(room / names["semantic"])
        if exr:
            write_exr(room / names["depth"], view.depth)
        pose = view.world_from_camera @ np.diag([1.0, -1.0, -1.0, 1.0])
        frames = [{"name": name, "type": type, "width": size, "height": size} for type, name in names.items()]
        locations.append({"index": index, "transform_matrix": pose.tolist(), "frames": frames})
    angle = 2 * np.arctan(0.5 * scene.views[0].image.shape[1] / scene.views[0].intrinsics[0, 0])
    meta = {"camera_angle_x": angle, "sensor_width": 36, "camera_lens": 50, "locations": locations}
    (room / "meta.json").write_text(json.dumps(meta))
    return room


def write_exr(path: Path, depth: np.ndarray) -> None:
    """Write depth as Blender does: one of three equal channels, and a sentinel for the last row."""
    import OpenEXR

    depth = depth.astype(np.float32)
    depth[-1] = 65504.0
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"RGB": np.dstack([depth] * 3)}).write(str(path))
