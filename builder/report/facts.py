"""The records of facts kept in order: those of all locked wheels are there, and no others."""

from __future__ import annotations

from collections.abc import Sequence

from builder.abi.library import Library, complete
from builder.errors import BadInputError, CheckFailedError, Fault
from builder.lock import record
from builder.matrix import Row
from builder.project import Project
from builder.survey.releases import named_in
from builder.verdict.setting import to_account


def check(project: Project, rows: Sequence[Row], library: Library) -> None:
    """See that the facts of all locked wheels and of their bases are recorded, and no others.

    Raises:
        CheckFailedError: It is not so.
        BadInputError: A wheel's record cannot be read.
    """
    wanted = _accounted(project, rows)
    lacking = [file for file, sha256 in wanted.items() if not complete(library, file, sha256)]
    stale = {path.name.removesuffix(".json") for path in project.facts.glob("*.whl.json")} - wanted.keys()
    faults = [
        Fault(place=f"facts/{name}.json", cause=cause, fix="Run `cuvee facts` and commit the result")
        for names, cause in (
            (lacking, "a lock names this wheel, and its facts are not recorded, or not whole"),
            (stale, "no lock names this wheel any more"),
        )
        for name in sorted(names)
    ]
    for name in sorted({row.base_variant for row in rows}):
        try:
            library.base(name)
        except BadInputError as error:
            faults += error.faults
    if faults:
        raise CheckFailedError(*faults)


def forget(project: Project, rows: Sequence[Row]) -> tuple[str, ...]:
    """Delete the facts of wheels that no lock names any more; returns their files' names.

    Those that the survey still tells of go to its own folder.
    """
    stale = {path.name for path in project.facts.glob("*.whl.json")}
    stale -= {f"{file}.json" for file in _accounted(project, rows)}
    surveyed = named_in(project.survey)
    for name in stale:
        if name.removesuffix(".json") in surveyed:
            (project.survey / "facts").mkdir(parents=True, exist_ok=True)
            (project.facts / name).replace(project.survey / "facts" / name)
        else:
            (project.facts / name).unlink()
    return tuple(sorted(stale))


def _accounted(project: Project, rows: Sequence[Row]) -> dict[str, str]:
    """The hashes of all locked wheels that have binaries, by file name."""
    locks = (project.image(row.id) / record.FILE for row in rows)
    return {one.file: one.sha256 for lock in locks if lock.is_file() for one in to_account(record.read(lock))}
