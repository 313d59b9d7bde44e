"""Work in steps of two halves: the first half of a step overlaps with the second half of the one before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event, Thread

GRACE_S = 2.0
"""Seconds that a step is waited for after another one failed, or at Ctrl-C: it must not keep us running."""


class StoppedError(Exception):
    """Another step has failed, so that this one need not go on."""


class Relay:
    """What the steps of some work share.

    Attributes:
        errors: What steps raised, the first one first.
    """

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self._stopped = Event()

    def stop(self) -> None:
        """Let no step go on."""
        self._stopped.set()

    def go_on(self) -> None:
        """Called by a step between any two pieces of its work.

        Raises:
            StoppedError: It need not go on.
        """
        if self._stopped.is_set():
            raise StoppedError

    def failed(self, error: BaseException) -> None:
        """A step has raised an error."""
        if not isinstance(error, StoppedError):
            self.errors.append(error)
        self.stop()


class Turn:
    """One step.

    Attributes:
        prepared: Set when its first half is done, or it has ended.
        ended: Set when it has ended.
    """

    def __init__(self, relay: Relay, before: Turn | None) -> None:
        self.prepared, self.ended = Event(), Event()
        self._relay = relay
        self._before = before

    def go_on(self) -> None:
        """See `Relay.go_on`."""
        self._relay.go_on()

    def finish(self) -> None:
        """Called by the step between its halves; returns when the step before has ended.

        Raises:
            StoppedError: It need not go on.
        """
        self.prepared.set()
        if self._before:
            self._before.ended.wait()
        self._relay.go_on()

    def run(self, work: Callable[[Turn], None]) -> None:
        """Do it."""
        try:
            work(self)
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits for it
            self._relay.failed(error)
        finally:
            self.prepared.set()
            self.ended.set()


def run(works: Sequence[Callable[[Turn], None]]) -> None:
    """Do some steps of work, each in a thread of its own and never more than two at a time.

    Raises:
        Exception: What the first failed step raised. The others are stopped.
    """
    relay, turns, threads = Relay(), list[Turn](), list[Thread]()
    try:
        for work in works:
            turns.append(Turn(relay, turns[-1] if turns else None))
            threads.append(Thread(target=turns[-1].run, args=(work,), daemon=True, name="cuvee-load"))
            threads[-1].start()
            turns[-1].prepared.wait()
            for before in turns[:-1]:
                before.ended.wait()
            if relay.errors:
                break
        turns[-1].ended.wait()
    finally:
        relay.stop()
        for thread in threads:
            thread.join(GRACE_S)
    if relay.errors:
        raise relay.errors[0]
