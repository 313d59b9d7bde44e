"""What a registry says that an image consists of. Pure."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from builder.engines.direct.image import INDEX, MANIFEST, sha256
from builder.publish.faults import strange

_DOCKER = "application/vnd.docker.distribution.manifest"
_INDEXES = (INDEX, f"{_DOCKER}.list.v2+json")
ACCEPTED = ", ".join((MANIFEST, f"{_DOCKER}.v2+json", *_INDEXES))
"""The types of what can be read here."""

PLATFORM = {"os": "linux", "architecture": "amd64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest in a registry, or an index of some.

    Attributes:
        digest: The SHA-256 of its bytes, as `sha256:…`.
        document: What it says.
    """

    digest: str
    document: dict[str, Any] = field(repr=False)

    @classmethod
    def read(cls, data: bytes, place: str) -> Manifest:
        """The manifest that these bytes are.

        Raises:
            EngineOrNetworkError: They are none.
        """
        with suppress(ValueError, RecursionError):
            document = json.loads(data)
            if isinstance(document, dict):
                return cls(digest=sha256(data), document=document)
        raise strange(place, "the registry does not answer with a manifest")

    @property
    def is_index(self) -> bool:
        """Whether it lists images rather than layers."""
        return self.document.get("mediaType") in _INDEXES or "manifests" in self.document

    def chosen(self, place: str) -> str:
        """The digest of an index's image for Linux on x86-64.

        Raises:
            EngineOrNetworkError: It has none.
        """
        with suppress(LookupError, TypeError, AttributeError):
            for listed in self.document["manifests"]:
                platform = listed.get("platform") or {}
                if {name: platform.get(name) for name in PLATFORM} == PLATFORM:
                    return str(listed["digest"])
        raise strange(place, "it has no image for Linux on x86-64")

    def require_layers(self, place: str) -> None:
        """See that it is an image's.

        Raises:
            EngineOrNetworkError: It is something else, or of a kind that registries had before 2016.
        """
        layers = self.document.get("layers")
        if not isinstance(layers, list) or not all(map(_is_layer, layers)):
            raise strange(place, "what the registry has is no image of layers")


def _is_layer(listed: Any) -> bool:
    if not isinstance(listed, dict):
        return False
    return isinstance(listed.get("digest"), str) and isinstance(listed.get("size"), int)
