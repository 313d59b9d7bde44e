"""A project's rows as the direct engine takes them, and what can be asked of the images it makes."""

from __future__ import annotations

from collections.abc import Callable

from builder import matrix
from builder.engines.direct.difference import Difference, difference
from builder.engines.direct.engine import DirectEngine
from builder.engines.direct.repro import reproduce
from builder.engines.direct.rows import DirectRows
from builder.engines.direct.store import default_store
from builder.matrix import Row
from builder.project import Project
from builder.report.images import described
from builder.shell import SYSTEM

Say = Callable[[str], None]


def rows(project: Project, say: Say) -> DirectRows:
    """The rows of a project as the direct engine takes them."""
    return DirectRows(
        project=project,
        rows=matrix.load(project.matrix).rows,
        library=project.library,
        store=default_store(),
        shell=SYSTEM,
        say=say,
    )


def engine(project: Project, say: Say) -> DirectEngine:
    """The engine that needs none: images of the project's rows, unpacked when they are tested or run."""
    found = rows(project, say)
    return DirectEngine(
        find=lambda tag: found.known(matrix.load(project.matrix).select([tag.partition(":")[2]])[0]),
        store=found.store,
        tools=project.engine.home,
        shell=found.shell,
        say=say,
    )


def check(project: Project, row: Row, say: Say) -> None:
    """See that the lock's record of the row's image, if there is one, is of its present recipe.

    Raises:
        CheckFailedError: It is of another one.
    """
    rows(project, say).check(row)


def repro(project: Project, row: Row, say: Say, *, anew: bool) -> str:
    """Plan ─▶ image, twice from scratch: see that both are one, and the recorded one; returns its digest.

    Raises:
        CheckFailedError: They differ; the first file that does is named.
    """
    return reproduce(rows(project, say), row, anew=anew).manifest


def diff(project: Project, one: str, other: str, say: Say) -> Difference:
    """Two images ─▶ what a pull of the other costs who has the one."""
    return difference(described(project, one, say), described(project, other, say))
