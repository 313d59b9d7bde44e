"""What `make bench` measured: Dockerfiles, the direct engine against BuildKit, and what `transcribe` adds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal

DIRECT: Final = "bench-direct.json"
"""The file of evidence about the direct engine."""

LAUNCHER: Final = "bench-launcher.json"
"""The file of evidence about `transcribe`."""


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
    """One run of the benchmark of Dockerfiles.

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
        return _text(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """So many seconds, or megabytes.

    Attributes:
        of: Whose, for people; "" where the figure says it.
        unit: `s`, or `MB`, which is a million bytes.
        value: How many: all of it.
        parts: What it consists of, by name, in the same unit.
    """

    of: str = ""
    unit: Literal["s", "MB"] = "s"
    value: float
    parts: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def whole(cls, of: str = "", **parts: float) -> Amount:
        """The seconds of parts that follow each other."""
        return cls(of=of, value=round(sum(parts.values()), 2), parts=parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table.

    Attributes:
        name: What was done.
        ours: What it took.
        theirs: What it is held against, in the same unit; None where it stands for itself.
        limit: What we promise: of the ratio of ours to theirs, or of ours where there is no other; None where
            the figure is there to be seen only.
    """

    name: str
    ours: Amount
    theirs: Amount | None = None
    limit: float | None = None

    @property
    def measure(self) -> float:
        """What the limit is of."""
        return self.ours.value / self.theirs.value if self.theirs else self.ours.value

    @property
    def holds(self) -> bool:
        """Whether the limit is kept."""
        return self.limit is None or self.measure <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectBench:
    """One run of the benchmark of the direct engine.

    Attributes:
        row: The row whose lock was built.
        host: The machine, for people.
        command: What wrote this.
        date: When, in UTC.
        tools: The versions of the programs that took part, by name.
        figures: What was measured.
    """

    row: str
    host: str
    command: str
    date: str
    tools: Mapping[str, str]
    figures: tuple[Figure, ...]

    def text(self) -> str:
        """The text of `evidence/bench-direct.json`."""
        return _text(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Seconds of one kind, of the same work done two ways in turn.

    Attributes:
        name: `wall`, the seconds that pass, or `cpu`, those of processors.
        theirs: By faster-whisper in one process, run by run.
        ours: By `transcribe`, right after or before.
        ratios: Ours to theirs, pair by pair.
        ratio: Their median.
        limit: What we promise it to be at most.
    """

    name: Literal["wall", "cpu"]
    theirs: tuple[float, ...]
    ours: tuple[float, ...]
    ratios: tuple[float, ...]
    ratio: float
    limit: float

    @classmethod
    def of(
        cls, name: Literal["wall", "cpu"], theirs: Sequence[float], ours: Sequence[float], limit: float
    ) -> Compared:
        """What pairs of runs come to; ValueError where one lacks its other."""
        ratios = tuple(one / other for one, other in zip(ours, theirs, strict=True))
        return cls(
            name=name,
            theirs=tuple(theirs),
            ours=tuple(ours),
            ratios=tuple(round(ratio, 4) for ratio in ratios),
            ratio=round(median(ratios), 4),
            limit=limit,
        )

    @property
    def holds(self) -> bool:
        """Whether the limit is kept."""
        return self.ratio <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherBench:
    """One run of the benchmark of `transcribe`.

    Attributes:
        row: The row in whose image both ran.
        host: The machine, for people.
        command: What wrote this.
        date: When, in UTC.
        tools: The versions of the programs that took part, by name.
        minutes: How long the recording is.
        words: How many both heard in it, the same ones at the same times.
        threads: How many each of them used.
        compared: What was measured.
    """

    row: str
    host: str
    command: str
    date: str
    tools: Mapping[str, str]
    minutes: int
    words: int
    threads: int
    compared: tuple[Compared, ...]

    def text(self) -> str:
        """The text of `evidence/bench-launcher.json`."""
        return _text(self)


def read(path: Path) -> Bench | None:
    """The benchmark of Dockerfiles in a file, or None where it was never run."""
    if not path.is_file():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    return Bench(**{**data, "runs": tuple(Run(**run) for run in data["runs"])})


def read_direct(path: Path) -> DirectBench | None:
    """The benchmark of the direct engine in a file, or None where it was never run."""
    if not path.is_file():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    return DirectBench(**{**data, "figures": tuple(_figure(figure) for figure in data["figures"])})


def read_launcher(path: Path) -> LauncherBench | None:
    """The benchmark of `transcribe` in a file, or None where it was never run."""
    if not path.is_file():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    return LauncherBench(**{**data, "compared": tuple(_compared(one) for one in data["compared"])})


def _compared(data: Mapping[str, Any]) -> Compared:
    runs = {name: tuple(data[name]) for name in ("theirs", "ours", "ratios")}
    return Compared(name=data["name"], ratio=data["ratio"], limit=data["limit"], **runs)


def _figure(data: Mapping[str, Any]) -> Figure:
    theirs = data["theirs"]
    return Figure(
        **{**data, "ours": Amount(**data["ours"]), "theirs": Amount(**theirs) if theirs else None},
    )


def _text(record: Bench | DirectBench | LauncherBench) -> str:
    return json.dumps(asdict(record), indent=1) + "\n"
