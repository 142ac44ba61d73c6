"""Tables of ``dollhouse scenes info``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from dollhouse.system.console import console

_LABELS_SHOWN = 12
_PIPE_WIDTH = 1000
_LACKING = {"depth": "none", "poses": "none", "intrinsics": "unknown", "instances": "none", "boxes": "not annotated"}


def print_table(table: Table) -> None:
    """Print a table, as wide as it is where the output is no terminal."""
    out = console()
    if not out.is_terminal:
        out.width = _PIPE_WIDTH
    out.print(table)


def scene_table(facts: Mapping[str, Any]) -> Table:
    """Build the table of one scene from :func:`dollhouse.scenes.description.describe_scene`."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    unit = "m" if facts["scale"]["kind"] == "metric" else "(relative)"
    rows = {
        "scene": f"{facts['name']}: {facts['kind']}",
        "views": f"{facts['views']}, {_sizes(facts['image_sizes'])} pixels",
        **{name: _part(name, facts, unit) for name in _LACKING},
        "scale": f"{facts['scale']['kind']} ({facts['scale']['source']})",
        "check": facts["check"]["summary"] if facts["check"] else "-" if facts["poses"] else "no poses to check",
        "corrected": facts["corrections"],
    }
    for name, text in rows.items():
        if text:
            table.add_row(name, text)
    for notice in facts["notices"]:
        if not (facts["check"] and facts["check"]["summary"] in notice):  # stands above
            name, _, text = notice.partition(": ")
            table.add_row(name, text)
    return table


def scenes_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Build a table with a line for each scene."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("scene", "views", "pixels", "depth", "poses", "boxes", "scale", "left out", "check"):
        table.add_column(name, overflow="fold")
    for facts in rows:
        counts = [str(facts[name]["views"]) if facts[name] else "-" for name in ("depth", "poses")]
        boxes = "-" if facts["boxes"] is None else str(sum(facts["boxes"].values()))
        views, sizes = str(facts["views"]), _sizes(facts["image_sizes"])
        left_out = str(sum(notice.startswith("left out") for notice in facts["notices"]) or "-")
        table.add_row(facts["name"], views, sizes, *counts, boxes, facts["scale"]["kind"], left_out, _verdict(facts))
    return table


def _verdict(facts: Mapping[str, Any]) -> str:
    check = facts["check"]
    if check and check["mistake"]:
        return f"{check['mistake']}: {check['option']}"
    verdicts = {True: "agrees", False: "disagrees", None: "-"}
    return verdicts[check["agrees"]] if check else "-"


def _part(name: str, facts: Mapping[str, Any], unit: str) -> str:
    content = facts[name]
    if content is None:
        return _LACKING[name] + (f": {facts['focal']}" if name == "intrinsics" and facts["focal"] else "")
    if name == "boxes":
        shown = [f"{count} {label}" for label, count in list(content.items())[:_LABELS_SHOWN]]
        rest = [f"{len(content) - _LABELS_SHOWN} more labels"] if len(content) > _LABELS_SHOWN else []
        return f"{sum(content.values())}: {', '.join(shown + rest)}" if content else "0"
    parts = ["all views" if content["views"] == facts["views"] else f"{content['views']} of {facts['views']} views"]
    if name == "depth":
        spread = content["range"]
        parts += [f"{_sizes(content['sizes'])} pixels", f"{content['known']:.0%} known"]
        parts += [f"mostly {spread[0]:.2f} to {spread[1]:.2f} {unit}"] if spread else []
    elif name == "poses":
        parts.append(f"cameras within {' x '.join(f'{size:.2f}' for size in content['extent'])} {unit}")
    elif name == "intrinsics":
        focal = f"focal length {content['focal_over_width']:.2f} of the width"
        parts += [f"{focal} ({content['horizontal_fov']:.0f} degrees)", facts["focal"]]
    return ", ".join(parts)


def _sizes(sizes: Sequence[Sequence[int]]) -> str:
    return " and ".join(f"{width}x{height}" for width, height in sizes) or "unreadable"
