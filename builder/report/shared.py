"""The files that belong to no single row: the README's tables, the JSON Schemas, the doctor to paste."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from builder import matrix
from builder.ci import formats as jobs
from builder.doctor import schema as doctors
from builder.errors import BadInputError, Fault
from builder.explain import checking as explaining
from builder.matrix import Row
from builder.project import Project
from builder.render.causes import causes
from builder.render.doctor import FILE, bundled
from builder.render.readme import Told, readme
from builder.report import bench
from builder.report.state import best_evidence, listed, locked_bytes
from builder.report.tables import listing_schema
from builder.survey.table import counts
from builder.verdict.record import Verdict
from builder.verdict.schema import schema as verdict_schema


def readme_page(project: Project, verdicts: Sequence[Verdict]) -> dict[Path, str]:
    """The README with its tables, by its path; a project need not have one."""
    page = project.root / "README.md"
    if not page.is_file():
        return {}
    shown = listed(project, ())
    rows = matrix.load(project.matrix).rows
    found = {row.id: best_evidence(project, row) for row in rows}
    told = Told(
        rows=shown,
        evidence={row: proof for row, proof in found.items() if proof},
        shown=shown[0].id,
        verdicts=tuple(verdicts),
        survey=counts(project.survey),
        bench=bench.read(project.bench),
        direct=bench.read_direct(project.bench.with_name(bench.DIRECT)),
        launcher=bench.read_launcher(project.bench.with_name(bench.LAUNCHER)),
        sweep=_swept(project),
        wheels=locked_bytes(project),
    )
    return {page: readme(page.read_text(encoding="utf-8"), told)}


def _swept(project: Project) -> dict[str, Any] | None:
    """What the last run over all rows wrote, or None where there was none.

    Raises:
        BadInputError: It cannot be read.
    """
    if not project.sweep.is_file():
        return None
    try:
        told: dict[str, Any] = json.loads(project.sweep.read_text(encoding="utf-8"))
    except ValueError as error:
        place = str(project.sweep.relative_to(project.root))
        fix = "Run `cuvee test --all`, or delete it"
        raise BadInputError(Fault(place=place, cause=f"it is no JSON: {error}", fix=fix)) from error
    return told


def carried(proven: Sequence[tuple[Row, Verdict]], package: Path) -> dict[Path, str]:
    """JSON Schemas, and the doctor with the rows that it may recommend, by their paths.

    Args:
        proven: The good rows with their verdicts.
        package: The folder of the package.
    """
    return {
        package / "matrix.schema.json": matrix.schema(),
        package / "list.schema.json": listing_schema(),
        package / "check.schema.json": verdict_schema(),
        package / "ci.schema.json": jobs.schema(),
        package / "launcher" / "causes.json": causes(),
        package / "explain.schema.json": explaining.schema(),
        doctors.FILE: doctors.schema(),
        FILE: bundled([_to_recommend(row, verdict) for row, verdict in proven]),
    }


def _to_recommend(row: Row, verdict: Verdict) -> dict[str, Any]:
    """What the doctor knows of a row."""
    return {
        "id": row.id,
        "summary": row.summary,
        "status": row.status,
        "cuda": row.cuda,
        "driver": verdict.driver,
        "low": verdict.low,
        "high": verdict.high,
        "torch": row.torch,
        "ctranslate2": row.ctranslate2,
        "python": row.python,
    }
