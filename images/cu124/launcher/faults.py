"""What can go wrong in the launcher, told with place, cause and next step; exit codes as cuvee's own."""

from __future__ import annotations

from typing import NamedTuple

DONE, BAD_INPUT, FAILED, INTERRUPTED = 0, 2, 5, 130


class Fault(NamedTuple):
    """One thing that is wrong.

    Attributes:
        place: Where: a file, an option, a side.
        cause: What, without a full stop at its end.
        fix: What to do next, without a full stop at its end.
        code: The exit code that it leads to.
    """

    place: str
    cause: str
    fix: str
    code: int = FAILED

    def __str__(self) -> str:
        # A fix that ends with something to paste gets no full stop.
        return "{}: {}. {}{}".format(self.place, self.cause, self.fix, "" if "\n" in self.fix else ".")


class LauncherError(Exception):
    """The base of what the launcher raises; its `faults` say what to tell."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


class BadInputError(LauncherError):
    """An argument or a file that a person gave is wrong."""


def bad_input(place: str, cause: str, fix: str) -> BadInputError:
    """An error of exit code 2."""
    return BadInputError(Fault(place, cause, fix, BAD_INPUT))
