"""The directory of a wheel: its members, none of them believed before it was checked.

`zipfile` reads the directory. What no wheel may have is refused before any member is read: paths that climb
out or that no terminal should show, two members of one name, links, encryption, sizes that no zip file can
have, members that overlap.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from isal import isal_zlib

from builder.errors import BadInputError, Fault

MOST_RATIO = 1100
"""A deflate stream cannot be smaller than its content divided by 1,032."""

MOST_BYTES = 8 * 1024**3
MOST_BYTES_TOGETHER = 16 * 1024**3
"""The largest known wheels, torch's and cuDNN's, have members of 1.4 GB and 2 GB together."""

MOST_FAULTS = 10
"""How many faults of one wheel are told."""

MOST_NAME = 100
"""How many characters of a name are told."""

HEADER_SIZE = 30
"""Bytes before a member's name, where it begins."""

ENCRYPTED, UTF_8 = 0x1, 0x800
INFLATE_ERROR = cast("type[Exception]", isal_zlib.error)  # its stubs call the class an exception
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
OUTSIDE = re.compile(r"[/\\]|[A-Za-z]:[/\\]|(?:.*[/\\])?\.\.(?:[/\\]|$)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file in a wheel, as the wheel's directory describes it.

    Attributes:
        path: Its path in the wheel.
        size: Its size in bytes.
        compressed: The bytes that its content takes in the wheel.
        name: Its path as the wheel writes it.
        offset: Where in the wheel it begins.
        end: Where the next one begins.
        method: How it is compressed, as a zip file numbers it.
        crc: The checksum of its content.
        mode: Its permission bits; 0 where the wheel says none.
    """

    path: str
    size: int
    compressed: int
    name: bytes = field(repr=False)
    offset: int
    end: int
    method: int
    crc: int
    mode: int = 0


def directory(wheel: str, file: BinaryIO) -> tuple[Member, ...]:
    """The files of a wheel in the order in which they lie in it; folders are not among them.

    Args:
        wheel: What an error calls it.
        file: The wheel.

    Raises:
        BadInputError: It is not a readable zip file, or it has what no wheel may have.
        EngineOrNetworkError: The server did not give it.
    """
    with damage_reported(wheel), zipfile.ZipFile(file) as archive:
        infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
        ends = [*(info.header_offset for info in infos), archive.start_dir][1:]
        if not infos:
            raise ValueError("it is empty")
    if faults := [*_faults(wheel, infos, ends)]:
        raise BadInputError(*faults[:MOST_FAULTS])
    return tuple(_member(info, end) for info, end in zip(infos, ends, strict=True) if not info.is_dir())


@contextmanager
def damage_reported(place: str) -> Iterator[None]:
    """Turn what reading a damaged wheel raises inside into one error.

    Raises:
        BadInputError: Something in the block failed as it does over damage.
    """
    try:
        yield
    except (
        # What zipfile and inflating are known to raise over damage: besides their own errors those of numbers
        # and offsets that make no sense, of unknown versions, and of a file that is not there.
        *(zipfile.BadZipFile, INFLATE_ERROR, struct.error, NotImplementedError, EOFError),
        *(ValueError, LookupError, OverflowError, OSError),
    ) as error:
        raise BadInputError(
            Fault(
                place=place,
                cause=f"cannot be read as a wheel: {str(error) or type(error).__name__}",
                fix="Delete it and fetch it again",
            )
        ) from error


def shown(text: str) -> str:
    """A text of a wheel as an error tells it: not all of a long one, and nothing that moves a cursor."""
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text[:MOST_NAME])


def _member(info: zipfile.ZipInfo, end: int) -> Member:
    return Member(
        path=info.filename,
        size=info.file_size,
        compressed=info.compress_size,
        name=_written_name(info),
        offset=info.header_offset,
        end=end,
        method=info.compress_type,
        crc=info.CRC,
        mode=stat.S_IMODE(info.external_attr >> 16),
    )


def _written_name(info: zipfile.ZipInfo) -> bytes:
    return info.orig_filename.encode("utf-8" if info.flag_bits & UTF_8 else "cp437")


def _faults(wheel: str, infos: Sequence[zipfile.ZipInfo], ends: Sequence[int]) -> Iterator[Fault]:
    seen: set[str] = set()
    for info, end in zip(infos, ends, strict=True):
        causes = [*_causes(info, end)]
        if info.filename in seen:
            causes.append("stands in the wheel twice")
        seen.add(info.filename)
        shown = info.orig_filename[:MOST_NAME].encode("unicode_escape").decode()
        yield from (_fault(f"{wheel} {shown}".strip(), cause) for cause in causes)
    together = sum(info.file_size for info in infos)
    if together > MOST_BYTES_TOGETHER:
        yield _fault(wheel, f"claims to hold {together} bytes: that is a trap")


def _causes(info: zipfile.ZipInfo, end: int) -> Iterator[str]:
    """What is wrong with one member that ends before the place `end`."""
    name = _written_name(info)
    if not name or b"\0" in name:
        yield "has no name, or a zero byte in it"
    if CONTROL.search(info.orig_filename.replace("\0", "")):
        yield "has a name with a control character"
    if OUTSIDE.match(info.orig_filename):
        yield "has a path that leads out of the wheel"
    if not _is_utf_8(name):
        yield "has a name that is not UTF-8"
    if info.flag_bits & ENCRYPTED:
        yield "is encrypted"
    if stat.S_ISLNK(info.external_attr >> 16):
        yield "is a symbolic link"
    if info.file_size > min(MOST_BYTES, MOST_RATIO * info.compress_size):
        yield f"claims to hold {info.file_size} bytes in {info.compress_size}: that is a trap"
    if info.header_offset + HEADER_SIZE + len(name) + info.compress_size > end:
        yield "reaches into the one behind it"


def _is_utf_8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _fault(place: str, cause: str) -> Fault:
    return Fault(place=place, cause=cause, fix="Do not install it: fetch it again, or use another version")
