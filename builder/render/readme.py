"""The README's machine-written parts: between `<!-- NAME:begin -->` and `<!-- NAME:end -->`."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from rich.console import Console

from builder.report.bench import Amount, Bench, Compared, DirectBench, Figure, LauncherBench
from builder.report.tables import Listed, built
from builder.verdict.gpu import named, steps
from builder.verdict.record import Verdict
from builder.verify.evidence import Evidence

_WIDTH = 100
_GB = 1000  # MB
_EXACT = 10  # seconds; more are told without decimals


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the README tells.

    Attributes:
        rows: What `cuvee list` shows.
        evidence: By row, where there is any for the row's present lock.
        shown: The row whose proof stands at the top.
        verdicts: Of the rows whose facts are recorded.
        survey: By table of the survey, how many pairs have each status.
        bench: What `make bench` measured of Dockerfiles, or None.
        direct: What it measured of the direct engine, or None.
        launcher: What it measured of `transcribe`, or None.
        sweep: What `cuvee test --all` wrote of its run, or None.
        wheels: The bytes of all locked files, each once.
    """

    rows: tuple[Listed, ...]
    evidence: Mapping[str, Evidence]
    shown: str
    verdicts: tuple[Verdict, ...] = ()
    survey: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    bench: Bench | None = None
    direct: DirectBench | None = None
    launcher: LauncherBench | None = None
    sweep: Mapping[str, Any] | None = None
    wheels: int = 0


def readme(text: str, told: Told) -> str:
    """The README's text with its parts made anew.

    Args:
        text: The README as it is.
        told: What it tells.
    """
    parts = {"rows": _rows(told.rows, told.evidence)}
    if told.shown in told.evidence:
        parts["proof"] = _proof(told.evidence[told.shown])
    if told.verdicts:
        parts["hosts"] = _hosts(told.verdicts)
    if told.survey:
        parts["survey"] = _survey(told.survey)
    if told.bench:
        parts["bench"] = _bench(told.bench)
    if told.direct:
        parts["bench-direct"] = _direct(told.direct)
    if told.launcher:
        parts["bench-launcher"] = _launcher(told.launcher)
    if told.sweep:
        parts["sweep"] = _swept(told.sweep, told.wheels)
    for name, part in parts.items():
        text = _replaced(text, name, part)
    return text


def figure_cells(figure: Figure) -> tuple[str, ...]:
    """A figure in words: what was done, what it took, what it is held against, the ratio, and the limit."""
    limit = ""
    if figure.limit is not None:
        limit = f"{figure.limit:.2f}" if figure.theirs else _number(figure.limit, figure.ours.unit)
    return (
        figure.name,
        _amount(figure.ours),
        _amount(figure.theirs) if figure.theirs else "",
        f"{figure.measure:.3f}" if figure.theirs else "",
        limit,
    )


def _replaced(text: str, name: str, part: str) -> str:
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    return f"{head}{begin}{part}{end}{tail}" if found and closed else text


