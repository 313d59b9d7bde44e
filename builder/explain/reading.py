"""Logs as bytes: from a file or a pipe, in whatever encoding, in parts."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

_PART = 1 << 20

# PowerShell writes UTF-16 where one redirects its output. UTF-32 begins like UTF-16, and is tried before.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def parts(stream: BinaryIO) -> Iterator[str]:
    """The text of a stream, in parts; what cannot be decoded is replaced.

    Raises:
        OSError: It cannot be read.
    """
    part = stream.read(_PART)
    decoder = codecs.getincrementaldecoder(_encoding(part))(errors="replace")
    while part:
        yield decoder.decode(part)
        part = stream.read(_PART)
    yield decoder.decode(b"", final=True)


def _encoding(start: bytes) -> str:
    return next((encoding for mark, encoding in _MARKS if start.startswith(mark)), "utf-8")
