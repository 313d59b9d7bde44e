"""What a lock records of the image that the direct engine makes of it: digests that all machines must get."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_TRACE: Final = re.compile(r"(?:[A-Za-z0-9+/]{2})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecord:
    """One layer.

    Attributes:
        title: What a person calls it: `torch 2.4.1`.
        packages: The packages in it, each as `torch 2.4.1`.
        digest: The SHA-256 of its blob, `sha256:…`.
        size: The bytes of its blob.
        diff_id: The SHA-256 of its tar archive, `sha256:…`.
        trace: Of each file that is made and not taken from a locked wheel, in order, two characters of its
            hash: they name the first file that differs. Empty for the base, whose own lock has it.
    """

    title: str
    packages: tuple[str, ...] = ()
    digest: str
    size: int
    diff_id: str
    trace: str = ""

    def __post_init__(self) -> None:
        for name, form in (("digest", _DIGEST), ("diff_id", _DIGEST), ("trace", _TRACE)):
            _require(f"image.layers.{name}", getattr(self, name), form)
        if not isinstance(self.size, int) or self.size < 0:
            raise ValueError(f"image.layers.size: {self.size!r} is not a number of bytes")
        for text in (self.title, *self.packages):
            if not isinstance(text, str):
                raise TypeError(f"image.layers: {text!r} is not a name")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRecord:
    """A layer's blob.

    Attributes:
        digest: Its SHA-256, `sha256:…`.
        size: Its bytes.
    """

    digest: str
    size: int

    def __post_init__(self) -> None:
        _require("image.zstd.layers.digest", self.digest, _DIGEST)
        if not isinstance(self.size, int) or self.size < 0:
            raise ValueError(f"image.zstd.layers.size: {self.size!r} is not a number of bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class ZstdRecord:
    """The same image with its layers compressed by zstd.

    Attributes:
        how: What compressed them: release, level and window. Another one gives other bytes.
        manifest: The manifest's digest.
        layers: The blobs of its layers, in order. The base's is as in the other image.
    """

    how: str
    manifest: str
    layers: tuple[BlobRecord, ...]

    def __post_init__(self) -> None:
        _require("image.zstd.manifest", self.manifest, _DIGEST)
        if not isinstance(self.how, str):
            raise TypeError(f"image.zstd.how: {self.how!r} is not a text")

    @property
    def size(self) -> int:
        """The bytes of all its blobs: what a pull fetches."""
        return sum(layer.size for layer in self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """The whole image.

    Attributes:
        recipe: The SHA-256 of all that decides the image: another recipe makes another record.
        manifest: The manifest's digest, which is the image's.
        layers: In order, the base first.
        zstd: The same with zstd's layers, or None where nobody has made them yet.
    """

    recipe: str
    manifest: str
    layers: tuple[LayerRecord, ...]
    zstd: ZstdRecord | None = None

    def __post_init__(self) -> None:
        for name in ("recipe", "manifest"):
            _require(f"image.{name}", getattr(self, name), _DIGEST)
        if self.zstd and len(self.zstd.layers) != len(self.layers):
            raise ValueError(f"image.zstd.layers: {len(self.zstd.layers)} for {len(self.layers)} layers")
        if self.zstd and self.layers and self.zstd.layers[0].digest != self.layers[0].digest:
            raise ValueError("image.zstd.layers: the first is not the base's blob, which both images have")

    @property
    def size(self) -> int:
        """The bytes of all its blobs: what a pull fetches."""
        return sum(layer.size for layer in self.layers)

    @property
    def manifests(self) -> frozenset[str]:
        """The digests by which an engine may know it: they are of the same content."""
        return frozenset({self.manifest, *([self.zstd.manifest] if self.zstd else [])})

    @property
    def published(self) -> tuple[LayerRecord, ...]:
        """The layers as they go to a registry: zstd's where they are known."""
        if not self.zstd:
            return self.layers
        blobs = zip(self.layers, self.zstd.layers, strict=True)
        return tuple(replace(layer, digest=blob.digest, size=blob.size) for layer, blob in blobs)

    @property
    def pull(self) -> int:
        """The bytes of these layers."""
        return sum(layer.size for layer in self.published)

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        plain = asdict(self)
        return plain if self.zstd else {key: value for key, value in plain.items() if key != "zstd"}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ImageRecord:
        """The record that `to_json` gave.

        Raises:
            TypeError: It has other keys, or other things than names.
            KeyError: It has no layers.
            ValueError: A digest or a size is none.
        """
        layers = tuple(
            LayerRecord(**{**layer, "packages": tuple(layer["packages"])}) for layer in data["layers"]
        )
        return cls(**{**data, "layers": layers, "zstd": _zstd(data["zstd"]) if data.get("zstd") else None})


def _zstd(data: Mapping[str, Any]) -> ZstdRecord:
    return ZstdRecord(**{**data, "layers": tuple(BlobRecord(**blob) for blob in data["layers"])})


def _require(place: str, value: object, form: re.Pattern[str]) -> None:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ValueError(f"{place}: {value!r} where {form.pattern} belongs")
