"""Gzip files of many members: some made here, others around the deflate streams of wheels, as they are.

RFC 1952: a gzip file is a sequence of members, each a header, a raw deflate stream, the CRC-32 and the size
of its content. A zip file holds the same three for each of its files.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from importlib.metadata import version
from typing import Final

import deflate
from isal import isal_zlib

LEVEL: Final = 6
COMPRESSOR: Final = f"deflate {version('deflate')}"
"""libdeflate gives the same bytes on every processor, and other bytes in another release (its issue 400): the
project demands one release, and a lock's record names it."""

HEAD: Final = b"\x1f\x8b\x08\x00\0\0\0\0\x00\xff"
"""No name, no time, made on no particular system."""

STORED: Final = 0xFFFF
"""The most bytes of a deflate block that is not compressed."""

_TAIL = struct.Struct("<II")
_BLOCK = struct.Struct("<BHH")


def squeezed(data: bytes) -> bytes:
    """Data as a raw deflate stream."""
    return bytes(deflate.deflate_compress(data, LEVEL))


def member(data: bytes) -> bytes:
    """Data as a whole member."""
    return HEAD + squeezed(data) + tail(isal_zlib.crc32(data), len(data))


def tail(crc: int, size: int) -> bytes:
    """What ends a member: the checksum and the size of its content."""
    return _TAIL.pack(crc, size & 0xFFFFFFFF)


def stored(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Pieces of a content of that size as a raw deflate stream that compresses nothing."""
    left, buffer = size, b""
    for piece in pieces:
        buffer += piece
        while len(buffer) >= STORED and left > STORED:
            yield _block(STORED, last=False) + buffer[:STORED]
            buffer, left = buffer[STORED:], left - STORED
    yield _block(left, last=True) + buffer


def _block(length: int, *, last: bool) -> bytes:
    return _BLOCK.pack(int(last), length, length ^ 0xFFFF)
