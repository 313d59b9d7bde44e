"""What becomes of a row when it is resolved against today's index: what moves, and what would break.

Pure: whoever calls `examine` hands it the functions that ask the index and prove the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal, TypeAlias

from builder.errors import CuveeError, EngineOrNetworkError, Fault
from builder.lock.record import Lock
from builder.matrix import Row

FORMAT = 1

Outcome: TypeAlias = Literal["holds", "breaks", "unknown"]
"""`unknown` where the index did not answer: then nothing is known, good or bad."""

_MOST_TOLD = 12  # packages of a row in the table; the JSON has all

_NOTE = (
    "Each row keeps what it demands itself; all else is the newest that fits. *Holds* is a proof on paper: "
    "libraries are found, and nothing that is known to clash is together. Whether a program runs, only a "
    "build shows. The locks are not touched, and what they lock goes on working."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A package that today's index answers differently.

    Attributes:
        part: The environment or overlay that it is in.
        package: Its normalised name.
        locked: The locked version, or "" for one that is new.
        today: Today's version, or "" for one that is gone.
    """

    part: str
    package: str
    locked: str
    today: str

    def __str__(self) -> str:
        return f"{self.package} {self.locked or 'new'} → {self.today or 'gone'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What today's index makes of a row.

    Attributes:
        row: The row's id.
        status: What the row says of itself.
        outcome: Whether it would still be what it says: a good row holds, a known-bad one fails as recorded.
        moved: The packages that differ; none where the index gave no answer at all.
        says: Why it breaks, or is unknown: the resolver's words, or the proof's.
    """

    row: str
    status: str
    outcome: Outcome
    moved: tuple[Move, ...] = ()
    says: tuple[str, ...] = ()


def on(row: Row, day: date) -> Row:
    """The same row, as of another day."""
    return row.model_copy(update={"as_of": day})


def examine(
    row: Row,
    locked: Lock | None,
    resolve: Callable[[], Lock],
    faults: Callable[[Lock], Sequence[Fault]],
) -> Drift:
    """What becomes of a row.

    Args:
        row: The row.
        locked: Its present lock, or None where it has none.
        resolve: Resolves the row as of today.
        faults: Proves a lock; why it is not what the row says of itself.
    """
    try:
        fresh = resolve()
    except EngineOrNetworkError as error:
        return _drift(row, "unknown", says=_told(error.faults))
    except CuveeError as error:
        return _refused(row, error)
    moved = moves(locked, fresh) if locked else ()
    if _lock_must_fail(row):
        return _drift(row, "breaks", says=("it can be locked today, and should be refused as recorded",))
    try:
        found = faults(fresh)
    except EngineOrNetworkError as error:
        return _drift(row, "unknown", moved, _told(error.faults))
    except CuveeError as error:
        found = error.faults
    return _drift(row, "breaks" if found else "holds", moved, _told(found))


def moves(locked: Lock, today: Lock) -> tuple[Move, ...]:
    """The packages of an image that differ; what it is built with may differ as it likes."""
    before, after = _versions(locked), _versions(today)
    return tuple(
        Move(part=part, package=package, locked=old, today=new)
        for part, package in sorted(before.keys() | after.keys())
        if (old := before.get((part, package), "")) != (new := after.get((part, package), ""))
    )


def _versions(lock: Lock) -> dict[tuple[str, str], str]:
    return {
        (part.name, package.name): package.version
        for part in (*lock.environments, *lock.overlays)
        for package in part.packages
    }


def _lock_must_fail(row: Row) -> bool:
    return row.fails_with is not None and row.fails_with.check == "lock"


def _refused(row: Row, error: CuveeError) -> Drift:
    """The resolver's no, which some rows are there to show."""
    said = _told(error.faults)
    as_recorded = row.fails_with and _lock_must_fail(row) and row.fails_with.message in " ".join(said)
    return _drift(row, "holds" if as_recorded else "breaks", says=said)


def _drift(row: Row, outcome: Outcome, moved: tuple[Move, ...] = (), says: tuple[str, ...] = ()) -> Drift:
    return Drift(row=row.id, status=row.status, outcome=outcome, moved=moved, says=says)


def _told(faults: Sequence[Fault]) -> tuple[str, ...]:
    return tuple(str(fault) for fault in faults)


def to_json(drifts: Sequence[Drift], day: date) -> dict[str, Any]:
    """A plain dict, as `cuvee drift --json` prints it."""
    return {"format": FORMAT, "day": day.isoformat(), "rows": [asdict(drift) for drift in drifts]}


def markdown(drifts: Sequence[Drift], day: date) -> str:
    """A page for people: a table, then why rows break."""
    lines = [
        f"## The rows, resolved as of {day}",
        "",
        "| row | says of itself | with today's packages | packages that moved |",
        "|---|---|---|---|",
        *(f"| `{one.row}` | {one.status} | {_word(one)} | {_moved(one.moved)} |" for one in drifts),
        "",
        _NOTE,
    ]
    return "\n".join([*lines, *(line for one in drifts for line in _why(one))]) + "\n"


def _word(drift: Drift) -> str:
    bad = drift.status == "known-bad"
    return {
        "holds": "fails as recorded" if bad else "holds",
        "breaks": "**does not fail as recorded**" if bad else "**breaks**",
        "unknown": "unknown: the index did not answer",
    }[drift.outcome]


def _moved(moved: Sequence[Move]) -> str:
    if not moved:
        return "none"
    more = f" and {len(moved) - _MOST_TOLD} more" if len(moved) > _MOST_TOLD else ""
    return f"{len(moved)}: {', '.join(str(one) for one in moved[:_MOST_TOLD])}{more}"


def _why(drift: Drift) -> Iterator[str]:
    if drift.outcome != "holds":
        yield from ("", f"### `{drift.row}`", "")
        yield from (f"- {' '.join(text.split())}" for text in drift.says)
