"""Unpacking layers into a folder: what a container engine would do, without one and without root."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, cast

from isal.igzip import IGzipFile

from builder.errors import CheckFailedError, EngineOrNetworkError, Fault
from builder.wheels.directory import INFLATE_ERROR

_COPY = 1024 * 1024


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
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self.hash.update(piece)
            self._left = memoryview(piece)
        count = min(len(target), len(self._left))
        target[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


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
    stream = Stream(pieces)
    try:
        size = _unpack(stream, into, wanted or (lambda _: True))
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, INFLATE_ERROR) as error:
        raise _damaged(diff_id, f"it is damaged: {error}") from error
    if f"sha256:{stream.hash.hexdigest()}" != diff_id:
        raise _damaged(diff_id, f"its content's SHA-256 is {stream.hash.hexdigest()}")
    return size


def _unpack(stream: Stream, into: Path, wanted: Callable[[str], bool]) -> int:
    buffered = io.BufferedReader(stream, _COPY)
    size = 0
    with tarfile.open(fileobj=buffered, mode="r|", bufsize=_COPY) as tar:
        for member in tar:
            path = _inside(into, member.name)
            if wanted(member.name):
                _write(tar, member, path, into)
                size += member.size
    while buffered.read(_COPY):
        pass  # the zeros at the end belong to the hash
    return size


def _damaged(diff_id: str, cause: str) -> CheckFailedError:
    fix = "The store is damaged: run `cuvee clean --store`, and build again"
    return CheckFailedError(Fault(place=f"layer {diff_id}", cause=cause, fix=fix))


def _inside(into: Path, name: str) -> Path:
    """Where a member goes. No folder on the way may be a link: it could lead anywhere."""
    parts = PurePosixPath(name).parts
    folder = into
    for part in parts[:-1]:
        folder /= part
        if folder.is_symlink():
            raise _leads_out(name)
    if not parts or ".." in parts or name.startswith("/"):
        raise _leads_out(name)
    return into / name


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, into: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.isdir():
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)
            path.mkdir(exist_ok=True)  # another layer may have made it just now
    else:
        path.unlink(missing_ok=True)
        if member.issym():
            path.symlink_to(member.linkname)
        elif member.islnk():
            path.hardlink_to(_inside(into, member.linkname))
            return
        elif source := tar.extractfile(member):
            with path.open("wb") as file:
                while data := source.read(_COPY):
                    file.write(data)
    _dress(member, path)


def _dress(member: tarfile.TarInfo, path: Path) -> None:
    """Owner, mode and time, in this order: a change of owner clears setuid."""
    if os.geteuid() == 0:
        os.chown(path, member.uid, member.gid, follow_symlinks=False)
    if not member.issym():
        path.chmod(member.mode if os.geteuid() == 0 else member.mode | 0o200)
        os.utime(path, (member.mtime, member.mtime))


def _leads_out(name: str) -> CheckFailedError:
    return CheckFailedError(
        Fault(place=name, cause="its path leads out of the image", fix="Do not use this image")
    )


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
