"""The stages, in order: each takes what the one before it made, and nothing reaches back.

    matrix.yaml ─▶ Row ─▶ Lock ─▶ Plan ─▶ files ─▶ Image ─▶ Evidence
                rows    lock    plan   render   build    test

`rows`, `plan` and `render` are pure but for reading and writing the project's files; `lock` asks the package
index; `build` and `test` use the Docker engine. What only these three need is imported in them: `list` and
`render` must not wait for an HTTP client and a Docker SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder import matrix
from builder.errors import BadInputError, CheckFailedError, Fault
from builder.lock import record
from builder.lock.record import Lock
from builder.matrix import Row
from builder.plan import Plan
from builder.plan import plan as plan_image
from builder.project import Project, differing, write
from builder.render.dockerfile import dockerfile
from builder.render.readme import readme
from builder.render.requirements import requirements
from builder.report import bench
from builder.report.state import listed
from builder.verify import evidence
from builder.verify.evidence import Evidence

if TYPE_CHECKING:
    from builder.engines.docker import DockerEngine, Image

Say = Callable[[str], None]
SCHEMA = Path(__file__).with_name("matrix.schema.json")


def rows(project: Project, ids: Sequence[str]) -> tuple[Row, ...]:
    """matrix.yaml ─▶ rows: those asked for, or all."""
    return matrix.load(project.matrix).select(ids)


def lock(project: Project, row: Row, say: Say, *, again: bool = False) -> Lock:
    """Row ─▶ lock: the present one if the row has not moved on, else a new one, written with its files."""
    present = _present_lock(project, row)
    if present and not again and present.fingerprint == row.fingerprint():
        return present
    from builder.lock.resolve import resolve

    say(f"{row.id}: resolving as of {row.as_of}")
    fresh = resolve(row, present)
    _write_all(project.image(row.id), _lock_files(row, fresh))
    return fresh


def check_lock(project: Project, row: Row) -> None:
    """Row ─▶ lock, without doing it: see that nothing would change.

    Raises:
        CheckFailedError: The matrix has moved on since the lock, or its files were edited.
    """
    present = record.read(project.image(row.id) / record.FILE)
    if present.fingerprint != row.fingerprint():
        _refuse(project, row, (record.FILE,), "the matrix has moved on since it was locked", "lock")
    names = _differing(project, row, _lock_files(row, present))
    _refuse(project, row, names, "it is not what `cuvee lock` writes", "lock")


def plan(project: Project, row: Row) -> Plan:
    """Lock ─▶ plan: the layers of the row's image, before anything is built."""
    return plan_image(row, record.read(project.image(row.id) / record.FILE))


def intended(project: Project, row: Row) -> Plan:
    """Lock ─▶ plan for a dry run.

    Raises:
        CheckFailedError: The lock is not the row's present one, so that a build would make another first.
    """
    check_lock(project, row)
    return plan(project, row)


def render(project: Project, row: Row) -> tuple[str, ...]:
    """Plan ─▶ files: write the row's build context; returns the names of what changed."""
    return _write_all(project.image(row.id), _rendered(project, row))


def check_render(project: Project, row: Row) -> None:
    """Plan ─▶ files, without writing.

    Raises:
        CheckFailedError: A file differs from what `cuvee render` writes.
    """
    names = _differing(project, row, _rendered(project, row))
    _refuse(project, row, names, "it is not what `cuvee render` writes", "render")


def render_shared(project: Project) -> tuple[str, ...]:
    """Rows and evidence ─▶ the files that belong to no single row; returns the names of what changed."""
    return tuple(path.name for path, text in _shared(project).items() if write(path, text))


def check_shared(project: Project) -> None:
    """The same without writing.

    Raises:
        CheckFailedError: The JSON Schema or the README's tables are not what `cuvee render` writes.
    """
    faults = [
        Fault(
            place=path.name,
            cause="it is not what `cuvee render` writes",
            fix="Run `cuvee render` and commit it",
        )
        for path, text in _shared(project).items()
        if differing(path.parent, {path.name: text})
    ]
    if faults:
        raise CheckFailedError(*faults)


def build(project: Project, row: Row, engine: DockerEngine, say: Say, *, verbose: bool = False) -> Image:
    """Files ─▶ image; `verbose` says all that BuildKit does."""
    from builder.engines import base, buildkit

    intended = plan(project, row)
    labels = dict(intended.labels)
    present = engine.image_id(intended.tag)
    if not present or engine.image(intended.tag).labels.get("cuvee.lock") != labels["cuvee.lock"]:
        room = buildkit.room_needed(intended, engine) / 1e9
        say(f"{row.id}: needs up to {room:.0f} GB of the engine's disk")
        buildkit.require_room(intended, engine)
    on = base.provide(row.base, engine, say)
    say(f"{row.id}: building on {on.origin}")
    return buildkit.build(intended, project.image(row.id), on, engine, say, verbose=verbose)


def test(project: Project, row: Row, engine: DockerEngine, say: Say, *, gpus: bool) -> Evidence:
    """Image ─▶ evidence: run the row's checks and write down what they found."""
    from builder.verify.suite import prove

    locked = record.read(project.image(row.id) / record.FILE)
    found = prove(project, row, locked, engine, say, gpus=gpus)
    write(project.evidence(row.id), found.text())
    return found


def _shared(project: Project) -> dict[Path, str]:
    """The JSON Schema, and the README with its tables."""
    rows = listed(project, ())
    found = {row.id: evidence.read(project.evidence(row.id)) for row in rows if row.proven}
    proofs = {row: proof for row, proof in found.items() if proof}
    page = project.root / "README.md"
    text = readme(page.read_text(encoding="utf-8"), rows, proofs, rows[0].id, bench.read(project.bench))
    return {SCHEMA: matrix.schema(), page: text}


def _present_lock(project: Project, row: Row) -> Lock | None:
    path = project.image(row.id) / record.FILE
    if not path.is_file():
        return None
    try:
        return record.read(path)
    except BadInputError:
        return None  # a broken lock is replaced


def _write_all(folder: Path, texts: Mapping[str, str]) -> tuple[str, ...]:
    """Write a row's files, and delete the requirements of layers that it no longer has."""
    for stale in {path.name for path in folder.glob("requirements*.txt")} - texts.keys():
        (folder / stale).unlink()
    return tuple(name for name, text in texts.items() if write(folder / name, text))


def _rendered(project: Project, row: Row) -> dict[str, str]:
    locked = record.read(project.image(row.id) / record.FILE)
    drawn = plan_image(row, locked)
    return {**requirements(locked, drawn), **dockerfile(drawn)}


def _lock_files(row: Row, locked: Lock) -> dict[str, str]:
    return {record.FILE: locked.text(), **requirements(locked, plan_image(row, locked))}


def _differing(project: Project, row: Row, texts: dict[str, str]) -> tuple[str, ...]:
    return differing(project.image(row.id), texts)


def _refuse(project: Project, row: Row, names: Sequence[str], cause: str, command: str) -> None:
    folder = project.image(row.id).relative_to(project.root)
    faults = [
        Fault(
            place=f"{folder}/{name}", cause=cause, fix=f"Run `cuvee {command} {row.id}` and commit the result"
        )
        for name in names
    ]
    if faults:
        raise CheckFailedError(*faults)
