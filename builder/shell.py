"""The only place that starts a process."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")  # of an index


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A process that has ended.

    Attributes:
        argv: The command as it was started.
        code: Its exit status; negative when a signal ended it.
        out: Its standard output, or "" when it was passed through.
        err: Its standard error, or "" when it was passed through.
    """

    argv: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        """Whether the process ended with status 0."""
        return self.code == 0


class Shell(Protocol):
    """What starts processes; tests pass one that records instead."""

    def run(  # noqa: PLR0913 - the knobs of a process, all by name
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str | None = None,
        timeout: float | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        """Run `argv` to its end.

        Args:
            argv: The command, as a list: no shell ever parses it.
            env: Variables laid over this process's own.
            cwd: The folder to run in.
            stdin: Text for its standard input; without it, standard input is empty.
            timeout: Seconds after which it is killed.
            on_line: Called with each line of its output (both streams, merged into `out`) as it comes.

        Raises:
            FileNotFoundError: The program does not exist.
            subprocess.TimeoutExpired: It ran past `timeout`.
        """
        ...

    def spawn(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> int:
        """Start a daemon in a session of its own, its output in `log`; return its process id.

        Raises:
            FileNotFoundError: The program does not exist.
        """
        ...


class SystemShell:
    """Runs real processes.

    A process shares our terminal's process group, so Ctrl-C reaches both; we wait for it to end before the
    interrupt goes on, so that nothing is left running behind the user's back.

    Attributes:
        echo: Whether each command, and what it says, is shown on standard error.
    """

    def __init__(self, *, echo: bool = False) -> None:
        self.echo = echo

    def run(  # noqa: PLR0913
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str | None = None,
        timeout: float | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        """See `Shell.run`."""
        self._show(f"+ {shlex.join(argv)}\n")
        with (
            _input(stdin) as source,
            subprocess.Popen(
                list(argv),
                env={**os.environ, **(env or {})},
                cwd=cwd,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if on_line else subprocess.PIPE,
                text=True,
                errors="replace",
            ) as process,
        ):
            try:
                with _deadline(process, timeout):
                    if on_line:
                        out, err = _streamed(process, on_line), ""
                    else:
                        out, err = process.communicate()
                        self._show(out + err)
            except BaseException:
                _stop(process)
                raise
        return Finished(argv=tuple(argv), code=process.returncode, out=out, err=err)

    def spawn(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> int:
        """See `Shell.spawn`."""
        self._show(f"+ {shlex.join(argv)}\n")
        with log.open("ab") as output:
            daemon = subprocess.Popen(
                list(argv),
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # We never wait for a daemon; its starter asks its socket instead.
        daemon.returncode = 0
        return daemon.pid

    def _show(self, text: str) -> None:
        if self.echo:
            sys.stderr.write(_CREDENTIALS.sub("", text))


@contextmanager
def _input(text: str | None) -> Iterator[IO[bytes] | int]:
    """A process's standard input: the text, or nothing."""
    if text is None:
        yield subprocess.DEVNULL
        return
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        yield file


@contextmanager
def _deadline(process: subprocess.Popen[str], seconds: float | None) -> Iterator[None]:
    if seconds is None:
        yield
        return
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if late.is_set():
        raise subprocess.TimeoutExpired(process.args, seconds)


def _streamed(process: subprocess.Popen[str], on_line: Callable[[str], None]) -> str:
    lines: list[str] = []
    for line in process.stdout or ():
        lines.append(line)
        on_line(line.rstrip("\n"))
    return "".join(lines)


def _stop(process: subprocess.Popen[str], grace: float = 20) -> None:
    """Ask a process to end, and after `grace` seconds make it."""
    process.terminate()
    try:
        process.wait(timeout=grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


SYSTEM = SystemShell()
