"""The layer that all others lie on: a small Debian with Python, the same bytes everywhere.

It is in the store, or in an OCI layout that CUVEE_BASE_LAYOUT names, or it is made here from Debian's
packages, in the versions that its lock names. What was made is held against the lock, to the last bit.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, cast

from isal import igzip

from builder.engines.direct import baselock, layout
from builder.engines.direct.baselock import BaseLock
from builder.engines.direct.debian import search_path
from builder.engines.direct.image import Layer
from builder.engines.direct.making import BLOB, Maker, made
from builder.engines.direct.store import Store, touch, written
from builder.engines.direct.trace import first_difference
from builder.engines.direct.unpack import Stream
from builder.engines.direct.unpack import unpack as unpack_tar
from builder.engines.private import PrivateEngine
from builder.errors import BadInputError, CheckFailedError, EngineOrNetworkError, Fault
from builder.matrix import Base
from builder.project import write
from builder.shell import Shell
from builder.wheels.directory import INFLATE_ERROR

LAYOUT: Final = "CUVEE_BASE_LAYOUT"
"""Names the variable with the folder of an OCI layout that may have bases."""

TITLE: Final = "base"

_PIECE: Final = 1024 * 1024

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseLayer:
    """A base that is there.

    Attributes:
        lock: What it is.
        path: Its blob.
    """

    lock: BaseLock
    path: Path

    def blob(self) -> Iterator[bytes]:
        """Read its blob."""
        with self.path.open("rb") as file:
            yield from _pieces(file)

    def tar(self) -> Iterator[bytes]:
        """Read its tar archive."""
        with _opened(self.path) as file:
            yield from _pieces(file)

    @property
    def layer(self) -> Layer:
        """It as the layer of an image."""
        return Layer(
            title=TITLE,
            digest=self.lock.digest,
            size=self.lock.size,
            diff_id=self.lock.diff_id,
            blob=self.blob,
            tar=self.tar,
        )


def provide(  # noqa: PLR0913, PLR0917 - where it may come from, and where it goes
    folder: Path,
    base: Base,
    also: Sequence[str],
    store: Path,
    shell: Shell,
    say: Say,
    *,
    offline: bool = False,
    search: str | None = None,
) -> BaseLayer:
    """The base that its lock names, by the first way that works.

    Args:
        folder: The project's locks of bases.
        base: The base in the matrix.
        also: Debian's packages on top of the base's own, such as `ffmpeg`.
        store: The root of the store, where it is kept.
        shell: Starts mmdebstrap where it must be made.
        say: Told what takes long.
        offline: Whether it must not be made.
        search: Where programs are looked for; PATH and the private engine, when not given.

    Raises:
        BadInputError: There is no lock, or it is of another base.
        CannotResolveError: Debian has other versions today.
        CheckFailedError: What was made, or what the layout has, is not what the lock says.
        EngineOrNetworkError: It is nowhere, and cannot be made here.
    """
    lock = baselock.read(folder, base, also)
    found = BaseLayer(lock=lock, path=blob_path(Store(store), lock))
    if found.path.is_file() and found.path.stat().st_size == lock.size:
        touch(found.path)
        return found
    if (blob := _in_layout(lock)) and blob.is_file():
        say(f"base {lock.id}: taking it from {LAYOUT}")
        with Store(store).in_use():
            Store(store).write(found.path, _verified(blob, lock))
        return found
    if offline:
        raise _offline(lock)
    say(f"base {lock.id}: making it from Debian's packages (half a minute)")
    with made(base, also, _maker(folder, store, shell, search), lock) as (actual, blob):
        _require_same(lock, actual, blob)
        _publish(blob, found.path)
    return found


def update(  # noqa: PLR0913, PLR0917 - as `provide`
    folder: Path,
    base: Base,
    also: Sequence[str],
    store: Path,
    shell: Shell,
    say: Say,
    *,
    search: str | None = None,
) -> BaseLayer:
    """Make a base of what Debian has today, and write its lock; `provide` tells what is what.

    Raises:
        CannotMakeError: It cannot be made here.
        CuveeError: The lock cannot be written.
    """
    say(f"base {baselock.name(base, also)}: making it from Debian's packages (half a minute)")
    with made(base, also, _maker(folder, store, shell, search)) as (lock, blob):
        path = blob_path(Store(store), lock)
        _publish(blob, path)
    write(baselock.file(folder, base, also), lock.text())
    return BaseLayer(lock=lock, path=path)


def unpack(base: BaseLayer, into: Path, wanted: Callable[[str], bool] | None = None) -> None:
    """Unpack a base, or a part of it, into a folder; no path leads out of it, and only root keeps the owners.

    Raises:
        CheckFailedError: The blob is not what the lock says.
        OSError: It cannot be written.
    """
    try:
        unpack_tar(base.tar(), into, base.lock.diff_id, wanted)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, INFLATE_ERROR) as error:
        raise CheckFailedError(_damaged(base, str(error))) from error


@contextmanager
def reading(base: BaseLayer) -> Iterator[IO[bytes]]:
    """Read a base's tar archive, as far as whoever reads it goes; what is left is read behind them.

    Raises:
        CheckFailedError: The blob is not what the lock says.
    """
    stream = Stream(base.tar())
    buffered = io.BufferedReader(stream, _PIECE)
    try:
        yield buffered
        while buffered.read(_PIECE):
            pass  # the hash is that of all of it
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, INFLATE_ERROR) as error:
        raise CheckFailedError(_damaged(base, str(error))) from error
    if f"sha256:{stream.hash.hexdigest()}" != base.lock.diff_id:
        raise CheckFailedError(_damaged(base, f"its content's SHA-256 is {stream.hash.hexdigest()}"))


def blob_path(store: Store, lock: BaseLock) -> Path:
    """Where a store has the blob of a base, or would have it."""
    return store.bases / lock.hex / BLOB


def _maker(folder: Path, store: Path, shell: Shell, search: str | None) -> Maker:
    engine = PrivateEngine(folder.parent / ".engine").root / "usr" / "bin"
    own = search or f"{os.environ.get('PATH', os.defpath)}:{engine}"
    return Maker(store=Store(store), shell=shell, search=search_path(own))


def _publish(blob: Path, path: Path) -> None:
    with written(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        blob.replace(path)


def _opened(blob: Path) -> BinaryIO:
    return cast("BinaryIO", cast("Any", igzip).open(blob, "rb"))


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece


def _in_layout(lock: BaseLock) -> Path | None:
    folder = os.environ.get(LAYOUT)
    if not folder:
        return None
    if not Path(folder, "blobs").is_dir():
        raise BadInputError(
            Fault(
                place=LAYOUT,
                cause=f"{folder} is no OCI image layout: it has no folder `blobs`",
                fix=f"Name a folder that has one, such as `cuvee build --output` makes, or unset {LAYOUT}",
            )
        )
    return layout.blob_path(Path(folder), lock.digest)


def _verified(blob: Path, lock: BaseLock) -> Iterator[bytes]:
    """The pieces of a blob; it fails at their end when they are not what the lock says."""
    found = hashlib.sha256()
    with blob.open("rb") as file:
        for piece in _pieces(file):
            found.update(piece)
            yield piece
    if found.hexdigest() != lock.hex:
        raise CheckFailedError(
            Fault(
                place=str(blob),
                cause=f"its SHA-256 is {found.hexdigest()}, which is not its name",
                fix=f"Copy that layout again, or unset {LAYOUT}",
            )
        )


def _offline(lock: BaseLock) -> EngineOrNetworkError:
    return EngineOrNetworkError(
        Fault(
            place=f"base {lock.id}",
            cause="the store does not have it, and it must not be made offline",
            fix=f"Build once with the network, or name an OCI layout that has it in {LAYOUT}",
        )
    )


def _require_same(lock: BaseLock, actual: BaseLock, blob: Path) -> None:
    if actual.digest == lock.digest:
        return
    if actual.diff_id == lock.diff_id:
        cause = f"{actual.compressor} compresses it to other bytes than {lock.compressor}, as the lock has it"
        fix = "Install the version of the package that the lock names, and try again"
    else:
        cause = f"made of the same packages, it has other bytes here: {_first_file(lock, actual, blob)}"
        fix = f"See why that file differs on this machine, or name a layout that has this base in {LAYOUT}"
    raise CheckFailedError(Fault(place=f"base {lock.id}", cause=cause, fix=fix))


def _first_file(lock: BaseLock, actual: BaseLock, blob: Path) -> str:
    number = first_difference(lock.trace, actual.trace)
    if number is None:
        return "the trace in the lock does not tell in which file"
    with _opened(blob) as file, tarfile.open(fileobj=file, mode="r|", encoding="utf-8") as archive:
        for place, member in enumerate(archive):
            if place == number:
                return f"/{member.name} differs, or is one too many, or one before it is missing"
    return f"it has only the first {actual.files} of {lock.files} files"


def _damaged(base: BaseLayer, cause: str) -> Fault:
    return Fault(place=str(base.path), cause=f"it is damaged: {cause}", fix="Delete it, and build again")
