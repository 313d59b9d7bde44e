"""Just enough of ELF: what a file needs, what it is called, which library names its data holds.

64-bit little-endian files only, which is all that CUDA runs on.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, BinaryIO, Iterator, List, NamedTuple, Optional, Tuple

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = b"\x7fELF\x02\x01"
LIBRARY_NAME = re.compile(rb"(?<![\x20-\x7e])lib[A-Za-z0-9_+-]+\.so(?:\.[0-9]+)*(?=\x00)")

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_SONAME = 1, 5, 10, 14
_SHT_PROGBITS = 1
_ALLOCATED, _EXECUTABLE = 2, 4


class Elf(NamedTuple):
    """What one ELF file says of itself.

    Attributes:
        machine: `e_machine`: 62 is x86-64, 183 aarch64, 190 a GPU's own code.
        interpreter: The loader that a program asks for, else "".
        soname: The name a library gives itself, else "".
        needed: The libraries it is linked with; empty for a static program too.
    """

    machine: int
    interpreter: str
    soname: str
    needed: Tuple[str, ...]


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


def is_elf(path: Path) -> bool:
    """Whether `path` begins like a 64-bit ELF file."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read(path: Path) -> Optional[Elf]:
    """What the ELF file `path` says of itself, or None if it is damaged."""
    try:
        with path.open("rb") as file:
            return _read(file)
    except (struct.error, ValueError):
        return None


def names_in(data: bytes) -> List[str]:
    """The library names that stand in `data` as whole C strings, in their order, each once."""
    return list(dict.fromkeys(match.decode() for match in LIBRARY_NAME.findall(data)))


def names_held(path: Path) -> List[str]:
    """The library names among a file's constants: what it may open at run time.

    Only data sections are read. The string table of the dynamic section is not among them: there stand
    DT_NEEDED, symbol versions and names from before auditwheel renamed the file.
    """
    with path.open("rb") as file:
        found = [names_in(_at(file, offset, size)) for offset, size in _data_sections(file)]
    return list(dict.fromkeys(name for names in found for name in names))


def _read(file: BinaryIO) -> Elf:
    header = _at(file, 0, 64)
    machine = struct.unpack_from("<H", header, 18)[0]
    segments = list(_segments(file, header))
    entries = [entry for segment in segments for entry in _dynamic(file, segment)]
    named = list(_named(file, segments, entries))
    soname = "".join(name for tag, name in named if tag == _DT_SONAME)
    needed = tuple(name for tag, name in named if tag == _DT_NEEDED)
    return Elf(machine, _interpreter(file, segments), soname, needed)


def _segments(file: BinaryIO, header: bytes) -> Iterator[_Segment]:
    table, size, count = struct.unpack_from("<32xQ14xHH", header)
    for index in range(count):
        kind, _, offset, address, _, length = struct.unpack_from(
            "<IIQQQQ", _at(file, table + index * size, size)
        )
        yield _Segment(kind, offset, address, length)


def _dynamic(file: BinaryIO, segment: _Segment) -> Iterator[Tuple[int, int]]:
    if segment.kind != _PT_DYNAMIC:
        return
    for tag, value in struct.iter_unpack("<QQ", _at(file, segment.offset, segment.size // 16 * 16)):
        if tag == 0:
            return
        yield tag, value


def _named(
    file: BinaryIO, segments: List[_Segment], entries: List[Tuple[int, int]]
) -> Iterator[Tuple[int, str]]:
    values = dict(entries)
    if _DT_STRTAB not in values:
        return
    strings = _at(file, _offset(segments, values[_DT_STRTAB]), values[_DT_STRSZ])
    for tag, value in entries:
        if tag in {_DT_NEEDED, _DT_SONAME}:
            yield tag, strings[value : strings.index(b"\x00", value)].decode()


def _offset(segments: List[_Segment], address: int) -> int:
    """Where in the file stands what is loaded at `address`; a ValueError if nowhere."""
    for part in segments:
        if part.kind == _PT_LOAD and 0 <= address - part.address < part.size:
            return part.offset + address - part.address
    raise ValueError("the dynamic section points outside the file")


def _interpreter(file: BinaryIO, segments: List[_Segment]) -> str:
    found = [_at(file, part.offset, part.size) for part in segments if part.kind == _PT_INTERP]
    return b"".join(found).rstrip(b"\x00").decode()


def _data_sections(file: BinaryIO) -> Iterator[Tuple[int, int]]:
    """Offset and size of every section that is loaded, holds bytes and is not code."""
    header = _at(file, 0, 64)
    table, size, count = struct.unpack_from("<40xQ10xHH", header)
    for index in range(count):
        _, kind, flags, _, offset, length = struct.unpack_from(
            "<IIQQQQ", _at(file, table + index * size, size)
        )
        if kind == _SHT_PROGBITS and flags & _ALLOCATED and not flags & _EXECUTABLE:
            yield offset, length


def _at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    data = file.read(size)
    if len(data) < size:
        raise ValueError("the file ends early")
    return data
