"""Making a base: a root file system of Debian's packages, normalised, as one layer."""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from builder.engines.direct import baselock, gz, tar
from builder.engines.direct.baselock import BaseLock, Package
from builder.engines.direct.debian import SNAPSHOT, CannotMakeError, Request, packages_of, root_filesystem
from builder.engines.direct.normal import File, normal, notes
from builder.engines.direct.store import Store
from builder.engines.direct.trace import mark
from builder.errors import BadInputError, CannotResolveError, Fault
from builder.matrix import Base
from builder.shell import Shell

BLOB: Final = "layer.tar.gz"

_MEMBER: Final = 64 * 1024
"""Bytes that a gzip member has at least: with one a file, thousands of small ones would make 6% more."""

_LARGEST: Final = 16 * 1024 * 1024
"""Bytes at which one ends even within a file, so that a large file is not held in memory several times."""

_MOST_TOLD: Final = 10  # packages that differ


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """What makes bases.

    Attributes:
        store: Where they will be kept.
        shell: Starts mmdebstrap.
        search: Where programs are looked for, as PATH has it.
    """

    store: Store
    shell: Shell
    search: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A layer that was written.

    Attributes:
        digest: The SHA-256 of its blob, as `sha256:…`.
        size: The bytes of its blob.
        diff_id: The SHA-256 of its tar archive, likewise.
        files: How many files, folders and links it has.
        trace: As `BaseLock` has it.
    """

    digest: str
    size: int
    diff_id: str
    files: int
    trace: str


@contextmanager
def made(
    base: Base, also: Sequence[str], maker: Maker, lock: BaseLock | None = None
) -> Iterator[tuple[BaseLock, Path]]:
    """Make a base.

    Args:
        base: The base in the matrix.
        also: Debian's packages on top of the base's own.
        maker: Where.
        lock: Names the versions of its packages; without it, Debian's newest are taken.

    Yields:
        What it is, and its blob in a folder of the store that is deleted afterwards.

    Raises:
        BadInputError: Debian's suite has another Python than the matrix says.
        CannotMakeError: It cannot be made here.
        CannotResolveError: Debian has other versions than the lock says.
    """
    request = Request(
        id=baselock.name(base, also),
        suite=base.suite,
        include=baselock.include(base, also),
        suites=base.suites,
        pins=lock.packages if lock else (),
    )
    with (
        tempfile.TemporaryDirectory(prefix="cuvee-base-") as scratch,
        maker.store.in_use(),
        maker.store.scratch() as folder,
    ):
        root, blob = _root(request, Path(scratch), maker), folder / BLOB
        with tarfile.open(root, "r:", encoding="utf-8") as archive, blob.open("xb") as sink:
            packages = packages_of(notes(archive))
            if lock:
                _require_versions(lock, packages)
            layer = write_layer(normal(archive, base.suite, base.suites), sink)
        yield (
            BaseLock(
                id=request.id,
                suite=request.suite,
                suites=request.suites,
                include=request.include,
                packages=packages,
                python=_python(base, packages),
                digest=layer.digest,
                size=layer.size,
                diff_id=layer.diff_id,
                files=layer.files,
                trace=layer.trace,
            ),
            blob,
        )


def write_layer(files: Iterable[File], sink: BinaryIO) -> Written:
    """Write files as the blob of a layer."""
    blob, archive = hashlib.sha256(), hashlib.sha256()
    size, marks = 0, list[str]()
    for data in _members(files, marks):
        archive.update(data)
        packed = gz.member(data)
        blob.update(packed)
        size += sink.write(packed)
    return Written(
        digest=f"sha256:{blob.hexdigest()}",
        size=size,
        diff_id=f"sha256:{archive.hexdigest()}",
        files=len(marks),
        trace="".join(marks),
    )


def _members(files: Iterable[File], marks: list[str]) -> Iterator[bytes]:
    """The tar archive in pieces, each to become a gzip member; notes every entry's mark."""
    waiting = bytearray()
    for node, content in files:
        head = tar.header(node, len(content))
        marks.append(mark(head, hashlib.sha256(content).digest()))
        for part in (head, content, tar.padding(len(content))):
            for start in range(0, len(part), _LARGEST):
                waiting += part[start : start + _LARGEST]
                if len(waiting) >= _LARGEST:
                    yield bytes(waiting)
                    waiting.clear()
        if len(waiting) >= _MEMBER:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting) + tar.END


def _root(request: Request, scratch: Path, maker: Maker) -> Path:
    try:
        return root_filesystem(request, scratch, maker.shell, maker.search)
    except CannotMakeError as error:
        if not error.pins_failed:
            raise
    # Without the locked versions it comes to an end, so that it can be told which of them Debian has no more.
    return root_filesystem(replace(request, pins=()), scratch, maker.shell, maker.search)


def _python(base: Base, packages: Iterable[Package]) -> str:
    wanted = f"python{base.python}"
    found = [package.version for package in packages if package.name == wanted]
    if not found:
        raise BadInputError(
            Fault(
                place=f"base {base.id}",
                cause=f"{' and '.join((base.suite, *base.suites))} has no package {wanted}",
                fix=f"Write the Python that {base.suite} has into matrix.yaml",
            )
        )
    return found[0]


def _require_versions(lock: BaseLock, offered: Sequence[Package]) -> None:
    differing = baselock.differing(lock, offered)
    if not differing:
        return
    more = len(differing) - _MOST_TOLD
    told = ", ".join(differing[:_MOST_TOLD]) + (f" and {more} more" if more > 0 else "")
    raise CannotResolveError(
        Fault(
            place=f"base {lock.id}",
            cause=f"Debian has other packages than the lock says: {told}",
            fix=f"Run `cuvee base --update {lock.id.partition('+')[0]}`, or name a dated archive of Debian "
            f"in {SNAPSHOT}, or a layout that has this base in CUVEE_BASE_LAYOUT",
        )
    )
