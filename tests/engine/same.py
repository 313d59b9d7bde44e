"""Two root file systems held against each other, file by file, and the differences that are argued.

Pure: archives come as streams, and what is allowed to differ is data (`differences.yaml`), each line of it
with its reason, and with how far the two must agree nevertheless.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import yaml

from builder.engines.direct.unpack import Stream
from tests.engine.agree import AGREE

DIFFERENCES: Final = Path(__file__).with_name("differences.yaml")

What = Literal["only here", "only there", "kind", "mode", "owner", "target", "attributes", "content"]
"""How a path differs: `here` is the direct engine's image, `there` is the other one."""

_PIECE: Final = 1024 * 1024
_KINDS: Final = {tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "link"}


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file, folder or link.

    Attributes:
        kind: `file`, `directory`, `link`, or `other`: a device, a pipe. Hard links are files.
        mode: Permission bits.
        owner: User and group, as numbers.
        target: Where a link leads.
        attributes: Extended ones, capabilities among them, by their names.
        sha256: Of the content of a file.
        content: It itself, where it may be needed.
    """

    kind: str
    mode: int
    owner: tuple[int, int] = (0, 0)
    target: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    sha256: str = ""
    content: bytes = field(default=b"", repr=False, compare=False)


Root: TypeAlias = dict[str, File]
"""A root file system by paths without the first slash. Times are not in it: layers set all to one day."""

Keep: TypeAlias = Callable[[str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A path in which the two differ.

    Attributes:
        path: It.
        what: In what.
        here: What is here, in words.
        there: What is there.
    """

    path: str
    what: What
    here: str = ""
    there: str = ""

    def __str__(self) -> str:
        return f"/{self.path}: {self.what} ({self.here or 'nothing'} here, {self.there or 'nothing'} there)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """A difference that may be, and why.

    Attributes:
        paths: Of which paths; each pattern must match a whole one.
        what: In what they may differ.
        reason: Why it is none that matters.
        agree: How contents must agree nevertheless, a name of `AGREE`; "" where there are none to compare.
        rows: The rows in which it occurs; all, when empty.
    """

    paths: tuple[re.Pattern[str], ...]
    what: What
    reason: str
    agree: str = ""
    rows: tuple[str, ...] = ()

    def covers(self, difference: Difference, here: Root, there: Root) -> bool:
        """Whether it argues that difference."""
        path = difference.path
        if difference.what != self.what or not any(one.fullmatch(path) for one in self.paths):
            return False
        nothing = File(kind="file", mode=0)
        one, other = here.get(path, nothing), there.get(path, nothing)
        return not self.agree or AGREE[self.agree](one.content, other.content)


# Reading


def lay(pieces: Iterable[bytes], root: Root, keep: Keep) -> None:
    """Lay a layer's tar archive, or all of an image in one, over what is there.

    Args:
        pieces: The archive.
        root: What is there; it is changed.
        keep: Tells by the path of which files the content is kept.

    Raises:
        ValueError: The layer deletes a file; none of ours does.
    """
    buffered = io.BufferedReader(Stream(pieces), _PIECE)
    with tarfile.open(fileobj=buffered, mode="r|", bufsize=_PIECE) as archive:
        for member in archive:
            path = _path(member.name)
            if path.rpartition("/")[2].startswith(".wh."):
                raise ValueError(f"/{path} deletes a file")
            if path:
                root[path] = root[_path(member.linkname)] if member.islnk() else _file(archive, member, keep)


def _path(name: str) -> str:
    return posixpath.normpath(f"/{name}").lstrip("/")


def _file(archive: tarfile.TarFile, member: tarfile.TarInfo, keep: Keep) -> File:
    found, kept = hashlib.sha256(), []
    if source := archive.extractfile(member) if member.isreg() else None:
        kept_too = keep(_path(member.name))
        while piece := source.read(_PIECE):
            found.update(piece)
            if kept_too:
                kept.append(piece)
    attributes = (pair for pair in member.pax_headers.items() if "xattr" in pair[0])
    return File(
        kind="file" if member.isreg() else _KINDS.get(member.type, "other"),
        mode=member.mode,
        owner=(member.uid, member.gid),
        target=member.linkname if member.issym() else "",
        attributes=tuple(sorted(attributes)),
        sha256=found.hexdigest() if member.isreg() else "",
        content=b"".join(kept),
    )


# Comparing


def differences(here: Root, there: Root) -> Iterator[Difference]:
    """In what two root file systems differ, sorted by path."""
    for path in sorted(here.keys() | there.keys()):
        one, other = here.get(path), there.get(path)
        if one and other:
            yield from _differences(path, one, other)
        elif one:
            yield Difference(path=path, what="only here", here=one.kind)
        elif other:
            yield Difference(path=path, what="only there", there=other.kind)


def _differences(path: str, one: File, other: File) -> Iterator[Difference]:
    told: Mapping[What, Callable[[File], str]] = {
        "kind": lambda file: file.kind,
        "mode": lambda file: oct(file.mode),
        "owner": lambda file: "{}:{}".format(*file.owner),
        "target": lambda file: file.target,
        "attributes": lambda file: str(file.attributes),
        "content": lambda file: file.sha256[:12],
    }
    for what, tell in told.items():
        if tell(one) != tell(other):
            yield Difference(path=path, what=what, here=tell(one), there=tell(other))


def unargued(arguments: Sequence[Argument], here: Root, there: Root) -> list[Difference]:
    """The differences that no argument covers."""
    return [
        found
        for found in differences(here, there)
        if not any(argument.covers(found, here, there) for argument in arguments)
    ]


def unneeded(arguments: Sequence[Argument], here: Root, there: Root) -> list[str]:
    """The patterns, with what they allow, that no difference of the two needs."""
    found = [(argument, one) for one in differences(here, there) for argument in arguments]
    needed = {
        (argument.what, pattern.pattern)
        for argument, one in found
        for pattern in argument.paths
        if pattern.fullmatch(one.path) and argument.covers(one, here, there)
    }
    return [
        f"{argument.what}: {pattern.pattern}"
        for argument in arguments
        for pattern in argument.paths
        if (argument.what, pattern.pattern) not in needed
    ]


def arguments(row: str, file: Path = DIFFERENCES) -> tuple[Argument, ...]:
    """What is argued of a row.

    Raises:
        ValueError: An entry of the file is none.
    """
    found = tuple(_argument(entry) for entry in yaml.safe_load(file.read_text(encoding="utf-8")))
    return tuple(one for one in found if row in one.rows or not one.rows)


def keeps(given: Sequence[Argument]) -> Keep:
    """Of which files the content is needed to see whether the two agree."""
    wanted = [pattern for one in given if one.agree for pattern in one.paths]
    return lambda path: any(pattern.fullmatch(path) for pattern in wanted)


def _argument(entry: Mapping[str, Any]) -> Argument:
    agree, what = entry.get("agree", ""), entry["what"]
    if what not in get_args(What) or agree not in {"", *AGREE} or not entry["reason"]:
        raise ValueError(f"{entry} is no argument")
    return Argument(
        paths=tuple(re.compile(path, re.DOTALL) for path in entry["paths"]),
        what=what,
        reason=entry["reason"],
        agree=agree,
        rows=tuple(entry.get("rows", ())),
    )
