"""What a probe found, as a person reads it on a terminal. Knows the keys of ``probe.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dollhouse.probe.accuracy import BASE, OVERALL
from dollhouse.probe.attention import ANSWER, THOUGHTS
from dollhouse.probe.decoding import ALL_THINKING, SLOTS, SOME_SLOTS, THINKING

READ = (THINKING, SLOTS, ALL_THINKING, SOME_SLOTS)  #: positions of the linear probe that are told on a terminal


def print_probe(found: Mapping[str, Any], console: Console | None = None) -> None:
    """Controls, read-out, attention, the linear probe, and the one sentence."""
    console = console or Console(highlight=False)
    console.print(_controls(found))
    console.print(_read_out(found["read_out"]))
    if line := _attention(found["attention"]["rows"]):
        console.print(line)
    if found["decoding"]["targets"]:
        console.print(_decoding(found["decoding"]["targets"]))
    else:
        console.print(f"linear probe: {found['decoding']['scenes']} scenes with known objects are too few")
    console.print(f"[bold]{escape(found['verdict'])}[/bold]")


def _controls(found: Mapping[str, Any]) -> Table:
    scenes = found["scenes"]
    title = f"{found['model']} on {scenes['source'] or 'scenes'} ({scenes['n']}): thinking tokens replaced"
    table = Table(title=escape(title), title_justify="left")
    groups = list(found["controls"][BASE]["groups"])
    table.add_column("control")
    for column in ["accuracy", "n", "change", "95 % interval", "other words"] if OVERALL in groups else []:
        table.add_column(column, justify="right")
    families = [group for group in groups if group != OVERALL]
    for family in families:
        table.add_column(family, justify="right")
    for name, control in found["controls"].items():
        cells = []
        if OVERALL in groups:
            overall = control["groups"][OVERALL]
            ends = overall["difference_ci95"]
            interval = "" if ends is None else "{:+.1f} to {:+.1f}".format(*(100 * end for end in ends))
            change = "" if name == BASE else f"{100 * overall['difference']:+.1f}"
            cells = [f"{overall['accuracy']:.1%}", f"{overall['n']:,}", change, "" if name == BASE else interval,
                     "" if name == BASE else f"{overall['changed']:.1%}"]  # fmt: skip
        each = (control["groups"][family] for family in families)
        told = [f"{one['accuracy']:.1%}" if name == BASE else f"{100 * one['difference']:+.1f}" for one in each]
        table.add_row(name, *cells, *told, style="bold" if name == BASE else None)
    return table


def _read_out(read_out: Mapping[str, Any]) -> Table:
    table = Table(title=f"in words ({read_out['title']})", title_justify="left")
    for column in ("thought", "likeliest word (scenes)", "five likeliest, mean chance"):
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
    table = Table(title="what a linear probe reads on unseen scenes", title_justify="left")
    table.add_column("what")
    shown = [place for place in READ if place in next(iter(targets.values()))["positions"]]
    for column in ("measure", "chance", *shown):
        table.add_column(column, justify="right")
    for name, told in targets.items():
        table.add_row(
            name,
            told["measure"],
            f"{told['chance']:.3f}",
            *(f"{told['positions'][place]['score']:.3f}" for place in shown),
        )
    return table