def _rows(rows: Iterable[Listed], evidence: Mapping[str, Evidence]) -> str:
    lines = [
        "| row | for | CUDA | cuDNN | torch | CTranslate2 | to pull | on disk | first words | proven |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        found = evidence.get(row.id)
        cells = (
            " ".join(f"`{name}`" for name in (row.id, *row.aliases)),
            row.summary,
            *(value or "-" for value in (row.cuda, row.cudnn, row.torch, row.ctranslate2)),
            *_weights(row, found),
            _checks(row, found),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _weights(row: Listed, found: Evidence | None) -> tuple[str, str, str]:
    """Bytes to pull, bytes on disk, seconds to the first words, as far as they are known."""
    published = row.pull_zstd or row.pull
    pull = f"{published / 1e9:.2f} GB" if published else ""
    disk = f"{row.disk / 1e9:.2f} GB" if row.disk else ""
    words = f"{found.first_words:.1f} s" if found and found.first_words is not None else ""
    return pull, disk, words


def _hosts(verdicts: Iterable[Verdict]) -> str:
    lines = ["| row | GPUs, by compute capability | from | to | NVIDIA driver |", "|---|---|---|---|---|"]
    for one in (verdict for verdict in verdicts if verdict.driver):
        lowest = [found.library for found in one.gpus if found.low == one.low]
        highest = [found.library for found in one.gpus if found.high is not None and found.high == one.high]
        cells = (
            f"`{one.row}`",
            f"{named(one.low)} to {named(one.high)}",
            lowest[0] if lowest else "-",
            highest[0] if highest else "-",
            f">= {steps(one.drivers) or one.driver}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _swept(told: Mapping[str, Any], wheels: int) -> str:
    """What one run over all rows took."""
    good = [one for one in told["rows"] if one["status"] == "good"]
    passed = sum(one["outcome"] == "passed" for one in good)
    when = f"{told['host']['cpus']} processors, `{told['command']}` of {told['date'][:10]}"
    return (
        f"One run on {when}, with the wheels on the disk ({wheels / 1e9:.1f} GB for all rows): {passed} of "
        f"{len(good)} good rows built and passed, in {told['seconds'] / 60:.0f} minutes with the known-"
        f"bad ones; {told['most_disk'] / 1e9:.1f} GB of disk at most, with the "
        f"{told['held_before'] / 1e9:.1f} GB that the store held before: the wheels and all else.\n"
    )


_SURVEYED = {
    "works": "work as pip leaves them",
    "first": "if the program imports torch first",
    "path": "once the loader is shown the libraries that torch brings",
    "added": "with a library added",
    "fails": "do not",
}


def _survey(tables: Mapping[str, Mapping[str, int]]) -> str:
    lines = [f"| table | {' | '.join(_SURVEYED.values())} |", "|---" * (len(_SURVEYED) + 1) + "|"]
    for name, counts in tables.items():
        cells = (str(counts.get(status, 0)) for status in _SURVEYED)
        lines.append(f"| [{name}](survey/{name}.md) | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _checks(row: Listed, evidence: Evidence | None) -> str:
    if evidence is None:
        return {"untested": "untested"}.get(row.status, "none for this lock" if row.lock else "no lock")
    counts = ", ".join(
        f"{count} {name}" for name in ("passed", "failed", "skipped") if (count := evidence.count(name))
    )
    if row.status == "known-bad":
        return f"fails as recorded: {counts}" if evidence.fails_as_recorded else counts
    where = f"gpu ({evidence.gpu['name']})" if evidence.gpu else row.level or "failed"
    return f"{where}: {counts}"


def _proof(evidence: Evidence) -> str:
    console = Console(file=io.StringIO(), width=_WIDTH, no_color=True, highlight=False)
    console.print(built([evidence]))
    printed: io.StringIO = console.file  # type: ignore[assignment]  # it is the one given above
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    return "```\n" + "\n".join(line for line in lines if line) + "\n```\n"


def _bench(bench: Bench) -> str:
    lines = [
        *_measured(bench),
        "| | one `RUN pip install` | cuvee | ratio | limit |",
        "|---|---|---|---|---|",
        *(
            f"| {run.name} | {run.theirs:.0f} s | {run.ours:.0f} s | {run.ratio:.3f} | {run.limit:.2f} |"
            for run in bench.runs
        ),
    ]
    return "\n".join(lines) + "\n"


def _direct(bench: DirectBench) -> str:
    """The table of the direct engine: each figure beside what it is held against, and its limit."""
    lines = [
        *_measured(bench),
        "| | cuvee | held against | ratio | limit |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(figure_cells(figure))} |" for figure in bench.figures),
        "",
        f"With {_versions(bench.tools)}.",
    ]
    return "\n".join(lines) + "\n"


_SECONDS = {"wall": "seconds that pass", "cpu": "seconds of processors"}


def _launcher(bench: LauncherBench) -> str:
    """The table of `transcribe`: medians, and between what the pairs' ratios are."""
    pairs = len(bench.compared[0].ratios)
    lines = [
        *_measured(bench),
        "| | faster-whisper alone | `transcribe` | ratio | of all pairs | limit |",
        "|---|---|---|---|---|---|",
        *(f"| {' | '.join(_compared(one))} |" for one in bench.compared),
        "",
        f"Medians of {pairs} pairs of runs, in turn, of {bench.threads} threads each, on",
        f"{bench.minutes} minutes in which both heard the same {bench.words} words.",
        f"With {_versions(bench.tools)}.",
    ]
    return "\n".join(lines) + "\n"


def _versions(tools: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in tools.items())


def _compared(one: Compared) -> tuple[str, ...]:
    return (
        _SECONDS[one.name],
        f"{median(one.theirs):.1f} s",
        f"{median(one.ours):.1f} s",
        f"{one.ratio:.3f}",
        f"{min(one.ratios):.3f} to {max(one.ratios):.3f}",
        f"{one.limit:.2f}",
    )


def _measured(bench: Bench | DirectBench | LauncherBench) -> tuple[str, str]:
    return f"Row `{bench.row}`, {bench.host}, written by `{bench.command}` on {bench.date[:10]}:", ""


def _amount(amount: Amount) -> str:
    parts = ", ".join(f"{name} {_number(value, amount.unit)}" for name, value in amount.parts.items())
    said = _number(amount.value, amount.unit) + (f" ({parts})" if parts else "")
    return f"{amount.of}: {said}" if amount.of else said


def _number(value: float, unit: str) -> str:
    if unit == "MB" and value >= _GB:
        return f"{value / _GB:.2f} GB"
    return f"{value:.0f} {unit}" if value >= _EXACT or unit == "MB" else f"{value:.2f} {unit}"
