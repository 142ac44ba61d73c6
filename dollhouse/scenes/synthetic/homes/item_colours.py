"""Names of the main colours of items, by what is visible of them: None where no colour prevails."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np

from dollhouse.scenes.synthetic.homes.layout import Item
from dollhouse.scenes.synthetic.homes.meshes import CLEAR, main_material, procedural_parts
from dollhouse.scenes.synthetic.homes.models import load_model
from dollhouse.scenes.synthetic.homes.paint import clear_name

LEAST_SHARE: Final = 0.55  #: of an item's outside that has its main colour
MOST_SECOND: Final = 0.6  #: the next colour's share over that of the main colour
_MIXED: Final = ("picture", "screen", "mirror", "pane")  #: roles of surfaces that show many colours
_UNNAMED: Final = ""
_MAIN: Final = "main"


def item_colour(item: Item) -> str | None:
    """Return the name of an item's main colour as it is rendered, without light; None where no colour prevails."""
    if "#" not in item.model:
        return _procedural_colour(item)
    shares = dict(model_shares(item.model, painted=item.paint is not None))
    if item.paint is not None:
        shares[item.paint] = shares.get(item.paint, 0.0) + shares.pop(_MAIN, 0.0)
    return prevailing(shares)


@cache
def model_shares(id: str, painted: bool) -> dict[str, float]:
    """Return the share of each colour name in a model's visible outside; of painted ones, of the main material too."""
    model = load_model(id)
    main = main_material(model) if painted else -1
    opaque = np.array([material.opacity >= CLEAR for material in model.materials])
    shares: dict[str, float] = {}
    for rgb, material, share in zip(
        (model.seen_rgb // 8 * 8 + 4).tolist(), model.seen_material.tolist(), model.seen_share.tolist(), strict=True
    ):
        red, green, blue = rgb
        name = _MAIN if material == main else clear_name((red / 255, green / 255, blue / 255)) or _UNNAMED
        name = name if opaque[material] or material == main else _UNNAMED
        shares[name] = shares.get(name, 0.0) + share
    return shares


def prevailing(shares: dict[str, float]) -> str | None:
    """Return the name with most of the outside, where its share is clear."""
    total, names = sum(shares.values()), sorted(shares, key=lambda name: -shares[name])
    if not names or names[0] == _UNNAMED or shares[names[0]] < LEAST_SHARE * total:
        return None
    return names[0] if len(names) == 1 or shares[names[1]] <= MOST_SECOND * shares[names[0]] else None


def _procedural_colour(item: Item) -> str | None:
    """Weigh the surfaces of a procedural kind by their areas, without what faces downwards."""
    triangles, _, ids, surfaces = procedural_parts(item, 0, [])
    normal = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    area = np.linalg.norm(normal, axis=1)
    area = np.where(normal[:, 2] < -0.9 * area, 0.0, area)
    shares: dict[str, float] = {}
    for surface, share in zip(surfaces, np.bincount(ids, area, len(surfaces)).tolist(), strict=True):
        name = _UNNAMED if surface.role in _MIXED or surface.opacity < CLEAR else clear_name(surface.rgb) or _UNNAMED
        shares[name] = shares.get(name, 0.0) + share
    return prevailing(shares)
