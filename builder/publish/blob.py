"""What a registry stores by its hash, and how it is sent: in even pieces, from the beginning each time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from builder.errors import EngineOrNetworkError, Fault
from builder.publish.faults import strange
from builder.publish.transport import PIECE


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A layer, or an image's configuration.

    Attributes:
        title: What a person calls it.
        digest: Its SHA-256, as `sha256:…`.
        size: Its bytes.
        open: Reads it from its beginning, each time it is called; called only when it must be sent.
    """

    title: str
    digest: str
    size: int
    open: Callable[[], Iterator[bytes]] = field(repr=False, compare=False)


class Body:
    """A blob as the body of a request: exactly its bytes, and again from the beginning for each attempt."""

    def __init__(self, blob: Blob, on_piece: Callable[[], None]) -> None:
        """Read nothing yet; `on_piece` is called before each piece, and may raise."""
        self._blob, self._on_piece = blob, on_piece
        self._begun: Iterator[bytes] | None = None

    def begin(self) -> None:
        """Read its first piece, which may have to be made for minutes: no request should wait for it."""
        pieces = self._read()
        self._begun = chain((next(pieces, b""),), pieces)

    def __len__(self) -> int:
        return self._blob.size

    def __iter__(self) -> Iterator[bytes | memoryview]:
        left = self._blob.size
        pieces, self._begun = self._begun or self._read(), None
        for piece in even(pieces):
            self._on_piece()
            left -= len(piece)
            if left < 0:
                break
            yield piece
        if left:
            raise self._unlike("has more or fewer bytes than it should")

    def _read(self) -> Iterator[bytes]:
        try:
            yield from self._blob.open()
        except OSError as error:
            raise self._unlike(f"cannot be read: {error.strerror or error}") from error

    def _unlike(self, cause: str) -> EngineOrNetworkError:
        return EngineOrNetworkError(
            Fault(
                place=self._blob.title,
                cause=f"what was to be sent {cause}",
                fix="Build the image again, and push that",
            )
        )


def even(pieces: Iterable[bytes], size: int = PIECE) -> Iterator[bytes | memoryview]:
    """The same bytes in pieces of one size: neither many small ones, nor one that takes too long to send."""
    held = bytearray()
    for piece in pieces:
        view = memoryview(piece)
        if held:
            lacking = size - len(held)
            held += view[:lacking]
            view = view[lacking:]
            if len(held) == size:
                yield bytes(held)
                held.clear()
        whole = len(view) - len(view) % size
        yield from (view[start : start + size] for start in range(0, whole, size))
        held += view[whole:]
    if held:
        yield bytes(held)


class Check:
    """Counts and hashes what arrives of a blob.

    Attributes:
        count: The bytes that have arrived.
    """

    def __init__(self, place: str, digest: str, size: int) -> None:
        self.count = 0
        self._place, self._digest, self._size, self._hash = place, digest, size, hashlib.sha256()

    def add(self, piece: bytes) -> None:
        """Take a piece.

        Raises:
            EngineOrNetworkError: There is more of it than there should be.
        """
        self.count += len(piece)
        if self.count > self._size:
            raise strange(self._place, f"the registry sends more than the {self._size} bytes that it has")
        self._hash.update(piece)

    def end(self) -> None:
        """See that it was all.

        Raises:
            EngineOrNetworkError: It was another blob.
        """
        if self.count < self._size:
            raise strange(self._place, f"the registry sends {self.count} of its {self._size} bytes")
        found = f"sha256:{self._hash.hexdigest()}"
        if found != self._digest:
            raise strange(self._place, f"what the registry sends has the digest {found}")
