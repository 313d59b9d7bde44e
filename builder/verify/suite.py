"""Running `tests/images` on an image, and making evidence of what it says."""

from __future__ import annotations

import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from builder.engines.container import Engine, Image
from builder.engines.installed import Where
from builder.errors import CheckFailedError, EngineOrNetworkError, Fault
from builder.lock.record import Lock
from builder.matrix import Row
from builder.plan import image_tag
from builder.project import Project
from builder.verify.evidence import FAILS, Check, Evidence

Say = Callable[[str], None]
VERSIONS = "test_the_versions_inside_are_the_locks"
_PYTEST_RAN = (0, 1)  # all passed, or some failed; anything else means that it did not run


def prove(  # noqa: PLR0913 - what is proven, where, and how loudly
    project: Project,
    row: Row,
    lock: Lock,
    engine: Engine,
    say: Say,
    *,
    gpus: bool = False,
    where: Where = "image",
) -> Evidence:
    """Run every check on the row's image, or on what of it is here.

    Args:
        project: Where the suite is.
        row: The row.
        lock: Its lock, which the image must be of.
        engine: Has the image.
        say: Told each line of the suite's output.
        gpus: Whether the GPU checks run; they then fail where there is no GPU.
        where: What the engine has. Without an image's labels the installed versions tell which lock it is of.

    Raises:
        CheckFailedError: It is of another lock.
        EngineOrNetworkError: There is no such image, or the suite itself does not run.
    """
    before = engine.image(image_tag(row.id))
    if where == "image" or before.labels:
        _require_lock(row, lock, before)
    report = _run_suite(project, row, engine, say, gpus=gpus)
    if where != "image":
        _require_versions(row, report["checks"])
    image = engine.image(image_tag(row.id))  # its size is known when it is unpacked
    host = engine.describe()
    made = lock.image if lock.image and image.id in lock.image.manifests else None
    how = _how(where, "direct" if made else "docker")
    return Evidence(
        row=row.id,
        status=row.status,
        where=where,
        lock=lock.digest,
        base={"id": row.base.id, "digest": made.layers[0].digest if made else ""},
        image={} if where == "environment" else _about(image, lock),
        host=host,
        gpu=report["gpu"],
        command=f"cuvee test {row.id} {how}{' --gpus' if gpus else ''}",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        measured=report["measured"],
        checks=tuple(Check(**check) for check in report["checks"]),
    )


def _about(image: Image, lock: Lock) -> dict[str, str | int]:
    recorded = lock.image
    return {
        "tag": image.tag,
        "id": image.id,
        "digest": recorded.manifest if recorded and image.id in recorded.manifests else "",
        "bytes": image.size,
        "pull": recorded.pull if recorded else 0,
        "layers": image.layers,
    }


def _how(where: Where, kind: str) -> str:
    """The option that says what was tested; where it lay is nobody's business."""
    return {"image": f"--engine {kind}", "root": "--root DIR", "environment": "--python PATH"}[where]


def of_refusal(row: Row, refusal: Callable[[Row], str]) -> Evidence:
    """Ask the resolver about a row that it is known to refuse; there is no image to look at.

    Args:
        row: The row.
        refusal: Gives the resolver's words, or raises CheckFailedError where they are not the known ones.
    """
    started, words, reason = time.monotonic(), "", ""
    try:
        words = refusal(row)
    except CheckFailedError as error:
        reason = "; ".join(fault.cause for fault in error.faults)
    check = Check(
        name=FAILS,
        outcome="failed" if reason else "passed",
        seconds=round(time.monotonic() - started, 2),
        reason=reason,
    )
    return Evidence(
        row=row.id,
        status=row.status,
        lock=row.fingerprint(),
        base={"id": row.base.id, "digest": ""},
        image={},
        host={"system": platform.platform()},
        gpu=None,
        command=f"cuvee test {row.id}",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        measured={"fails_with": words},
        checks=(check,),
    )


def _require_lock(row: Row, lock: Lock, image: Image) -> None:
    if image.labels.get("cuvee.lock") != lock.digest:
        raise CheckFailedError(
            Fault(
                place=image.tag,
                cause="it was built from another lock than the row's present one",
                fix=f"Run `cuvee build {row.id}`",
            )
        )


def _require_versions(row: Row, checks: Sequence[Mapping[str, Any]]) -> None:
    """See that what is installed is the lock's: without it, what was found is evidence of nothing."""
    asked = [check for check in checks if check["name"].partition("[")[0] == VERSIONS]
    wrong = [check["reason"] or "it was not looked at" for check in asked if check["outcome"] != "passed"]
    if wrong or not asked:
        raise CheckFailedError(
            Fault(
                place=f"row {row.id}",
                cause=f"what is installed is not the row's lock: {'; '.join(wrong) or 'nobody looked'}",
                fix="Install the wheels of its lock and nothing else, as `cuvee wheels` and join.py do",
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
