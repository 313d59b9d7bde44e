"""Whether a side that came down with one recording is worth another process for the others."""

from __future__ import annotations

MOST_IN_VAIN = 2
"""Processes one after the other that come to nothing: then it is not the recordings."""


class Attempts:
    """The processes that a side has had.

    Attributes:
        loaded: Whether the last one got as far as to have its model; where it did not, the next would not.
        worked: Whether it came to anything.
    """

    def __init__(self) -> None:
        self.loaded = self.worked = False
        self._in_vain = 0

    def begin(self) -> None:
        """There is a new process."""
        self.loaded = self.worked = False

    def another(self) -> bool:
        """The process has ended; whether there is reason to start another one."""
        self._in_vain = 0 if self.worked else self._in_vain + 1
        return self.loaded and self._in_vain < MOST_IN_VAIN
