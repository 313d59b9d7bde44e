"""What an ELF file says beyond what `builder.probe.elf` reads: search path, stack, glibc, GPU code.

64-bit little-endian files only, which is all that CUDA runs on. A damaged file raises one of
`DAMAGED`.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

DAMAGED = (OSError, ValueError, struct.error, OverflowError, MemoryError)
"""What a damaged file may lead to, in this module or in the probe's."""

_MAGIC = b"\x7fELF\x02\x01"
_HEADER = 64
_LOAD, _DYNAMIC, _STACK = 1, 2, 0x6474E551
_EXECUTABLE = 1
_NEEDED, _STRINGS, _STRINGS_SIZE, _RPATH, _RUNPATH = 1, 5, 10, 15, 29
_GLIBC = re.compile(rb"(?<=\0)GLIBC_(\d+)\.(\d+)(?:\.\d+)?(?=\0)")
_ENTRY = struct.Struct("<HHIQ")
_CONTAINER = struct.Struct("<IHHQ")
_FATBIN = 0xBA55ED50
_PTX_AT, _ARCHITECTURE_AT = 24, 28
_MACHINE_CODE, _PTX = 2, 1


class Binary(NamedTuple):
    """One ELF file.

    Attributes:
        needed: The libraries it is linked with.
        search: Its own search path, RPATH or RUNPATH, with `$ORIGIN` filled in.
        executable_stack: Whether it asks for one, or does not say.
        glibc: The newest GLIBC version among its dynamic strings, `2.28`, or "".
    """

    needed: tuple[str, ...]
    search: tuple[str, ...]
    executable_stack: bool
    glibc: str


class GpuCode(NamedTuple):
    """GPU code in a library.

    Attributes:
        architectures: `sm_86` is machine code, `compute_86` PTX.
        isa: Version of the PTX language that its newest PTX is written in, (8, 7), or None.
    """

    architectures: tuple[str, ...]
    isa: tuple[int, int] | None


class _Segment(NamedTuple):
    kind: int
    flags: int
    offset: int
    address: int
    size: int


def read(path: Path) -> Binary:
    """What a file says."""
    with path.open("rb") as file:
        segments = list(_segments(file))
        entries = [entry for part in segments if part.kind == _DYNAMIC for entry in _entries(file, part)]
        strings = _strings(file, segments, dict(entries))
    stacks = [part.flags & _EXECUTABLE for part in segments if part.kind == _STACK]
    search = ":".join(_string(strings, value) for tag, value in entries if tag in {_RPATH, _RUNPATH})
    return Binary(
        needed=tuple(_string(strings, value) for tag, value in entries if tag == _NEEDED),
        search=tuple(entry.replace("$ORIGIN", str(path.parent)) for entry in search.split(":") if entry),
        executable_stack=not stacks or any(stacks),
        glibc=_newest(strings),
    )


def section(path: Path, name: str) -> bytes:
    """The bytes of a section, b"" where there is none of that name."""
    with path.open("rb") as file:
        return b"".join(_at(file, offset, size) for found, offset, size in _sections(file) if found == name)


def gpu_code(path: Path) -> GpuCode:
    """The GPU code of a library, by the headers of its fat binaries; the code itself is skipped.

    The format is not documented; it was seen in wheels from CUDA 11.2 to 13.0. A section holds containers,
    padded to 8 bytes: u32 magic, u16 version, u16 header size, u64 size of what follows. Each holds entries:
    u16 kind, u16 version, u32 header size, u64 size of what follows; at byte 24 the PTX version as u16 minor
    and u16 major, at byte 28 the architecture as u32.
    """
    with path.open("rb") as file:
        places = [(offset, size) for name, offset, size in _sections(file) if name == ".nv_fatbin"]
        found = {entry for offset, size in places for entry in _fatbins(file, offset, offset + size)}
    code = sorted(architecture for kind, architecture, _ in found if kind == _MACHINE_CODE)
    ptx = sorted((architecture, isa) for kind, architecture, isa in found if kind == _PTX)
    names = [f"sm_{number}" for number in dict.fromkeys(code)]
    names += [f"compute_{number}" for number in dict.fromkeys(number for number, _ in ptx)]
    return GpuCode(tuple(names), ptx[-1][1] if ptx else None)


