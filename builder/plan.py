"""From a lock to a plan: the layers of an image, in order, and its configuration, before anything is built.

Pure: nothing here touches disk, network or processes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from builder.errors import BadInputError, Fault
from builder.known import data
from builder.lock.record import Environment, Lock, Package
from builder.matrix import Row

_NVRTC = re.compile(r"libnvrtc\.so\.\d+")
"""cuDNN compiles kernels with it. It opens it by name, and its RUNPATH names `nvrtc`; the wheel's folder is
`cuda_nvrtc` (read in cuDNN 8.9.2 to 9.1.0; users met `libnvrtc.so: cannot open shared object file`).
"""

HOME = PurePosixPath("/opt/cuvee")
"""Everything that an image has beyond its base lies here; an environment's prefix is `HOME/<environment>`."""

REPOSITORY = "cuvee"
CHAIN = ("cuda", "cudnn", "torch")
LAST = ("libraries", "speech")
_TORCH = frozenset({"torch", "triton", "torchaudio", "torchvision", "torchcodec"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Packages that are installed in one step.

    Attributes:
        name: `cuda`, `cudnn`, `torch`, `overlay-<name>`, `libraries`, or `speech`: what the row itself names.
        kind: A `chain` layer stands on the one before it; a `beside` layer is made at the same time as the
            chain and laid on top of it.
        prefix: The environment's prefix, or the overlay's folder.
        packages: What is installed, sorted by name.
    """

    name: str
    kind: Literal["chain", "beside"]
    prefix: PurePosixPath
    packages: tuple[Package, ...]

    @property
    def is_overlay(self) -> bool:
        """Whether it goes to a folder of its own rather than into an environment."""
        return self.prefix.parent.name == "overlays"

    @property
    def has_many_wheels(self) -> bool:
        """Whether it is worth a cache: one change among many wheels would fetch all of them again."""
        return self.name in LAST

    @property
    def size(self) -> int:
        """The bytes to download for it."""
        return sum(package.size for package in self.packages)

    @property
    def requirements_file(self) -> str:
        """The file in the build context that names its packages."""
        return f"requirements-{self.name}.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A symbolic link in the image."""

    path: PurePosixPath
    target: PurePosixPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An image before it is built.

    Attributes:
        row: The row's id.
        summary: The row's summary.
        base_image: What `docker build` starts from when nothing else is said.
        base_packages: Debian's packages that the base must have.
        ffmpeg_packages: Debian's packages for FFmpeg's shared libraries; empty where the row wants none.
        index: The name of the row's extra index, or None.
        python: `3.11`.
        prefix: The main environment's prefix.
        layers: In the order of how seldom they change: what changes most comes last.
        tools: What installs; never in the image.
        loader: Folders that the loader's cache must offer: what is opened by name and found by nothing else.
        links: Programs that must be found on the path.
        environment: Environment variables of the image.
        labels: The image's labels.
    """

    row: str
    summary: str
    base_image: str
    base_packages: tuple[str, ...]
    ffmpeg_packages: tuple[str, ...]
    index: str | None
    python: str
    prefix: PurePosixPath
    layers: tuple[Layer, ...]
    tools: tuple[Package, ...]
    loader: tuple[PurePosixPath, ...]
    links: tuple[Link, ...]
    environment: tuple[tuple[str, str], ...]
    labels: tuple[tuple[str, str], ...]

    @property
    def tag(self) -> str:
        """The image's name, `cuvee:cu121`."""
        return image_tag(self.row)

    @property
    def download(self) -> int:
        """The bytes of all files it installs."""
        return sum(layer.size for layer in self.layers)


def plan(row: Row, lock: Lock) -> Plan:
    """The plan of a row's image."""
    prefix = HOME / lock.main.name
    return Plan(
        row=row.id,
        summary=row.summary,
        base_image=row.base.image,
        base_packages=row.base.packages,
        ffmpeg_packages=("ffmpeg",) if row.ffmpeg == "shared" else (),
        index=row.index,
        python=row.python,
        prefix=prefix,
        layers=tuple(_layers(row, lock, prefix)),
        tools=lock.tools,
        loader=loader_folders(lock, row.python),
        links=tuple(_links(lock, row)),
        environment=tuple(_environment(row, prefix)),
        labels=tuple(_labels(row, lock)),
    )


def image_tag(row: str) -> str:
    """The name of a row's image, `cuvee:cu121`."""
    return f"{REPOSITORY}:{row}"


def site_packages(prefix: PurePosixPath, python: str) -> PurePosixPath:
    """Where an environment's packages are."""
    return prefix / "lib" / f"python{python}" / "site-packages"


def overlay_folder(name: str) -> PurePosixPath:
    """Where an overlay's wheels are unpacked."""
    return HOME / "overlays" / name


def minimum_driver(cuda: str) -> str:
    """The oldest NVIDIA driver for a CUDA version such as `12.1`.

    Raises:
        BadInputError: `builder/data/cuda.yaml` does not know that major version.
    """
    major = cuda.split(".", maxsplit=1)[0]
    drivers: dict[str, str] = data("cuda.yaml")["minimum_driver"]
    if major not in drivers:
        raise BadInputError(
            Fault(
                place="builder/data/cuda.yaml minimum_driver",
                cause=f"the oldest driver of CUDA {major} is not known",
                fix=f"Add a line for it, from the release notes of CUDA {cuda}",
            )
        )
    return drivers[major]


def _layers(row: Row, lock: Lock, prefix: PurePosixPath) -> Iterator[Layer]:
    """What changes most is what people change: the packages that the row itself names come last."""
    named = {
        canonicalize_name(Requirement(demand.requirement).name)
        for demand in row.demands()
        if demand.kind == "requirement"
    }
    groups: dict[str, list[Package]] = {name: [] for name in (*CHAIN, *LAST)}
    for package in lock.main.packages:
        groups[_group(package, named)].append(package)
    for name in CHAIN:
        yield from _layer(name, "chain", prefix, groups[name])
    for overlay in lock.overlays:
        folder = overlay_folder(overlay.name)
        yield from _layer(f"overlay-{overlay.name}", "beside", folder, overlay.packages)
    for name in LAST:
        yield from _layer(name, "beside", prefix, groups[name])


def _layer(
    name: str, kind: Literal["chain", "beside"], prefix: PurePosixPath, packages: Sequence[Package]
) -> Iterator[Layer]:
    if packages:
        yield Layer(name=name, kind=kind, prefix=prefix, packages=tuple(packages))


def _group(package: Package, named: Collection[str]) -> str:
    if package.name.startswith("nvidia-cudnn"):
        return "cudnn"
    if package.name.startswith("nvidia-"):
        return "cuda"
    if package.name in _TORCH:
        return "torch"
    return "speech" if package.name in named else "libraries"


def loader_folders(lock: Lock, python: str) -> tuple[PurePosixPath, ...]:
    """The folders that offer a library that some wheel opens by name.

    torch finds its libraries by RPATH and needs nothing here. CTranslate2 opens cuBLAS and cuDNN by bare
    name, from folders that no RPATH names, and cuDNN opens NVRTC so. An overlay wins over the environment:
    it is there because the environment lacks it.
    """
    opened = {name for package in lock.packages() for name in package.facts.opens}
    has_cudnn = any(package.name.startswith("nvidia-cudnn") for package in lock.packages())
    offered: dict[str, PurePosixPath] = {}
    for part, root in roots(lock, python):
        for package in part.packages:
            for library in map(PurePosixPath, package.facts.libraries):
                offered.setdefault(library.name, root / library.parent)
    wanted = {name for name in offered if name in opened or (has_cudnn and _NVRTC.fullmatch(name))}
    return tuple(sorted({offered[name] for name in wanted}))


def roots(lock: Lock, python: str) -> Iterator[tuple[Environment, PurePosixPath]]:
    """Every environment and overlay with the folder its wheels lie in; overlays first, for they win."""
    for overlay in lock.overlays:
        yield overlay, overlay_folder(overlay.name)
    for environment in lock.environments:
        yield environment, site_packages(HOME / environment.name, python)


def _links(lock: Lock, row: Row) -> Iterator[Link]:
    """`ffmpeg` on the path: WhisperX and whisper start the program by that name."""
    package = lock.main.package("imageio-ffmpeg")
    if package and package.facts.binaries and row.ffmpeg == "static":
        root = site_packages(HOME / lock.main.name, row.python)
        yield Link(path=HOME / lock.main.name / "bin" / "ffmpeg", target=root / package.facts.binaries[0])


def _environment(row: Row, prefix: PurePosixPath) -> Iterator[tuple[str, str]]:
    yield "PATH", f"{prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    # What the NVIDIA runtime reads; its own images set the same.
    yield "NVIDIA_VISIBLE_DEVICES", "all"
    yield "NVIDIA_DRIVER_CAPABILITIES", "compute,utility"
    # Any driver of the major version does (minor-version compatibility), so the floor is its first release.
    yield "NVIDIA_REQUIRE_CUDA", f"cuda>={row.cuda.split('.', maxsplit=1)[0]}.0"


def _labels(row: Row, lock: Lock) -> Iterator[tuple[str, str]]:
    yield "org.opencontainers.image.title", f"{REPOSITORY} {row.id}"
    yield "org.opencontainers.image.description", row.summary
    yield "cuvee.row", row.id
    yield "cuvee.lock", lock.digest
    yield "cuvee.cuda", row.cuda
    yield "cuvee.cudnn", " ".join(sorted(_cudnn_versions(lock))) or "none"
    yield "cuvee.driver.minimum", minimum_driver(row.cuda)
    for package in lock.main.packages:
        if package.facts.architectures:
            yield f"cuvee.gpu.{package.name}", " ".join(package.facts.architectures)


def _cudnn_versions(lock: Lock) -> set[str]:
    return {
        ".".join(package.version.split(".")[:3])
        for package in lock.packages()
        if package.name.startswith("nvidia-cudnn")
    }
