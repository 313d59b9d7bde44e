"""What images may weigh: the budgets of `matrix.yaml` held against what they do weigh.

A known-bad row inherits the budget of the good row that it shows the failure of, and is not held to it.
"""

from __future__ import annotations

from collections.abc import Iterator

from builder.errors import Fault
from builder.lock.record import Lock
from builder.matrix import Row
from builder.verify.evidence import Evidence

SLACK = 1.02
"""A budget is what was measured when it was written; 2 % more is growth that somebody should have noticed."""

GB = 1e9

_FIX = "See what grew with `cuvee diff`, and leave it out or raise the budget with a reason"


def pull_faults(row: Row, lock: Lock) -> Iterator[Fault]:
    """Whether a pull of the image as it is published is within the budget."""
    if row.budget and row.status == "good" and lock.image:
        fix = _FIX if lock.image.zstd else f"Run `cuvee build {row.id} --compression zstd` first. {_FIX}"
        yield from _over(row, "pull", row.budget.pull, lock.image.pull, "a pull of its image", fix)


def disk_faults(row: Row, evidence: Evidence) -> Iterator[Fault]:
    """Whether the image that was tested takes no more disk than the row's budget."""
    if row.budget and row.status == "good" and evidence.image:
        yield from _over(
            row, "disk", row.budget.disk, int(evidence.image["bytes"]), "its image on disk", _FIX
        )


def _over(  # noqa: PLR0913, PLR0917 - what, of which, and what to do
    row: Row, key: str, budget: float, weight: int, what: str, fix: str
) -> Iterator[Fault]:
    if weight > budget * GB * SLACK:
        yield Fault(
            place=row.place("budget", key),
            cause=f"{what} is {weight / GB:.3f} GB, more than 2 % over the budget of {budget:g} GB",
            fix=fix,
        )
