"""Materials of a home's surfaces: textures in one atlas with reduced copies, and what each surface does with light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dollhouse.scenes.archives import open_archive
from dollhouse.scenes.synthetic.homes import textures
from dollhouse.scenes.synthetic.homes.layout import Home, HomeMesh, Surface
from dollhouse.scenes.synthetic.homes.textures import Floats, Generator, Texture
from dollhouse.scenes.synthetic.obj_model import read_texture

MATT, PANE, MIRROR, CLEAR = range(4)
_CLEAR_BELOW: Final = 0.75  #: opacity below which light passes a model's surface
_WALL_METRES: Final = 3.6  #: that the texture of walls covers upwards
_CLOTH: Final = {"sofa", "armchair", "bed", "curtain", "cushion", "pillow", "ottoman", "towel", "blanket", "rug"}
_REFLECTS: Final = {"metal": 0.3, "ceramic": 0.05, "stone": 0.05, "plastic": 0.03, "screen": 0.06, "wood": 0.02}
LINEAR_FROM_SRGB: Final[Floats] = np.where(
    (_x := np.arange(256, dtype=np.float32) / 255) <= 0.04045, _x / 12.92, ((_x + 0.055) / 1.055) ** 2.4
).astype(np.float32)


class TextureAtlas:
    """Textures in one array of pixels, each with copies of half the size down to one pixel."""

    def __init__(self, pictures: Sequence[Texture]) -> None:
        pixels, rows = [], []
        start = 0
        for picture in pictures:
            levels = []
            while True:
                levels.append((start, picture.shape[0], picture.shape[1]))
                pixels.append(picture.reshape(-1, 3))
                start += len(pixels[-1])
                if picture.shape[:2] == (1, 1):
                    break
                size = max(1, picture.shape[1] // 2), max(1, picture.shape[0] // 2)
                picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
            rows.append(levels + [levels[-1]] * (10 - len(levels)))
        self._pixels = np.concatenate(pixels)
        self.levels = np.array(rows, dtype=np.int32)  #: (textures, 10, 3) first pixel, height, width

    def look_up(self, texture: NDArray[np.int32], u: Floats, v: Floats, level: NDArray[np.int32]) -> Texture:
        """Return sRGB values (N, 3) at coordinates in repeats, v upwards."""
        start, height, width = self.levels[texture, level].T
        column = ((u - np.floor(u)) * width).astype(np.int32)
        row = ((1 - (v - np.floor(v))) * height).astype(np.int32)
        np.minimum(column, width - 1, out=column)
        np.minimum(row, height - 1, out=row)
        return self._pixels.take(start + row * width + column, axis=0)


@dataclass(frozen=True, eq=False)
class _Look:
    """Appearance of one surface."""

    texture: Texture
    metres: tuple[float, float] | None  #: that the texture covers; None: coordinates are in repeats already
    tint: Floats  #: (3,) linear factor
    behaviour: int = MATT
    opacity: float = 1.0
    reflects: float = 0.0  #: share of light reflected like by a mirror, seen from straight ahead
    glow: Floats | float = 0.0  #: linear radiance that it gives off, times its texture
    fills: bool = False  #: whether the texture is stretched over the surface, once


class Palette:
    """Looks of the surfaces of a home as arrays, and the albedo at points of its triangles."""

    def __init__(self, home: Home, mesh: HomeMesh, rng: Generator) -> None:
        room = _room_looks(home, rng)
        looks = [room[s.role] if s.role in room else _look(s, home, rng) for s in mesh.surfaces]
        textures_used = list({id(look.texture): look.texture for look in looks}.values())
        number = {id(texture): index for index, texture in enumerate(textures_used)}
        self.atlas = TextureAtlas(textures_used)
        self._texture = np.array([number[id(look.texture)] for look in looks], np.int32)
        self.behaviour = np.array([look.behaviour for look in looks], np.uint8)
        self.opacity = np.array([look.opacity for look in looks], np.float32)
        self.reflects = np.array([look.reflects for look in looks], np.float32)
        self.glow = np.array([np.broadcast_to(look.glow, 3) for look in looks], np.float32)
        self.emits = (self.behaviour == PANE) | (self.glow[:, 0] > 0)
        self._tint = np.array([look.tint for look in looks], np.float32)
        ids = mesh.surface_ids
        scale = np.array([(1.0, 1.0) if look.metres is None else 1 / np.array(look.metres) for look in looks])
        shift = np.zeros_like(scale)
        for index, look in enumerate(looks):
            if look.fills and (used := mesh.uv[ids == index].reshape(-1, 2)).size:
                low, high = used.min(0), used.max(0)
                scale[index] = 0.999 / np.maximum(high - low, 1e-6)
                shift[index] = -low * scale[index]
        self.uv: Floats = (mesh.uv * scale[ids][:, None] + shift[ids][:, None]).astype(np.float32)
        edge = self.uv[:, 1:] - self.uv[:, :1]
        texels = self.atlas.levels[self._texture, 0, 1:].astype(np.float32).prod(1)[ids]
        in_texture = np.abs(edge[:, 0, 0] * edge[:, 1, 1] - edge[:, 0, 1] * edge[:, 1, 0]) * texels
        side = mesh.triangles[:, 1:] - mesh.triangles[:, :1]
        area = np.linalg.norm(np.cross(side[:, 0], side[:, 1]), axis=1)
        #: (T,) log2 of texels per metre
        self.density: Floats = 0.5 * np.log2((in_texture + 1e-9) / (area + 1e-12)).astype(np.float32)
        first, last = np.zeros(len(looks), np.float32), np.full(len(looks), self.atlas.levels.shape[1] - 1, np.int32)
        whole = self.atlas.look_up(self._texture, first, first, last)
        self.mean: Floats = LINEAR_FROM_SRGB[whole] * self._tint  #: (S, 3) linear albedo
        self._ids = ids

    def albedo(self, triangle: NDArray[np.int32], b: Floats, c: Floats, footprint: Floats) -> Floats:
        """Return linear albedo (N, 3) at barycentric coordinates of triangles, for pixels ``footprint`` metres wide."""
        corners = self.uv.take(triangle, axis=0)
        u = corners[:, 0, 0] * (1 - b - c) + corners[:, 1, 0] * b + corners[:, 2, 0] * c
        v = corners[:, 0, 1] * (1 - b - c) + corners[:, 1, 1] * b + corners[:, 2, 1] * c
        level = np.log2(footprint + np.float32(1e-6)) + self.density.take(triangle) - np.float32(0.1)
        surface = self._ids.take(triangle)
        colour = self.atlas.look_up(self._texture.take(surface), u, v, np.clip(level, 0, 9).astype(np.int32))
        return LINEAR_FROM_SRGB[colour] * self._tint.take(surface, axis=0)


@lru_cache(maxsize=512)
def load_texture(library: str, path: str) -> Texture:
    """Read a texture of a furniture library; raises SceneError."""
    with open_archive(Path(library)) as archive:
        return read_texture(archive, path)


def _linear(rgb: Sequence[float] | Floats) -> Floats:
    """Convert sRGB in [0, 1] to linear."""
    return np.interp(rgb, np.arange(256) / 255, LINEAR_FROM_SRGB).astype(np.float32)


def file_texture(surface: Surface) -> tuple[Texture, Floats]:
    """Return a surface's texture file and the linear tint (3,) with which it is shown."""
    assert surface.texture is not None
    texture = load_texture(*surface.texture)
    if not surface.painted:
        return texture, np.ones(3, np.float32)
    grey = texture @ np.array([0.3, 0.6, 0.1], np.float32)
    bright = np.clip(grey * (200 / max(float(grey.mean()), 20.0)), 0, 255).astype(np.uint8)
    picture = np.repeat(bright[..., None], 3, 2)
    return picture, _linear(surface.rgb) / max(float(LINEAR_FROM_SRGB[bright].mean()), 0.05)


