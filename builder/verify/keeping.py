"""Evidence, written where it is kept."""

from __future__ import annotations

from collections.abc import Callable

from builder.project import Project, write
from builder.verify import evidence
from builder.verify.evidence import Evidence


def keep(project: Project, found: Evidence, say: Callable[[str], None], *, gpus: bool) -> Evidence:
    """Write what was found, unless what is there shows more of the same lock.

    Args:
        project: Where the evidence is.
        found: It.
        say: Told where it is not written.
        gpus: Whether a GPU was asked for; what a run without one has shown stays.
    """
    file = project.evidence(found.row, gpu=gpus)
    if why := evidence.outdone(found, evidence.read(file)):
        say(f"{file.name} stays as it is: {why}")
    else:
        write(file, found.text())
    return found
