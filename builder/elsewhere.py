"""Rows where no image can be: unpacked by somebody else, installed, or cut into pieces to travel there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from builder.engines.direct.store import default_store
from builder.engines.installed import installed_environment, unpacked_root
from builder.matrix import Row
from builder.places import HOME
from builder.plan import plan
from builder.project import Project
from builder.rowfiles import valid_lock
from builder.verify.evidence import Evidence
from builder.verify.keeping import keep
from builder.verify.suite import prove
from builder.wheels import pieces as cutting
from builder.wheels.index import extra_index
from builder.wheels.pieces import Piece

Say = Callable[[str], None]


def test_root(project: Project, row: Row, root: Path, say: Say, *, gpus: bool) -> Evidence:
    """Unpacked root file system ─▶ evidence: as `test`, of an image that somebody else unpacked.

    Raises:
        BadInputError: It is none of this row.
        CheckFailedError: It is of another lock.
    """
    locked = valid_lock(project, row)
    with unpacked_root(root, plan(row, locked), project.engine.home) as engine:
        found = prove(project, row, locked, engine, say, gpus=gpus, where="root")
    return keep(project, found, say, gpus=gpus)


def test_environment(project: Project, row: Row, python: Path, say: Say, *, gpus: bool) -> Evidence:
    """Installed environment ─▶ evidence: the checks that do not ask for an image.

    Raises:
        BadInputError: The interpreter is of no environment that can be the row's.
        CheckFailedError: What is installed is not the row's lock.
    """
    locked = valid_lock(project, row)
    engine = installed_environment(python, plan(row, locked))
    found = prove(project, row, locked, engine, say, gpus=gpus, where="environment")
    return keep(project, found, say, gpus=gpus)


def pieces(project: Project, row: Row, folder: Path, size: int, say: Say) -> tuple[Piece, ...]:
    """Lock ─▶ pieces: the row's wheels for a machine that only small files reach.

    Args:
        project: Where the row's lock is.
        row: The row.
        folder: Where the pieces go.
        size: The bytes of a piece at most.
        say: Told what is fetched.
    """
    locked = valid_lock(project, row)
    planned = plan(row, locked)
    libraries = {one.name: [path.relative_to(HOME) for path in one.libraries] for one in planned.environments}
    extra = partial(extra_index, row.index, row.place("index")) if row.index else None
    store = default_store()
    with store.in_use():
        return cutting.write_pieces(
            locked,
            libraries,
            store.wheels,
            folder,
            size,
            samples=cutting.sample_files(),
            speech=cutting.sample_speech(),
            fetch=cutting.fetching(store.wheels, say, extra),
        )
