"""What all benchmarks share."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from builder.errors import CuveeError, EngineOrNetworkError, Fault
from builder.lock.uv import Question, Refusal, ask
from builder.matrix import Row
from builder.project import Project

DEFAULT = "cu121"
GB = 1e9


def say(text: str) -> None:
    """Tell a person how far it is."""
    print(text, file=sys.stderr)  # noqa: T201 - talk


def show(text: str) -> None:
    """Give a result."""
    print(text)  # noqa: T201 - that is what a benchmark is for


def run(main: Callable[[], int]) -> None:
    """End the process as `cuvee` does."""
    try:
        sys.exit(main())
    except CuveeError as error:
        say(str(error))
        sys.exit(error.exit_code)


def today() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def host() -> str:
    """This machine, for people."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB
    return f"{os.cpu_count()} processors, {memory:.0f} GB of memory"


def quiet(_: str) -> None:
    """Say nothing."""


def with_older_ctranslate2(project: Project, row: Row) -> str:
    """The text of the matrix with the release of CTranslate2 before the row's own."""
    own = row.ctranslate2 or ""
    question = Question(
        requirements=(f"ctranslate2<{own.removesuffix('.*')}",),
        as_of=row.as_of,
        python=row.python,
        glibc=row.base.glibc,
        alone=True,
    )
    found = ask(question, place=f"row {row.id}")
    if isinstance(found, Refusal):
        raise SystemExit(found.trace)
    say(f"bench: {own} against {found[0].version}")
    text = project.matrix.read_text(encoding="utf-8")
    return re.sub(rf"ctranslate2: {re.escape(own)}", f"ctranslate2: {found[0].version}", text)


def settle() -> None:
    """Write out what was left by the step before, which must not slow down the next one."""
    os.sync()


def require_room(folder: Path, needed: float, what: str) -> None:
    """See that a disk has room, in bytes.

    Raises:
        EngineOrNetworkError: It has not.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise EngineOrNetworkError(
            Fault(
                place=str(folder),
                cause=f"{what} needs {needed / GB:.0f} GB, and {free / GB:.0f} GB are free",
                fix="Make room, or set TMPDIR to a folder on a larger disk",
            )
        )
