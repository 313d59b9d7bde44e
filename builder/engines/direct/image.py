"""An image as OCI describes it: layers, a configuration and a manifest that names both by their hash.

Pure: a layer knows where its bytes can be read, and reads none of them here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from builder.errors import CheckFailedError, Fault

Compression = Literal["passthrough", "zstd", "none"]

_MEDIA = "application/vnd.oci.image"
MANIFEST = f"{_MEDIA}.manifest.v1+json"
INDEX = f"{_MEDIA}.index.v1+json"
CONFIG = f"{_MEDIA}.config.v1+json"
LAYER: Mapping[Compression, str] = {
    "passthrough": f"{_MEDIA}.layer.v1.tar+gzip",
    "zstd": f"{_MEDIA}.layer.v1.tar+zstd",
    "none": f"{_MEDIA}.layer.v1.tar",
}

TITLE = "org.opencontainers.image.title"
PACKAGES = "cuvee.packages"
"""The annotation of a layer that names its packages, `torch 2.4.1, triton 3.0.0`."""

Bytes = Callable[[], Iterator[bytes]]
"""Reads something from its beginning, each time it is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of an image.

    Attributes:
        title: What a person calls it: `torch 2.4.1`, or `base`.
        packages: The packages in it, each as `torch 2.4.1`; none for a layer without packages.
        media_type: How its blob is compressed, as OCI names it.
        digest: The SHA-256 of its blob, as `sha256:…`.
        size: The bytes of its blob.
        diff_id: The SHA-256 of its tar archive, as `sha256:…`.
        blob: Reads the blob, in pieces of at most a few MB. Raises CuveeError where it cannot be had; what it
            needs, such as a wheel, is fetched only when it is called.
        tar: Reads the tar archive likewise.
    """

    title: str
    packages: tuple[str, ...] = ()
    media_type: str = LAYER["passthrough"]
    digest: str
    size: int
    diff_id: str
    blob: Bytes = field(repr=False, compare=False)
    tar: Bytes = field(repr=False, compare=False)

    def check(self) -> None:
        """Read the blob, and see that it is what its digest says.

        Raises:
            CheckFailedError: It is not.
            CuveeError: It cannot be read.
        """
        found = hashlib.sha256()
        for piece in self.blob():
            found.update(piece)
        self.require(found.hexdigest())

    def require(self, found: str) -> None:
        """See that the SHA-256 of what was read as the blob, in hex, is the digest's.

        Raises:
            CheckFailedError: It is not.
        """
        if f"sha256:{found}" != self.digest:
            raise CheckFailedError(
                Fault(
                    place=f"layer {self.title}",
                    cause=f"its SHA-256 is {found} and should be {self.digest.removeprefix('sha256:')}",
                    fix="The store or the lock is damaged: run `cuvee clean --store`, and build again",
                )
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class OciImage:
    """A whole image.

    Attributes:
        name: Its repository and tag, `cuvee:cu121`.
        config: The bytes of its configuration.
        layers: In order, the base first.
    """

    name: str
    config: bytes = field(repr=False)
    layers: tuple[Layer, ...]

    @property
    def config_digest(self) -> str:
        """The SHA-256 of the configuration; the image's id in Docker's graph drivers."""
        return sha256(self.config)

    @property
    def manifest(self) -> bytes:
        """The bytes of its manifest."""
        return canonical(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, "digest": self.config_digest, "size": len(self.config)},
                "layers": [_descriptor(layer) for layer in self.layers],
            }
        )

    @property
    def digest(self) -> str:
        """The SHA-256 of the manifest: the one digest of the image, wherever it lies."""
        return sha256(self.manifest)

    @property
    def size(self) -> int:
        """The bytes of all its blobs: what a pull fetches."""
        return sum(layer.size for layer in self.layers)

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        labels: dict[str, str] = json.loads(self.config)["config"]["Labels"]
        return labels


def configuration(
    *,
    environment: Iterable[tuple[str, str]],
    labels: Iterable[tuple[str, str]],
    layers: Iterable[tuple[str, str]],
    created: str,
) -> bytes:
    """The configuration of an image.

    Args:
        environment: Variables and their values.
        labels: Likewise.
        layers: Of each layer its title and its `diff_id`.
        created: When, as `2025-01-20T00:00:00Z`: the day of the lock, not of the build.
    """
    told = list(layers)
    return canonical(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": created,
            "config": {
                "Env": [f"{name}={value}" for name, value in environment],
                "Cmd": ["python"],
                "Labels": dict(sorted(labels)),
            },
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in told]},
            "history": [{"created": created, "created_by": f"cuvee: {title}"} for title, _ in told],
        }
    )


def canonical(value: Any) -> bytes:
    """The one way in which JSON is written here: its bytes are hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256(data: bytes) -> str:
    """The SHA-256 of something, as `sha256:…`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _descriptor(layer: Layer) -> dict[str, Any]:
    annotations = {TITLE: layer.title}
    if layer.packages:
        annotations[PACKAGES] = ", ".join(layer.packages)
    return {
        "mediaType": layer.media_type,
        "digest": layer.digest,
        "size": layer.size,
        "annotations": annotations,
    }
