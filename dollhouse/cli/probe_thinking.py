"""``dollhouse probe-thinking``: measure what the thinking tokens carry."""

from __future__ import annotations

from typing import Annotated

import typer

from dollhouse.cli.app import ModelArgument, OutOption, SeedOption, app, command_line, quiet_libraries
from dollhouse.system.console import console


@app.command("probe-thinking")
def probe_thinking(
    model: ModelArgument = "nano",
    scenes: Annotated[str, typer.Option(help="Scenes, such as rooms:test/0-99 or a folder.")] = "rooms:test/0-99",
    questions: Annotated[int, typer.Option(min=1, help="Questions a scene.")] = 40,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Ablate, decode and linearly probe the thinking tokens, each beside its control.

    Example: dollhouse probe-thinking runs/nano/model --scenes rooms:test/0-99 --out probed/
    """
    quiet_libraries()
    from dollhouse.evaluation.probing.page import probe_summary
    from dollhouse.evaluation.probing.probe import probe_thinking as probe
    from dollhouse.inference.pipeline import DollhousePipeline
    from dollhouse.system.environment import source_commit

    result = probe(
        DollhousePipeline.from_pretrained(model),
        scenes,
        questions_per_scene=questions,
        out=out,
        seed=seed,
        commit=source_commit(),
        command=command_line(),
    )
    console().print(probe_summary(result.result))
    if result.folder:
        print(f"report: {result.folder / 'probe.html'}")
