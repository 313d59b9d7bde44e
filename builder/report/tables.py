"""Tables for people, on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from textwrap import shorten
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from rich import box
from rich.table import Table

from builder.engines.direct.difference import Difference
from builder.errors import Fault
from builder.plan import Plan
from builder.report.swept import Swept
from builder.verify.evidence import Evidence

LONGEST_REASON = 160
"""Characters of why a layer is fetched; `cuvee diff --json` tells all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A row as `cuvee list` shows it.

    Attributes:
        id: The row's id.
        status: `good`, `known-bad` or `untested`.
        summary: What it is for.
        aliases: Its other names.
        cuda: Of its wheels, or None; of several environments all, with a slash between; so the next three.
        cudnn: Of its environment, overlays included, or None.
        torch: Its torch, or None.
        ctranslate2: Its CTranslate2 as the matrix asks for it, or None.
        lock: The lock's digest, or None where there is none or the matrix has moved on.
        image: The digest of the image that the lock records, or None.
        level: How far the row is proven: `proved`, `loaded`, `cpu`, `gpu` (see `verify.evidence.Level`); None
            where not even the proof holds, and for known-bad rows.
        proven: `passed`, `failed`, or None where there is no evidence for this lock, or none that shows it.
        evidence: `valid`; `of another lock`, or of an image or for a claim that are not the row's now;
            `unreadable`; or `none`.
        image_zstd: The same with zstd's layers, as it is published, or None where nobody has made them yet.
        pull: Bytes to pull of the image, or None.
        pull_zstd: The same with zstd's layers, or None.
        disk: Bytes on disk of the image that was tested, or None.
        first_words: Seconds from the start of faster-whisper to its first words, or None.
    """

    id: str
    status: str
    summary: str
    aliases: tuple[str, ...] = ()
    cuda: str | None
    cudnn: str | None
    torch: str | None
    ctranslate2: str | None
    lock: str | None
    image: str | None = None
    image_zstd: str | None = None
    level: str | None = None
    proven: str | None
    evidence: str = "none"
    pull: int | None = None
    pull_zstd: int | None = None
    disk: int | None = None
    first_words: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {**asdict(self), "aliases": list(self.aliases)}

    @property
    def shown(self) -> str:
        """What is proven of it, in a word or two."""
        if self.evidence in {"of another lock", "unreadable"}:
            return self.evidence
        if self.status == "known-bad":
            return {"passed": "fails as recorded", "failed": "failed"}.get(self.proven or "", "none yet")
        if self.proven == "failed":
            return "failed"
        return self.level or "none yet"


def listing_schema() -> str:
    """The text of `list.schema.json`: what `cuvee list --json` prints."""
    described = TypeAdapter(list[Listed]).json_schema()
    row = described["$defs"]["Listed"]
    row["required"] = list(row["properties"])
    row["additionalProperties"] = False
    head = {"$schema": GenerateJsonSchema.schema_dialect, "title": "cuvee list --json"}
    return json.dumps(head | described, indent=2) + "\n"


def listing(rows: Iterable[Listed]) -> Table:
    """All rows, one a line."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("row", no_wrap=True)
    for title in ("status", "CUDA", "cuDNN", "torch", "CTranslate2", "evidence"):
        table.add_column(title, overflow="fold")
    for row in rows:
        unlocked = "untested" if row.status == "untested" else "stale lock"
        state = row.shown if row.lock or row.proven else unlocked
        optional = (row.cuda or "-", row.cudnn or "-", row.torch or "-", row.ctranslate2 or "-")
        table.add_row(row.id, row.status, *optional, state)
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
        if not one.image:
            table.add_row("row", one.row)
            table.add_row("checks", _checks(one))
            table.add_row(*_without_image(one), end_section=True)
            continue
        table.add_row("image", f"{one.image['tag']} ({str(one.image['id'])[:19]})")
        table.add_row("size", f"{int(one.image['bytes']) / 1e9:.2f} GB")
        table.add_row("layers", str(one.image["layers"]))
        table.add_row("checks", _checks(one))
        table.add_row("run it", _how_to_run(one), end_section=True)
    return table


def _without_image(one: Evidence) -> tuple[str, str]:
    """What there is to say of a row that cannot be locked, and of an environment."""
    if one.where == "environment":
        return "where", "an installed environment, which has every package of the lock in its version"
    return "refused", str(one.measured.get("fails_with", ""))


def swept(found: Sequence[Swept]) -> Table:
    """What became of each row of a run over all."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("row", no_wrap=True)
    table.add_column("status")
    for title in ("build", "test", "disk"):
        table.add_column(title, justify="right")
    table.add_column("outcome", overflow="fold")
    for one in found:
        times = (f"{one.build_s:.0f} s", f"{one.test_s:.0f} s", f"{one.disk / 1e9:.1f} GB")
        table.add_row(one.row, one.status, *times, f"{one.outcome} {one.why}".rstrip())
    return table


def failed(one: Swept) -> Fault:
    """The fault of a row that failed in such a run."""
    return Fault(place=f"row {one.row}", cause=one.why, fix=f"Run `cuvee test {one.row}` after mending it")


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
