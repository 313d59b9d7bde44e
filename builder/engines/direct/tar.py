"""Tar archives, written byte by byte the same by every Python.

`tarfile` would do, but what it writes has changed between Pythons, and a layer's hash must not.
Ustar headers, and a pax header before those whose path or size ustar cannot hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

BLOCK = 512
END = bytes(2 * BLOCK)

MTIME = 1580601600
"""Every file's time, 2020-02-02T00:00:00Z, as Hatchling has it; zip files cannot hold one before 1980."""

Kind = Literal["file", "directory", "link", "hardlink"]
_TYPES: dict[Kind, bytes] = {"file": b"0", "hardlink": b"1", "link": b"2", "directory": b"5"}
_MOST_SIZE = 8**11 - 1
_NAME, _PREFIX, _TARGET = 100, 155, 100


@dataclass(frozen=True, slots=True)
class Node:
    """What a tar archive says of a file, its content aside.

    Attributes:
        path: Absolute in the image, without the first slash: `opt/cuvee/main/bin/python`.
        kind: A `link` is symbolic.
        mode: Permission bits.
        target: Where a link leads; of a hard link, a path like `path`.
        owner: User and group, as numbers.
    """

    path: str
    kind: Kind = "file"
    mode: int = 0o644
    target: str = ""
    owner: tuple[int, int] = (0, 0)


def header(node: Node, size: int = 0) -> bytes:
    """The header of a file: one block, or more where a pax header comes before it.

    Args:
        node: What it says.
        size: The content's bytes.

    Raises:
        ValueError: The path, or what a link leads to, holds a zero byte or is not UTF-8.
    """
    path = _encoded(node.path + ("/" if node.kind == "directory" else ""))
    target = _encoded(node.target)
    records: list[tuple[bytes, bytes]] = []
    prefix, name = _split(path) or (b"", b"")
    if not name:
        records.append((b"path", path))
        name = path[:_NAME]
    if len(target) > _TARGET:
        records.append((b"linkpath", target))
        target = target[:_TARGET]
    if size > _MOST_SIZE:
        records.append((b"size", str(size).encode()))
    size = size if size <= _MOST_SIZE else 0
    block = _block((prefix, name, target), _TYPES[node.kind], node, size)
    return (_pax(records) if records else b"") + block


def padding(size: int) -> bytes:
    """The zeros behind a content of that size."""
    return bytes(-size % BLOCK)


def parents(paths: Iterable[str]) -> Iterator[str]:
    """The folders above paths, each once, a folder before what is in it; sorted."""
    folders: set[str] = set()
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    yield from sorted(folders)


def _encoded(text: str) -> bytes:
    if "\0" in text:
        raise ValueError(f"{text!r} holds a zero byte")
    return text.encode()


def _split(path: bytes) -> tuple[bytes, bytes] | None:
    """A path as ustar's prefix and name; None where it does not fit."""
    if len(path) <= _NAME:
        return b"", path
    cut = path.find(b"/", max(0, len(path) - _NAME - 1), len(path) - 1)
    return (path[:cut], path[cut + 1 :]) if 0 < cut <= _PREFIX else None


def _block(names: tuple[bytes, bytes, bytes], kind: bytes, node: Node, size: int) -> bytes:
    prefix, name, target = names
    user, group = node.owner
    fields = b"".join(
        (
            name.ljust(_NAME, b"\0"),
            b"%07o\0%07o\0%07o\0" % (node.mode, user, group),
            b"%011o\0%011o\0" % (size, MTIME),
            b"        ",  # the checksum counts as blanks
            kind,
            target.ljust(_TARGET, b"\0"),
            b"ustar\00000",
            bytes(32 + 32 + 8 + 8),  # names of user and group, device numbers
            prefix.ljust(_PREFIX, b"\0"),
            bytes(12),
        )
    )
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]


def _pax(records: Iterable[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(_record(key, value) for key, value in records)
    block = _block((b"", b"././@PaxHeader", b""), b"x", Node(""), len(body))
    return block + body + padding(len(body))


def _record(key: bytes, value: bytes) -> bytes:
    """`27 path=…`, where the number counts the whole line, itself included."""
    rest = len(key) + len(value) + 3  # a blank, an equals sign and a line feed
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)
