"""Installing a wheel, as entries of a layer: where each file goes, and the few that an installer writes.

The same as pip and uv do (PEP 427 and its successors), without unpacking anything.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from builder.engines.direct.dist_info import UNSIGNED, DistInfo, EntryPoint, dist_info, require_hash
from builder.engines.direct.entry import Content, Entry, Held
from builder.engines.direct.tar import Node
from builder.errors import BadInputError, Fault
from builder.left_out import NOTHING, LeftOut
from builder.wheels.directory import MOST_FAULTS, Member
from builder.wheels.filename import wheel_name
from builder.wheels.members import Archive

INSTALLER = b"cuvee\n"
MOST_SCRIPT = 4 * 1024 * 1024
WHITEOUT = ".wh."
"""A layer's file whose name begins so deletes another one (OCI image spec, layers)."""

MOST_NAME = 255
"""Bytes of a file's name that Linux's file systems hold."""

_EXECUTABLE = 0o111
_PLACEHOLDER = b"#!python"
_PROGRAM = """\
#!{python}
# -*- coding: utf-8 -*-
import sys
from {module} import {top}
if __name__ == "__main__":
    sys.exit({function}())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where wheels are installed.

    Attributes:
        prefix: The environment's prefix, or an overlay's folder.
        site: Where packages go.
        python: The interpreter that programs name in their first line.
        version: Of Python, `3.11`.
    """

    prefix: PurePosixPath
    site: PurePosixPath
    python: PurePosixPath
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A file of a wheel and where it goes.

    Attributes:
        member: The file in the wheel.
        path: Its absolute path in the image.
        program: Whether it goes where programs are.
    """

    member: Member
    path: PurePosixPath
    program: bool = False


def placed(archive: Archive, target: Target) -> tuple[Placed, ...]:
    """Where the files of a wheel go; RECORD and what signs it are left out.

    Raises:
        BadInputError: A file belongs nowhere, its name is too long, or it would delete another one.
    """
    found = tuple(
        _placed(archive, member, target) for member in archive.members if not _is_record(member.path)
    )
    faults = [
        Fault(
            place=f"{archive.name} {one.member.path}",
            cause=cause,
            fix="Do not install it: use another version",
        )
        for one in found
        for cause in _unfit(one.path)
    ]
    if faults:
        raise BadInputError(*faults[:MOST_FAULTS])
    return found


def compiled(archive: Archive, target: Target) -> Mapping[str, str]:
    """The Python files of a wheel that get bytecode: by path in the wheel, the path below `site`."""
    return {
        one.member.path: str(one.path.relative_to(target.site))
        for one in placed(archive, target)
        if one.path.suffix == ".py" and one.path.is_relative_to(target.site) and not one.program
    }


def install(  # noqa: PLR0913 - a wheel, where it goes, and what of it
    archive: Archive,
    position: int,
    target: Target,
    bytecode: Sequence[str],
    *,
    made: bool = False,
    left_out: LeftOut = NOTHING,
) -> Iterator[Entry]:
    """The entries of a wheel: its own files, its programs, and what an installer writes.

    Args:
        archive: The wheel.
        position: Its place among the zip files of the layer.
        target: Where it goes.
        bytecode: The compiled files that come beside it, relative to `site`: RECORD lists them.
        made: Whether the wheel was built here from a source archive.
        left_out: What of it is not wanted. RECORD lists it all the same, as where somebody deletes it later:
            what uninstalls passes over it.

    Raises:
        BadInputError: It is no sound wheel.
    """
    info = dist_info(archive)
    lines: list[tuple[str, str, str]] = [(path, "", "") for path in bytecode]
    written = dict(_written(info, target))
    # What an installer makes is not taken from the wheel: numpy's brings a compiled file of its own, others
    # bring an INSTALLER or, as setuptools once made it, a script for each entry point.
    replaced = {target.site / path for path in bytecode} | written.keys()
    for one in placed(archive, target):
        if one.path in replaced:
            continue
        entry = _entry(archive, position, one, info, target, made=made)
        lines.append(_line(one.path, entry.content, target))
        if not left_out.holds(_relative(one.path, target)):
            yield entry
    for path, content in written.items():
        lines.append(_line(path, content, target))
        program = path.parent == target.prefix / "bin"
        yield Entry(Node(_inside(path), mode=0o755 if program else 0o644), content)
    record = target.site / info.folder / "RECORD"
    lines.append((_relative(record, target), "", ""))
    yield Entry(Node(_inside(record)), _record(lines))


def bytecode_entries(members: Iterable[Member], position: int, target: Target) -> Iterator[Entry]:
    """The entries of compiled files beside a wheel."""
    for member in members:
        yield Entry(Node(_inside(target.site / member.path)), Held(position, member))


def _is_record(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    return folder.endswith(".dist-info") and "/" not in folder and name in UNSIGNED


def _unfit(path: PurePosixPath) -> Iterator[str]:
    """What is wrong with a path in a layer."""
    if any(part.startswith(WHITEOUT) for part in path.parts):
        yield f"in a layer, a name that begins with {WHITEOUT} deletes a file"
    if any(len(part.encode()) > MOST_NAME for part in path.parts):
        yield f"no file system holds a name of more than {MOST_NAME} bytes"


def _placed(archive: Archive, member: Member, target: Target) -> Placed:
    parts = PurePosixPath(member.path).parts  # `a//b` and `./a` are `a/b` and `a`, as for pip
    if parts and not parts[0].endswith(".data"):
        return Placed(member=member, path=target.site.joinpath(*parts))
    scheme, *below = parts[1:] or ("",)
    name = wheel_name(archive.name).distribution
    folders = {
        "purelib": target.site,
        "platlib": target.site,
        "data": target.prefix,
        "scripts": target.prefix / "bin",
        # A virtual environment keeps headers by Python and project, as pip and uv have it.
        "headers": target.prefix / "include" / "site" / f"python{target.version}" / name,
    }
    if scheme not in folders or not below:
        raise BadInputError(
            Fault(
                place=f"{archive.name} {member.path}",
                cause=f"it belongs nowhere: a wheel's .data has the folders {', '.join(sorted(folders))}",
                fix="Do not install it: use another version",
            )
        )
    return Placed(member=member, path=folders[scheme].joinpath(*below), program=scheme == "scripts")


def _entry(  # noqa: PLR0913 - a file, where it is from, where it goes
    archive: Archive, position: int, one: Placed, info: DistInfo, target: Target, *, made: bool
) -> Entry:
    executable = one.program or bool(one.member.mode & _EXECUTABLE)
    node = Node(_inside(one.path), mode=0o755 if executable else 0o644)
    content = Held(position, one.member, info.hashes[one.member.path])
    if one.program and next(archive.pieces(one.member), b"").startswith(_PLACEHOLDER):
        script = archive.read(one.member, MOST_SCRIPT)
        require_hash(archive.place(one.member), hashlib.sha256(script).hexdigest(), content.sha256)
        return Entry(node, _with_interpreter(script, target))
    return Entry(node, content, made=made)


def _with_interpreter(script: bytes, target: Target) -> bytes:
    """A script whose first line names the interpreter instead of a placeholder."""
    rest = script.removeprefix(_PLACEHOLDER)
    rest = rest[1:] if rest.startswith(b"w") else rest  # pythonw is Windows'
    return b"#!" + str(target.python).encode() + rest


def _written(info: DistInfo, target: Target) -> Iterator[tuple[PurePosixPath, bytes]]:
    """What an installer writes, RECORD aside."""
    for program in info.programs:
        yield target.prefix / "bin" / program.name, _program(program, target)
        if program.name == "pip3" and program.module.startswith("pip."):
            # Not among its entry points: pip and uv write it for the one package that is pip.
            yield target.prefix / "bin" / f"pip{target.version}", _program(program, target)
    yield target.site / info.folder / "INSTALLER", INSTALLER


def _program(program: EntryPoint, target: Target) -> bytes:
    top = program.function.partition(".")[0]
    text = _PROGRAM.format(python=target.python, module=program.module, top=top, function=program.function)
    return text.encode()


def _line(path: PurePosixPath, content: Content, target: Target) -> tuple[str, str, str]:
    if isinstance(content, Held):
        digest, size = bytes.fromhex(content.sha256), content.member.size
    else:
        digest, size = hashlib.sha256(content).digest(), len(content)
    encoded = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return _relative(path, target), f"sha256={encoded}", str(size)


def _record(lines: Sequence[tuple[str, str, str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(sorted(set(lines)))
    return text.getvalue().encode()


def _relative(path: PurePosixPath, target: Target) -> str:
    return posixpath.relpath(path, target.site)


def _inside(path: PurePosixPath) -> str:
    return str(path).removeprefix("/")
