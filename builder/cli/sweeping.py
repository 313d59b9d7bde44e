"""Every row, two at a time: built, proven, run and recorded, with the disk given back in between.

Rows that share layers are taken one after the other, so that what one has unpacked serves the next; what none
of the next ones has is deleted with the row.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from builder import direct, pipeline, rowfiles
from builder.cli.disk import Disk
from builder.cli.neighbours import Layers, Queue
from builder.engines.clean import drop_unpacked
from builder.engines.direct.store import default_store
from builder.errors import CuveeError
from builder.lock import record
from builder.matrix import Row
from builder.project import Project, write
from builder.report import budgets
from builder.report.swept import Swept
from builder.verify.evidence import Evidence

Say = Callable[[str], None]
FORMAT = 2

AT_ONCE = 2
"""Rows at a time: unpacking, imports and checks of one row keep one processor busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What is done with a row.

    Attributes:
        build: Makes its image.
        test: Proves it; returns the evidence.
        drop: Deletes what was unpacked of it, but for these layers, each by its `diff_id`.
        layers: The layers of its image as its lock records it, each with its bytes; none where it does not.
        used: The bytes in use on the store's disk.
        held: The bytes of the store.
    """

    build: Callable[[Row], None]
    test: Callable[[Row], Evidence]
    drop: Callable[[Row, Collection[str]], None]
    layers: Callable[[Row], Layers]
    used: Callable[[], int]
    held: Callable[[], int]


def steps(project: Project, say: Say, *, gpus: bool) -> Steps:
    """The steps without an engine."""

    def of(row: Row) -> Say:
        return lambda text: say(f"{row.id} | {text}")  # rows talk at the same time

    return Steps(
        build=lambda row: _build(project, row, of(row)),
        test=lambda row: pipeline.test(project, row, direct.engine(project, of(row)), of(row), gpus=gpus),
        drop=lambda row, keep: drop_unpacked((row,), say, keep),
        layers=lambda row: _layers(project, row),
        used=_used,
        held=lambda: default_store().held(),
    )


def sweep(
    project: Project, rows: Sequence[Row], say: Say, doing: Steps, at_once: int = AT_ONCE
) -> tuple[Swept, ...]:
    """Build and test each row; one that fails does not keep the others from it.

    The record of the whole goes to `evidence/sweep.json` when all rows of the matrix were asked for.

    Returns:
        What became of each row, in the order of `rows`, whatever the order was in which they were taken.
    """
    started, disk = time.monotonic(), Disk(used=doing.used, held=doing.held())
    queue = Queue({row.id: doing.layers(row) for row in rows}, at_once)
    by_id, done = {row.id: row for row in rows}, dict[str, Swept]()

    def drop(row: Row) -> None:
        kept = queue.wanted()
        try:
            doing.drop(row, kept)
        finally:
            queue.gone(row.id, kept)

    def work() -> None:
        try:
            while taken := queue.take():
                row = by_id[taken]
                found = _one(project, row, doing, disk, say)
                done[row.id] = swept = replace(found, ended_s=round(time.monotonic() - started, 1))
                queue.end(row.id)
                drops.add(row)
                say(f"{row.id}: {swept.outcome} {swept.why}".rstrip())
        finally:
            queue.close()  # nothing is left, or something is wrong: nobody may wait for who does not go on

    pool, drops = ThreadPoolExecutor(at_once), _Drops(drop)
    with disk.watched(), drops:
        try:
            for worker in [pool.submit(work) for _ in range(at_once)]:
                worker.result()
        finally:
            queue.close()
            pool.shutdown()  # who interrupts waits for those under way
    all_found = tuple(done[row.id] for row in rows)
    if len(rows) == len(pipeline.rows(project, ())):
        write(project.sweep, _text(all_found, time.monotonic() - started, disk))
    return all_found


class _Drops:
    """Deletes what was unpacked while the next rows are under way, of one row at a time.

    A disk may take longer to give the blocks of some ten thousand files back than a row takes to be tested.
    What cannot be deleted keeps no row from its test; the first such error is raised when all is done.
    """

    def __init__(self, drop: Callable[[Row], None]) -> None:
        self._drop = drop
        self._pool = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None
        self._errors: list[BaseException] = []
        self._lock = threading.Lock()

    def add(self, row: Row) -> None:
        """Delete it, as soon as the one before it is gone: the disk must not fill with what waits."""
        with self._lock:
            self._wait()
            self._last = self._pool.submit(self._drop, row)

    def __enter__(self) -> None:
        """Nothing is to be done yet."""

    def __exit__(self, *_: object) -> None:
        """Wait for the last one; raise what the first one that failed raised."""
        self._pool.shutdown()
        self._wait()
        if self._errors:
            raise self._errors[0]

    def _wait(self) -> None:
        if self._last and (error := self._last.exception()):
            self._errors.append(error)
        self._last = None


def _one(project: Project, row: Row, doing: Steps, disk: Disk, say: Say) -> Swept:
    if row.status == "untested" and (why := rowfiles.unlocked(project, row)):
        return Swept(row=row.id, status=row.status, build_s=0, test_s=0, outcome="skipped", why=why)
    began = time.monotonic()
    built = began
    try:
        if not rowfiles.unlocked(project, row):
            doing.build(row)
        built = time.monotonic()
        why = _why(row, doing.test(row))
    except CuveeError as error:
        why = "; ".join(str(fault) for fault in error.faults)
    except Exception as error:  # noqa: BLE001 - a mistake of ours with one row does not keep the others from it
        say(f"{row.id} | {''.join(traceback.format_exception(error))}")
        why = f"{type(error).__name__}: {error}"
    ended = time.monotonic()
    disk.look()
    return Swept(
        row=row.id,
        status=row.status,
        build_s=round(built - began, 1),
        test_s=round(ended - built, 1),
        outcome="failed" if why else "passed",
        why=why,
        disk=disk.most(began),
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
    return "; ".join([*failed, *over, *filter(None, [evidence.lacking])])


def _layers(project: Project, row: Row) -> Layers:
    """What its lock records now; a row that is built anew in this run may get others."""
    path = project.image(row.id) / record.FILE
    image = record.read(path).image if path.is_file() else None
    return {layer.diff_id: layer.size for layer in image.layers} if image else {}


def _used() -> int:
    """The bytes in use on the store's disk."""
    return shutil.disk_usage(_there()).used


def _there() -> str:
    root = default_store().root
    root.mkdir(parents=True, exist_ok=True)
    return str(root)


def _text(found: Sequence[Swept], seconds: float, disk: Disk) -> str:
    outcomes = ("passed", "failed", "skipped")
    told = {
        "format": FORMAT,
        "command": "cuvee test --all",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": {"kernel": platform.release(), "cpus": str(os.cpu_count())},
        "seconds": round(seconds),
        "held_before": disk.held,
        "most_disk": disk.most(),
        "counts": {outcome: sum(one.outcome == outcome for one in found) for outcome in outcomes},
        "rows": [asdict(one) for one in found],
    }
    return json.dumps(told, indent=1) + "\n"
