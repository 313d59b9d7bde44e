"""A layer's bytes, from its entries: as a tar archive, as the gzip file around it, and the hashes of both.

What wheels hold is never compressed again: a file's deflate stream becomes a gzip member as it is, between
small members with the tar headers. Nothing is held as a whole, whatever a file's size.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from builder.engines.direct import gz, tar
from builder.engines.direct.dist_info import require_hash
from builder.engines.direct.entry import Entry, Held
from builder.engines.direct.trace import mark
from builder.wheels.members import Archive, opened_wheel

LITERAL = 256 * 1024
"""Bytes of headers and files made here after which a gzip member ends, so that memory stays small."""

PIECE = 1024 * 1024
"""Bytes that a blob or a tar archive is given in, about."""


Pair: TypeAlias = tuple[bytes | memoryview, bytes]
"""Bytes of a blob, and bytes of its tar archive that come with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is known of a layer once its content was read.

    Attributes:
        digest: The SHA-256 of its blob.
        size: The bytes of its blob.
        diff_id: The SHA-256 of its tar archive.
        unpacked: The bytes of its tar archive.
        trace: Of each entry that was made here, in order, two characters of its hash.
    """

    digest: str
    size: int
    diff_id: str
    unpacked: int
    trace: str


@contextmanager
def opened(paths: Sequence[Path]) -> Iterator[list[Archive]]:
    """Open the zip files that entries refer to.

    Raises:
        BadInputError: One is damaged or gone.
    """
    with ExitStack() as stack:
        yield [stack.enter_context(opened_wheel(path)) for path in paths]


def measure(entries: Iterable[Entry], archives: Sequence[Archive]) -> Measured:
    """Read a layer once, check all of it, and hash it as a blob and as a tar archive.

    Raises:
        BadInputError: A file is damaged, or is not what the wheel's RECORD says.
    """
    both = _Both()
    packed, plain = hashlib.sha256(), hashlib.sha256()
    size = unpacked = 0
    for raw, content in _pairs(entries, archives, both):
        packed.update(raw)
        plain.update(content)
        size, unpacked = size + len(raw), unpacked + len(content)
    return Measured(
        digest=f"sha256:{packed.hexdigest()}",
        size=size,
        diff_id=f"sha256:{plain.hexdigest()}",
        unpacked=unpacked,
        trace="".join(both.trace),
    )


def blob(entries: Iterable[Entry], archives: Sequence[Archive]) -> Iterator[bytes]:
    """The layer as the gzip file that registries keep.

    Raises:
        BadInputError: A wheel is damaged.
    """
    yield from gathered(raw for raw, _ in _pairs(entries, archives, _Raw()))


def archive(entries: Iterable[Entry], archives: Sequence[Archive]) -> Iterator[bytes]:
    """The layer as a tar archive.

    Raises:
        BadInputError: A wheel is damaged.
    """
    yield from gathered(_archive(entries, archives))


def content_size(entry: Entry) -> int:
    """The bytes of an entry's content."""
    return entry.content.member.size if isinstance(entry.content, Held) else len(entry.content)


def gathered(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Small pieces joined to larger ones: each costs a call of whoever takes them."""
    held: list[bytes | memoryview] = []
    count = 0
    for piece in pieces:
        held.append(piece)
        count += len(piece)
        if count >= PIECE:
            yield b"".join(held)
            held, count = [], 0
    if held:
        yield b"".join(held)


class _Reader(Protocol):
    """How much is read of the files that wheels hold, and what is noted on the way."""

    def literal(self, entry: Entry, head: bytes) -> None:
        """Note an entry whose content was made here."""

    def held(self, entry: Entry, head: bytes, held: Held, archive: Archive) -> Iterator[Pair]:
        """The content of a file in a zip file, as a deflate stream and inflated."""


class _Raw:
    """For a blob alone: nothing is inflated."""

    def literal(self, entry: Entry, head: bytes) -> None:
        """See `_Reader.literal`."""

    def held(self, entry: Entry, head: bytes, held: Held, archive: Archive) -> Iterator[Pair]:
        """See `_Reader.held`."""
        del entry, head
        if held.member.method == zipfile.ZIP_STORED:
            yield from ((block, b"") for block in _stored(archive, held))
        else:
            yield from ((chunk, b"") for chunk in archive.compressed(held.member))


class _Both:
    """For the first time: everything is inflated, checked and noted."""

    def __init__(self) -> None:
        self.trace: list[str] = []

    def literal(self, entry: Entry, head: bytes) -> None:
        """See `_Reader.literal`."""
        if entry.made and isinstance(entry.content, bytes):
            self.trace.append(mark(head, hashlib.sha256(entry.content).digest()))

    def held(self, entry: Entry, head: bytes, held: Held, archive: Archive) -> Iterator[Pair]:
        """See `_Reader.held`."""
        found = hashlib.sha256()
        for raw, piece in _framed(archive, held):
            found.update(piece)
            yield raw, piece
        if held.sha256:
            require_hash(archive.place(held.member), found.hexdigest(), held.sha256)
        if entry.made:
            self.trace.append(mark(head, found.digest()))


def _framed(archive: Archive, held: Held) -> Iterator[Pair]:
    """Pieces of a file as a deflate stream, each with the content that is new with it."""
    if held.member.method == zipfile.ZIP_STORED:
        yield from ((b"", piece) for piece in archive.pieces(held.member))
        yield from ((block, b"") for block in _stored(archive, held))
    else:
        yield from archive.both(held.member)


def _stored(archive: Archive, held: Held) -> Iterator[bytes]:
    return gz.stored(archive.pieces(held.member), held.member.size)


def _pairs(entries: Iterable[Entry], archives: Sequence[Archive], reader: _Reader) -> Iterator[Pair]:
    """The blob and its tar archive, side by side: the one place that says how a layer is laid out."""
    made: list[bytes] = []
    waiting = 0
    for entry in entries:
        head = tar.header(entry.node, content_size(entry))
        made.append(head)
        if isinstance(entry.content, Held):
            yield _literal(made)
            held = entry.content
            yield gz.HEAD, b""
            yield from reader.held(entry, head, held, archives[held.archive])
            yield gz.tail(held.member.crc, held.member.size), b""
            made, waiting = [tar.padding(held.member.size)], 0
            continue
        reader.literal(entry, head)
        made += (entry.content, tar.padding(len(entry.content)))
        waiting += len(head) + len(entry.content)
        if waiting >= LITERAL:
            yield _literal(made)
            made, waiting = [], 0
    yield _literal([*made, tar.END])


def _literal(parts: Sequence[bytes]) -> Pair:
    data = b"".join(parts)
    return gz.member(data), data


def _archive(entries: Iterable[Entry], archives: Sequence[Archive]) -> Iterator[bytes]:
    for entry in entries:
        yield tar.header(entry.node, content_size(entry))
        if isinstance(entry.content, Held):
            yield from archives[entry.content.archive].pieces(entry.content.member)
        else:
            yield entry.content
        yield tar.padding(content_size(entry))
    yield tar.END
