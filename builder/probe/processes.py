"""The only place of the probe that starts processes: children of this Python, and the loader itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Dict, Iterable, NamedTuple, Optional, Sequence, TypeVar

from . import elf

Item = TypeVar("Item")
Result = TypeVar("Result")
WORKERS = max(2, os.cpu_count() or 1)
FOLDER = Path(__file__).resolve().parent
TAIL = 2000


class Done(NamedTuple):
    """A child that has ended.

    Attributes:
        code: Its exit status as a shell has it: 128 + signal when a signal ended it.
        out: Its standard output.
        err: The end of its standard error.
    """

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """What it died of, in its own words."""
        return complaint(self.err) or "exit code {}".format(self.code)


def complaint(words: str) -> str:
    """What a process says it died of: an exception's last line; else two lines, for cuDNN 9 needs two."""
    lines = words.strip().splitlines()
    return "; ".join(lines[-1:] if "Traceback" in words else lines[-2:])


def run(argv: Sequence[str], *, timeout: float, env: Optional[Dict[str, str]] = None) -> Done:
    """Run `argv` to its end, with `env` laid over our variables; past `timeout` seconds it is killed."""
    merged = {**os.environ, **(env or {})}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        list(argv), env=merged, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            # Its own children hold the pipes too: all of them have to go.
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            err += "\nno answer within {:.0f} s".format(timeout).encode()
    return Done(exit_code(process.returncode), out.decode(errors="replace"), tail(err))


class Manner(NamedTuple):
    """How children run, beyond what they do.

    Attributes:
        timeout: Seconds after which one is killed.
        hide_cache: Whether the loader's cache is kept from it.
        options: Further options of Python; its variables count for nothing under -I.
        env: Variables laid over ours.
    """

    timeout: float
    hide_cache: bool = False
    options: Sequence[str] = ()
    env: Optional[Dict[str, str]] = None


def child(manner: Manner, verb: str, *arguments: str) -> Done:
    """Run a verb of `child` in a fresh Python."""
    hidden = [loader(), "--inhibit-cache"] if manner.hide_cache else []
    python = [*hidden, sys.executable, "-I", "-W", "ignore", *manner.options, str(FOLDER), "child"]
    return run([*python, verb, *arguments], timeout=manner.timeout, env=manner.env)


def loader() -> str:
    """The path of the dynamic loader, as this Python's own executable names it."""
    own = elf.read(Path(sys.executable).resolve())
    assert own is not None, "this Python's executable is no ELF file"
    assert own.interpreter, "this Python is linked statically: it has no loader to ask"
    return own.interpreter


def side_by_side(action: Callable[[Item], Result], items: Iterable[Item]) -> Dict[Item, Result]:
    """What `action` returns for each of `items`, in their order; several run at a time."""
    with ThreadPoolExecutor(WORKERS) as pool:
        running = {item: pool.submit(action, item) for item in items}
        return {item: future.result() for item, future in running.items()}


def exit_code(returncode: int) -> int:
    """A return code of `subprocess` as a shell would have it: 134 for an abort."""
    return 128 - returncode if returncode < 0 else returncode


def tail(text: bytes) -> str:
    """The end of what a process said."""
    return text.decode(errors="replace")[-TAIL:]