def _look(surface: Surface, home: Home, rng: Generator) -> _Look:
    rgb = np.asarray(surface.rgb, np.float32)
    if surface.role == "model":
        return _model_look(surface, home, rng)
    if surface.role == "pane":
        return _Look(_flat(rgb), None, np.ones(3, np.float32), PANE, reflects=0.07)
    if surface.role == "mirror":
        return _Look(_flat(np.ones(3, np.float32)), None, np.full(3, 0.9, np.float32), MIRROR)
    if surface.role == "lamp":
        return _Look(_flat(np.maximum(rgb, 0.05)), None, np.full(3, 0.9, np.float32), glow=float(rgb.max()) ** 2)
    if surface.role == "screen":
        if rng.random() < 0.6:
            return _Look(_flat(np.array([0.03, 0.03, 0.035])), None, np.full(3, 0.9, np.float32), reflects=0.06)
        glow = float(rng.uniform(0.25, 0.9))
        return _Look(textures.picture(rng), None, np.full(3, 0.05, np.float32), reflects=0.05, glow=glow, fills=True)
    if surface.role == "picture":
        return _Look(textures.picture(rng), None, np.full(3, 0.9, np.float32), reflects=0.03, fills=True)
    texture, tint, metres = _material(surface.role, rgb, rng)
    gloss = max(0.3 * surface.shine * (surface.role != "wood"), _REFLECTS.get(surface.role, 0.0))
    clear = surface.opacity < _CLEAR_BELOW
    return _Look(texture, (metres, metres), tint, CLEAR if clear else MATT, surface.opacity, min(gloss, 0.3))