def _segments(file: BinaryIO) -> Iterator[_Segment]:
    header = _at(file, 0, _HEADER)
    if header[: len(_MAGIC)] != _MAGIC:
        raise ValueError("it is no 64-bit ELF file")
    table, size, count = struct.unpack_from("<32xQ14xHH", header)
    for index in range(count):
        row = _at(file, table + index * size, size)
        kind, flags, offset, address, _, length = struct.unpack_from("<IIQQQQ", row)
        yield _Segment(kind, flags, offset, address, length)


def _entries(file: BinaryIO, segment: _Segment) -> Iterator[tuple[int, int]]:
    for tag, value in struct.iter_unpack("<QQ", _at(file, segment.offset, segment.size // 16 * 16)):
        if not tag:
            return
        yield tag, value


def _strings(file: BinaryIO, segments: list[_Segment], entries: dict[int, int]) -> bytes:
    """The dynamic section's strings, between zeros."""
    if _STRINGS not in entries:
        return b"\0\0"
    address = entries[_STRINGS]
    for part in segments:
        if part.kind == _LOAD and 0 <= address - part.address < part.size:
            start = part.offset + address - part.address
            return _at(file, start, entries.get(_STRINGS_SIZE, 0)) + b"\0"
    raise ValueError("its dynamic section points outside the file")


def _string(strings: bytes, offset: int) -> str:
    return strings[offset : strings.index(b"\0", offset)].decode(errors="replace")


def _newest(strings: bytes) -> str:
    versions = [(int(major), int(minor)) for major, minor in _GLIBC.findall(strings)]
    return "{}.{}".format(*max(versions)) if versions else ""


def _sections(file: BinaryIO) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of each section that holds bytes."""
    table, size, count, names = struct.unpack_from("<40xQ10xHHH", _at(file, 0, _HEADER))
    rows = [struct.unpack_from("<IIQQQQ", _at(file, table + index * size, size)) for index in range(count)]
    if not rows or names >= count:
        return
    texts = _at(file, rows[names][4], rows[names][5]) + b"\0"
    for name, kind, _, _, offset, length in rows:
        if kind not in {0, 8}:  # SHT_NULL and SHT_NOBITS hold nothing
            yield _string(texts, name), offset, length


def _fatbins(file: BinaryIO, at: int, end: int) -> Iterator[tuple[int, int, tuple[int, int]]]:
    while at + _CONTAINER.size <= end:
        magic, _, header, size = _CONTAINER.unpack(_at(file, at, _CONTAINER.size))
        if magic != _FATBIN:
            at += 8  # padding
            continue
        last = at + header + size
        if header < _CONTAINER.size:
            raise ValueError("its GPU code cannot be read")
        yield from _fatbin(file, at + header, min(last, end))
        at = last + -last % 8


def _fatbin(file: BinaryIO, at: int, end: int) -> Iterator[tuple[int, int, tuple[int, int]]]:
    while at + _ARCHITECTURE_AT + 4 <= end:
        row = _at(file, at, _ARCHITECTURE_AT + 4)
        kind, _, header, size = _ENTRY.unpack_from(row)
        if header < _ENTRY.size:
            raise ValueError("its GPU code cannot be read")
        minor, major, architecture = struct.unpack_from("<HHI", row, _PTX_AT)
        yield kind, architecture, (major, minor)
        at += header + size


def _at(file: BinaryIO, offset: int, size: int) -> bytes:
    # Asked first: a damaged size would have the memory for it allocated.
    if offset + size > os.fstat(file.fileno()).st_size:
        raise ValueError("the file ends early")
    file.seek(offset)
    return file.read(size)
