"""The bytes of one file, however large, by place: what the readers of binaries stand on."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from builder.errors import BadInputError, Fault

MOST_TEXT = 4096
"""The longest text that `text` reads, in bytes; the longest path on Linux is no longer."""

PIECE = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a file: where it begins, and how many bytes it has."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A file that reads and seeks, in memory or on disk, and its size in bytes.

    Nothing is read but what is asked for, and never more than the file has: a damaged length costs no memory.
    """

    file: BinaryIO
    size: int

    def at(self, offset: int, size: int) -> bytes:
        """The `size` bytes from `offset` on.

        Raises:
            ValueError: The file does not have them all.
        """
        if not 0 <= offset <= offset + size <= self.size:
            raise ValueError(f"it ends at byte {self.size}, before the {size} bytes that stand at {offset}")
        self.file.seek(offset)
        data = self.file.read(size)
        if len(data) != size:
            raise ValueError(f"it ends before byte {offset + size}")
        return data

    def text(self, offset: int) -> str:
        """The text from `offset` up to a zero byte.

        Raises:
            ValueError: There is none, it is too long, or it is not UTF-8.
        """
        data = self.at(offset, min(MOST_TEXT, max(0, self.size - offset)))
        end = data.find(b"\0")
        if end < 0:
            raise ValueError(f"the text at byte {offset} has no end")
        return data[:end].decode()

    def pieces(self, part: Part, overlap: int) -> Iterator[bytes]:
        """A part of the file, piece by piece; each repeats the last `overlap` bytes of the one before.

        Raises:
            ValueError: The file does not have that part.
        """
        at, end = part.offset, part.offset + part.size
        while at < end:
            data = self.at(at, min(PIECE, end - at))
            yield data
            at += len(data)
            at -= overlap if at < end else 0


@contextmanager
def reading(place: str, failure: str, otherwise: str = "the wheel itself is broken") -> Iterator[None]:
    """Turn what reading damaged bytes raises inside into one error.

    Args:
        place: The file's name.
        failure: What cannot be done with it.
        otherwise: What is the matter if a second copy is the same.

    Raises:
        BadInputError: The bytes inside make no sense.
    """
    try:
        yield
    except (struct.error, ValueError) as error:
        raise BadInputError(
            Fault(
                place=place,
                cause=f"{failure}: {error}",
                fix=f"Fetch the wheel again; if that does not help, {otherwise}",
            )
        ) from error
