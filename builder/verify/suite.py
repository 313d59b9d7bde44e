"""Running `tests/images` on an image, and making evidence of what it says."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from builder.engines.container import Engine
from builder.errors import CheckFailedError, EngineOrNetworkError, Fault
from builder.lock.record import Lock
from builder.matrix import Row
from builder.plan import image_tag
from builder.project import Project
from builder.verify.evidence import Check, Evidence

Say = Callable[[str], None]
_PYTEST_RAN = (0, 1)  # all passed, or some failed; anything else means that it did not run


def prove(  # noqa: PLR0913 - what is proven, where, and how loudly
    project: Project, row: Row, lock: Lock, engine: Engine, say: Say, *, gpus: bool = False
) -> Evidence:
    """Run every check on the row's image.

    Args:
        project: Where the suite is.
        row: The row.
        lock: Its lock, which the image must be of.
        engine: Has the image.
        say: Told each line of the suite's output.
        gpus: Whether the GPU checks run; they then fail where there is no GPU.

    Raises:
        CheckFailedError: The image was built from another lock.
        EngineOrNetworkError: There is no such image, or the suite itself does not run.
    """
    _require_lock(row, lock, engine)
    report = _run_suite(project, row, engine, say, gpus=gpus)
    image = engine.image(image_tag(row.id))
    return Evidence(
        row=row.id,
        status=row.status,
        lock=lock.digest,
        image={"tag": image.tag, "id": image.id, "bytes": image.size, "layers": image.layers},
        host=engine.describe(),
        gpu=report["gpu"],
        command=f"cuvee test {row.id}{' --gpus' if gpus else ''}",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        measured=report["measured"],
        checks=tuple(Check(**check) for check in report["checks"]),
    )


def _require_lock(row: Row, lock: Lock, engine: Engine) -> None:
    image = engine.image(image_tag(row.id))
    if image.labels.get("cuvee.lock") != lock.digest:
        raise CheckFailedError(
            Fault(
                place=image.tag,
                cause="it was built from another lock than the row's present one",
                fix=f"Run `cuvee build {row.id}`",
            )
        )


def _run_suite(project: Project, row: Row, engine: Engine, say: Say, *, gpus: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="cuvee-test-") as scratch:
        report = Path(scratch) / "report.json"
        done = engine.shell.run(
            [sys.executable, "-m", "pytest", "tests/images", f"--row={row.id}", f"--report={report}"]
            + engine.suite_arguments(image_tag(row.id))
            + (["--gpus"] if gpus else []),
            cwd=project.root,
            on_line=say,
        )
        if done.code not in _PYTEST_RAN or not report.is_file():
            raise EngineOrNetworkError(
                Fault(
                    place=f"tests/images, row {row.id}",
                    cause=f"the suite did not run to its end (pytest's exit code {done.code})",
                    fix="Read what it said above",
                )
            )
        result: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return result
