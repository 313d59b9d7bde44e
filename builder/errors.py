"""What can go wrong, told with place, cause and next step.

A `CuveeError` carries one or more `Fault`s: bad input is reported whole, not fault by fault. Each class has
the exit code that the command line ends with; the README's table lists them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        place: Where it is wrong, as `file:line key` or the name of a row, wheel or engine.
        cause: What is wrong, in one sentence without a full stop at its end.
        fix: What to do next, in one sentence without a full stop at its end.
    """

    place: str
    cause: str
    fix: str

    def __str__(self) -> str:
        return f"{self.place}: {self.cause}. {self.fix}."


class CuveeError(Exception):
    """The base of all errors that a user can meet."""

    exit_code = 1

    def __init__(self, *faults: Fault) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


class CheckFailedError(CuveeError):
    """A check ran and did not hold."""

    exit_code = 1


class BadInputError(CuveeError):
    """A file or an argument that a person wrote is wrong."""

    exit_code = 2


class NothingSelectedError(CuveeError):
    """No row matches what was asked for."""

    exit_code = 3


class CannotResolveError(CuveeError):
    """No set of wheels satisfies a row, or the index does not give what the row needs."""

    exit_code = 4


class EngineOrNetworkError(CuveeError):
    """The Docker engine or a package index did not do its part."""

    exit_code = 5
