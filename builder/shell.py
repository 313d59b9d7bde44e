"""The only place that starts a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


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
        if self.echo:
            print("+", *argv, file=sys.stderr)  # noqa: T201 - talk goes to stderr
        merged = {**os.environ, **(env or {})}
        if on_line is not None:
            return _streamed(argv, merged, cwd, on_line)
        done = subprocess.run(
            list(argv),
            env=merged,
            cwd=cwd,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
        return Finished(argv=tuple(argv), code=done.returncode, out=done.stdout, err=done.stderr)

    def spawn(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> int:
        """See `Shell.spawn`."""
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


def _streamed(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path | None, on_line: Callable[[str], None]
) -> Finished:
    lines: list[str] = []
    with subprocess.Popen(
        list(argv),
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        bufsize=1,
    ) as process:
        try:
            for line in process.stdout or ():
                lines.append(line)
                on_line(line.rstrip("\n"))
        except BaseException:
            _stop(process)
            raise
    return Finished(argv=tuple(argv), code=process.returncode, out="".join(lines), err="")


def _stop(process: subprocess.Popen[str], grace: float = 20) -> None:
    """Ask a process to end, and after `grace` seconds make it."""
    process.terminate()
    try:
        process.wait(timeout=grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


SYSTEM = SystemShell()
