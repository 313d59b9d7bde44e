"""What a wheel says of its own files: its `.dist-info` folder, the RECORD in it, and its entry points."""

from __future__ import annotations

import base64
import binascii
import configparser
import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from packaging.utils import canonicalize_name

from builder.errors import BadInputError, Fault
from builder.wheels.directory import Member, shown
from builder.wheels.filename import wheel_name
from builder.wheels.members import Archive

MOST_RECORD = 64 * 1024 * 1024
"""Bytes of a RECORD; torch's takes 1.3 MB."""

MOST_TEXT = 4 * 1024 * 1024
UNSIGNED = ("RECORD", "RECORD.jws", "RECORD.p7s")
"""Files that a RECORD has no hash of: itself, and what signs it."""

_SHA256_BYTES = 32
_ENTRY_POINT = re.compile(r"(?P<module>[\w.]+)\s*:\s*(?P<object>[\w.]+)\s*(?:\[[^\]]*\])?")
_SCRIPT_NAME = re.compile(r"\w[\w.+-]*", re.ASCII)
"""It becomes a file's name: with a dot in front it could be `..`, or delete another file of a layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPoint:
    """A program that an installer writes.

    Attributes:
        name: The program's name.
        module: Where the function is.
        function: The function, perhaps of a class: `main`, `App.run`.
    """

    name: str
    module: str
    function: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DistInfo:
    """A wheel's `.dist-info`.

    Attributes:
        folder: Its name, `torch-2.4.1.dist-info`.
        hashes: Of each file that RECORD lists, its SHA-256 in hex.
        programs: Its entry points of both kinds, sorted by name.
    """

    folder: str
    hashes: Mapping[str, str]
    programs: tuple[EntryPoint, ...]


class _Parser(configparser.RawConfigParser):
    """Keeps the case of names."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def dist_info(archive: Archive) -> DistInfo:
    """Read a wheel's `.dist-info`, and hold its RECORD to the files that are there.

    Raises:
        BadInputError: There is none, or more than one; the wheel's version is not known; RECORD is missing,
            cannot be read, lacks a file's SHA-256, or lists what is not there; an entry point is no program,
            or two have one name.
    """
    members = {member.path: member for member in archive.members}
    folder = _folder(archive, members)
    _require_version(archive, members, folder)
    hashes = _hashes(archive, members, folder)
    _require_same_files(archive, members, folder, hashes)
    return DistInfo(folder=folder, hashes=hashes, programs=_programs(archive, members, folder))


def require_hash(place: str, found: str, said: str) -> None:
    """See that a file's SHA-256, in hex, is what RECORD says of it.

    Raises:
        BadInputError: It is not.
    """
    if found != said:
        raise BadInputError(
            Fault(
                place=place,
                cause=f"its sha256 is {found}, and the wheel's RECORD says {said}",
                fix="Do not install it: the wheel is not what its authors made; use another version",
            )
        )


def _folder(archive: Archive, members: Mapping[str, Member]) -> str:
    folders = {path.partition("/")[0] for path in members if path.partition("/")[0].endswith(".dist-info")}
    if len(folders) != 1:
        raise _refused(archive.name, f"it has {len(folders)} .dist-info folders, and a wheel has one")
    [folder] = folders
    name = folder.removesuffix(".dist-info").rpartition("-")[0]
    if canonicalize_name(name) != wheel_name(archive.name).distribution:
        raise _refused(archive.name, f"its folder {folder} is that of another distribution")
    return folder


def _require_version(archive: Archive, members: Mapping[str, Member], folder: str) -> None:
    text = _text(archive, members, f"{folder}/WHEEL", MOST_TEXT)
    version = re.search(r"^Wheel-Version:\s*(\d+)\.\d+\s*$", text, re.MULTILINE)
    if not version or version[1] != "1":
        raise _refused(
            f"{archive.name} {folder}/WHEEL", "it names no version of the wheel format that is known"
        )


def _hashes(archive: Archive, members: Mapping[str, Member], folder: str) -> dict[str, str]:
    place = f"{archive.name} {folder}/RECORD"
    hashes: dict[str, str] = {}
    for line in _lines(place, _text(archive, members, f"{folder}/RECORD", MOST_RECORD)):
        path, said = line[0] if line else "", line[1] if len(line) > 1 else ""
        if not path or path in (f"{folder}/{name}" for name in UNSIGNED):
            continue
        if path in hashes:
            raise _refused(place, f"it lists {shown(path)} twice")
        hashes[path] = _sha256(place, path, said)
    return hashes


def _lines(place: str, text: str) -> list[list[str]]:
    try:
        return list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise _refused(place, f"it cannot be read: {error}") from error


def _sha256(place: str, path: str, said: str) -> str:
    name, _, encoded = said.partition("=")
    try:
        raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except (binascii.Error, ValueError):
        raw = b""
    if name != "sha256" or len(raw) != _SHA256_BYTES:
        raise _refused(place, f"it has no SHA-256 of {shown(path)}")
    return raw.hex()


def _require_same_files(
    archive: Archive, members: Mapping[str, Member], folder: str, hashes: Mapping[str, str]
) -> None:
    unsigned = {f"{folder}/{name}" for name in UNSIGNED}
    for cause, paths in (
        ("it does not list {}, which is in the wheel", members.keys() - hashes.keys() - unsigned),
        ("it lists {}, which is not in the wheel", hashes.keys() - members.keys()),
    ):
        if paths:
            raise _refused(f"{archive.name} {folder}/RECORD", cause.format(shown(min(paths))))


def _programs(archive: Archive, members: Mapping[str, Member], folder: str) -> tuple[EntryPoint, ...]:
    path = f"{folder}/entry_points.txt"
    if path not in members:
        return ()
    parser = _Parser(delimiters=("=",), strict=False, default_section="")  # no section is of all programs
    try:
        parser.read_string(_text(archive, members, path, MOST_TEXT))
    except configparser.Error as error:
        cause = f"it cannot be read: {str(error).splitlines()[0]}"
        raise _refused(f"{archive.name} {path}", cause) from error
    place = f"{archive.name} {path}"
    programs = sorted(_entry_points(place, parser), key=lambda program: program.name)
    for one, other in pairwise(programs):
        if one.name == other.name:
            raise _refused(place, f"two programs of it are called {one.name}")
    return tuple(programs)


def _entry_points(place: str, parser: configparser.RawConfigParser) -> Iterator[EntryPoint]:
    for section in ("console_scripts", "gui_scripts"):
        for name, value in parser.items(section) if parser.has_section(section) else ():
            found = _ENTRY_POINT.fullmatch(value.strip())
            if not found or not _SCRIPT_NAME.fullmatch(name):
                raise _refused(place, f"{shown(name)} = {shown(value)} is no program")
            yield EntryPoint(name=name, module=found["module"], function=found["object"])


def _text(archive: Archive, members: Mapping[str, Member], path: str, most: int) -> str:
    if path not in members:
        raise _refused(archive.name, f"it has no {path}")
    try:
        return archive.read(members[path], most).decode()
    except UnicodeDecodeError as error:
        raise _refused(f"{archive.name} {path}", "it is not UTF-8") from error


def _refused(place: str, cause: str) -> BadInputError:
    return BadInputError(
        Fault(place=place, cause=cause, fix="Do not install it: fetch it again, or use another version")
    )
