"""``dollhouse labels``: what a model can name."""

from __future__ import annotations

from typing import Annotated

import typer

from dollhouse.cli.app import ModelArgument, app
from dollhouse.system.console import console


@app.command()
def labels(
    model: ModelArgument = "nano",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print what a model can name: its labels with other words for them, and its colours."""
    import json
    from dataclasses import asdict

    from dollhouse.inference.vocabulary import model_vocabulary

    vocabulary, out = model_vocabulary(model), console()
    if as_json:
        print(json.dumps(asdict(vocabulary), indent=1))
        return
    for entry in vocabulary.labels:
        front = " (has a front)" if entry.has_front else ""
        aliases = f": {', '.join(entry.aliases)}" if entry.aliases else ""
        out.print(f"{entry.label}{front}{aliases}")
    out.print(f"{len(vocabulary.labels)} labels; colours: {', '.join(vocabulary.colours) or 'none'}")
