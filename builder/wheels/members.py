"""The members of a wheel, read as they are inflated, none of them held as a whole.

They are inflated by ISA-L, which takes half the time of zlib, and inflating is most of what harvesting takes.
"""

from __future__ import annotations

import struct
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from isal import isal_zlib

from builder.errors import EngineOrNetworkError, Fault
from builder.wheels.directory import ENCRYPTED, Member, damage_reported, directory
from builder.wheels.remote import Wheel

FIRST_READ = 4 * 1024
LATER_READS = 8 * 1024 * 1024
"""Bytes that are read at once. The first tell whether the rest is wanted, and of a wheel on a server the rest
is then one request, or a few."""

CHUNK = 32 * 1024
"""Compressed bytes that are inflated at once: at the most 1,032 times as many come out."""

IN_MEMORY = 64 * 1024 * 1024
"""Bytes of a member that are held in memory; a larger one lies in a temporary file."""

HEADER = struct.Struct("<4s2xHH16xHH")
HEADER_MAGIC = b"PK\x03\x04"


class Archive:
    """An open wheel.

    Attributes:
        name: The wheel's file name, for errors.
        members: Its files in the order in which they lie in it.
    """

    def __init__(self, name: str, file: BinaryIO) -> None:
        """Read and check the wheel's directory.

        Raises:
            BadInputError: It is not a readable zip file, or it has what no wheel may have.
            EngineOrNetworkError: The server did not give it.
        """
        self.name = name
        self.members = directory(name, file)
        self._file = file

    def place(self, member: Member) -> str:
        """What an error calls a member."""
        return f"{self.name} {member.path}"

    def pieces(self, member: Member) -> Iterator[bytes]:
        """The content of a member, piece by piece; the first is small, so that a look at it is cheap.

        Raises:
            BadInputError: It is damaged, or not what the directory says.
            EngineOrNetworkError: The server did not give it.
        """
        with damage_reported(self.place(member)):
            yield from _checked(member, _inflated(member, self._compressed(member)))

    def compressed(self, member: Member) -> Iterator[memoryview]:
        """The bytes of a member as they stand in the wheel, piece by piece; its content is not looked at.

        Raises:
            BadInputError: It is damaged, or not where the directory says.
            EngineOrNetworkError: The server did not give it.
        """
        with damage_reported(self.place(member)):
            yield from self._compressed(member)

    def both(self, member: Member) -> Iterator[tuple[memoryview, bytes]]:
        """Each piece of a member as it stands in the wheel, with what it inflates to; checked as by `pieces`.

        Raises:
            BadInputError: As `pieces`.
            EngineOrNetworkError: The server did not give it.
        """
        with damage_reported(self.place(member)):
            seen: list[memoryview] = []

            def noted() -> Iterator[memoryview]:
                for chunk in self._compressed(member):
                    seen.append(chunk)
                    yield chunk

            for piece in _checked(member, _inflated(member, noted())):
                yield seen.pop() if seen else memoryview(b""), piece

    def read(self, member: Member, most: int) -> bytes:
        """The whole content of a member that must not have more than `most` bytes.

        Raises:
            BadInputError: As `pieces`, or it has more.
            EngineOrNetworkError: The server did not give it.
        """
        with damage_reported(self.place(member)):
            if member.size > most:
                raise ValueError(f"it has {member.size} bytes, and no such file has more than {most}")
        return b"".join(self.pieces(member))

    def _compressed(self, member: Member) -> Iterator[memoryview]:
        """The bytes of a member as they stand in the wheel."""
        at = member.offset + self._header_size(member)
        end, step = at + member.compressed, FIRST_READ
        while at < end:
            self._file.seek(at)  # another member may have been read since
            data = memoryview(self._file.read(min(step, end - at)))
            if not data:
                raise ValueError("the wheel ends before it does")
            yield from (data[start : start + CHUNK] for start in range(0, len(data), CHUNK))
            at, step = at + len(data), LATER_READS

    def _header_size(self, member: Member) -> int:
        """How many bytes stand before a member's content; its own header must agree with the directory."""
        self._file.seek(member.offset)
        magic, flags, method, name, extra = HEADER.unpack(self._file.read(HEADER.size))
        size: int = HEADER.size + name + extra
        if magic != HEADER_MAGIC or self._file.read(name) != member.name:
            raise ValueError("its own header has another name than the wheel's directory")
        if flags & ENCRYPTED or method != member.method:
            raise ValueError("its own header says another way of storing than the wheel's directory")
        if member.offset + size + member.compressed > member.end:
            raise ValueError("it reaches into the one behind it")
        return size


@contextmanager
def opened_wheel(wheel: Wheel) -> Iterator[Archive]:
    """Open a wheel.

    Raises:
        BadInputError: As `Archive`, or it is not there.
        EngineOrNetworkError: As `Archive`.
    """
    if not isinstance(wheel, Path):
        yield Archive(wheel.name, cast("BinaryIO", wheel))
        return
    with damage_reported(wheel.name):
        file = wheel.open("rb")
    with file:
        yield Archive(wheel.name, file)


@contextmanager
def spooled(place: str, pieces: Iterable[bytes]) -> Iterator[BinaryIO]:
    """Pieces as a file that seeks: in memory while it is small, else in a temporary file.

    Args:
        place: What an error calls them.
        pieces: The content, in order.

    Raises:
        EngineOrNetworkError: The temporary file cannot be written.
    """
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as file:
        for piece in pieces:
            _write(place, file, piece)
        yield cast("BinaryIO", file)


def _write(place: str, file: tempfile.SpooledTemporaryFile[bytes], data: bytes) -> None:
    try:
        file.write(data)
    except OSError as error:
        raise EngineOrNetworkError(
            Fault(
                place=place,
                cause=f"cannot be unpacked into {tempfile.gettempdir()}: {error.strerror or error}",
                fix="Free some space there, or set TMPDIR to another folder",
            )
        ) from error


def _inflated(member: Member, chunks: Iterable[memoryview]) -> Iterator[bytes]:
    if member.method == zipfile.ZIP_STORED:
        yield from map(bytes, chunks)
        return
    if member.method != zipfile.ZIP_DEFLATED:
        raise ValueError(f"it is compressed by method {member.method}, which wheels do not use")
    stream = isal_zlib.decompressobj(wbits=-15)
    for chunk in chunks:
        if stream.eof:
            raise ValueError("it goes on behind the end of its content")
        yield stream.decompress(chunk)
    if not stream.eof:
        raise ValueError("it ends in the middle of its content")
    if stream.unused_data:
        raise ValueError("it goes on behind the end of its content")


def _checked(member: Member, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces that are held to the size and the checksum that the directory tells."""
    size = crc = 0
    for piece in pieces:
        size += len(piece)
        if size > member.size:
            raise ValueError(f"it has more than the {member.size} bytes that the wheel's directory tells")
        crc = isal_zlib.crc32(piece, crc)
        yield piece
    if (size, crc) != (member.size, member.crc):
        raise ValueError("its size or its checksum is not what the wheel's directory tells")
