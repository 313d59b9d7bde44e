"""Which packages an image installs in one step, and in which order.

Pure: nothing here touches disk, network or processes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from builder.lock.record import Package

CHAIN = ("cuda", "cudnn", "torch")
LAST = ("libraries", "speech")
_TORCH = frozenset({"torch", "triton", "torchaudio", "torchvision", "torchcodec"})

Kind = Literal["chain", "beside"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Packages that are installed in one step.

    Attributes:
        name: `cuda`, `cudnn`, `torch`, `overlay-<name>`, `libraries`, or `speech`: what the row itself names.
            In a row of several environments, the environment's name and a dash come first.
        kind: A `chain` layer stands on the one before it; a `beside` layer is made at the same time as the
            chain and laid on top of it.
        prefix: The environment's prefix, or the overlay's folder.
        packages: What is installed, sorted by name.
    """

    name: str
    kind: Kind
    prefix: PurePosixPath
    packages: tuple[Package, ...]

    @property
    def is_overlay(self) -> bool:
        """Whether it goes to a folder of its own rather than into an environment."""
        return self.prefix.parent.name == "overlays"

    @property
    def has_many_wheels(self) -> bool:
        """Whether it is worth a cache: one change among many wheels would fetch all of them again."""
        return not self.is_overlay and self.name.rpartition("-")[2] in LAST

    @property
    def size(self) -> int:
        """The bytes to download for it."""
        return sum(package.size for package in self.packages)

    @property
    def requirements_file(self) -> str:
        """The file in the build context that names its packages."""
        return f"requirements-{self.name}.txt"


def grouped(packages: Sequence[Package], named: Collection[str]) -> Mapping[str, tuple[Package, ...]]:
    """Packages by what they are, in the order of how seldom they change.

    What changes most is what people change: the packages that the row itself names come last.

    Args:
        packages: Of one environment.
        named: The names of those that the row itself asks for, normalised.
    """
    found: dict[str, list[Package]] = {name: [] for name in (*CHAIN, *LAST)}
    for package in packages:
        found[_group(package, named)].append(package)
    return {name: tuple(group) for name, group in found.items()}


def layers(
    kind: Kind, prefix: PurePosixPath, groups: Mapping[str, tuple[Package, ...]], label: str = ""
) -> Iterator[Layer]:
    """A layer for each group that has packages; its name begins with the label."""
    for name, packages in groups.items():
        if packages and (kind == "chain") == (name in CHAIN):
            yield Layer(name=f"{label}{name}", kind=kind, prefix=prefix, packages=packages)


def _group(package: Package, named: Collection[str]) -> str:
    if package.name.startswith("nvidia-cudnn"):
        return "cudnn"
    if package.name.startswith("nvidia-"):
        return "cuda"
    if package.name in _TORCH:
        return "torch"
    return "speech" if package.name in named else "libraries"
