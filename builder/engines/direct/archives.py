"""Source archives, unpacked so that nothing in them reaches further than the folder they are unpacked to.

As with tarfile's filter `data`: no path and no link leads out, and there is nothing but files and folders.
Links become copies of the files that they lead to, so that none can be written through.
"""

from __future__ import annotations

import gzip
import io
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Final

from builder.errors import BadInputError, EngineOrNetworkError, Fault
from builder.wheels.members import opened_wheel

MOST_BYTES: Final = 512 * 1024**2
MOST_FILES: Final = 50_000
"""The largest source archives that are built here have one megabyte and a few hundred files."""

SUFFIXES: Final = (".tar.gz", ".tgz", ".zip")
_CHUNK: Final = 1024 * 1024
_DAMAGE: Final = (
    *(tarfile.TarError, zlib.error, gzip.BadGzipFile),
    *(ValueError, LookupError, OverflowError, EOFError),
)


def unpack_source(archive: Path, folder: Path) -> Path:
    """Unpack a source archive; returns its one top folder.

    Args:
        archive: A `.tar.gz`, or one of the old `.zip`.
        folder: Where to; it must be there and empty. Files are 0644 or, if they are programs, 0755.

    Raises:
        BadInputError: It is damaged, or holds what no source archive may hold.
        EngineOrNetworkError: There is no room for it.
    """
    if not archive.name.endswith(SUFFIXES):
        raise _refused(archive.name, f"is none of {', '.join(SUFFIXES)}")
    with _room(archive.name, folder):
        _Unpacked(archive.name, folder).take_all(archive)
    tops = list(folder.iterdir())
    if len(tops) != 1 or not tops[0].is_dir():
        raise _refused(archive.name, f"has {len(tops)} things at its top, and not one folder")
    return tops[0]


class _Unpacked:
    """A folder that is being filled."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._folder = name, folder
        self._files: dict[str, Path] = {}
        self._links: dict[str, str] = {}
        self._count = self._bytes = 0

    def take_all(self, archive: Path) -> None:
        """Unpack all of it."""
        if archive.name.endswith(".zip"):
            with opened_wheel(archive) as zipped:
                for member in zipped.members:
                    self._take(member.path, zipped.pieces(member), program=bool(member.mode & 0o100))
            return
        with self._damage_reported(), archive.open("rb") as file:
            stream = _Bounded(gzip.GzipFile(fileobj=file))
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for entry in tar:
                    self._take_entry(tar, entry)
            while stream.read():  # the checksum stands behind all of it
                pass
            self._copy_links()

    def _take_entry(self, tar: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        if entry.isdir():
            self._place(entry.name).mkdir(parents=True, exist_ok=True)
        elif entry.issym():
            self._link(entry.name, posixpath.join(posixpath.dirname(entry.name), entry.linkname))
        elif entry.islnk():
            self._link(entry.name, entry.linkname)
        elif entry.isreg() and not entry.issparse():
            content = tar.extractfile(entry)
            assert content  # noqa: S101 - it is a file
            self._take(entry.name, _pieces(content), program=bool(entry.mode & 0o100))
        else:
            raise _refused(f"{self._name} {entry.name}", "is neither a file nor a folder nor a link")

    def _take(self, path: str, pieces: Iterator[bytes], *, program: bool) -> None:
        place = self._place(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            for piece in pieces:
                self._bytes += file.write(piece)
                if self._bytes > MOST_BYTES:
                    raise _refused(self._name, f"holds more than {MOST_BYTES} bytes: that is a trap")
        place.chmod(0o755 if program else 0o644)
        self._files[posixpath.normpath(path)] = place

    def _link(self, path: str, target: str) -> None:
        self._place(path)
        if not _stays(target):
            raise _refused(f"{self._name} {path}", "is a link that leads out of the archive")
        self._links[path] = posixpath.normpath(target)

    def _copy_links(self) -> None:
        for path, target in self._links.items():
            source = self._files.get(target)
            if source is None:
                raise _refused(f"{self._name} {path}", "is a link to what is no file of the archive")
            with source.open("rb") as file:
                self._take(path, _pieces(file), program=bool(source.stat().st_mode & 0o100))

    def _place(self, path: str) -> Path:
        """Where a path lies; each is counted."""
        self._count += 1
        if self._count > MOST_FILES:
            raise _refused(self._name, f"has more than {MOST_FILES} files: that is a trap")
        if "\0" in path or not _stays(path):
            raise _refused(f"{self._name} {ascii(path)[1:-1]}", "has a path that leads out of the archive")
        path.encode()  # raises where it is not UTF-8
        return self._folder / posixpath.normpath(path)

    @contextmanager
    def _damage_reported(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as error:
            cause = f"cannot be read as a source archive: {str(error) or type(error).__name__}"
            raise BadInputError(
                Fault(place=self._name, cause=cause, fix="Delete it and fetch it again")
            ) from error


class _Bounded(io.RawIOBase):
    """A stream that ends in an error where more comes out of it than there may be."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile) -> None:
        super().__init__()
        self._stream, self._left = stream, MOST_BYTES + MOST_FILES * 2 * tarfile.BLOCKSIZE

    def read(self, size: int = -1, /) -> bytes:
        """Read at most a few MB."""
        data: bytes = self._stream.read(_CHUNK if size < 0 else size)
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("more comes out of it than any source archive holds: that is a trap")
        return data


def _stays(path: str) -> bool:
    """Whether a path, as it stands, never leaves the folder that it begins in."""
    pure = PurePosixPath(path)
    return bool(pure.parts) and not pure.is_absolute() and ".." not in posixpath.normpath(path).split("/")


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(_CHUNK):
        yield piece


@contextmanager
def _room(name: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineOrNetworkError(
            Fault(
                place=name,
                cause=f"cannot be unpacked into {folder}: {error.strerror or error}",
                fix="Free some space there, or set TMPDIR to another folder",
            )
        ) from error


def _refused(place: str, cause: str) -> BadInputError:
    return BadInputError(Fault(place=place, cause=cause, fix="Do not build it: use another version"))
