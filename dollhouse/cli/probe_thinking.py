"""``dollhouse probe``: do a student's thinking tokens carry anything?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dollhouse.cli.root import app, command_line, quiet_libraries


@app.command()
def probe(
    model: Annotated[Path | None, typer.Argument(help="A model folder. Default: the shipped nano student.")] = None,
    scenes: Annotated[str, typer.Option(help="Scenes, such as rooms:test/0-99 or a folder.")] = "rooms:test/0-99",
    questions: Annotated[int, typer.Option(min=1, help="Questions a scene.")] = 40,
    seed: Annotated[int, typer.Option(help="Of the choice of questions, the noise and the intervals.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for probe.json, answers.jsonl and probe.html.")] = None,
) -> None:
    """Look into the thinking tokens: replace them, read them in words, see who looks at them, decode them.

    Example: dollhouse probe runs/nano/model --scenes rooms:test/0-99 --out probed/
    """
    quiet_libraries()
    from dollhouse.evaluation.probing.probe import probe_thinking
    from dollhouse.evaluation.probing.tables import probe_summary
    from dollhouse.inference.pipeline import DollhousePipeline
    from dollhouse.system.environment import source_commit

    probed = probe_thinking(
        DollhousePipeline.from_pretrained(model),
        scenes,
        questions_per_scene=questions,
        out=out,
        seed=seed,
        commit=source_commit(),
        command=command_line(),
    )
    Console(highlight=False).print(probe_summary(probed.result))
    if probed.folder:
        print(f"report: {probed.folder / 'probe.html'}")
