"""The real loader's answer to the question where a file's libraries come from.

`LD_TRACE_LOADED_OBJECTS` makes ld.so do everything but start the program, and print where it found what; this
is how ldd works. Unlike `ld.so --list` it names all that is missing and not only the first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Dict, NamedTuple, Sequence, Tuple

from . import processes

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT = 120.0

_FOUND = re.compile(r"^\s*(?:(?P<name>\S+) => )?(?P<path>/.*?) \(0x[0-9a-f]+\)$")
_MISSING = re.compile(r"^\s*(?P<name>\S+) => not found$")


class Trace(NamedTuple):
    """Where the loader finds what one file needs.

    Attributes:
        found: Path of each library by the name it was asked for, including what those need in turn.
        missing: Names that were not found.
        complaints: What else the loader said: a symbol version that is not there, a damaged file.
    """

    found: Dict[str, str]
    missing: Tuple[str, ...]
    complaints: Tuple[str, ...]


def parse_trace(out: str, err: str) -> Trace:
    """Read what a traced loader printed to its standard output and standard error."""
    lines = out.splitlines()
    hits = [match for match in map(_FOUND.match, lines) if match]
    missing = [match["name"] for match in map(_MISSING.match, lines) if match]
    complaints = [line.strip() for line in err.splitlines() if line.strip()]
    found = {match["name"] or match["path"]: match["path"] for match in hits}
    return Trace(found, tuple(dict.fromkeys(missing)), tuple(dict.fromkeys(complaints)))


def trace(path: Path, *, first: Sequence[str] = (), hide_cache: bool = False) -> Trace:
    """Ask the loader about `path`, with the libraries `first` loaded already."""
    preload = ["--preload", ":".join(first)] if first else []
    hidden = ["--inhibit-cache"] if hide_cache else []
    argv = [processes.loader(), *hidden, *preload, str(path)]
    done = processes.run(argv, timeout=TIMEOUT, env={"LD_TRACE_LOADED_OBJECTS": "1"})
    answer = parse_trace(done.out, done.err)
    if done.code and not answer.complaints:
        return answer._replace(complaints=("the loader ended with {}".format(done.code),))
    return answer
