"""Check the certificate of exported graphs: what was compared with the student they came from.

``certificate.json`` holds hashes of all files of the export; one that was changed after the comparison is not loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dollhouse.errors import ModelError
from dollhouse.system.hashing import file_hash
from dollhouse.system.read_files import decoding, read_object

CERTIFICATE = "certificate.json"
COMMON = ("config.json", "processor_config.json", "tokenizer.json")
GRAPHS = ("patches", "encoder", "objects", "language", "depth")
REMEDY = "write the export again with `dollhouse export`"


def read_certificate(folder: Path) -> dict[str, Any]:
    """Read the certificate of an exported folder; ModelError where there is none."""
    if not (folder / CERTIFICATE).is_file():
        raise ModelError(f"{folder} has no {CERTIFICATE}, so nothing shows that its graphs are right: {REMEDY}")
    return read_object(folder / CERTIFICATE, ModelError, REMEDY)


def certified_files(folder: Path, precision: str) -> dict[str, str]:
    """Return the hashes of the files that inference in one precision reads."""
    names = [*COMMON, *(f"{precision}/{graph}.onnx" for graph in GRAPHS)]
    return {name: file_hash(folder / name) for name in names}


def check_certificate(folder: Path, precision: str | None = None) -> str:
    """Compare an export with its certificate; return the precision, by default the first that passed.

    Raises ModelError where there is no certificate, the precision is not in it or failed, or a file is another than the
    certified one.
    """
    certificate = read_certificate(folder)
    with decoding(folder / CERTIFICATE, "a certificate", ModelError, REMEDY):
        entries = {str(name): entry for name, entry in certificate["precisions"].items() if entry["passed"]}
        # a precision names a folder
        passed = {name: dict(entry["files"]) for name, entry in entries.items() if name.isidentifier()}
        str.encode(certificate["model"])
    precision = precision or next(iter(passed), None)
    if precision is None or precision not in passed:
        kind = f"in precision {precision}" if precision else "in any precision"
        raise ModelError(f"{folder} is not certified {kind}: {REMEDY}")
    try:
        found = certified_files(folder, precision)
    except OSError as error:
        raise ModelError(f"{error.filename}: cannot be read ({error.strerror or error}): {REMEDY}") from error
    changed = [name for name, hash in found.items() if passed[precision].get(name) != hash]
    if changed:
        raise ModelError(f"{folder / changed[0]} is not the file that was certified: {REMEDY}")
    return precision
