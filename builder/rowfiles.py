"""The files of a row in `images/<row>`: its lock, what is generated of it, and nothing else of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.errors import BadInputError, CheckFailedError, Fault
from builder.lock import record
from builder.lock.record import Lock
from builder.matrix import Row
from builder.plan import plan
from builder.project import Project, differing, write
from builder.verdict import refusal


def read_lock(project: Project, row: Row) -> Lock:
    """The lock of a row.

    Raises:
        BadInputError: It has none, or one that cannot be read.
    """
    return record.read(project.image(row.id) / record.FILE)


def valid_lock(project: Project, row: Row) -> Lock:
    """The lock of a row, of what the matrix says now.

    Raises:
        BadInputError: It has none, or one that cannot be read.
        CheckFailedError: The matrix has moved on.
    """
    if refusal.is_known(row):
        raise BadInputError(
            Fault(place=f"row {row.id}", cause=f"it has {unlocked(project, row)}", fix="Take another row")
        )
    locked = read_lock(project, row)
    if locked.fingerprint != row.fingerprint():
        refuse(project, row, (record.FILE,), "the matrix has moved on since it was locked", "lock")
    return locked


def present_lock(project: Project, row: Row) -> Lock | None:
    """The lock of a row, or None where there is none that can be read: a broken lock is replaced."""
    try:
        return read_lock(project, row)
    except BadInputError:
        return None


def unlocked(project: Project, row: Row) -> str:
    """Why a row has no lock and is none the worse for it; "" for all others."""
    if refusal.is_known(row):
        return "no lock, since the resolver is known to refuse it"
    if row.status == "untested" and not (project.image(row.id) / record.FILE).is_file():
        return "no lock yet: nobody has made one who can reach its index"
    return ""


def of_lock(row: Row, locked: Lock) -> dict[str, str]:
    """What `cuvee lock` writes, by file name."""
    from builder.render.requirements import requirements

    return {record.FILE: locked.text(), **requirements(locked, plan(row, locked))}


def rendered(project: Project, row: Row) -> dict[str, str]:
    """What `cuvee render` writes, by file name.

    Raises:
        BadInputError: The row has no lock that can be read.
    """
    from builder.render.dockerfile import dockerfile
    from builder.render.requirements import requirements

    locked = read_lock(project, row)
    drawn = plan(row, locked)
    return {**requirements(locked, drawn), **dockerfile(drawn)}


def write_all(project: Project, row: Row, texts: Mapping[str, str]) -> tuple[str, ...]:
    """Write a row's files, and delete those that were generated for what it no longer has.

    Returns:
        The names of those that are written and were not so before.
    """
    folder = project.image(row.id)
    for stale in _stale(folder, texts):
        (folder / stale).unlink()
    return tuple(name for name, text in texts.items() if write(folder / name, text))


def require(project: Project, row: Row, texts: Mapping[str, str], command: str) -> None:
    """See that a row's files are what a command would write.

    Raises:
        CheckFailedError: One differs, is missing, or was generated for what the row no longer has.
    """
    folder = project.image(row.id)
    names = (*differing(folder, texts), *_stale(folder, texts))
    refuse(project, row, names, f"it is not what `cuvee {command}` writes", command)


def refuse(project: Project, row: Row, names: Sequence[str], cause: str, command: str) -> None:
    """Tell of a row's files that a command would write otherwise, if there are any.

    Raises:
        CheckFailedError: There are.
    """
    folder = project.image(row.id).relative_to(project.root)
    faults = [
        Fault(
            place=f"{folder}/{name}", cause=cause, fix=f"Run `cuvee {command} {row.id}` and commit the result"
        )
        for name in names
    ]
    if faults:
        raise CheckFailedError(*faults)


def _stale(folder: Path, texts: Mapping[str, str]) -> tuple[str, ...]:
    """Requirements of other layers; files of the launcher, where the launcher is among what is written."""
    known = [path.name for path in folder.glob("requirements*.txt")]
    if any(name.startswith("launcher/") for name in texts):
        known += [f"launcher/{path.name}" for path in (folder / "launcher").glob("*.*")]
    return tuple(sorted(name for name in known if name not in texts))
