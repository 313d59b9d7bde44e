"""The only place of the patient's side that starts processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TAIL = 4000
"""How much of what a process said is kept, in characters."""


class Done(NamedTuple):
    """A process that has ended.

    Attributes:
        code: Its exit status as a shell has it: 128 + signal when a signal ended it, 127 when it did not
            start.
        out: Its standard output.
        err: The end of its standard error; what went wrong, where it did not start or not end.
    """

    code: int
    out: str
    err: str


class NoChildError(Exception):
    """A child process did not even begin."""


class Runner(NamedTuple):
    """How processes are started.

    Attributes:
        program: The text of `child`, which children run.
        python: The interpreter that they run it with.
        environment: All their variables.
    """

    program: str
    python: str
    environment: Mapping[str, str]

    def run(self, argv: Sequence[str], timeout: float) -> Done:
        """Run a command to its end; past `timeout` seconds it and its children are killed. Never raises."""
        try:
            return _run(argv, timeout, self.environment)
        except (OSError, ValueError) as error:
            return Done(127, "", str(error))

    def child(self, verb: str, arguments: Sequence[str], timeout: float) -> tuple[Done, list[dict[str, Any]]]:
        """Run a verb of `child` in a fresh Python; also returns the facts that it said.

        Raises:
            NoChildError: No child of ours can run here, which says nothing of what it should have looked at.
        """
        if not self.python:
            raise NoChildError("this Python does not know its own executable")
        done = self.run([self.python, "-I", "-W", "ignore", "-c", self.program, verb, *arguments], timeout)
        alive, *said = facts(done.out) or [{}]
        if not alive.get("alive"):
            raise NoChildError(f"a child process ended before it began: {done.err or done.code}")
        return done, said

    def with_variables(self, **variables: str) -> Runner:
        """The same, with other values of some variables; an empty one is taken away."""
        merged = {**self.environment, **variables}
        return self._replace(environment={name: value for name, value in merged.items() if value})


def facts(out: str) -> list[dict[str, Any]]:
    """The facts in a child's output; a line that its death cut short is left out."""
    found = []
    for line in out.split("\n")[:-1]:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def own_program() -> str:
    """The Python to run children with, or ""."""
    return sys.executable or ""


def _run(argv: Sequence[str], timeout: float, environment: Mapping[str, str]) -> Done:
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        list(argv),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        out, err = _killed(process)
        err += f"\nno answer within {timeout:.0f} s".encode()
    code = 128 - process.returncode if process.returncode < 0 else process.returncode
    return Done(code, _text(out), _text(err).strip()[-TAIL:])


def _killed(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """End a process and its children, which hold the pipes too; what it said until then."""
    os.killpg(process.pid, signal.SIGKILL)
    try:
        return process.communicate(timeout=2)
    except subprocess.TimeoutExpired:
        # It hangs inside the driver, where no signal reaches it: nobody waits for it any longer.
        process.returncode = -signal.SIGKILL
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
        return b"", b""


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
