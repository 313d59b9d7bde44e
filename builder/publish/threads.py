"""The same work on many things, by a few threads that end with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

GRACE_S = 2.0
"""Seconds that a thread is waited for after it was told to stop; it cannot keep the program from ending."""

T = TypeVar("T")
R = TypeVar("R")


def each(
    work: Callable[[T], R],
    things: Iterable[T],
    *,
    jobs: int,
    stop: Callable[[], None],
    told: Callable[[T, R], None] = lambda _thing, _result: None,
) -> None:
    """Do some work on each of these things, in their order, several at once.

    Args:
        work: Called in one of the threads.
        things: What it is called with.
        jobs: How many threads.
        stop: Makes `work` end soon wherever it is; called when something fails, or at Ctrl-C.
        told: Called here, in the caller's thread, with each thing and its result as they come.

    Raises:
        Exception: What `work` raised first. Nothing is begun after that.
    """
    waiting = deque(things)
    count, done = len(waiting), SimpleQueue[tuple[T, R | None, BaseException | None]]()

    def run() -> None:
        while True:
            try:
                thing = waiting.popleft()
            except IndexError:
                return
            try:
                done.put((thing, work(thing), None))
            except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits for it
                done.put((thing, None, error))

    threads = [Thread(target=run, daemon=True, name="cuvee") for _ in range(min(jobs, count))]
    try:
        for thread in threads:
            thread.start()
        for _ in range(count):
            _hear(done.get(), told)
    except BaseException:
        waiting.clear()
        stop()
        raise
    finally:
        for thread in threads:
            if thread.ident is not None:
                thread.join(GRACE_S)


def _hear(outcome: tuple[T, R | None, BaseException | None], told: Callable[[T, R], None]) -> None:
    thing, result, error = outcome
    if error is not None:
        raise error
    told(thing, result)  # type: ignore[arg-type]  # R may itself be None
