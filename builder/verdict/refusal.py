"""A row that no lock can have: what it demands has no wheel for its Python, and the resolver refuses it.

There are no wheels to prove anything of, so that the prediction is from what the row demands alone, held
against `data/pythons.yaml`. Whether the resolver says the same is then asked of the index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from builder.errors import CannotResolveError, CheckFailedError, Fault
from builder.known import data
from builder.matrix import Demand, Row
from builder.verdict.record import Finding, Verdict


def is_known(row: Row) -> bool:
    """Whether a row says of itself that it cannot be locked."""
    return bool(row.fails_with and row.fails_with.check == "lock")


def predicted(row: Row) -> Verdict:
    """The verdict on a row that has no lock: which of its demands have no wheel for its Python."""
    found = tuple(
        finding
        for name, _ in row.stacks()
        for demand in row.demands(name)
        for finding in _without_wheel(demand, row.python)
    )
    return Verdict(row=row.id, lock="", binaries=0, names=(), findings=found, driver="")


def refused(row: Row, resolve: Callable[[Row], object]) -> str:
    """What the resolver says to a row that is known to be refused.

    Args:
        row: The row.
        resolve: Resolves it, as `builder.lock.resolve.resolve` does.

    Raises:
        CheckFailedError: It resolves, or is refused in other words than it says.
        EngineOrNetworkError: The index cannot be reached.
    """
    wanted = row.fails_with.message if row.fails_with else ""
    try:
        resolve(row)
    except CannotResolveError as error:
        words = "; ".join(fault.cause for fault in error.faults)
        if wanted not in words:
            raise CheckFailedError(_otherwise(row, f"it is refused with `{words}`")) from error
        return words
    raise CheckFailedError(_otherwise(row, "it can be locked"))


def _otherwise(row: Row, what: str) -> Fault:
    wanted = row.fails_with.message if row.fails_with else ""
    return Fault(
        place=row.place("fails_with"),
        cause=f"the row says that it is refused with `{wanted}`, and {what}",
        fix="Correct the row; if it works now, make it a good one",
    )


def _without_wheel(demand: Demand, python: str) -> Iterator[Finding]:
    requirement = Requirement(demand.requirement)
    name = canonicalize_name(requirement.name)
    exact = next((one.version for one in requirement.specifier if one.operator == "=="), "")
    wheels = _pythons(name, exact)
    if demand.kind == "requirement" and wheels and not SpecifierSet(wheels).contains(python):
        yield Finding(
            signature="no-wheel",
            outcome="fails",
            place=demand.place,
            message=f"{demand.requirement} has no wheel for Python {python}",
            cause=f"the wheels of {name} {exact} are for Python {wheels}",
            fix="Demand another version of it, or take a base with another Python",
            sources=(data("pythons.yaml")["source"],),
        )


def _pythons(name: str, version: str) -> str:
    """The Pythons that a version has wheels for, as PEP 440 compares them; "" where that is not known."""
    known: Mapping[str, str] = data("pythons.yaml")["pythons"].get(name, {})
    plain = version.removesuffix(".*")
    return next((wheels for which, wheels in known.items() if plain and plain in SpecifierSet(which)), "")
