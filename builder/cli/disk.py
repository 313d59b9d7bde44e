"""How much of the disk a run stands on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

EVERY_S = 3.0
"""Seconds between two looks: an unpacked image grows by some hundreds of MB meanwhile."""


@dataclass(slots=True, kw_only=True)
class Disk:
    """What a run has on the disk: what the store held when it began, and what has come since.

    What others write to the same disk meanwhile is counted too: it cannot be told apart.

    Attributes:
        used: The bytes in use on the disk.
        held: The bytes of the store when the run began.
        found: When it was looked at, in seconds of the monotonic clock, and the bytes then.
    """

    used: Callable[[], int]
    held: int
    found: list[tuple[float, int]] = field(default_factory=list)
    _before: int = field(init=False)

    def __post_init__(self) -> None:
        self._before = self.used()

    def look(self) -> None:
        """See how much it is now."""
        self.found.append((time.monotonic(), self.held + max(self.used() - self._before, 0)))

    def most(self, since: float = 0) -> int:
        """The most bytes that were seen since then, a time of the monotonic clock."""
        return max((size for when, size in self.found if when >= since), default=self.held)

    @contextmanager
    def watched(self, every_s: float = EVERY_S) -> Iterator[None]:
        """Look again and again, by a thread of its own."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(every_s):
                self.look()

        thread = threading.Thread(target=watch, daemon=True)
        self.look()
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self.look()
