"""What a pull of one image costs who has another, layer by layer, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedLayer:
    """A layer, as a manifest or a lock tells of it.

    Attributes:
        title: What a person calls it.
        packages: The packages in it, each as `torch 2.4.1`.
        digest: The SHA-256 of its blob.
        size: The bytes of its blob.
    """

    title: str
    packages: tuple[str, ...]
    digest: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """An image.

    Attributes:
        name: As the user named it.
        digest: Of its manifest.
        layers: In order.
    """

    name: str
    digest: str
    layers: tuple[DescribedLayer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """A layer that a pull fetches.

    Attributes:
        title: What a person calls it.
        size: Its bytes.
        why: Why who has the first image does not have it.
    """

    title: str
    size: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What a pull of `other` costs who has `one`.

    Attributes:
        one: The image that is there.
        other: The image that is wanted.
        same: Whether both are one image.
        pulled: The layers that are fetched, in the image's order.
        pulled_bytes: Their bytes.
        shared: How many layers are there already.
        shared_bytes: Their bytes.
        gone: The packages that only the first image has, each as `torch 2.4.1`.
    """

    one: str
    other: str
    same: bool
    pulled: tuple[Pulled, ...]
    pulled_bytes: int
    shared: int
    shared_bytes: int
    gone: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return asdict(self)


def difference(one: Described, other: Described) -> Difference:
    """What a pull of `other` costs who has `one`."""
    there = {layer.digest for layer in one.layers}
    wanted = {layer.digest: layer for layer in other.layers}  # a blob is fetched once
    pulled = [layer for layer in wanted.values() if layer.digest not in there]
    shared = [layer for layer in wanted.values() if layer.digest in there]
    before, after = _versions(one.layers), _versions(other.layers)
    return Difference(
        one=one.name,
        other=other.name,
        same=one.digest == other.digest,
        pulled=tuple(
            Pulled(title=layer.title, size=layer.size, why=_why(layer, one, before)) for layer in pulled
        ),
        pulled_bytes=sum(layer.size for layer in pulled),
        shared=len(shared),
        shared_bytes=sum(layer.size for layer in shared),
        gone=tuple(f"{name} {before[name]}" for name in sorted(before.keys() - after.keys())),
    )


def _versions(layers: Iterable[DescribedLayer]) -> dict[str, str]:
    """The versions of all packages, by name; of a package that is there twice, as in an overlay, both."""
    found: dict[str, str] = {}
    for layer in layers:
        for package in layer.packages:
            name, _, version = package.partition(" ")
            before = found.get(name, version)
            found[name] = before if version in before.split(" and ") else f"{before} and {version}"
    return found


def _why(layer: DescribedLayer, one: Described, before: Mapping[str, str]) -> str:
    if not layer.packages:
        has = any(layer.title == other.title for other in one.layers)
        return "its files differ" if has else "only the other image has it"
    return _reasons(layer, before) or "the same packages, in other company or compiled by another Python"


def _reasons(layer: DescribedLayer, before: Mapping[str, str]) -> str:
    """What is another version comes first, then what is new."""
    pairs = [package.split(" ", 1) for package in layer.packages]
    changed = [
        f"{name} {before[name]} → {version}"
        for name, version in pairs
        if name in before and version not in before[name].split(" and ")
    ]
    new = [f"{name} {version}" for name, version in pairs if name not in before]
    told = [", ".join(changed), f"new: {', '.join(new)}" if new else ""]
    return "; ".join(part for part in told if part)
