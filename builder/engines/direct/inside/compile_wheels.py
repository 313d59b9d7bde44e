"""Compile the Python files of wheels.

    compile_wheels.py MOST

Standard input has one wheel a line, as JSON: its number, its path, where its bytecode goes, and of each file
the name in the wheel and the path that it has once installed. At most MOST are compiled at a time, in the
order of the lines. The files of bytecode are written one after the other to the path that was given, and the
length of each to the same path with `.sizes` behind it: -1 stands for a file that is no Python. When a wheel
is done, a line with its number is printed, and behind the number what went wrong.

What marshal writes hangs on which other objects the process holds (CPython's issue 129724), so each wheel has
a process of its own, and all begin in the same state: forked from one that has read no wheel and that keeps
the jobs as bytes. Nothing here may intern a string that comes from outside, as pathlib does.
"""

from __future__ import annotations

import gc
import json
import marshal
import os
import sys
import zipfile
from importlib.util import MAGIC_NUMBER, source_hash
from typing import Any, Dict, Optional

UNCHECKED_HASH = b"\x01\x00\x00\x00"
MOST_SOURCE = 64 * 1024 * 1024
"""Bytes: larger files are data, and no interpreter is asked to swallow them."""


def main() -> int:
    """Compile all; returns the exit status."""
    os.umask(0o022)
    gc.disable()  # nothing here is cyclic, and looking for it takes time
    waiting = sys.stdin.buffer.read().splitlines()[::-1]
    most, running, failed = int(sys.argv[1]), 0, 0
    while waiting or running:
        if waiting and running < most:
            _start(waiting.pop(), os.getpid())
            running += 1
            continue
        status = os.wait()[1]
        if status:
            failed, waiting = 1, []  # those that run come to their end
        if os.WIFSIGNALED(status):
            print("a process that compiles was ended by signal", os.WTERMSIG(status), flush=True)
        running -= 1
    return failed


def _start(line: bytes, parent: int) -> None:
    if os.fork():
        return
    said, status = b"", 1
    try:
        job = json.loads(line)
        said = b"%d" % job["number"]
        compile_wheel(job, parent)
        status = 0
    except BaseException as error:  # noqa: BLE001 - whatever it was, the child ends here
        said += ascii(" {}: {}".format(type(error).__name__, error))[1:-1].encode()
    finally:
        os.write(1, said + b"\n")
        os._exit(status)


def compile_wheel(job: Dict[str, Any], parent: int) -> None:
    """Compile one wheel, as long as the parent lives."""
    sizes = []
    with zipfile.ZipFile(job["wheel"]) as wheel, open(job["raw"], "wb") as raw:  # noqa: PTH123 - see above
        for member, path in job["files"]:
            if os.getppid() != parent:
                raise ChildProcessError("there is nobody who waits for it")
            bytecode = _compiled(wheel, member, path)
            sizes.append(-1 if bytecode is None else raw.write(bytecode))
    with open(job["raw"] + ".sizes", "w") as file:  # noqa: PTH123
        file.writelines("{}\n".format(size) for size in sizes)


def _compiled(wheel: zipfile.ZipFile, member: str, path: str) -> Optional[bytes]:
    """A file as `py_compile` writes it for that path, or None where it does not compile."""
    if wheel.getinfo(member).file_size > MOST_SOURCE:
        return None
    source = wheel.read(member)
    try:
        code = compile(source, path, "exec", dont_inherit=True)
    except Exception:  # noqa: BLE001 - templates and files of other Pythons give errors of many kinds
        return None
    return b"".join((MAGIC_NUMBER, UNCHECKED_HASH, source_hash(source), marshal.dumps(code)))


if __name__ == "__main__":
    sys.exit(main())
