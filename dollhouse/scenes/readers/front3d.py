"""Reader of 3D-FRONT houses with 3D-FUTURE models: each furnished room is a scene that is rendered here."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from dollhouse.errors import SceneError, SeveralScenesError
from dollhouse.geometry import Array, transform_points
from dollhouse.scenes.readers.captures import FILE_ERRORS, read_json, rigid
from dollhouse.scenes.readers.future3d import Model, label_of, load_model, read_categories
from dollhouse.scenes.readers.reader import Reader, describe_unused
from dollhouse.scenes.scene import Scene
from dollhouse.scenes.synthetic.layout import MeshPart

UUID: Final = "-".join("[0-9a-f]" * count for count in (8, 4, 4, 4, 12))  #: pattern of the names of houses
LICENCE: Final = "3D-FRONT and 3D-FUTURE terms of Alibaba: scientific research only, no redistribution"
VIEWS: Final = 8  #: rendered views of a room where ``frames`` is None
_MODELS: Final = "3D-FUTURE-model"
_MAX_BYTES: Final = 400_000_000  #: of a house
_MOST_PIECES: Final = 300  #: of a room
_FARTHEST: Final = 1e4  #: metres from a house's origin
_SCALES: Final = (1e-5, 5.0)  #: limits of abs(scale) of ATISS's filter
_MOST_TRIANGLES: Final = 10_000_000  #: of a room
_PAINT: Final = (0.9, 0.9, 0.89)  #: of ceilings, doors and the like without a colour
_Z_UP: Final = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])  #: z-up from y-up, a rotation
_MATERIALS: Final[dict[str, Literal["floor", "walls"]]] = {"floor": "floor", "wallinner": "walls"}


@dataclass(frozen=True, eq=False)
class House:
    """Contents of a house's JSON file that are needed to build its rooms."""

    path: Path
    uid: str
    furniture: dict[str, dict[str, Any]]  #: by uid, ``valid`` ones only
    meshes: dict[str, dict[str, Any]]
    colours: dict[str, Array]  #: of materials without a texture, by uid
    rooms: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  #: children of usable rooms, by room name
    filtered: dict[str, str] = field(default_factory=dict)  #: why each other room is not used


def read_house(path: Path) -> House:
    """Read a house and filter its rooms as ATISS does; raises SceneError.

    Not used are rooms with fewer than two valid pieces, a scale out of range, no floor, or a name used before.
    """
    content = read_json(path, limit=_MAX_BYTES)
    try:
        furniture, meshes = ({str(entry.get("uid")): entry for entry in content[key]} for key in ("furniture", "mesh"))
        furniture = {uid: entry for uid, entry in furniture.items() if entry.get("valid") is True}
        uid = str(content.get("uid"))
        house = House(path, uid if _is_plain(uid) else path.stem, furniture, meshes, dict(_colours(content)))
        for room in content["scene"]["room"]:
            name, children = str(room.get("instanceid")), room.get("children") or []
            if name in house.rooms or name in house.filtered:
                house.filtered[f"{name} (again)"] = "its name is used before"
            elif not _is_plain(name):
                house.filtered[repr(name)] = "its name is no plain name"
            elif reason := _unusable(house, children):
                house.filtered[name] = reason
            else:
                house.rooms[name] = children
    except FILE_ERRORS as error:
        raise SceneError(f"{path}: is not a 3D-FRONT house ({type(error).__name__}: {error})") from error
    return house


