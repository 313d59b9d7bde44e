"""Tables for people, on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from textwrap import shorten

from rich import box
from rich.table import Table

from builder.engines.direct.difference import Difference
from builder.plan import Plan
from builder.verify.evidence import Evidence

LONGEST_REASON = 160
"""Characters of why a layer is fetched; `cuvee diff --json` tells all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A row as `cuvee list` shows it.

    Attributes:
        id: The row's id.
        status: `good` or `known-bad`.
        summary: What it is for.
        cuda: Of its wheels.
        cudnn: Of its environment, overlays included, or None.
        torch: Its torch, or None.
        ctranslate2: Its CTranslate2 as the matrix asks for it, or None.
        lock: The lock's digest, or None where there is none or the matrix has moved on.
        proven: `passed`, `failed`, or None where there is no evidence for this lock.
    """

    id: str
    status: str
    summary: str
    cuda: str
    cudnn: str | None
    torch: str | None
    ctranslate2: str | None
    lock: str | None
    proven: str | None

    def to_json(self) -> dict[str, str | None]:
        """A plain dict."""
        return asdict(self)


def listing(rows: Iterable[Listed]) -> Table:
    """All rows, one a line."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for title in ("row", "status", "CUDA", "cuDNN", "torch", "CTranslate2", "evidence"):
        table.add_column(title, overflow="fold")
    for row in rows:
        state = (row.proven or "none yet") if row.lock else "stale lock"
        optional = (row.cudnn or "-", row.torch or "-", row.ctranslate2 or "-")
        table.add_row(row.id, row.status, row.cuda, *optional, state)
    return table


def planned(plan: Plan) -> Table:
    """What a build would do: the layers in order, and what each downloads."""
    table = Table(
        title=f"{plan.tag}, on {plan.base_image}", box=box.SIMPLE, pad_edge=False, title_justify="left"
    )
    for title in ("layer", "packages", "MB to download", "where"):
        table.add_column(title, justify="right" if title in ("packages", "MB to download") else "left")
    for layer in plan.layers:
        table.add_row(layer.name, str(len(layer.packages)), f"{layer.size / 1e6:.1f}", str(layer.prefix))
    table.add_row(
        "all", str(sum(len(layer.packages) for layer in plan.layers)), f"{plan.download / 1e6:.1f}", ""
    )
    return table


def difference(found: Difference) -> Table:
    """What a pull costs: the layers that are fetched, why, and what is there already."""
    title = f"pulling {found.other} to where {found.one} is"
    table = Table(title=title, box=box.SIMPLE, pad_edge=False, title_justify="left")
    table.add_column("layer")
    table.add_column("MB to pull", justify="right")
    table.add_column("why", overflow="fold")
    for layer in found.pulled:
        why = shorten(layer.why, LONGEST_REASON, placeholder=" …")
        table.add_row(layer.title, f"{layer.size / 1e6:.1f}", why)
    table.add_section()
    table.add_row("all", f"{found.pulled_bytes / 1e6:.1f}", "they are one image" if found.same else "")
    table.add_row(f"{found.shared} layers are there", f"({found.shared_bytes / 1e6:.1f})", "")
    if found.gone:
        table.add_row("no longer needed", "", ", ".join(found.gone))
    return table


def built(evidence: Sequence[Evidence]) -> Table:
    """What was built and how it did: image, size, layers, checks, how to run it."""
    table = Table(box=box.SIMPLE_HEAD, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for one in evidence:
        table.add_row("image", f"{one.image['tag']} ({str(one.image['id'])[:19]})")
        table.add_row("size", f"{int(one.image['bytes']) / 1e9:.2f} GB")
        table.add_row("layers", str(one.image["layers"]))
        table.add_row("checks", _checks(one))
        table.add_row("run it", _how_to_run(one), end_section=True)
    return table


def _checks(evidence: Evidence) -> str:
    counts = {outcome: evidence.count(outcome) for outcome in ("passed", "failed", "skipped")}
    skips = dict.fromkeys(check.reason for check in evidence.checks if check.outcome == "skipped")
    return "\n".join(
        [
            ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count),
            *(f"skipped: {reason}" for reason in skips),
        ]
    )


def _how_to_run(evidence: Evidence) -> str:
    if evidence.status != "good":
        return "it is known to fail, and is kept to show how"
    own = f".venv/bin/cuvee run {evidence.row} AUDIO --model DIR"
    return f"{own}\ndocker run --rm -it --gpus all {evidence.image['tag']} python"
