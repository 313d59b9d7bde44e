"""How rows stand: locked or not, proven or not."""

from __future__ import annotations

import json
from collections.abc import Sequence

from builder import matrix
from builder.errors import BadInputError
from builder.lock import record
from builder.lock.record import Lock
from builder.matrix import Row
from builder.project import Project
from builder.report.tables import Listed


def listed(project: Project, ids: Sequence[str]) -> tuple[Listed, ...]:
    """The rows asked for, or all, as `cuvee list` shows them."""
    return tuple(_listed(project, row) for row in matrix.load(project.matrix).select(ids))


def _listed(project: Project, row: Row) -> Listed:
    lock = _valid_lock(project, row)
    return Listed(
        id=row.id,
        status=row.status,
        summary=row.summary,
        cuda=row.cuda,
        cudnn=" + ".join([row.cudnn or "", *row.overlays]).strip(" +") or None,
        torch=row.torch,
        ctranslate2=row.ctranslate2,
        lock=lock.digest if lock else None,
        proven=_proven(project, row, lock) if lock else None,
    )


def _valid_lock(project: Project, row: Row) -> Lock | None:
    try:
        lock = record.read(project.image(row.id) / record.FILE)
    except BadInputError:
        return None
    return lock if lock.fingerprint == row.fingerprint() else None


def _proven(project: Project, row: Row, lock: Lock) -> str | None:
    """What the evidence says; none that was made for another lock, or another claim, counts."""
    try:
        evidence = json.loads(project.evidence(row.id).read_text(encoding="utf-8"))
        about = evidence["lock"], evidence["status"]
        outcomes = {check["outcome"] for check in evidence["checks"]}
    except (OSError, ValueError, LookupError, TypeError):
        return None  # there is none, or it cannot be read
    if about != (lock.digest, row.status):
        return None
    # A skip is not a pass: where nothing ran, nothing is proven.
    return next((outcome for outcome in ("failed", "passed") if outcome in outcomes), None)
