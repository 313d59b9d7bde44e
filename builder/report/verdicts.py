"""Verdicts for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from builder.matrix import Row
from builder.verdict.expect import faults
from builder.verdict.gpu import named, steps
from builder.verdict.record import Finding, Verdict

_WORDS = {"holds": "holds", "risk": "may fail", "fails": "fails"}


def show(console: Console, judged: Sequence[tuple[Row, Verdict]], *, detailed: bool = False) -> None:
    """A line a row, then what does not hold: the message, why, and what helps.

    Args:
        console: Where to.
        judged: Rows with their verdicts.
        detailed: Also the GPUs of each library.
    """
    if judged:
        console.print(_table(judged))
    for row, verdict in judged:
        if detailed:
            console.print(ranges(verdict))
        for finding in verdict.findings:
            _show(console, row, finding)


def ranges(verdict: Verdict) -> Table:
    """The GPUs that each library of an environment runs on."""
    table = Table(
        title=f"{verdict.row}: GPUs by library", box=box.SIMPLE, pad_edge=False, title_justify="left"
    )
    table.add_column("library", no_wrap=True)
    for title in ("from", "to", "without compiling, to", "driver that compiles the rest"):
        table.add_column(title)
    for one in verdict.gpus:
        table.add_row(
            one.library, named(one.low), named(one.high), named(one.native_high), one.jit_driver or "-"
        )
    return table


def _table(judged: Sequence[tuple[Row, Verdict]]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("row", no_wrap=True)
    for title in ("proof", "binaries", "names", "GPUs", "NVIDIA driver"):
        table.add_column(title, justify="right" if title in {"binaries", "names"} else "left")
    for row, verdict in judged:
        table.add_row(
            row.id,
            _outcome(row, verdict),
            str(verdict.binaries),
            str(len({name.name for name in verdict.names})),
            f"{named(verdict.low)} to {named(verdict.high)}" if verdict.driver else "-",
            f">= {steps(verdict.drivers) or verdict.driver}" if verdict.driver else "-",
        )
    return table


def _outcome(row: Row, verdict: Verdict) -> str:
    word = _WORDS[verdict.outcome]
    if row.fails_with:
        return "fails, as it says" if not faults(row, verdict) else f"{word}, and should fail as it says"
    return word


def _show(console: Console, row: Row, finding: Finding) -> None:
    """Lines are left whole, to be searched for and copied."""
    told = [
        *(f"    {line}" for line in finding.message.splitlines()),
        f"  why: {finding.cause}.",
        f"  fix: {finding.fix}.",
        *([f"  chain: {', '.join(finding.chain)}"] if finding.chain else []),
        *([f"  see: {', '.join(finding.sources)}"] if finding.sources else []),
        "",
    ]
    console.print(Text(f"{row.id}: {finding.place} ({finding.signature})", style="bold"), soft_wrap=True)
    for line in told:
        console.print(Text(line), soft_wrap=True)
