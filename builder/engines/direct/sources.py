"""Source archives, built into wheels once, with the same bytes everywhere.

The lock's own tools build, in the base's own Python, without network and without a compiler. What comes out
is written anew: sorted, without times, with a RECORD of its own.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from builder.engines.direct.archives import unpack_source
from builder.engines.direct.interpreter import INSIDE, Interpreter
from builder.engines.direct.zips import written_zip
from builder.errors import BadInputError, CannotResolveError, Fault
from builder.lock.record import Package
from builder.wheels.members import Archive, opened_wheel

SCRIPT: Final = INSIDE / "build_wheel.py"
LEGACY: Final = "setuptools.build_meta:__legacy__"
ANYWHERE: Final = "py3-none-any"
MOST_BYTES: Final = 256 * 1024**2
"""Of one file of a wheel that was built here."""

_COMPILING = ("gcc", "g++", "cc", "c++", "clang", "compiler", "cmake", "Cython", "nvcc", "rustc", "cargo")


@dataclass(frozen=True, slots=True)
class _Backend:
    """What builds sources.

    Attributes:
        name: `setuptools.build_meta`.
        path: A folder of the sources that it lies in, or "".
        needs: The packages that it needs, by their normalised names.
    """

    name: str = LEGACY
    path: str = ""
    needs: tuple[str, ...] = ()


def build_wheel(
    package: Package, source: Path, tools: Sequence[Path], interpreter: Interpreter, folder: Path
) -> Path:
    """Build a source archive; returns the wheel, `<name>-<version>-py3-none-any.whl` in the folder.

    Args:
        package: What the archive is locked as.
        source: The archive.
        tools: The wheels of what builds: of setuptools, and of wheel where that needs it.
        interpreter: The base's Python.
        folder: Where the wheel goes; it is there whole or not at all.

    Raises:
        BadInputError: The archive is damaged, or holds what no source archive may hold.
        CannotResolveError: It needs a compiler, or tools that are not there, or it comes to another package.
        EngineOrNetworkError: The base's Python cannot be started, or there is no room.
    """
    with tempfile.TemporaryDirectory(prefix="cuvee-source-") as scratch:
        places = [Path(scratch, name) for name in ("sources", "tools", "wheel")]
        for place in places:
            place.mkdir()
        sources = unpack_source(source, places[0])
        backend = _backend(source.name, sources, tools)
        for tool in tools:
            _unpack_tool(tool, places[1])
        arguments = [str(sources), str(places[1]), backend.name, backend.path, str(places[2])]
        built = places[2] / _built(source.name, interpreter, arguments)
        return _rewritten(package, built, folder)


def _backend(name: str, sources: Path, tools: Sequence[Path]) -> _Backend:
    """What the sources say that builds them.

    Raises:
        BadInputError: What they say cannot be read.
        CannotResolveError: It is not among the tools.
    """
    path = sources / "pyproject.toml"
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        backend = _told(told.get("build-system", {"requires": []}))
    except (ValueError, TypeError, AttributeError, LookupError, InvalidRequirement) as error:
        raise BadInputError(
            Fault(
                place=f"{name} pyproject.toml",
                cause=f"cannot be read: {error}",
                fix="Do not build it: use another version",
            )
        ) from error
    # setuptools has had its own `bdist_wheel` since 70.1, and many still ask for the package `wheel`.
    there = {parse_wheel_filename(tool.name)[0] for tool in tools} | {"wheel"}
    if lacking := sorted(set(backend.needs) - there):
        raise _cannot(name, f"is built with {', '.join(lacking)}, and the lock's tools have no such package")
    return backend


def _told(table: dict[str, Any]) -> _Backend:
    wanted = [Requirement(text) for text in table["requires"]]
    path: list[str] = table.get("backend-path", [])
    if len(path) > 1 or any(part.startswith("/") or ".." in part.split("/") for part in path):
        raise ValueError("backend-path names no folder of it")
    return _Backend(
        name=str(table.get("build-backend", LEGACY)),
        path=path[0] if path else "",
        needs=tuple(
            canonicalize_name(one.name) for one in wanted if one.marker is None or one.marker.evaluate()
        ),
    )


def _unpack_tool(wheel: Path, folder: Path) -> None:
    """A tool's own files; what its `.data` and its entry points are for, nobody needs here."""
    with opened_wheel(wheel) as archive:
        for member in archive.members:
            place = folder / member.path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(archive.read(member, MOST_BYTES))


def _built(name: str, interpreter: Interpreter, arguments: Sequence[str]) -> str:
    """Run the backend; returns the wheel's file name."""
    done = interpreter.run(SCRIPT, arguments)
    try:
        told: dict[str, str] = json.loads(done.out)
    except ValueError as error:
        raise interpreter.failed(f"it does not say what became of {name}") from error
    if "wheel" in told:
        return told["wheel"]
    said = told.get("error", "")
    if any(word in f"{said} {done.err}" for word in _COMPILING):
        raise _cannot(name, f"needs a compiler, which a base has not ({said})")
    raise _cannot(name, f"cannot be built: {said}")


def _rewritten(package: Package, built: Path, folder: Path) -> Path:
    """The same wheel, sorted and without times.

    Raises:
        CannotResolveError: It is of one platform, or of another package.
    """
    name, version, _, tags = parse_wheel_filename(built.name)
    if any(tag.abi != "none" or tag.platform != "any" for tag in tags):
        raise _cannot(package.file, f"needs a compiler, which a base has not (it becomes {built.name})")
    if name != package.name or not _same_version(version, package.version):
        raise _cannot(package.file, f"becomes {name} {version}, and not {package.name} {package.version}")
    distribution, _, _ = built.name.partition("-")
    target = folder / f"{distribution}-{version}-{ANYWHERE}.whl"
    with opened_wheel(built) as archive, written_zip(target) as written:
        for path, content, mode in _files(archive):
            written.add(path, content, mode)
    return target


def _same_version(version: Version, locked: str) -> bool:
    try:
        return version == Version(locked)
    except InvalidVersion:
        return str(version) == locked


def _files(archive: Archive) -> Iterator[tuple[str, bytes, int]]:
    """The files of a wheel, sorted by path; its RECORD, written anew, comes last."""
    lines, record = io.StringIO(), ""
    table = csv.writer(lines, lineterminator="\n")
    for member in sorted(archive.members, key=lambda member: member.path):
        if member.path.endswith(".dist-info/RECORD"):
            record = member.path
            continue
        content = archive.read(member, MOST_BYTES)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        table.writerow((member.path, f"sha256={digest}", len(content)))
        yield member.path, content, 0o755 if member.mode & 0o111 else 0o644
    table.writerow((record, "", ""))
    yield record, lines.getvalue().encode(), 0o644


def _cannot(place: str, cause: str) -> CannotResolveError:
    return CannotResolveError(
        Fault(
            place=place,
            cause=cause,
            fix="Choose a version that has a wheel, or build a wheel of it and offer that on your index",
        )
    )
