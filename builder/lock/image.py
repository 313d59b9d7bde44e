"""What a lock records of the image that the direct engine makes of it: digests that all machines must get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """The whole image.

    Attributes:
        recipe: The SHA-256 of all that decides the image: another recipe makes another record.
        manifest: The manifest's digest, which is the image's.
        layers: In order, the base first.
    """

    recipe: str
    manifest: str
    layers: tuple[LayerRecord, ...]

    @property
    def size(self) -> int:
        """The bytes of all its blobs: what a pull fetches."""
        return sum(layer.size for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ImageRecord:
        """The record that `to_json` gave.

        Raises:
            TypeError: It has other keys.
        """
        layers = tuple(
            LayerRecord(**{**layer, "packages": tuple(layer["packages"])}) for layer in data["layers"]
        )
        return cls(**{**data, "layers": layers})
