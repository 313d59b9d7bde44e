"""What `make bench` measured."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The same thing done two ways in one run.

    Attributes:
        name: What was done.
        theirs: Seconds of a Dockerfile with one `RUN pip install`.
        ours: Seconds of the row's own Dockerfile.
        limit: The ratio of ours to theirs that we promise.
    """

    name: str
    theirs: float
    ours: float
    limit: float

    @property
    def ratio(self) -> float:
        """Ours to theirs."""
        return self.ours / self.theirs


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One run of the benchmark.

    Attributes:
        row: The row whose lock was built.
        host: The machine and the engine, for people.
        command: What wrote this.
        date: When, in UTC.
        runs: What was measured.
    """

    row: str
    host: str
    command: str
    date: str
    runs: tuple[Run, ...]

    def text(self) -> str:
        """The text of `evidence/bench.json`."""
        return json.dumps(asdict(self), indent=1) + "\n"


def read(path: Path) -> Bench | None:
    """The benchmark in a file, or None where it was never run."""
    if not path.is_file():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    return Bench(**{**data, "runs": tuple(Run(**run) for run in data["runs"])})
