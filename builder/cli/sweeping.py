"""Every row, two at a time: built, proven, run and recorded, with the disk given back in between."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from builder import pipeline
from builder.engines.clean import drop_unpacked
from builder.engines.direct.store import default_store
from builder.errors import CuveeError
from builder.matrix import Row
from builder.project import Project, write
from builder.report import budgets
from builder.report.swept import Swept
from builder.verify.evidence import Evidence

Say = Callable[[str], None]
FORMAT = 1

AT_ONCE = 2
"""Rows at a time: unpacking, imports and checks of one row keep one processor busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What is done with a row.

    Attributes:
        build: Makes its image.
        test: Proves it; returns the evidence.
        drop: Deletes what was unpacked of it.
        used: The bytes in use on the store's disk.
    """

    build: Callable[[Row], None]
    test: Callable[[Row], Evidence]
    drop: Callable[[Row], None]
    used: Callable[[], int]


def steps(project: Project, say: Say, *, gpus: bool) -> Steps:
    """The steps without an engine."""

    def of(row: Row) -> Say:
        return lambda text: say(f"{row.id} | {text}")  # rows talk at the same time

    return Steps(
        build=lambda row: _build(project, row, of(row)),
        test=lambda row: pipeline.test(
            project, row, pipeline.direct_engine(project, of(row)), of(row), gpus=gpus
        ),
        drop=lambda row: drop_unpacked((row,), say),
        used=_used,
    )


def sweep(
    project: Project, rows: Sequence[Row], say: Say, doing: Steps, at_once: int = AT_ONCE
) -> tuple[Swept, ...]:
    """Build and test each row; one that fails does not keep the others from it.

    The record of the whole goes to `evidence/sweep.json` when all rows of the matrix were asked for.
    """
    started, before = time.monotonic(), doing.used()

    def one(row: Row) -> Swept:
        swept = replace(_one(project, row, doing, before), ended_s=round(time.monotonic() - started, 1))
        say(f"{row.id}: {swept.outcome} {swept.why}".rstrip())
        return swept

    pool = ThreadPoolExecutor(at_once)
    try:
        found = tuple(pool.map(one, rows))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # who interrupts waits for those under way
    if len(rows) == len(pipeline.rows(project, ())):
        write(project.sweep, _text(found, time.monotonic() - started))
    return found


def _one(project: Project, row: Row, doing: Steps, before: int) -> Swept:
    if row.status == "untested" and (why := pipeline.unlocked(project, row)):
        return Swept(row=row.id, status=row.status, build_s=0, test_s=0, outcome="skipped", why=why)
    began = time.monotonic()
    built = began
    try:
        if not pipeline.unlocked(project, row):
            doing.build(row)
        built = time.monotonic()
        why = _why(row, doing.test(row))
    except CuveeError as error:
        why = "; ".join(str(fault) for fault in error.faults)
    ended, disk = time.monotonic(), doing.used() - before
    doing.drop(row)
    return Swept(
        row=row.id,
        status=row.status,
        build_s=round(built - began, 1),
        test_s=round(ended - built, 1),
        outcome="failed" if why else "passed",
        why=why,
        disk=max(disk, 0),
    )


def _build(project: Project, row: Row, say: Say) -> None:
    pipeline.lock(project, row, say)
    pipeline.facts(project, row, say)
    pipeline.require_verdict(row, pipeline.prove(project, row))
    pipeline.render(project, row)
    pipeline.assemble(project, row, say)


def _why(row: Row, evidence: Evidence) -> str:
    failed = [f"{check.name}: {check.reason}" for check in evidence.checks if check.outcome == "failed"]
    over = [str(fault) for fault in budgets.disk_faults(row, evidence)]
    nothing = [] if failed or evidence.count("passed") else ["nothing ran"]
    return "; ".join([*failed, *over, *nothing])


def _used() -> int:
    """The bytes in use on the store's disk: of a run, what was there before is taken off."""
    return shutil.disk_usage(_there()).used


def _there() -> str:
    root = default_store().root
    root.mkdir(parents=True, exist_ok=True)
    return str(root)


def _text(found: Sequence[Swept], seconds: float) -> str:
    outcomes = ("passed", "failed", "skipped")
    told = {
        "format": FORMAT,
        "command": "cuvee test --all",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": {"kernel": platform.release(), "cpus": str(os.cpu_count())},
        "seconds": round(seconds),
        "most_disk": max((one.disk for one in found), default=0),
        "counts": {outcome: sum(one.outcome == outcome for one in found) for outcome in outcomes},
        "rows": [asdict(one) for one in found],
    }
    return json.dumps(told, indent=1) + "\n"
