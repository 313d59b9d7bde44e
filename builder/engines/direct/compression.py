"""The same image with its layers compressed another way: with zstd, which is smaller, or not at all.

Layers keep their content, and so their `diff_id`; blobs and the manifest get other digests, which are the
same everywhere too: the project demands one release of zstandard, one level and one thread.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from threading import BoundedSemaphore, Event
from types import MappingProxyType
from typing import Any, Final

import zstandard

from builder.engines.direct.image import LAYER, Compression, Layer, OciImage, canonical
from builder.engines.direct.store import Store, touch
from builder.engines.direct.stream import PIECE
from builder.errors import CheckFailedError, Fault
from builder.lock.image import BlobRecord

LEVEL: Final = 3
"""Higher levels search with instructions that not every processor has, and may find other matches (zstd's
issue 4099 tells of one); this one is also as fast as the wheels can be inflated."""

WINDOW_LOG: Final = 27
"""The kernels of NVIDIA's libraries repeat from one architecture to the next, tens of megabytes apart. zstd's
own program and the readers of Docker, containerd and skopeo take windows of 128 MiB."""

FAR: Final = {"ldm_min_match": 16, "ldm_hash_rate_log": 3, "ldm_hash_log": 24}
"""How matches are sought in it: cuBLAS 12.8 becomes 0.80 of its wheel's bytes, and 0.88 without a window."""

AT_ONCE: Final = 2
"""Layers that are compressed at once: each takes a core, and 0.3 GB of memory for window and tables."""

_TURN: Final = BoundedSemaphore(AT_ONCE)  # a push reads more layers at once

ZSTD: Final = f"zstandard {version('zstandard')} level {LEVEL} window {WINDOW_LOG} {sorted(FAR.items())}"


def compressed(
    image: OciImage, how: Compression, store: Store, known: Mapping[str, BlobRecord] = MappingProxyType({})
) -> OciImage:
    """The image with its layers compressed so; with `passthrough`, the image itself.

    zstd's blobs are kept in the store, since each takes a while; all else is read from the wheels again.
    For zstd the base stays as it is: it is small, and `cuvee base` takes the same from a registry.

    Args:
        image: It.
        how: How.
        store: Where zstd's blobs are kept.
        known: By `diff_id` zstd's blobs that are recorded: they are made only when they are read.

    Raises:
        CheckFailedError: A layer is not what its `diff_id` says.
        CuveeError: A layer cannot be read, or the store cannot be written.
    """
    if how == "passthrough":
        return image
    if how == "none":
        return replace(image, layers=tuple(_uncompressed(layer, store) for layer in image.layers))
    base, *others = image.layers
    _make_all([layer for layer in others if layer.diff_id not in known], store)
    return replace(image, layers=(base, *(_zstd(layer, store, known) for layer in others)))


def remember_size(store: Store, diff_id: str, size: int) -> None:
    """Note the bytes of a tar archive, which else would have to be read once more to count them."""
    store.write(_size_file(store, diff_id), (canonical({"size": size}),))


def _uncompressed(layer: Layer, store: Store) -> Layer:
    told = _read(_size_file(store, layer.diff_id))
    if not isinstance(told.get("size"), int):
        told = {"size": sum(map(len, _same(layer)))}
        remember_size(store, layer.diff_id, told["size"])
    return replace(layer, media_type=LAYER["none"], digest=layer.diff_id, size=told["size"], blob=layer.tar)


def _size_file(store: Store, diff_id: str) -> Path:
    return store.path("layers", f"{_hex(diff_id)}.size.json")


def _make_all(layers: Sequence[Layer], store: Store) -> None:
    """Make what the store does not have, the largest first; what is not begun when one fails never is."""
    stop = Event()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        largest_first = sorted(layers, key=lambda layer: -layer.size)
        futures = [pool.submit(_made, layer, store, stop) for layer in largest_first]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _zstd(layer: Layer, store: Store, known: Mapping[str, BlobRecord]) -> Layer:
    blob = known.get(layer.diff_id) or _made(layer, store)[0]
    return replace(
        layer,
        media_type=LAYER["zstd"],
        digest=blob.digest,
        size=blob.size,
        blob=partial(_read_made, layer, store, blob),
    )


def _read_made(layer: Layer, store: Store, wanted: BlobRecord) -> Iterator[bytes]:
    """A blob, which is made if it is not there any more, or was never made here."""
    made, path = _made(layer, store)
    if made != wanted:
        raise CheckFailedError(
            Fault(
                place=f"layer {layer.title}",
                cause=f"zstd's blob was recorded as {wanted.digest} and is {made.digest} now",
                fix="Delete `image.zstd` from every lock that has that digest, and build those rows with "
                "`--compression zstd`",
            )
        )
    yield from _file(path)


def _made(layer: Layer, store: Store, stop: Event | None = None) -> tuple[BlobRecord, Path]:
    """What zstd makes of a layer, and where the store has it."""
    recipe = hashlib.sha256(f"{layer.diff_id} {ZSTD}".encode()).hexdigest()
    about, blob = store.path("blobs", f"{recipe}.json"), store.path("blobs", f"{recipe}.tar.zst")
    made = _told(about)
    if made is None or not blob.is_file() or blob.stat().st_size != made.size:
        with _TURN:
            store.write(blob, _zstd_pieces(_until(stop, _same(layer))))
        made = BlobRecord(digest=f"sha256:{_sha256(blob)}", size=blob.stat().st_size)
        store.write(about, (canonical(asdict(made)),))
    touch(about)
    touch(blob)
    return made, blob


def _told(about: Path) -> BlobRecord | None:
    try:
        return BlobRecord(**_read(about))
    except (TypeError, ValueError):
        return None


def _same(layer: Layer) -> Iterator[bytes]:
    """The tar archive of a layer; it fails at its end where it is not the layer's.

    The blob's digest is made here: nothing else would tell that it is of something else.
    """
    found = hashlib.sha256()
    for piece in layer.tar():
        found.update(piece)
        yield piece
    if f"sha256:{found.hexdigest()}" != layer.diff_id:
        raise CheckFailedError(
            Fault(
                place=f"layer {layer.title}",
                cause=f"its content's SHA-256 is {found.hexdigest()} and should be {_hex(layer.diff_id)}",
                fix="The store or the lock is damaged: run `cuvee clean --store`, and build again",
            )
        )


def _until(stop: Event | None, pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        if stop and stop.is_set():
            raise CancelledError
        yield piece


def _zstd_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A zstd stream of one thread. It is fed pieces of one size: where they end must not count."""
    how = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, enable_ldm=True, window_log=WINDOW_LOG, threads=0, write_checksum=True, **FAR
    )
    compressor = zstandard.ZstdCompressor(compression_params=how).compressobj()
    buffer = b""
    for piece in pieces:
        buffer += piece
        while len(buffer) >= PIECE:
            yield compressor.compress(buffer[:PIECE])
            buffer = buffer[PIECE:]
    yield compressor.compress(buffer)
    yield compressor.flush()


def _file(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    for piece in _file(path):
        found.update(piece)
    return found.hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
