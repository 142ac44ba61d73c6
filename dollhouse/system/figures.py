"""Files of matplotlib figures, which ``dollhouse[train]`` installs."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Text

from dollhouse.system.atomic_io import atomic_path


def save_figure(figure: Figure, out: Path) -> None:
    """Write a figure atomically in the format of its suffix; raises StorageError."""
    plain_text(figure)
    with atomic_path(out) as unfinished:
        figure.savefig(unfinished, format=out.suffix.lower().lstrip("."), facecolor="white")


def plain_text(figure: Figure) -> None:
    """Keep the "$" of names and questions from being read as formulas."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
