"""An OCI image layout in a folder: what skopeo, umoci, syft and others read, and `docker load` as well.

A layout holds several images, which share blobs. The index comes last, by one rename: an image is there whole
or not at all.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from builder.engines.direct.image import INDEX, MANIFEST, Bytes, OciImage, canonical
from builder.errors import BadInputError, CheckFailedError, EngineOrNetworkError, Fault

MARK = "oci-layout"
REFERENCE = "org.opencontainers.image.ref.name"
NAME = "io.containerd.image.name"
_PART = ".part-"

_Named: TypeAlias = tuple[Any, dict[str, Any]]


def write(image: OciImage, folder: Path) -> tuple[int, int]:
    """Put an image into a layout, which is made where there is none.

    Returns:
        How many blobs were written, and their bytes; what was there already is not written again.

    Raises:
        BadInputError: The folder has files and is no layout, or its list of images is damaged.
        CheckFailedError: A layer's content is not what its digest says.
        EngineOrNetworkError: It cannot be written.
    """
    try:
        _require_own(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            listed = _listed(folder)  # before gigabytes are written
            counts = [_write_blob(folder, *blob) for blob in _blobs(image)]
            _write_index(folder, image, *listed)
    except OSError as error:
        raise EngineOrNetworkError(
            Fault(
                place=str(folder),
                cause=f"it cannot be written: {error.strerror or error}",
                fix="Free some space there, or name another folder",
            )
        ) from error
    return sum(count > 0 for count in counts), sum(counts)


def blob_path(folder: Path, digest: str) -> Path:
    """Where a layout has a blob."""
    return folder / "blobs" / digest.replace(":", "/")


def manifests(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The images of a layout: each one's name and manifest.

    Raises:
        BadInputError: It is no layout, or it is damaged.
    """
    try:
        for entry in _read(folder / "index.json")["manifests"]:
            name = entry.get("annotations", {}).get(REFERENCE, entry["digest"])
            yield name, _read(blob_path(folder, entry["digest"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadInputError(
            Fault(place=str(folder), cause=f"it is no OCI image layout: {error}", fix="Name another folder")
        ) from error


def _require_own(folder: Path) -> None:
    """See that a folder is empty, a layout, or not there yet.

    Looked into first, for the mark second: another that makes a layout here meanwhile makes the mark first.
    """
    taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if taken and not (folder / MARK).exists():
        raise BadInputError(
            Fault(
                place=str(folder),
                cause="it has files, and is no OCI image layout",
                fix="Name an empty folder, or one that does not exist yet",
            )
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time write, and sweep what a killed one has left.

    The file that says that this is a layout is the first that is made, and is never replaced: it is the lock.
    """
    with (folder / MARK).open("ab") as mark:  # over a network, only what is open for writing can be locked
        fcntl.flock(mark, fcntl.LOCK_EX)
        if not os.fstat(mark.fileno()).st_size:
            mark.write(canonical({"imageLayoutVersion": "1.0.0"}))
            mark.flush()
        (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        for left in folder.rglob(f"{_PART}*"):
            left.unlink(missing_ok=True)
        yield


def _blobs(image: OciImage) -> Iterator[tuple[str, int, Bytes]]:
    yield from ((layer.digest, layer.size, layer.blob) for layer in image.layers)
    for digest, data in ((image.config_digest, image.config), (image.digest, image.manifest)):
        yield digest, len(data), partial(iter, (data,))


def _write_blob(folder: Path, digest: str, size: int, read: Bytes) -> int:
    """Write a blob that is not there; returns its bytes, or 0."""
    path = blob_path(folder, digest)
    if path.is_file() and path.stat().st_size == size:
        return 0
    part = path.with_name(f"{_PART}{secrets.token_hex(8)}")
    found = hashlib.sha256()
    try:
        with part.open("xb") as file:
            for piece in read():
                found.update(piece)
                file.write(piece)
        if f"sha256:{found.hexdigest()}" != digest:
            raise CheckFailedError(_another(digest, f"its SHA-256 is {found.hexdigest()}"))
        if (written := part.stat().st_size) != size:
            raise CheckFailedError(_another(digest, f"it has {written} bytes and should have {size}"))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return size


def _another(digest: str, cause: str) -> Fault:
    return Fault(
        place=f"layer {digest}",
        cause=cause,
        fix="The store or the lock is damaged: run `cuvee clean --store`, and build again",
    )


def _listed(folder: Path) -> tuple[list[_Named], list[_Named]]:
    """The images that `index.json` and `manifest.json` name, each with the name that it has there."""
    index, loads = folder / "index.json", folder / "manifest.json"
    try:
        images = _read(index)["manifests"] if index.is_file() else []
        loadable = _read(loads) if loads.is_file() else []
        return [(_reference(one), one) for one in images], [(one["RepoTags"], one) for one in loadable]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadInputError(
            Fault(
                place=str(folder),
                cause=f"its list of images is damaged: {error}",
                fix="Name another folder, or delete this one",
            )
        ) from error


def _reference(entry: dict[str, Any]) -> str | None:
    """What an image is called in an index; other programs leave images without a name there."""
    name: str | None = (entry.get("annotations") or {}).get(REFERENCE)
    return name


def _write_index(folder: Path, image: OciImage, images: list[_Named], loadable: list[_Named]) -> None:
    """Name the image in `index.json`, and in the `manifest.json` that `docker load` reads."""
    reference = image.name.rpartition(":")[2]
    entry = {
        "mediaType": MANIFEST,
        "digest": image.digest,
        "size": len(image.manifest),
        "annotations": {REFERENCE: reference, NAME: f"docker.io/library/{image.name}"},
        "platform": {"architecture": "amd64", "os": "linux"},
    }
    entries = [entry, *(one for name, one in images if name != reference)]
    load = {
        "Config": _load_path(image.config_digest),
        "RepoTags": [image.name],
        "Layers": [_load_path(layer.digest) for layer in image.layers],
    }
    loads = [load, *(one for tags, one in loadable if tags != load["RepoTags"])]
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": sorted(entries, key=canonical)}
    _replace(folder / "manifest.json", canonical(sorted(loads, key=canonical)))
    _replace(folder / "index.json", canonical(index))


def _load_path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(f"{_PART}{secrets.token_hex(8)}")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes())