def open_front3d(path: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """Open a room, ``house.json#LivingRoom-360``, or the only usable room of a house.

    Pieces without a usable model are left out and counted in ``metadata["skipped"]``; ``metadata["filtered_rooms"]``
    holds the reasons why other rooms of the house are not used. Views are rendered on first access. Raises SceneError.
    """
    from dollhouse.scenes.synthetic.mesh_room import mesh_room_scene  # the ray caster is not needed to open photos

    if "#" not in path.name or path.exists():
        rooms = list_rooms(path)
        if len(rooms) > 1:
            raise SeveralScenesError(f"{path}: holds {len(rooms)} rooms; give one of them, such as {rooms[0]}")
        path = rooms[0]
    file, _, name = str(path).rpartition("#")
    house = read_house(Path(file))
    if name not in house.rooms:
        raise SceneError(f"{path}: is not a usable room of this house ({_summary(house)})")
    known = house.furniture.keys() | house.meshes.keys()
    invalid = sum(str(child["ref"]) not in known for child in house.rooms[name])
    faults: Counter[str] = Counter()
    floor, parts = _build(house, name, faults)
    skipped = tuple(f"{count} x {fault}" for fault, count in faults.items())
    if sum(part.label is not None for part in parts) < 2 or not len(floor):
        raise SceneError(f"{path}: has no floor, or fewer than two usable pieces ({'; '.join(skipped)})")
    scene = mesh_room_scene(f"{house.uid}#{name}", floor, parts, views=frames or VIEWS)
    world_from_house = np.array(scene.metadata["world_from_source"])
    world_from_house[:3, :3] = _Z_UP
    metadata: dict[str, Any] = {"source": "3D-FRONT", "house": house.uid, "room": name, "licence": LICENCE}
    metadata |= {"skipped": skipped, "unused": f"{invalid} pieces that are not valid" if invalid else ""}
    metadata |= {"filtered_rooms": house.filtered, "world_from_source": world_from_house.tolist()}
    return replace(scene, metadata={**scene.metadata, **metadata})


def list_rooms(path: Path) -> list[Path]:
    """List the usable rooms of a house or of a folder of houses; what is not used is logged."""
    if "#" in path.name and not path.exists():
        return [path]
    log = logging.getLogger(__name__)
    files = sorted(path.glob(f"{UUID}.json")) if path.is_dir() else [path]
    rooms, summary = [], ""
    for file in files:
        try:
            house = read_house(file)
        except SceneError as error:
            if not path.is_dir():
                raise
            log.warning("left out: %s", error)
            continue
        rooms += [file.with_name(f"{file.name}#{name}") for name in house.rooms]
        summary = _summary(house)
        log.info("%s: %s", file, summary)
    if not rooms:
        raise SceneError(f"{path}: has no usable room ({summary})")
    if path.is_dir() and (unused := describe_unused(path, {*files, *path.glob(f"{_MODELS}*")})):
        log.warning("%s: %d rooms; not used: %s", path, len(rooms), unused)
    return rooms


def _unusable(house: House, children: Sequence[dict[str, Any]]) -> str | None:
    """Explain why a room is not used, or return None."""
    try:
        pieces = [child for child in children if str(child["ref"]) in house.furniture]
        scales = np.abs(np.array([child.get("scale", (1, 1, 1)) for child in pieces], dtype=np.float64))
        floors = [child for child in children if _kind(house.meshes.get(str(child["ref"]), {})) == "floor"]
    except FILE_ERRORS as error:
        return f"cannot be read ({type(error).__name__}: {error})"
    if not 2 <= len(pieces) <= _MOST_PIECES:
        return f"pieces of furniture: {len(pieces)}, not 2 to {_MOST_PIECES}"
    if not ((scales >= _SCALES[0]) & (scales <= _SCALES[1])).all():
        return f"a scale not between {_SCALES[0]:g} and {_SCALES[1]:g}"
    return None if floors else "no floor"


def _build(house: House, name: str, faults: Counter[str]) -> tuple[Array, list[MeshPart]]:
    """Build the triangles of a room's floor (T, 3, 3) and its parts, z up, in the house's frame."""
    floor: list[Array] = [np.zeros((0, 3, 3))]
    parts: list[MeshPart] = []
    models: dict[Path, Model] = {}
    triangles = counted = 0
    for child in house.rooms[name]:
        ref = str(child["ref"])
        try:
            if ref in house.meshes:
                parts.append(_shell_part(house, house.meshes[ref]))
                floor += [parts[-1].triangles] * (_kind(house.meshes[ref]) == "floor")
            elif ref in house.furniture:
                parts.append(_piece(house, house.furniture[ref], child, models))
        except SceneError as error:
            faults[str(error)] += 1
        except FILE_ERRORS as error:
            faults[f"parts that cannot be used ({type(error).__name__}: {error})"] += 1
        triangles += sum(len(part.triangles) for part in parts[counted:])
        counted = len(parts)
        if triangles > _MOST_TRIANGLES:
            raise SceneError(f"{house.path}: {name} has more than {_MOST_TRIANGLES // 1_000_000} million triangles")
    faults.update(model.fault for model in models.values() if model.fault)
    return np.concatenate(floor), parts


def _shell_part(house: House, mesh: dict[str, Any]) -> MeshPart:
    """Build a floor, wall, ceiling, door or window; raises SceneError."""
    vertices = np.array(mesh["xyz"], dtype=np.float64).reshape(-1, 3)
    faces = np.array(mesh["faces"], dtype=np.int64).reshape(-1, 3)
    if not (np.abs(vertices) < _FARTHEST).all() or not ((faces >= 0) & (faces < len(vertices))).all():
        raise SceneError("parts of the house that are not finite, or have faces of vertices that are not there")
    colour = house.colours.get(str(mesh.get("material")))
    material = _MATERIALS.get(_kind(mesh)) if colour is None else None
    rgb = np.tile(_PAINT if colour is None else colour, (len(faces), 1))
    return MeshPart(vertices[faces] @ _Z_UP.T, rgb, material=material)


def _piece(house: House, entry: dict[str, Any], child: dict[str, Any], models: dict[Path, Model]) -> MeshPart:
    """Place the model of a piece of furniture; raises SceneError."""
    jid, roots = str(entry["jid"]), _model_folders(house.path)
    if not _is_plain(jid):
        raise SceneError("pieces with a model name that is no plain name")
    folder = next((root / jid for root in roots if (root / jid / "raw_model.obj").is_file()), None)
    if folder is None:
        raise SceneError(f"pieces whose model is not in {_MODELS}")
    model = models[folder] if folder in models else models.setdefault(folder, load_model(folder))
    scale = np.array(child.get("scale", (1, 1, 1)), dtype=np.float64).reshape(3)
    house_from_model = rigid([float(value) for value in child["rot"]], [float(value) for value in child["pos"]])
    placed = transform_points(house_from_model, (model.triangles * scale).reshape(-1, 3)) @ _Z_UP.T
    if not (np.abs(placed) < _FARTHEST).all():
        raise SceneError(f"pieces with a position or rotation that is not finite, or over {_FARTHEST:g} m away")
    ahead = _Z_UP @ house_from_model[:3, 2] * np.sign(scale[2])  # a model's front is at +z
    lists = [place / "model_info.json" for root in roots for place in (root, root.parent)]
    names = [*(read_categories(file).get(jid) for file in lists), entry.get("category"), entry.get("title")]
    label, has_front = label_of(names)
    level = bool(np.hypot(*ahead[:2]) > 0.5)
    yaw = float(np.arctan2(ahead[1], ahead[0])) if level else 0.0
    return MeshPart(placed.reshape(-1, 3, 3), model.rgb, label, yaw, has_front and level)


def _is_plain(name: str) -> bool:
    """Return whether a name can be part of a path."""
    return re.fullmatch(r"[\w-]{1,64}", name) is not None


def _kind(mesh: dict[str, Any]) -> str:
    return str(mesh.get("type") or "").strip().lower()


def _colours(content: dict[str, Any]) -> Iterator[tuple[str, Array]]:
    """Yield the colour in [0, 1] of each material that has one and no texture (textures are not in the house)."""
    for material in content.get("material") or ():
        colour = material.get("color")
        if not material.get("texture") and colour:
            rgb = np.array(colour[:3], dtype=np.float64).reshape(3) / 255.0
            yield str(material.get("uid")), np.nan_to_num(rgb).clip(0.0, 1.0)


def _model_folders(house: Path) -> list[Path]:
    """List the folders of 3D-FUTURE models beside a house or beside its folder, also those of an archive in parts."""
    parents = house.resolve().parent, house.resolve().parent.parent
    return [folder for parent in parents for folder in sorted(parent.glob(f"{_MODELS}*")) if folder.is_dir()]


def _summary(house: House) -> str:
    reasons = ", ".join(f"{name}: {reason}" for name, reason in house.filtered.items())
    return f"{len(house.rooms)} usable rooms; not used: {reasons or 'none'}"


def _matches(path: Path) -> bool:
    file = Path(str(path).rpartition("#")[0]) if not path.exists() else path
    if file.is_dir():
        house = next(file.glob(f"{UUID}.json"), None)
        return house is not None and bool(_model_folders(house))
    return file.suffix.lower() == ".json" and file.is_file() and bool(_model_folders(file))


def _diagnose(path: Path) -> str | None:
    """Explain that the models are missing where a JSON file begins like a house."""
    house = path if path.is_file() else next(path.glob(f"{UUID}.json"), None)
    if house is None or house.suffix.lower() != ".json":
        return None
    with house.open("rb") as file:
        start = file.read(1 << 16)
    if b'"jid"' not in start:
        return None
    return f"{path}: a 3D-FRONT house needs the folder {_MODELS}/ beside it or beside its folder"


FRONT3D = Reader("a 3D-FRONT house (house.json, house.json#Room)", _matches, open_front3d, _diagnose, list_rooms)
