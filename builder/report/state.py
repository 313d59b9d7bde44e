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
    """What the evidence says; none that was made for another lock counts."""
    path = project.evidence(row.id)
    if not path.is_file():
        return None
    evidence = json.loads(path.read_text(encoding="utf-8"))
    if evidence["lock"] != lock.digest:
        return None
    return "failed" if any(check["outcome"] == "failed" for check in evidence["checks"]) else "passed"
