"""The bytecode of wheels, made by the base's own Python; each wheel's becomes a zip file beside it.

What comes out hangs on the wheel, on where it is installed and on the Python alone: not on what else is
compiled, in which order, where or by whom.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from builder.engines.direct.interpreter import INSIDE, Interpreter
from builder.engines.direct.zips import written_zip
from builder.errors import EngineOrNetworkError, Fault

SCRIPT: Final = INSIDE / "compile_wheels.py"
"""Bytecode hangs on it too, since what marshal writes hangs on what else the process holds."""

SIDE_BY_SIDE: Final = 2

_SAID = re.compile(r"(\d+)(?: (.*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A wheel to compile.

    Attributes:
        wheel: The wheel, whose directory was checked (`builder.wheels.directory`).
        target: Where the zip file goes.
        site: Where the wheel is installed: `/opt/cuvee/main/lib/python3.11/site-packages`.
        files: Each of its `.py` files that lies there once installed: from the path in the wheel to the path
            relative to `site`. Files of `.data/purelib` and `.data/platlib` are among them.
    """

    wheel: Path
    target: Path
    site: PurePosixPath
    files: Mapping[str, str] = field(repr=False)

    @property
    def ordered(self) -> list[tuple[str, str]]:
        """The files, sorted by where they are installed."""
        return sorted(self.files.items(), key=lambda item: (item[1], item[0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A wheel that was compiled.

    Attributes:
        target: The zip file; of zero bytes where there is nothing in it.
        count: How many files of bytecode it holds.
        skipped: Files of Python that do not compile, by where they are installed.
    """

    target: Path
    count: int
    skipped: tuple[str, ...]


def bytecode_path(path: str, tag: str) -> str:
    """Where the bytecode of a file lies: `a/__pycache__/b.cpython-311.pyc` of `a/b.py`."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}__pycache__/{name.removesuffix('.py')}.{tag}.pyc"


def compile_wheels(
    jobs: Sequence[Job], interpreter: Interpreter, *, side_by_side: int = SIDE_BY_SIDE
) -> tuple[Compiled, ...]:
    """Compile wheels, and write each one's bytecode to its target.

    The members of a target are named by where they lie relative to `site`, sorted, and deflated as layers
    want them. A target is there whole or not at all.

    Args:
        jobs: The wheels.
        interpreter: The base's Python.
        side_by_side: How many are compiled at a time.

    Returns:
        One for each job, in the same order.

    Raises:
        EngineOrNetworkError: A wheel cannot be read, or there is no room.
    """
    numbered = {number: job for number, job in enumerate(jobs) if job.files}
    told = _Told(numbered, interpreter.version.tag if numbered else "")
    with tempfile.TemporaryDirectory(prefix="cuvee-bytecode-") as folder:
        told.scratch = Path(folder)
        if numbered:
            _run(interpreter, told, side_by_side)
    return tuple(told.done.get(number) or _nothing(job) for number, job in enumerate(jobs))


@dataclass(slots=True)
class _Told:
    """What the program was told, and what it has told back.

    Attributes:
        jobs: By their numbers.
        tag: What is in the names of files of bytecode.
        scratch: Where the program writes.
        done: What is packed, by number.
        broken: The wheels that it could not read, with the reason.
    """

    jobs: Mapping[int, Job]
    tag: str
    scratch: Path = Path()
    done: dict[int, Compiled] = field(default_factory=dict)
    broken: list[Fault] = field(default_factory=list)

    def lines(self) -> str:
        """The jobs; the largest come first, so that none is left alone at the end."""
        order = sorted(self.jobs, key=lambda number: (-len(self.jobs[number].files), number))
        return "".join(_line(self.jobs[number], number, self.scratch) for number in order)

    def hear(self, line: str) -> None:
        """Pack the wheel that is done."""
        found = _SAID.fullmatch(line)
        number = int(found[1]) if found else -1
        if found is None or number not in self.jobs:
            return  # something else that is said
        if found[2]:
            self.broken.append(_broken(self.jobs[number], found[2]))
        else:
            self.done[number] = _packed(self.jobs[number], _raw(self.scratch, number), self.tag)


def _run(interpreter: Interpreter, told: _Told, side_by_side: int) -> None:
    try:
        interpreter.run(SCRIPT, [str(side_by_side)], stdin=told.lines(), on_line=told.hear)
    except EngineOrNetworkError:
        if told.broken:
            raise EngineOrNetworkError(*told.broken) from None
        raise
    if missing := told.jobs.keys() - told.done.keys():
        raise interpreter.failed(f"it left out {told.jobs[min(missing)].wheel.name}")


def _raw(scratch: Path, number: int) -> Path:
    return scratch / str(number)


def _line(job: Job, number: int, scratch: Path) -> str:
    files = [(member, str(job.site / path)) for member, path in job.ordered]
    told = {"number": number, "wheel": str(job.wheel), "raw": str(_raw(scratch, number)), "files": files}
    return json.dumps(told) + "\n"


def _packed(job: Job, raw: Path, tag: str) -> Compiled:
    """Make a zip file of what one process has written, and delete that."""
    sizes = Path(f"{raw}.sizes")
    found, skipped, at = {}, [], 0
    for (_, path), size in zip(job.ordered, map(int, sizes.read_text().split()), strict=True):
        if size < 0:
            skipped.append(path)
            continue
        found[bytecode_path(path, tag)] = (at, size)
        at += size
    with written_zip(job.target) as archive, raw.open("rb") as source:
        for path, (start, size) in sorted(found.items()):
            source.seek(start)
            archive.add(path, source.read(size))
    raw.unlink()
    sizes.unlink()
    return Compiled(target=job.target, count=len(found), skipped=tuple(skipped))


def _nothing(job: Job) -> Compiled:
    with written_zip(job.target):
        return Compiled(target=job.target, count=0, skipped=())


def _broken(job: Job, said: str) -> Fault:
    return Fault(
        place=job.wheel.name,
        cause=f"its Python cannot be compiled: {said}",
        fix="Free some room for temporary files, or delete the wheel and fetch it again",
    )
