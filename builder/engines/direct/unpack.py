"""Unpacking layers into a folder: what a container engine would do, without one and without root."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

from isal.igzip import IGzipFile

from builder.engines.direct.ground import Ground, dress, remove
from builder.errors import CheckFailedError, EngineOrNetworkError, Fault
from builder.wheels.directory import INFLATE_ERROR

_COPY = 1024 * 1024


class ForeignError(FileNotFoundError):
    """A further name of a file that another archive has."""


class Stream(io.RawIOBase):
    """Pieces as a file that is read from its beginning to its end, and hashed on the way.

    Attributes:
        hash: The SHA-256 of what was read so far.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces: Iterator[bytes] = iter(pieces)
        self._left = memoryview(b"")
        self.hash = hashlib.sha256()

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: object) -> int:
        """Fill a buffer, as far as one piece goes."""
        target = memoryview(cast("bytearray", buffer)).cast("B")
        count = min(len(target), len(self._left)) if self._more() else 0
        target[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def _more(self) -> bool:
        """Whether there is something left, of this piece or the next."""
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self.hash.update(piece)
            self._left = memoryview(piece)
        return True


class Archive(Stream):
    """Pieces as the file that a tar archive is read from: forwards only, and a file's content uncopied."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__(pieces)
        self._at = 0

    def tell(self) -> int:
        """The bytes that were read so far."""
        return self._at

    def seekable(self) -> bool:
        """It can be, forwards."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Read on to somewhere.

        Raises:
            io.UnsupportedOperation: It lies behind.
        """
        if whence != io.SEEK_SET or offset < self._at:
            raise io.UnsupportedOperation("an archive is read forwards")
        for _ in self.parts(offset - self._at):
            pass
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; fewer at the end."""
        return b"".join(self.parts(size if size >= 0 else sys.maxsize))

    def parts(self, size: int) -> Iterator[memoryview]:
        """The next bytes as parts of the pieces, without a copy of them; fewer at the end."""
        while size > 0 and self._more():
            part = self._left[:size]
            self._left = self._left[len(part) :]
            self._at += len(part)
            size -= len(part)
            yield part


def unpack(
    pieces: Iterable[bytes], into: Path, diff_id: str, wanted: Callable[[str], bool] | None = None
) -> int:
    """Unpack a tar archive into a folder. What is there already is replaced.

    Owners are kept where we are root; elsewhere everything is ours.

    Args:
        pieces: The archive.
        into: The folder.
        diff_id: What its SHA-256 must be, `sha256:…`.
        wanted: Tells by a path such as `usr/bin/python3.11` what is unpacked; all, when not given.

    Returns:
        The bytes of all files in it.

    Raises:
        CheckFailedError: The archive is another one or damaged, or a path in it leads out of the folder.
        OSError: It cannot be written.
    """
    into.mkdir(parents=True, exist_ok=True)
    ground, size = Ground(into), 0
    for member in unpacking(pieces, ground, diff_id, wanted):
        size += member.size
    ground.settle()
    return size


def unpacking(
    pieces: Iterable[bytes], ground: Ground, diff_id: str, wanted: Callable[[str], bool] | None = None
) -> Iterator[tarfile.TarInfo]:
    """The same where more than one archive is laid on a ground: yields each member that was unpacked.

    The archive is known to be sound only when all of it was; see `unpack` for the rest.
    """
    archive = Archive(pieces)
    try:
        with tarfile.open(fileobj=archive, mode="r:") as tar:
            for member in tar:
                path = ground.place(member.name)
                if wanted is None or wanted(member.name):
                    _write(tar, member, path, ground)
                    yield member
        for _ in archive.parts(sys.maxsize):
            pass  # the zeros at the end belong to the hash
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, INFLATE_ERROR) as error:
        raise _damaged(diff_id, f"it is damaged: {error}") from error
    if f"sha256:{archive.hash.hexdigest()}" != diff_id:
        raise _damaged(diff_id, f"its content's SHA-256 is {archive.hash.hexdigest()}")


def _damaged(diff_id: str, cause: str) -> CheckFailedError:
    fix = "The store is damaged: run `cuvee clean --store`, and build again"
    return CheckFailedError(Fault(place=f"layer {diff_id}", cause=cause, fix=fix))


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str, ground: Ground) -> None:
    owner = (member.uid, member.gid)
    if member.isdir():
        ground.folder(member.name, member.mode, owner, member.mtime)
        return
    ground.place(member.name, make=True)
    remove(path)  # never written into: it may be a link, or have another name
    if member.issym():
        os.symlink(member.linkname, path)  # noqa: PTH211 - for each of many
        if os.geteuid() == 0:
            os.chown(path, *owner, follow_symlinks=False)
    elif member.islnk():
        _name_too(ground.place(member.linkname), path)
    else:
        _write_file(tar, member, path)


def _write_file(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for part in _content(tar, member):
            while part:
                part = part[os.write(descriptor, part) :]  # noqa: PLW2901 - what is left of it
        dress(descriptor, member.mode, (member.uid, member.gid))
        os.utime(descriptor, (member.mtime, member.mtime))
    finally:
        os.close(descriptor)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[memoryview]:
    """The bytes of a file.

    Raises:
        tarfile.ReadError: The archive ends before.
    """
    if member.issparse():
        source = cast("Any", tar.extractfile(member))
        yield from (memoryview(part) for part in iter(partial(source.read, _COPY), b""))
        return
    if not member.isreg() and member.type in tarfile.SUPPORTED_TYPES:
        raise tarfile.ReadError(f"{member.name} is no file, folder or link")
    left = member.size
    for part in cast("Archive", tar.fileobj).parts(member.size):
        left -= len(part)
        yield part
    if left:
        raise tarfile.ReadError("unexpected end of data")


def inflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The tar archive in a gzip file, which may have many members.

    Raises:
        EngineOrNetworkError: It is damaged.
    """
    try:
        compressed: Any = io.BufferedReader(Stream(pieces), _COPY)
        file: Any = IGzipFile(fileobj=compressed)  # type: ignore[no-untyped-call]
        with file:
            while piece := file.read(_COPY):
                yield piece
    except (OSError, EOFError, INFLATE_ERROR) as error:
        raise EngineOrNetworkError(
            Fault(
                place="a layer of the store",
                cause=f"it is damaged: {error}",
                fix="Run `cuvee clean --store`, and build again",
            )
        ) from error


def _name_too(source: str, path: str) -> None:
    try:
        os.link(source, path, follow_symlinks=False)
    except FileNotFoundError as error:
        raise ForeignError(error.errno, error.strerror, source) from error
