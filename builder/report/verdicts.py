"""Verdicts for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from builder.matrix import Row
from builder.verdict.expect import faults
from builder.verdict.gpu import named
from builder.verdict.record import Finding, Verdict

_WORDS = {"holds": "holds", "risk": "may fail", "fails": "fails"}


def show(console: Console, judged: Sequence[tuple[Row, Verdict]]) -> None:
    """A line a row, then what does not hold: the message, why, and what helps."""
    console.print(_table(judged))
    for row, verdict in judged:
        for finding in verdict.findings:
            _show(console, row, finding)


def ranges(verdict: Verdict) -> Table:
    """The GPUs that each library of an environment runs on."""
    table = Table(
        title=f"{verdict.row}: GPUs by library", box=box.SIMPLE, pad_edge=False, title_justify="left"
    )
    for title in ("library", "from", "to", "without compiling, to", "driver that compiles the rest"):
        table.add_column(title)
    for one in verdict.gpus:
        table.add_row(
            one.library, named(one.low), named(one.high), named(one.native_high), one.jit_driver or "-"
        )
    return table


def _table(judged: Sequence[tuple[Row, Verdict]]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for title in ("row", "proof", "binaries", "names", "driver", "GPUs"):
        table.add_column(title, justify="right" if title in {"binaries", "names"} else "left")
    for row, verdict in judged:
        table.add_row(
            row.id,
            _outcome(row, verdict),
            str(verdict.binaries),
            str(len({name.name for name in verdict.names})),
            f">= {verdict.driver}",
            f"{named(verdict.low)} to {named(verdict.high)}",
        )
    return table


def _outcome(row: Row, verdict: Verdict) -> str:
    word = _WORDS[verdict.outcome]
    if row.fails_with:
        return "fails, as it says" if not faults(row, verdict) else f"{word}, and should fail as it says"
    return word


def _show(console: Console, row: Row, finding: Finding) -> None:
    console.print(Text(f"{row.id}: {finding.place} ({finding.signature})", style="bold"))
    for line in finding.message.splitlines():
        console.print(Text(f"    {line}"), soft_wrap=True)  # to be searched for, and copied whole
    for title, words in (("why", finding.cause), ("fix", finding.fix)):
        console.print(Text(f"  {title}: {words}."))
    if finding.chain:
        console.print(Text("  chain: " + ", ".join(finding.chain)))
    if finding.sources:
        console.print(Text("  see: " + ", ".join(finding.sources)))
    console.print()