def _material(role: str, rgb: Floats, rng: Generator) -> tuple[Texture, Floats, float]:
    """Return a pattern, the linear tint that gives it the mean colour ``rgb``, and the metres that it covers."""
    if role == "wood" and rgb.max() - rgb.min() < 0.12:  # painted
        role = "plastic"
    texture = textures.pattern(role if role in textures.PATTERNS else "plastic", int(rng.integers(textures.VARIANTS)))
    tint = _linear(rgb) * np.float32(1 / LINEAR_FROM_SRGB[texture].mean())
    return texture, tint, textures.PATTERNS.get(role, textures.PATTERNS["plastic"])[1]


def _model_look(surface: Surface, home: Home, rng: Generator) -> _Look:
    clear = surface.opacity < _CLEAR_BELOW
    behaviour, gloss = (CLEAR if clear else MATT), min(0.35, 0.25 * surface.shine)
    if surface.texture is not None:
        texture, tint = file_texture(surface)
        return _Look(texture, None, tint, behaviour, surface.opacity, gloss)
    rgb = np.asarray(surface.rgb, np.float32)
    label = home.items[surface.item].label if surface.item >= 0 else ""
    red, green, blue = rgb.tolist()
    woody = red > green > blue and 0.15 < red - blue < 0.6 and 0.2 < red < 0.9
    if label in _CLOTH:
        role = "fabric"
    elif woody and rng.random() < 0.8:
        role = "wood"
    else:
        role = "plastic"
    texture, tint, metres = _material(role, rgb, rng)
    return _Look(texture, (metres, metres), tint, behaviour, surface.opacity, gloss)


def _flat(rgb: Floats) -> Texture:
    return np.full((1, 1, 3), np.clip(np.asarray(rgb) * 255, 0, 255), np.uint8)


def _room_looks(home: Home, rng: Generator) -> dict[str, _Look]:
    """Choose the looks of floor, walls and ceiling."""
    wet = home.room in ("kitchen", "bathroom")
    white = np.full(3, 0.9, np.float32)
    ceiling = textures.choose(rng, ((0.95, 0.95, 0.94), (0.92, 0.91, 0.88)), 0.03)
    above = textures.plaster(rng, ceiling, 0.015)
    size = 2.0
    if rng.random() < 0.05:
        above, size = textures.planks(rng, textures.choose(rng, textures.WOODS), 12), 1.6
    return {
        "floor": _floor(rng, wet),
        "wall": _walls(rng, wet),
        "ceiling": _Look(above, (size, size), white),
    }


