"""Evidence: a machine-written record that checks ran on an image, on what, and with what result."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

FORMAT = 1
Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check that ended.

    Attributes:
        name: The test's name, a claim.
        outcome: A skip is not a pass, and has a reason.
        seconds: How long it took.
        reason: Why it failed or was skipped; empty for a pass.
    """

    name: str
    outcome: Outcome
    seconds: float
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What `cuvee test` found.

    Attributes:
        row: The row's id.
        status: What the row claims of itself, `good` or `known-bad`.
        lock: The digest of the lock that the image was built from.
        image: Tag, id, bytes on disk and number of layers.
        host: The engine's version, storage driver and system; its kernel and processors.
        gpu: The GPU that the checks ran on, with its driver, or None.
        command: The command that wrote this.
        date: When, in UTC, to the second.
        measured: Numbers that the checks measured: word error rates, seconds, counts.
        checks: In the order they ran.
    """

    row: str
    status: str
    lock: str
    image: dict[str, str | int]
    host: dict[str, str]
    gpu: dict[str, Any] | None
    command: str
    date: str
    measured: dict[str, Any] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()

    def count(self, outcome: Outcome) -> int:
        """How many checks ended so."""
        return sum(check.outcome == outcome for check in self.checks)

    @property
    def holds(self) -> bool:
        """Whether something passed and nothing failed."""
        return self.count("passed") > 0 and self.count("failed") == 0

    def text(self) -> str:
        """The text of `evidence/<row>.json`."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"


def read(path: Path) -> Evidence | None:
    """The evidence in a file, or None where there is none."""
    if not path.is_file():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    del data["format"]
    return Evidence(**{**data, "checks": tuple(Check(**check) for check in data["checks"])})
