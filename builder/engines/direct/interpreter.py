"""The base's own Python, run on any x86-64 Linux as any user, without chroot, engine or namespaces.

The base's loader is told where the base's libraries are, and Python where its own are. From the host it gets
no variable, no file and no bytecode: what it writes is the same everywhere.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from builder.engines.direct.tar import MTIME
from builder.errors import BadInputError, EngineOrNetworkError, Fault
from builder.shell import Finished, Shell

INSIDE: Final = Path(__file__).parent / "inside"
"""The programs that it runs."""

LOADER: Final = "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
"""The file itself: `/lib64/ld-linux-x86-64.so.2` leads, in some bases, to the one of the host."""

LIBRARIES: Final = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
NOWHERE: Final = "/nonexistent"

_SEPARATES = re.compile(r"[:;$]")
_LAST_LINES = 3

_NEEDED: Final = re.compile(
    r"""
    usr/bin/python3[^/-]*
    |usr/lib/python3\.\d+/(?!(?:.*/)?(?:__pycache__|tests?|ensurepip|idlelib|lib2to3|pydoc_data)/).*
    |(usr/)?sbin/ldconfig
    """,
    re.VERBOSE,
)
_SEARCHED: Final = re.compile(
    r"""
    (usr/)?(bin|sbin|lib|lib32|lib64|libx32)  # in most bases, links into usr
    |etc/ld\.so\.conf|etc/ld\.so\.conf\.d/[^/]+
    |(usr/(local/)?)?lib(32|64|x32)?/(?!python3)(.*/)?(lib|ld-)[^/]*\.so(\.[^/]*)?
    """,
    re.VERBOSE,
)


def needed(path: str) -> bool:
    """Whether the base's programs need a file of the base: its Python, and its ldconfig.

    Bytecode is not among it: the standard library is compiled anew, since what other bytecode comes to hangs
    on what is loaded, and how.

    Args:
        path: As an archive of the base has it, `usr/lib/python3.11/os.py`; with `./` or `/` in front as well.
    """
    return searched(path) or _NEEDED.fullmatch(_plain(path)) is not None


def searched(path: str) -> bool:
    """Whether ldconfig looks at a file of the base: a library, or what leads to one."""
    return _SEARCHED.fullmatch(_plain(path)) is not None


def _plain(path: str) -> str:
    return path.removeprefix("./").strip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """Which Python it is.

    Attributes:
        full: All that it says of itself, its build and its compiler too: `3.11.2 (main, …) [GCC 12.2.0]`.
        tag: What files of bytecode have in their names, `cpython-311`.
        magic: What they begin with, in hex.
    """

    full: str
    tag: str
    magic: str


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A base's Python.

    Attributes:
        root: The base's files, or at least those that `needed` names.
        python: `3.11`.
        shell: What starts it.
    """

    root: Path
    python: str
    shell: Shell

    @cached_property
    def version(self) -> Version:
        """Which Python it is.

        Raises:
            BadInputError: The path of its root cannot be told to a loader.
            EngineOrNetworkError: It cannot be started.
        """
        done = self.run(INSIDE / "describe.py")
        try:
            told = json.loads(done.out)
            return Version(full=told["version"], tag=told["tag"], magic=told["magic"])
        except (ValueError, LookupError, TypeError) as error:
            raise self.failed("it does not say which Python it is") from error

    @cached_property
    def identity(self) -> str:
        """Changes when the bytecode that it writes may: `cpython-311 a70d0d0a 3.11.2 (main, …) [GCC 12.2.0]`.

        Debian can change a Python without changing this; the version of its package tells that.
        """
        return f"{self.version.tag} {self.version.magic} {self.version.full}"

    @property
    def program(self) -> Path:
        """The interpreter's file."""
        return self.root / "usr" / "bin" / f"python{self.python}"

    def run(
        self,
        script: Path,
        arguments: Sequence[str] = (),
        *,
        stdin: str | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        """Run a program of the standard library alone.

        Args:
            script: Its file.
            arguments: What it is told.
            stdin: Text for its standard input.
            on_line: As `Shell.run` has it.

        Raises:
            BadInputError: The path of its root cannot be told to a loader.
            EngineOrNetworkError: It cannot be started, or failed.
        """
        if _SEPARATES.search(str(self.root)):
            raise BadInputError(
                Fault(
                    place=str(self.root),
                    cause="a base's programs cannot run where the path has a colon, semicolon or dollar sign",
                    fix="Set CUVEE_CACHE to another folder",
                )
            )
        argv = [*self._command(), str(script), *arguments]
        try:
            done = self.shell.run(argv, stdin=stdin, on_line=on_line)
        except FileNotFoundError as error:
            raise self.failed("the program `env` is not on the path") from error
        if not done.ok:
            raise self.failed(_end(done))
        return done

    def failed(self, cause: str) -> EngineOrNetworkError:
        """The error that something of it failed."""
        return EngineOrNetworkError(
            Fault(
                place=f"python{self.python} of the base",
                cause=cause,
                fix=f"See that {self.root} lies where programs may be run, or delete it and build again",
            )
        )

    def _command(self) -> Iterator[str]:
        """All that comes before the script; `env -i` is the host's, and the last thing of it."""
        yield from ("env", "-i")
        yield f"PYTHONHOME={self.root / 'usr'}"
        # No locale and no time zone is read from the host's files then.
        yield from ("PYTHONHASHSEED=0", "PYTHONUTF8=1", "LC_ALL=C", "TZ=UTC0", f"SOURCE_DATE_EPOCH={MTIME}")
        # Nothing of the host is found by name: no compiler, no git, nobody's settings.
        yield from (f"PATH={NOWHERE}", f"HOME={NOWHERE}", f"TMPDIR={tempfile.gettempdir()}")
        yield str(self.root / LOADER)
        yield from ("--inhibit-cache", "--library-path", ":".join(str(self.root / one) for one in LIBRARIES))
        yield str(self.program)
        # No site, nothing of a user, no bytecode written, no warnings, and no bytecode of others read.
        yield from ("-S", "-s", "-B", "-W", "ignore", "-X", f"pycache_prefix={NOWHERE}")


def _end(done: Finished) -> str:
    """What a failed program said last."""
    lines = [line.strip() for line in (done.err or done.out).splitlines() if line.strip()]
    said = " / ".join(lines[-_LAST_LINES:]) or "it said nothing"
    return f"it ended with {done.code}: {said}"
