"""Tests of the colour names of items: what prevails clearly gets a name, nothing else."""

from __future__ import annotations

import pytest

pytest.importorskip("embreex")

from dollhouse.scenes.synthetic.homes.item_colours import item_colour, prevailing
from dollhouse.scenes.synthetic.homes.layout import FLOOR, Item
from dollhouse.scenes.synthetic.homes.paint import clear_name, shades


@pytest.mark.parametrize(
    ("shares", "name"),
    [
        ({"red": 0.9, "white": 0.1}, "red"),
        ({"red": 0.56, "white": 0.44}, None),
        ({"red": 0.5, "white": 0.2, "": 0.3}, None),
        ({"": 0.9, "white": 0.1}, None),
        ({}, None),
    ],
)
def test_a_colour_prevails_by_a_clear_margin(shares: dict[str, float], name: str | None) -> None:
    assert prevailing(shares) == name


def test_shades_have_their_own_names_and_what_lies_between_has_none() -> None:
    for name, options in shades().items():
        assert {clear_name(rgb) for rgb in options} == {name}
    assert clear_name((0.78, 0.78, 0.78)) is None  # between white and grey


@pytest.mark.parametrize(("model", "paint", "name"), [("rug", "red", "red"), ("mirror", "brown", None)])
def test_procedural_items_are_named_by_their_surfaces(model: str, paint: str, name: str | None) -> None:
    item = Item(model, model, (0.03 if model == "mirror" else 1.5, 1.0, 1.0 if model == "mirror" else 0.01),
                (0.0, 0.0, 0.5), 0.0, FLOOR, 7, paint=paint)  # fmt: skip
    assert item_colour(item) == name
