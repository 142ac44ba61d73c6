"""Sweet Home 3D pieces by label and role, as reviewed in ``pieces.tsv``; a fifth of each group is for testing only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from random import Random

from dollhouse.errors import SceneError
from dollhouse.scenes.synthetic.sweethome import DEBIAN_FOLDER, Piece, installed_libraries, list_pieces
from dollhouse.system.hashing import files_hash

FEWEST_TO_HOLD_OUT = 4  #: groups with fewer pieces are used in all splits


@dataclass(frozen=True)
class Entry:
    """A line of ``pieces.tsv``."""

    id: str
    label: str
    role: str  #: where it belongs: "dining" of a table; "" where the label says it all
    held_out: bool  #: for the test split only


@cache
def entries() -> dict[tuple[str, str], tuple[Entry, ...]]:
    """Read the reviewed pieces, by label and role."""
    groups: dict[tuple[str, str], list[str]] = {}
    for line in files(__package__).joinpath("pieces.tsv").read_text("utf-8").splitlines():
        id, label, role = line.split("\t")
        groups.setdefault((label, role), []).append(id)
    read = {}
    for key, ids in groups.items():
        shuffled = sorted(ids, key=lambda id: blake2b(id.encode(), digest_size=8).digest())
        held_out = shuffled[: len(ids) // 5 + 1] if len(ids) >= FEWEST_TO_HOLD_OUT else []
        read[key] = tuple(Entry(id, *key, id in held_out) for id in ids)
    return read


@cache
def installed_pieces() -> dict[str, Piece]:
    """Return the installed pieces by id; SceneError where no library is installed or one is broken."""
    libraries = installed_libraries()
    if not libraries:
        raise SceneError(f"no furniture libraries in {DEBIAN_FOLDER}; run: apt-get install sweethome3d-furniture")
    return {piece.id: piece for piece in list_pieces(libraries)}


@cache
def assets_hash() -> str:
    """Return 12 hex digits of the installed libraries' contents; "none" where there are none."""
    libraries = installed_libraries()
    return files_hash(libraries) if libraries else "none"


def choose_piece(rng: Random, split: str, label: str, role: str = "") -> Piece:
    """Choose a piece; half of those for testing are held out from the other splits where there are any."""
    group = entries()[label, role]
    held_out = [entry for entry in group if entry.held_out]
    known = [entry for entry in group if not entry.held_out]
    pool = held_out if split == "test" and held_out and rng.random() < 0.5 else known
    return installed_pieces()[pool[int(rng.random() * len(pool))].id]
