"""Asking uv: which files satisfy these demands, as of a day."""

from __future__ import annotations

import re
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from builder.errors import CannotResolveError, EngineOrNetworkError, Fault
from builder.shell import SYSTEM, Finished, Shell
from builder.wheels.network import ca_bundle, file_name
from builder.wheels.store import index_address

NETWORK_FAILED = re.compile(r"Failed to fetch|error sending request|dns error|Could not connect|timed out")
NO_SOLUTION = re.compile(r"No solution found|requirements are unsatisfiable|has no wheels")
LOCKED_OUT = re.compile(r"(\S+ was not found) in the package registry.*(401 Unauthorized|403 Forbidden)")
NEWEST_GLIBC = (2, 40)
"""uv names no newer platform; a wheel that asks for one is rare, and `best_wheel` judges by the base."""
YANKED = re.compile(r"warning: `(?P<package>[^`]+)` is yanked(?: \(reason: \"(?P<reason>[^\"]*)\"\))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What uv is asked.

    Attributes:
        requirements: What to install, as PEP 508 writes it.
        constraints: Limits on what others bring.
        overrides: What replaces others' demands.
        as_of: The last day of the index that counts, in UTC.
        python: The Python to resolve for, `3.11`.
        glibc: The newest C library that a wheel may ask for, `2.36`.
        index: The address of an extra index, or None.
        alone: Whether to leave out what the requirements themselves require.
    """

    requirements: tuple[str, ...]
    as_of: date
    python: str
    glibc: str
    constraints: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    index: str | None = None
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A file that the index offers for a resolved package.

    Attributes:
        file: Its name.
        url: Its address; it is used now and never written down.
        sha256: Its hash, in hex.
        size: Its size in bytes, or None where the index does not say: plain HTML has no place for it.
    """

    file: str
    url: str
    sha256: str
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A package that uv chose, with the files it has for our platform."""

    name: str
    version: str
    wheels: tuple[Candidate, ...]
    source: Candidate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """uv found no solution.

    Attributes:
        trace: What uv said.
    """

    trace: str


def ask(question: Question, place: str, shell: Shell = SYSTEM) -> tuple[Resolved, ...] | Refusal:
    """What satisfies the question; the packages are sorted by name.

    Raises:
        CannotResolveError: A chosen version was yanked, or uv failed in a way we do not know.
        EngineOrNetworkError: The index cannot be reached.
    """
    with tempfile.TemporaryDirectory(prefix="cuvee-lock-") as scratch:
        answer = Path(scratch) / "pylock.toml"
        done = shell.run(
            _argv(question, Path(scratch), answer),
            cwd=Path(scratch),  # so that uv meets no project's settings, only the host's
            env=_environment(),
            stdin="\n".join(question.requirements),
        )
        if done.ok:
            _refuse_yanked(done, place)
            return _read(answer.read_text(encoding="utf-8"))
    if locked_out := LOCKED_OUT.search(" ".join(done.err.split())):
        raise EngineOrNetworkError(_locked_out(locked_out, place))
    if NO_SOLUTION.search(done.err):
        return Refusal(trace=done.err)
    if NETWORK_FAILED.search(done.err):
        raise EngineOrNetworkError(_unreachable(done, place))
    raise CannotResolveError(_failed(done, place))


def _argv(question: Question, scratch: Path, answer: Path) -> list[str]:
    # A bare date means the end of the day in the local time zone: say the zone, so that all machines agree.
    midnight = f"{question.as_of + timedelta(days=1)}T00:00:00Z"
    argv = [
        str(Path(sys.executable).with_name("uv")), "pip", "compile", "-",
        "--format", "pylock.toml", "--output-file", str(answer),
        "--exclude-newer", midnight,
        "--python-version", question.python,
        "--python-platform", _platform(question.glibc),
        "--no-header", "--no-annotate", "--color", "never", "--no-progress",
    ]  # fmt: skip
    for option, lines in (("--constraints", question.constraints), ("--overrides", question.overrides)):
        if lines:
            file = scratch / f"{option.strip('-')}.txt"
            file.write_text("\n".join(lines), encoding="utf-8")
            argv += [option, str(file)]
    if question.index:
        # Of a version that both have, uv takes the first index's file, and the default index is the last one.
        argv += ["--default-index", question.index, "--extra-index-url", index_address()]
        argv += ["--index-strategy", "unsafe-best-match"]
        argv += [f"--exclude-newer-package={name}=false" for name in _without_a_day(question)]
    return [*argv, "--no-deps"] if question.alone else argv


def _without_a_day(question: Question) -> tuple[str, ...]:
    """The packages that are pinned to one local version, such as 2.5.1+cu121.

    PyTorch's index does not say when a file was uploaded, and uv leaves out what has no time. A version with
    a local part is on no other index, and the pin leaves no newer one to take: the day decides nothing.
    Other copies on that index (numpy, nvidia-*) stay left out, so that they come from the first one.
    """
    lines = (*question.requirements, *question.constraints, *question.overrides)
    pinned = (
        canonicalize_name(wanted.name)
        for wanted in map(Requirement, lines)
        if any(part.operator in {"==", "==="} and "+" in part.version for part in wanted.specifier)
    )
    return tuple(sorted(set(pinned)))


def _platform(glibc: str) -> str:
    major, minor = min(tuple(map(int, glibc.split("."))), NEWEST_GLIBC)
    return f"x86_64-manylinux_{major}_{minor}"


def _environment() -> dict[str, str]:
    bundle = ca_bundle()
    never = {"UV_PYTHON_DOWNLOADS": "never"}  # resolving for a Python does not need that Python
    return {**never, "SSL_CERT_FILE": str(bundle)} if bundle else never


def _read(text: str) -> tuple[Resolved, ...]:
    packages = (_resolved(entry) for entry in tomllib.loads(text).get("packages", ()))
    return tuple(sorted(packages, key=lambda package: package.name))


def _resolved(entry: dict[str, Any]) -> Resolved:
    source = entry.get("sdist")
    return Resolved(
        name=entry["name"],
        version=entry["version"],
        wheels=tuple(_candidate(wheel) for wheel in entry.get("wheels", ())),
        source=_candidate(source) if source else None,
    )


def _candidate(entry: dict[str, Any]) -> Candidate:
    file = file_name(entry["url"])
    try:
        sha256 = entry["hashes"]["sha256"]
    except KeyError as error:
        raise CannotResolveError(
            Fault(
                place=file,
                cause="the index does not give its sha256, and a lock names each file by it",
                fix="Use an index that gives one: as #sha256=… in its links, or by the JSON API (PEP 691)",
            )
        ) from error
    return Candidate(file=file, url=entry["url"], sha256=sha256, size=entry.get("size"))


def _refuse_yanked(done: Finished, place: str) -> None:
    faults = [
        Fault(
            place=place,
            cause=f"{match['package']} was yanked from the index"
            + (f": {match['reason']}" if match["reason"] else ""),
            fix="Demand another version of it",
        )
        for match in YANKED.finditer(done.err)
    ]
    if faults:
        raise CannotResolveError(*faults)


def _failed(done: Finished, place: str) -> Fault:
    causes = _causes(done.err)
    return Fault(
        place=place,
        cause=f"uv failed: {': '.join(dict.fromkeys((causes[0], causes[-1])))}",
        fix="See the demands of this row in the matrix",
    )


def _unreachable(done: Finished, place: str) -> Fault:
    return Fault(
        place=place,
        cause=f"the package index cannot be reached: {_causes(done.err)[-1]}; nothing was changed",
        fix="Check the network, the proxy and the certificates (SSL_CERT_FILE), and try again",
    )


def _locked_out(match: re.Match[str], place: str) -> Fault:
    return Fault(
        place=place,
        cause=f"{match[1]}, and a package index answered {match[2]}; nothing was changed",
        fix="Check the index's credentials, and the package's name",
    )


def _causes(trace: str) -> list[str]:
    """The chain of causes, from the outside in: uv prints a cause a line, after its warnings."""
    error = re.split(r"^(?=error: )", trace, flags=re.MULTILINE)[-1]
    causes = re.findall(r"^(?:error|\s+(?:cause|Caused by)): (.+)$", error, re.MULTILINE)
    if not causes:
        return [trace.strip()[-200:] or "it said nothing"]
    # An index's address may hold a password.
    return [re.sub(r" for url \(\S+\)", "", cause).rstrip(".") for cause in causes]
