"""The tar archives that `POST /images/load` of a Docker engine takes.

Graph drivers read `manifest.json`, the containerd image store reads the OCI layout: an archive has both. Both
do without the files of layers that they have (moby's tarexport/load.go, containerd's import.go; run on 26.1).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from builder.engines.direct import tar
from builder.engines.direct.image import INDEX, MANIFEST, Layer, OciImage, canonical


def prefix(image: OciImage, count: int) -> OciImage:
    """The image as it is after its first layers, with the same settings and labels."""
    if count == len(image.layers):
        return image
    config: dict[str, Any] = json.loads(image.config)
    config["rootfs"]["diff_ids"] = config["rootfs"]["diff_ids"][:count]
    config["history"] = config["history"][:count]
    return replace(image, config=canonical(config), layers=image.layers[:count])


def archive(image: OciImage, sent: Iterable[Layer], before_end: Callable[[], object]) -> Iterator[bytes]:
    """The pieces of an archive of an image, which has no name in it.

    Args:
        image: The image.
        sent: Those of its layers whose files are in the archive.
        before_end: Called behind the last layer. An engine begins its work when the archive ends.

    Raises:
        CuveeError: A layer cannot be read, or what `before_end` raises.
    """
    for layer in sent:
        yield tar.header(tar.Node(_path(layer.digest)), layer.size)
        yield from layer.blob()
        yield tar.padding(layer.size)
    before_end()
    for path, data in _told(image).items():
        yield tar.header(tar.Node(path), len(data)) + data + tar.padding(len(data))
    yield tar.END


def _told(image: OciImage) -> Mapping[str, bytes]:
    """What says which layers make the image; nothing names it, so that no tag moves before all is well."""
    manifest = {"mediaType": MANIFEST, "digest": image.digest, "size": len(image.manifest)}
    layers = [_path(layer.digest) for layer in image.layers]
    return {
        _path(image.config_digest): image.config,
        _path(image.digest): image.manifest,
        "oci-layout": canonical({"imageLayoutVersion": "1.0.0"}),
        "index.json": canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]}),
        "manifest.json": canonical(
            [{"Config": _path(image.config_digest), "RepoTags": None, "Layers": layers}]
        ),
    }


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
