"""Small commands, run in forks of a process that has imported everything, and comparison of what they write."""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import os
import re
import shlex
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.fixtures.recipes import LANGUAGE_PARTS, PERCEPTION_LOSSES, PERCEPTION_PARTS, STAGE, tiny_tree

LOG, MODEL = "log.txt", "distill/run/model"
#: what two undisturbed runs may write differently: times, and the commit of this tree
TIMES = re.compile(r"second|^utilisation$|^peak_memory|^commit$")
TIMED = {"training_args.bin"}  # a checkpoint's; it has the time in the name of a log folder
#: names of files that a finished command leaves nothing of
LEFTOVER = re.compile(
    r"\.unfinished-[0-9a-f]{16}|\.saving|\.writer\.(lock|json)|[0-9a-f]{16}\.lock|.*\.(partial|tmp|incomplete)"
)


@dataclass(frozen=True)
class Command:
    """Arguments of ``dollhouse``, run in an empty folder."""

    name: str
    arguments: tuple[str, ...]
    refused_again: str = ""  #: what a second run says where the first has finished, if it does not repeat


def chaos_recipe(*, short: bool = False) -> dict[str, Any]:
    """Return a recipe of three stages, or two, of some steps, with layers that only losses have, and a cache."""
    stage = {**STAGE, "steps": 3}
    stages = {
        "perception": {**stage, "losses": [*PERCEPTION_LOSSES, "spatial"], "train": PERCEPTION_PARTS},
        "language": {**stage, "losses": ["text", "grounding", "thinking_probe"], "train": LANGUAGE_PARTS},
        "both": {
            **stage,
            "losses": ["text", "grounding", "spatial", "thinking_probe"],
            "train": [*PERCEPTION_PARTS, *LANGUAGE_PARTS],
        },
    }
    if short:
        del stages["language"]
    tree = tiny_tree(name="chaos", stages=stages)
    scenes = "rooms:train/0" if short else "rooms:train/0-1"
    tree["data"] |= {"scenes": scenes, "questions_per_scene": 2, "cache": "cache"}
    return tree


def make_commands(inputs: Path, *, short: bool = False) -> dict[str, Command]:
    """Write the recipe to ``inputs`` and return the commands by name; the model of ``distill`` is read by others."""
    inputs.mkdir(parents=True, exist_ok=True)
    recipe, model = inputs / "chaos.yaml", str(inputs / MODEL)
    recipe.write_text(yaml.safe_dump(chaos_recipe(short=short), sort_keys=False))
    listed = {
        "annotate": "annotate --teacher annotations --scenes rooms:train/0-1 --limit 4 --out records",
        "distill": f"distill {recipe} --out run",
        "evaluate": f"evaluate {model} --scenes rooms:test/0-1 --questions 3 --out report",
        "export glb": "scenes export rooms:test/0 --out room.glb",
        "export colmap": "scenes export rooms:test/0 --out room",
        "ask --show": f"ask rooms:test/1 'Is there a chair?' --model {model} --show answers.png",
    }
    refused = {"export colmap": "exists"}
    return {name: Command(name, tuple(shlex.split(line)), refused.get(name, "")) for name, line in listed.items()}


