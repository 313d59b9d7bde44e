"""Reading a wheel where it lies: on disk, or on a server that gives parts of a file.

A torch wheel has 800 MB, and the member that says what it was compiled for has 7: only they are fetched.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from builder.errors import EngineOrNetworkError, Fault
from builder.wheels.network import file_name, reported

if TYPE_CHECKING:
    import requests

TAIL = 128 * 1024
"""Bytes at a wheel's end that the first request asks for: most wheels' directories fit."""

FIRST_AHEAD = 64 * 1024
MOST_AHEAD = 8 * 1024 * 1024
"""Read-ahead in bytes: it doubles from the first to the most while reads go on where the last one ended."""


@dataclass(frozen=True, slots=True)
class _Block:
    """Bytes of a file from `start` on."""

    start: int
    data: bytes

    @property
    def end(self) -> int:
        return self.start + len(self.data)

    def holds(self, start: int, end: int) -> bool:
        return self.start <= start and end <= self.end

    def part(self, start: int, end: int) -> bytes:
        return self.data[start - self.start : end - self.start]


class RemoteWheel(io.BufferedIOBase):
    """A wheel on a server, as a file that reads and seeks.

    Opening it as a zip file costs one or two requests, and so does each member, however large.

    Attributes:
        name: The wheel's file name, taken from its address.
        transferred: Bytes received so far.
    """

    def __init__(self, url: str, size: int, session: requests.Session, whole: Callable[[], Path]) -> None:
        """Open the wheel; nothing is sent before the first read.

        Args:
            url: Where the wheel is.
            size: Its size in bytes, as the lock or the index says.
            session: What the requests go through.
            whole: Fetches the whole wheel, for a server that gives no parts; called at most once.
        """
        self.name = file_name(url)
        self.transferred = 0
        self._url, self._size, self._session, self._whole = url, size, session, whole
        self._local: Path | None = None
        self._position = 0
        self._tail = _Block(size, b"")
        self._window = _Block(0, b"")
        self._ahead = FIRST_AHEAD

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read from any place."""
        return True

    def tell(self) -> int:
        """The place of the next read, in bytes from the beginning."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move as files do.

        Raises:
            ValueError: The place lies before the file's beginning.
        """
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """The next `size` bytes, or as many as the file has left; without a size, all that is left.

        Raises:
            EngineOrNetworkError: The server did not give what was asked.
        """
        left = max(0, self._size - self._position)
        count = left if size is None or size < 0 else min(size, left)
        data = self._at(self._position, self._position + count) if count else b""
        self._position += count
        return data

    def _at(self, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`.

        The end of the file is kept for good, because every opening of the zip file starts there again.
        """
        if end > self._tail_start:
            self._extend_tail(min(start, self._tail_start))
            return self._tail.part(start, end)
        if not self._window.holds(start, end):
            self._slide_window(start, end)
        return self._window.part(start, end)

    @property
    def _tail_start(self) -> int:
        """Where the tail begins, or will when it is fetched."""
        return min(self._tail.start, max(0, self._size - TAIL))

    def _extend_tail(self, start: int) -> None:
        if start < self._tail.start:
            self._tail = _Block(start, self._fetch(start, self._tail.start) + self._tail.data)

    def _slide_window(self, start: int, end: int) -> None:
        goes_on = self._window.start <= start <= self._window.end
        self._ahead = min(2 * self._ahead, MOST_AHEAD) if goes_on else FIRST_AHEAD
        kept = self._window.part(start, self._window.end) if goes_on else b""
        stop = min(self._tail_start, max(end, start + self._ahead))
        self._window = _Block(start, kept + self._fetch(start + len(kept), stop))

    def _fetch(self, start: int, stop: int) -> bytes:
        if self._local is None:
            data = self._ranged(start, stop)
            if data is not None:
                return data
            self._local = self._whole()
        with self._local.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def _ranged(self, start: int, stop: int) -> bytes | None:
        """The bytes from `start` up to `stop`, or None where the server ignores ranges."""
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        with reported(self.name), self._session.get(self._url, headers=headers, stream=True) as response:
            response.raise_for_status()
            if response.status_code != HTTPStatus.PARTIAL_CONTENT:
                return None  # the body, which may be the whole wheel, is left unread
            data = response.content
        self.transferred += len(data)
        self._check(response.headers.get("Content-Range", ""), start, stop, data)
        return data

    def _check(self, content_range: str, start: int, stop: int, data: bytes) -> None:
        """Refuse another part than was asked for, or a part of a file of another size."""
        expected = f"bytes {start}-{stop - 1}/{self._size}"
        if content_range == expected and len(data) == stop - start:
            return
        raise EngineOrNetworkError(
            Fault(
                place=self.name,
                cause=f'the server sent {len(data)} bytes as "{content_range}" for "{expected}"',
                fix="The file on the index differs from the locked one: use another mirror, or lock again",
            )
        )


Wheel: TypeAlias = Path | RemoteWheel
"""A wheel that can be read: a local file, or one on a server."""
