"""What a probe found, as a person reads it on a terminal. Knows the keys of ``probe.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dollhouse.evaluation.probing.accuracy import BASE, OVERALL
from dollhouse.evaluation.probing.attention import ANSWER, THOUGHTS
from dollhouse.evaluation.probing.linear_probe import ALL_THINKING, SLOTS, SOME_SLOTS, THINKING
from dollhouse.questions.sampling import FAMILIES

#: Positions of the linear probe that are told on a terminal, and how they are called there.
READ = {THINKING: "thoughts", SLOTS: "slots", ALL_THINKING: "K thoughts", SOME_SLOTS: "K slots"}


def print_probe(found: Mapping[str, Any], console: Console | None = None) -> None:
    """Controls, read-out, attention, the linear probe, and the one sentence."""
    console = console or Console(highlight=False)
    console.print(_controls(found))
    if any(group in FAMILIES for group in found["controls"][BASE]["groups"]):
        console.print(_families(found))
    console.print(_read_out(found["read_out"]))
    if line := _attention(found["attention"]["rows"]):
        console.print(line)
    if found["decoding"]["targets"]:
        console.print(_decoding(found["decoding"]["targets"]))
    else:
        console.print(f"linear probe: {found['decoding']['scenes']} scenes with known objects are too few")
    console.print(f"[bold]{escape(found['verdict'])}[/bold]")


def _controls(found: Mapping[str, Any]) -> Table:
    """Over the four families together."""
    scenes = found["scenes"]
    title = f"{found['model']} on {scenes['source'] or 'scenes'} ({scenes['n']}): thinking tokens replaced"
    table = _table(title, "control", "accuracy", "n", "change in points", "95 % interval", "other words")
    for name, control in found["controls"].items():
        if overall := control["groups"].get(OVERALL):
            ends = overall["difference_ci95"]
            interval = "" if ends is None else "{:+.1f} to {:+.1f}".format(*(100 * end for end in ends))
            compared = [f"{100 * overall['difference']:+.1f}", interval, f"{overall['changed']:.1%}"]
            cells = [f"{overall['accuracy']:.1%}", f"{overall['n']:,}", *(["", "", ""] if name == BASE else compared)]
            table.add_row(name, *cells, style="bold" if name == BASE else None)
    return table


def _families(found: Mapping[str, Any]) -> Table:
    """Every family by itself; a star where the interval of the change does not include none."""
    families = [group for group in found["controls"][BASE]["groups"] if group in FAMILIES]
    table = _table("by family: change in points (* interval without 0)", "control", *families)
    for name, control in found["controls"].items():
        each = [control["groups"][family] for family in families]
        if name == BASE:
            table.add_row(name, *(f"{one['accuracy']:.1%}" for one in each), style="bold")
        else:
            table.add_row(name, *(f"{100 * one['difference']:+.1f}{_star(one['difference_ci95'])}" for one in each))
    return table


def _star(interval: Sequence[float] | None) -> str:
    return "*" if interval is not None and (interval[0] > 0 or interval[1] < 0) else ""


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(first)
    for column in others:
        table.add_column(column, justify="right")
    return table


def _read_out(read_out: Mapping[str, Any]) -> Table:
    table = Table(title=f"in words: {read_out['title']}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("thought", "likeliest (scenes)", "five likeliest, mean chance"):
        table.add_column(column)
    for number, token in enumerate(read_out["tokens"], 1):
        table.add_row(
            str(number),
            escape(", ".join(f"{one['word']} ({one['scenes']})" for one in token["argmax"])),
            escape(", ".join(f"{one['word']} {one['chance']:.0%}" for one in token["top"])),
        )
    return table


def _attention(rows: Mapping[str, Any]) -> str:
    if ANSWER not in rows or THOUGHTS not in rows[ANSWER]:
        return ""
    share = rows[ANSWER][THOUGHTS]
    return (
        f"the answer gives the thinking tokens {share['mean']:.1%} of its attention "
        f"({share['even']:.1%} if it looked at all alike)"
    )


def _decoding(targets: Mapping[str, Any]) -> Table:
    """A star where the interval over chance excludes none."""
    shown = [place for place in READ if place in next(iter(targets.values()))["positions"]]
    title = "what a linear probe reads on unseen scenes (* if above chance)"
    table = _table(title, "what", "measure", "chance", *(READ[place] for place in shown))
    for name, told in targets.items():
        each = [told["positions"][place] for place in shown]
        stars = ["*" if one["over_chance_ci95"] and one["over_chance_ci95"][0] > 0 else "" for one in each]
        scores = [f"{one['score']:.2f}{star}" for one, star in zip(each, stars, strict=True)]
        table.add_row(name, told["measure"], f"{told['chance']:.2f}", *scores)
    return table