def start(command: Command, folder: Path, before: Callable[[], None] = lambda: None) -> int:
    """Run a command in a fork, after calling ``before`` there; return the process id."""
    folder.mkdir(parents=True, exist_ok=True)
    if process := os.fork():
        return process
    code = 70
    try:
        os.chdir(folder)
        os.environ["XDG_STATE_HOME"] = str(folder.parent / "reports")
        with (folder.parent / f"{folder.name}-{LOG}").open("w") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        sys.argv = ["dollhouse", *command.arguments]
        import torch

        from dollhouse import cli

        torch.set_num_threads(1)
        before()
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        code = 1
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def finish(process: int) -> int:
    """Wait for a process; return its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def output_of(folder: Path) -> str:
    """Return what the last command in ``folder`` printed."""
    return (folder.parent / f"{folder.name}-{LOG}").read_text(errors="replace")


def undisturbed(command: Command, folder: Path) -> tuple[dict[str, Any], float]:
    """Run a command in an empty folder; return what it wrote and the seconds it took."""
    shutil.rmtree(folder, ignore_errors=True)
    began = time.monotonic()
    code = finish(start(command, folder))
    took = time.monotonic() - began
    if code:
        raise RuntimeError(f"{command.name} fails undisturbed ({code}):\n{output_of(folder)}")
    return contents(folder), took


def import_everything(commands: dict[str, Command], inputs: Path) -> None:
    """Import what the commands import, after running each in a fork, so that later forks start at once."""
    for name in ("training.train", "evaluation.evaluate", "teachers.annotate", "cli"):
        importlib.import_module(f"dollhouse.{name}")
    listing, exit_now = inputs / "modules.txt", os._exit

    def note_modules(code: int) -> None:
        listing.write_text("\n".join(list(sys.modules)))
        exit_now(code)

    for command in commands.values():
        folder = inputs / command.name.split()[0]
        shutil.rmtree(folder, ignore_errors=True)
        if code := finish(start(command, folder, lambda: setattr(os, "_exit", note_modules))):
            raise RuntimeError(f"{command.name} fails undisturbed ({code}):\n{output_of(folder)}")
        for name in listing.read_text().splitlines():
            with suppress(Exception):
                importlib.import_module(name)
    _make_forks_cheap()


def _make_forks_cheap() -> None:
    """Fill caches of constants, leave out drawing, and keep the collector from what has been imported.

    Figures take half the time of the commands. They are written where and as they always are, without lines in them:
    what they show is a function of files that are compared.
    """
    from matplotlib.figure import Figure
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    from dollhouse.questions.answer_balance import rooms_balance

    get_checkpoint_conversion_mapping("llama")
    rooms_balance()
    Figure.draw = lambda *_: None  # type: ignore[method-assign]
    Figure.findobj = lambda *_, **__: []  # type: ignore[method-assign]
    threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    if sum(name != "jemalloc_bg_thd" for name in threads) > 1:  # jemalloc minds forks by itself
        raise RuntimeError(f"forks of a process with threads may hang; set OMP_NUM_THREADS=1: {threads}")
    gc.collect()
    gc.freeze()


def contents(folder: Path) -> dict[str, Any]:
    """Return the content of every file by its path, without times and temporary files."""
    return {
        str(path.relative_to(folder)): _without_times(path)
        for path in sorted(folder.rglob("*"))
        if not (path.is_dir() or path.name in {".lock", *TIMED} or LEFTOVER.fullmatch(path.name))
    }


def digest(folder: Path) -> str:
    """Return a digest of all that a folder holds; equal where only times, process ids and random names differ."""
    held = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = re.sub(r"\.unfinished-[0-9a-f]{16}", ".unfinished", str(path.relative_to(folder)))
        fleeting = path.is_dir() or path.name in {".writer.json", *TIMED}
        held.update(repr((name, path.is_dir(), None if fleeting else _without_times(path))).encode())
    return held.hexdigest()


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Return the files that are missing, too many, or differ."""
    words = [f"{name} is missing" for name in expected.keys() - found.keys()]
    words += [f"{name} is left over" for name in found.keys() - expected.keys()]
    return sorted(
        words + [f"{name} differs" for name in expected.keys() & found.keys() if found[name] != expected[name]]
    )


def let_a_day_pass(folder: Path) -> None:
    """Date temporary files back: where several processes may write, the next writer removes those of a day ago."""
    for path in folder.rglob(".unfinished-*"):
        os.utime(path, (time.time() - 90000,) * 2)


def leftovers(folder: Path) -> list[str]:
    """Return the temporary files in a folder."""
    return [f"{path.relative_to(folder)} is left over" for path in folder.rglob("*") if LEFTOVER.fullmatch(path.name)]


def _without_times(path: Path) -> Any:
    content: Any = path.read_bytes()
    if path.name.startswith("report."):  # it has the digest of metrics.json, which has times
        content = re.sub(rb"\b[0-9a-f]{64}\b", b"", content)
    with suppress(ValueError):  # of a file that is cut
        if path.suffix == ".json" and content.startswith(b"{"):
            content = _untimed(json.loads(content))
        elif path.suffix == ".jsonl":
            content = [_untimed(json.loads(line)) for line in content.splitlines()]
    return re.sub(rb"seconds</dt>\s*<dd>[^<]*", b"", content) if path.suffix == ".html" else content


def _untimed(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _untimed(value) for key, value in tree.items() if not TIMES.search(key)}
    return [_untimed(value) for value in tree] if isinstance(tree, list) else tree
