"""The README's machine-written parts: between `<!-- NAME:begin -->` and `<!-- NAME:end -->`."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping

from rich.console import Console

from builder.report.bench import Bench
from builder.report.tables import Listed, built
from builder.verify.evidence import Evidence

_WIDTH = 100


def readme(
    text: str, rows: Iterable[Listed], evidence: Mapping[str, Evidence], shown: str, bench: Bench | None
) -> str:
    """The README's text with its parts made anew.

    Args:
        text: The README as it is.
        rows: What `cuvee list` shows.
        evidence: By row, where there is any for the row's present lock.
        shown: The row whose proof stands at the top.
        bench: What `make bench` measured, or None.
    """
    parts = {"rows": _rows(rows, evidence)}
    if shown in evidence:
        parts["proof"] = _proof(evidence[shown])
    if bench:
        parts["bench"] = _bench(bench)
    for name, part in parts.items():
        text = _replaced(text, name, part)
    return text


def _replaced(text: str, name: str, part: str) -> str:
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    return f"{head}{begin}{part}{end}{tail}" if found and closed else text


def _rows(rows: Iterable[Listed], evidence: Mapping[str, Evidence]) -> str:
    lines = [
        "| row | for | CUDA | cuDNN | torch | CTranslate2 | on disk | checks |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        found = evidence.get(row.id)
        size = f"{int(found.image['bytes']) / 1e9:.2f} GB" if found else ""
        cells = (
            f"`{row.id}`",
            row.summary,
            row.cuda,
            row.cudnn or "-",
            row.torch or "-",
            row.ctranslate2 or "-",
        )
        lines.append(f"| {' | '.join((*cells, size, _checks(row, found)))} |")
    return "\n".join(lines) + "\n"


def _checks(row: Listed, evidence: Evidence | None) -> str:
    if evidence is None:
        return "none for this lock"
    counts = [
        f"{count} {name}" for name in ("passed", "failed", "skipped") if (count := evidence.count(name))
    ]
    where = f"on {evidence.gpu['name']}" if evidence.gpu else "without a GPU"
    fails = ", fails as recorded" if row.status == "known-bad" and evidence.holds else ""
    return f"{', '.join(counts)}, {where}{fails}"


def _proof(evidence: Evidence) -> str:
    console = Console(file=io.StringIO(), width=_WIDTH, no_color=True, highlight=False)
    console.print(built([evidence]))
    printed: io.StringIO = console.file  # type: ignore[assignment]  # it is the one given above
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    return "```\n" + "\n".join(line for line in lines if line) + "\n```\n"


def _bench(bench: Bench) -> str:
    lines = [
        f"Row `{bench.row}`, {bench.host}, written by `{bench.command}` on {bench.date[:10]}:",
        "",
        "| | one `RUN pip install` | cuvee | ratio | limit |",
        "|---|---|---|---|---|",
        *(
            f"| {run.name} | {run.theirs:.0f} s | {run.ours:.0f} s | {run.ratio:.3f} | {run.limit:.2f} |"
            for run in bench.runs
        ),
    ]
    return "\n".join(lines) + "\n"
