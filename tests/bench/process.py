"""`cuvee` as a process of its own, with the time and the memory that it takes."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from builder.errors import EngineOrNetworkError, Fault
from builder.project import Project
from builder.shell import SYSTEM
from tests.bench.common import say, settle

CUVEE = Path(sys.executable).parent / "cuvee"

_EVERY_S = 0.03
_MB = 1e6
_LAST_WORDS = 12  # lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A process that has ended well.

    Attributes:
        seconds: How long it took.
        peak_mb: The most memory that it, or any process under it, ever had.
        child_mb: The most that one of the processes under it had, as far as it was seen.
        said: What it said.
    """

    seconds: float
    peak_mb: float
    child_mb: float
    said: str


def cuvee(*words: str, project: Project, store: Path, env: Mapping[str, str] | None = None) -> Ran:
    """Run `cuvee` in a project, with a store of its own.

    Raises:
        EngineOrNetworkError: It failed.
    """
    say(f"bench: cuvee {' '.join(words)}")
    argv = [str(CUVEE), "-C", str(project.root), *words]
    with tempfile.TemporaryDirectory(prefix="cuvee-bench-said-") as scratch:
        log = Path(scratch) / "log"
        settle()
        began = time.monotonic()
        pid = SYSTEM.spawn(argv, log=log, env={"CUVEE_CACHE": str(store), **(env or {})})
        with _ended(pid), _watched(pid) as watch:
            _, status, usage = os.wait4(pid, 0)
        seconds = time.monotonic() - began
        said = log.read_text(errors="replace")
    if status:
        raise EngineOrNetworkError(_failed(words, status, said))
    return Ran(
        seconds=round(seconds, 2),
        peak_mb=round(usage.ru_maxrss * 1024 / _MB, 1),
        child_mb=round(watch.peak * 1024 / _MB, 1),
        said=said,
    )


@contextmanager
def _ended(pid: int) -> Iterator[None]:
    """End a process, and those under it, if we are not to see its own end: it has a session of its own."""
    try:
        yield
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
        raise


class _Watch(threading.Thread):
    """Looks again and again at the memory of the processes under one.

    The kernel tells the peak of the largest process of all, and not whether it was the first one.

    Attributes:
        peak: The most that one of them had, in KiB.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._pid = pid
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(_EVERY_S):
            for pid in _under(self._pid):
                self.peak = max(self.peak, _peak(pid))

    def end(self) -> None:
        self._over.set()
        self.join()


@contextmanager
def _watched(pid: int) -> Iterator[_Watch]:
    watch = _Watch(pid)
    watch.start()
    try:
        yield watch
    finally:
        watch.end()


def _under(pid: int) -> Iterator[int]:
    """The processes that one has started, and that these have started."""
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from _under(int(child))


def _peak(pid: int) -> int:
    """The most memory that a process has had since its program was started, in KiB."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


def _failed(words: tuple[str, ...], status: int, said: str) -> Fault:
    last = "\n".join(said.splitlines()[-_LAST_WORDS:])
    return Fault(
        place=f"cuvee {' '.join(words)}",
        cause=f"it ended with {os.waitstatus_to_exitcode(status)}: {last}",
        fix="Make that work, and measure again",
    )
