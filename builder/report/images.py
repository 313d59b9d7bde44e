"""Images by whatever name a user has for them: a row, a lock, a layout's folder, a place in a registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from builder import matrix
from builder.engines.direct import layout
from builder.engines.direct.difference import Described, DescribedLayer
from builder.engines.direct.image import PACKAGES, TITLE, canonical, sha256
from builder.errors import BadInputError, Fault
from builder.lock import record
from builder.project import Project

Say = Callable[[str], None]


def described(project: Project, name: str, say: Say) -> Described:
    """An image by its name.

    Args:
        project: Where rows are.
        name: A row's id, a `lock.json`, the folder of an OCI layout (`FOLDER:TAG` where it has several
            images), or a reference such as `registry.example.org/cuvee:cu121`.
        say: Told when a registry is asked.

    Raises:
        NothingSelectedError: It looks like a row's id, and there is no such row.
        BadInputError: It names nothing, or something that cannot be read.
        EngineOrNetworkError: The registry does not give it.
    """
    if any(row.id == name for row in matrix.load(project.matrix).rows):
        return _of_lock(name, project.image(name) / record.FILE)
    if Path(name).is_file():
        return _of_lock(name, Path(name))
    folder, _, tag = name.rpartition(":")
    for path, wanted in ((Path(name), None), (Path(folder or "."), tag)):
        if (path / layout.MARK).is_file():
            return _of_layout(name, path, wanted)
    if "/" not in name:  # nobody means a repository of Docker Hub's own
        matrix.load(project.matrix).select([name])
    return _of_registry(name, say)


def _of_lock(name: str, path: Path) -> Described:
    recorded = record.read(path).image
    if recorded is None:
        row = path.parent.name
        raise BadInputError(
            Fault(
                place=str(path),
                cause="it records no image",
                fix=f"Run `cuvee build {row} --engine direct`",
            )
        )
    return Described(
        name=name,
        digest=recorded.zstd.manifest if recorded.zstd else recorded.manifest,
        layers=tuple(
            DescribedLayer(title=layer.title, packages=layer.packages, digest=layer.digest, size=layer.size)
            for layer in recorded.published
        ),
    )


def _of_layout(name: str, folder: Path, tag: str | None) -> Described:
    found = dict(layout.manifests(folder))
    if tag is None and len(found) == 1:
        [tag] = found
    if tag not in found:
        raise BadInputError(
            Fault(
                place=name,
                cause="the layout has several images" if tag is None else f"the layout has no image {tag!r}",
                fix=f"Name one as FOLDER:TAG; it has {', '.join(sorted(found))}",
            )
        )
    return _of_manifest(name, sha256(canonical(found[tag])), found[tag])


def _of_registry(name: str, say: Say) -> Described:
    from builder.publish.pull import remote_manifest
    from builder.publish.reference import Reference

    reference = Reference.parse(name)
    say(f"{name}: asking the registry")
    manifest = remote_manifest(reference)
    return _of_manifest(name, manifest.digest, manifest.document)


def _of_manifest(name: str, digest: str, manifest: Mapping[str, Any]) -> Described:
    return Described(name=name, digest=digest, layers=tuple(map(_layer, manifest["layers"])))


def _layer(told: Mapping[str, Any]) -> DescribedLayer:
    annotations = told.get("annotations") or {}
    packages = annotations.get(PACKAGES, "")
    return DescribedLayer(
        title=annotations.get(TITLE, told["digest"][:19]),
        packages=tuple(packages.split(", ")) if packages else (),
        digest=told["digest"],
        size=told["size"],
    )