def _floor(rng: Generator, wet: bool) -> _Look:
    kind, white = rng.random(), np.full(3, 0.9, np.float32)
    if kind < (0.35 if wet else 0.55):
        rows = int(rng.integers(5, 11))
        size = rows * rng.uniform(0.08, 0.2)
        texture = textures.planks(rng, textures.choose(rng, textures.WOODS), rows)
        if rng.random() < 0.5:
            texture = np.ascontiguousarray(texture.transpose(1, 0, 2))
        return _Look(texture, (size, size), white, reflects=float(rng.choice([0.0, 0.03, 0.08])))
    if kind < (0.9 if wet else 0.75):
        count = int(rng.choice([2, 4, 4, 6]))
        size = count * rng.uniform(0.2, 0.6)
        texture = textures.tiles(rng, textures.choose(rng, textures.STONES), count, count)
        return _Look(texture, (size, size), white, reflects=float(rng.choice([0.0, 0.05, 0.1])))
    if kind < 0.95:
        return _Look(textures.carpet(rng, textures.choose(rng, textures.CARPETS)), (1.2, 1.2), white)
    return _Look(textures.plaster(rng, textures.choose(rng, textures.STONES), 0.06), (3.0, 3.0), white, reflects=0.03)


def _walls(rng: Generator, wet: bool) -> _Look:
    """Compose a texture from the floor upwards: paint or pattern, perhaps tiles or panels below, a skirting board."""
    side = 512
    metres = 3.2
    kind, paint = rng.random(), textures.choose(rng, textures.PAINTS)
    if kind < 0.78:
        upper, size = textures.plaster(rng, paint, float(rng.uniform(0.003, 0.014))), 1.6
    elif kind < 0.88:
        upper, size = textures.wallpaper(rng, paint), float(rng.choice([0.4, 0.8]))
    elif kind < 0.93:
        boards = textures.planks(rng, textures.choose(rng, textures.WOODS), 8)
        upper, size = np.ascontiguousarray(boards.transpose(1, 0, 2)), 0.8
    else:
        colour = textures.choose(rng, ((0.62, 0.32, 0.24), (0.85, 0.83, 0.80), (0.55, 0.42, 0.34)))
        upper, size = textures.tiles(rng, colour, 12, 4, bond=True), 0.9
    wall = _repeat(upper, size, metres, side)
    height = (1 - (np.arange(side) + 0.5) / side) * _WALL_METRES
    if wet and rng.random() < 0.6:
        count = int(rng.choice([4, 6, 8]))
        brick = rng.random() < 0.4
        lower = textures.tiles(
            rng, textures.choose(rng, textures.STONES), count * (2 if brick else 1), count, bond=brick
        )
        below = height < rng.choice([1.2, 1.5, 2.0, 4.0])
        wall[below] = _repeat(lower, count * 0.15, metres, side)[below]
    elif rng.random() < 0.12:
        below = height < rng.uniform(0.8, 1.2)
        wall[below] = _repeat(textures.plaster(rng, textures.choose(rng, textures.PAINTS), 0.01), 1.6, metres, side)[
            below
        ]
    if not wet and rng.random() < 0.8:
        colour = textures.choose(rng, ((0.94, 0.94, 0.92), (0.90, 0.88, 0.84), (0.45, 0.30, 0.18)), 0.03)
        board = height < rng.uniform(0.06, 0.14)
        wall[board] = (255 * colour).astype(np.uint8)
        wall[np.flatnonzero(board)[0]] = (150 * colour).astype(np.uint8)
    return _Look(wall, (metres, _WALL_METRES), np.full(3, 0.9, np.float32))


def _repeat(texture: Texture, size: float, metres: float, side: int) -> Texture:
    """Repeat a texture of ``size`` metres over ``metres`` along and :data:`_WALL_METRES` upwards."""
    columns = (np.arange(side) / side * max(1, round(metres / size)) % 1 * texture.shape[1]).astype(int)
    up = (1 - (np.arange(side) + 0.5) / side) * _WALL_METRES / size
    rows = ((1 - up % 1) * texture.shape[0]).astype(int) % texture.shape[0]
    return texture[rows[:, None], columns[None]]
