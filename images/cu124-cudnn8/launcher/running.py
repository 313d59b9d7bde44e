"""The process of a side: how it is started, listened to, and ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from .deaths import Death, died, memory_kills

FOLDER = Path(__file__).resolve().parent
FLAG = "--cuvee-side"
KEPT_BYTES = 16_384
PIPE_BYTES = 1 << 20
"""No less than a pipe holds (`/proc/sys/fs/pipe-max-size`): one read takes all that is there."""
LEAST_BYTES = 1 << 20
"""A process that reads or writes less than this in all its time to be idle is not loading anything."""


class _Io(NamedTuple):
    at: float
    bytes: int


class Running:
    """A process and the pipes to it."""

    def __init__(self, process: subprocess.Popen[bytes], orders: int, answers: int, said: int) -> None:
        self.process = process
        self._orders, self._answers = orders, answers
        self._lines: List[bytes] = []
        self._rest = b""
        self._hung = 0.0
        self._closed = False
        self._kills = memory_kills()
        self._said = said
        self._words = b""
        self._ended: Optional[Death] = None
        self._ending, self._reading, self._hearing = (threading.Lock() for _ in range(3))
        self._ear = threading.Thread(target=self._listen, daemon=True)
        self._ear.start()

    def send(self, order: Dict[str, Any]) -> None:
        """Send an order; if nobody takes it, the answer will tell."""
        data = memoryview((json.dumps(order) + "\n").encode())
        with contextlib.suppress(OSError):
            while data:
                data = data[os.write(self._orders, data) :]

    def answer(self, idle: Optional[float]) -> Optional[Dict[str, Any]]:
        """The next answer; None when there will be none, because the process died, or hung and was killed."""
        with self._reading:
            return None if self._closed else self._answer(idle)

    def _answer(self, idle: Optional[float]) -> Optional[Dict[str, Any]]:
        seen = _Io(time.monotonic(), self._io())
        while not self._lines:
            if not self._readable(idle, seen.at):
                now = _Io(time.monotonic(), self._io())
                if now.bytes - seen.bytes < LEAST_BYTES:
                    self._hung = idle or 0.0
                    self.kill()
                    return None
                seen = now  # a model is being loaded or fetched
                continue
            try:
                data = os.read(self._answers, 1 << 16)
            except OSError:
                data = b""
            if not data:
                return None
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._lines += lines
        answer: Dict[str, Any] = json.loads(self._lines.pop(0))
        return answer

    def kill(self) -> None:
        """End it and its own children, whatever they do, stopped ones too."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def words(self) -> str:
        """The end of what it has printed so far."""
        self._hear()
        return self._words.decode(errors="replace")

    def end(self, grace: float) -> Death:
        """Take leave of it, for at most `grace` seconds; then it is killed."""
        with self._ending:
            if self._ended is None:
                os.close(self._orders)
                try:
                    self.process.wait(grace)
                except subprocess.TimeoutExpired:
                    self.kill()
                    self.process.wait()
                self.kill()  # children that it left behind
                self._ear.join(1)
                with self._reading:  # another thread may be about to see its end
                    os.close(self._answers)
                    self._closed = True
                words = self.words()
                self._ended = died(self.process.returncode, words, hung=self._hung, kills_before=self._kills)
            return self._ended

    def _readable(self, idle: Optional[float], since: float) -> bool:
        poll = select.poll()
        poll.register(self._answers, select.POLLIN | select.POLLHUP)
        wait = None if idle is None else max(0.0, since + idle - time.monotonic()) * 1000
        return bool(poll.poll(wait))

    def _io(self) -> int:
        """How many bytes it has read and written so far; 0 where the kernel does not tell."""
        try:
            text = Path("/proc/{}/io".format(self.process.pid)).read_text(encoding="ascii")
        except OSError:
            return 0
        counts = dict(line.split(": ") for line in text.splitlines())
        return int(counts.get("rchar", 0)) + int(counts.get("wchar", 0))

    def _listen(self) -> None:
        """Empty the pipe of what it prints, which else would wait, until nobody has its end any more."""
        poll = select.poll()
        poll.register(self._said, select.POLLIN)
        while poll.poll() and self._hear():
            pass
        with self._hearing:
            os.close(self._said)
            self._said = -1

    def _hear(self) -> bool:
        """Take what it has printed by now, without waiting for more; False where there will be none."""
        with self._hearing:
            if self._said < 0:
                return False
            poll = select.poll()
            poll.register(self._said, select.POLLIN)
            if poll.poll(0):
                data = os.read(self._said, PIPE_BYTES)
                self._words = (self._words + data)[-KEPT_BYTES:]
                return bool(data)
            return True


def started(python: str, path: Sequence[str], variables: Mapping[str, str]) -> Running:
    """Start the process of a side; OSError where its interpreter cannot be started.

    Args:
        python: The interpreter.
        path: Folders for its `sys.path`.
        variables: All of its environment.
    """
    theirs, ours = [], []
    for mine_writes in (True, False, False):
        reading, writing = os.pipe()
        ours.append(writing if mine_writes else reading)
        theirs.append(reading if mine_writes else writing)
    orders, answers, said = theirs
    # The kernel's signal comes when the thread that started a process ends, so only the main one will do.
    parent = os.getpid() if threading.current_thread() is threading.main_thread() else 0
    told = json.dumps([orders, answers, parent, list(path)])
    try:
        process = subprocess.Popen(
            [python, "-I", "-u", str(FOLDER), FLAG, told],
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            pass_fds=(orders, answers),
            start_new_session=True,
        )
    except OSError:
        for pipe in ours:
            os.close(pipe)
        raise
    finally:
        for pipe in theirs:
            os.close(pipe)
    return Running(process, *ours)
