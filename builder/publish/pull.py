"""What a registry has of an image: its manifest, and single blobs."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from builder.errors import EngineOrNetworkError, Fault
from builder.publish.manifest import Manifest
from builder.publish.reference import Reference
from builder.publish.registry import Registry, using
from builder.wheels.store import PARTIAL


def remote_manifest(reference: Reference, *, registry: Registry | None = None) -> Manifest:
    """The manifest of an image in a registry; where there are several, the one for Linux on x86-64.

    Raises:
        EngineOrNetworkError: The registry does not have it, or does not give it.
    """
    with using(registry, reference) as used:
        return used.manifest(reference.repository, reference.target)


def fetch_blob(
    reference: Reference, digest: str, size: int, into: Path, *, registry: Registry | None = None
) -> None:
    """Write a blob of a repository to a file, which appears only when all of it was checked.

    Args:
        reference: The repository; its tag and digest do not matter.
        digest: The blob's.
        size: Its bytes.
        into: The file; its folder is made when it is missing.
        registry: The registry; that of the reference where it is not given.

    Raises:
        EngineOrNetworkError: It cannot be had or written, or its size or digest is another.
    """
    with using(registry, reference) as used, _written(into) as part, part.open("xb") as file:
        for piece in used.read(reference.repository, digest, size):
            file.write(piece)


@contextmanager
def _written(into: Path) -> Iterator[Path]:
    """A name that no one else uses; the file gets its own when all went well."""
    part = into.parent / f"{PARTIAL}{secrets.token_hex(8)}"
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(into)
    except OSError as error:
        raise EngineOrNetworkError(
            Fault(
                place=into.name,
                cause=f"cannot be stored in {into.parent}: {error.strerror or error}",
                fix="Free some space there, or name another folder",
            )
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()
