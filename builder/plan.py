"""From a lock to a plan: the layers of an image, in order, and its configuration, before anything is built.

Pure: nothing here touches disk, network or processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from builder import ffmpeg
from builder.errors import BadInputError, Fault
from builder.ffmpeg import Link
from builder.known import data
from builder.layering import Layer, grouped, layers
from builder.left_out import NOTHING, LeftOut
from builder.lock.record import Lock, Package
from builder.matrix import Row
from builder.places import HOME, overlay_folder, site_packages
from builder.searching import codecs, library_folders, loader

REPOSITORY = "cuvee"
DOES = {"transcribe": "faster-whisper", "speakers": "pyannote-audio"}
"""What `transcribe` needs an environment for, and the package that does it."""

_FOLDERS = ("bin", "lib", "overlays")
"""What `HOME` has beside environments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedEnvironment:
    """A Python environment of an image.

    Attributes:
        name: `main` in an ordinary row.
        prefix: Its folder.
        site: The folder of its packages.
        libraries: The folders that its own library path needs where the loader has none of them in its cache.
        does: What `transcribe` can do in it, of `DOES`.
    """

    name: str
    prefix: PurePosixPath
    site: PurePosixPath
    libraries: tuple[PurePosixPath, ...]
    does: tuple[str, ...]

    @property
    def python(self) -> PurePosixPath:
        """Its interpreter."""
        return self.prefix / "bin" / "python"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An image before it is built.

    Attributes:
        row: The row's id.
        summary: The row's summary.
        base_image: What `docker build` starts from when nothing else is said.
        base_packages: Debian's packages that the base must have.
        system_packages: Debian's packages beyond those, for what opens FFmpeg's libraries; mostly none.
        suite: The Debian suite of the base.
        suites: Further suites of Debian that its packages may come from.
        index: The name of the row's extra index, or None.
        python: `3.11`.
        environments: In the order of the row; `python` is the first's.
        layers: In the order of how seldom they change: what changes most comes last.
        tools: What installs; never in the image.
        loader: Folders that the loader's cache must offer: what is opened by name and found by nothing else.
        links: Programs that must be found on the path, and libraries where the loader looks.
        left_out: Files of wheels that it does not have.
        environment: Environment variables of the image.
        labels: The image's labels.
    """

    row: str
    summary: str
    base_image: str
    base_packages: tuple[str, ...]
    system_packages: tuple[str, ...]
    suite: str
    suites: tuple[str, ...]
    index: str | None
    python: str
    environments: tuple[PlannedEnvironment, ...]
    layers: tuple[Layer, ...]
    tools: tuple[Package, ...]
    loader: tuple[PurePosixPath, ...]
    links: tuple[Link, ...]
    left_out: LeftOut = NOTHING
    environment: tuple[tuple[str, str], ...]
    labels: tuple[tuple[str, str], ...]

    @property
    def prefix(self) -> PurePosixPath:
        """The prefix of the first environment."""
        return self.environments[0].prefix

    @property
    def tag(self) -> str:
        """The image's name, `cuvee:cu121`."""
        return image_tag(self.row)

    @property
    def download(self) -> int:
        """The bytes of all files it installs."""
        return sum(layer.size for layer in self.layers)


def plan(row: Row, lock: Lock) -> Plan:
    """The plan of a row's image.

    Raises:
        BadInputError: An environment has a name that means something else, or a CUDA is not known.
    """
    _require_own_names(row)
    environments = tuple(_environments(row, lock))
    return Plan(
        row=row.id,
        summary=row.summary,
        base_image=row.base.image,
        base_packages=row.base.packages,
        system_packages=row.system_packages,
        suite=row.base.suite,
        suites=row.base.suites,
        index=row.index,
        python=row.python,
        environments=environments,
        layers=tuple(_layers(row, lock)),
        tools=lock.tools,
        loader=loader(lock, row),
        links=tuple(_links(lock, row)),
        left_out=LeftOut.of(row.leave_out),
        environment=tuple(_variables(row, environments[0].prefix)),
        labels=tuple(_labels(row, lock)),
    )


def image_tag(row: str) -> str:
    """The name of a row's image, `cuvee:cu121`."""
    return f"{REPOSITORY}:{row}"


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


def _environments(row: Row, lock: Lock) -> Iterator[PlannedEnvironment]:
    for part in lock.environments:
        prefix = HOME / part.name
        yield PlannedEnvironment(
            name=part.name,
            prefix=prefix,
            site=site_packages(prefix, row.python),
            libraries=library_folders(lock, part, row.python),
            does=tuple(task for task, package in DOES.items() if part.package(package)),
        )


def _require_own_names(row: Row) -> None:
    """See that nothing in the image or in its build context has two meanings."""
    files = ("overlay", "tools")  # requirements-overlay-<name>.txt, requirements-tools.txt
    for name in row.environments:
        longer = any(name.startswith(f"{other}-") for other in (*row.environments, *files))
        if name in {*_FOLDERS, *files} or longer:
            raise BadInputError(
                Fault(
                    place=row.place("environments", name),
                    cause=f"{name!r} stands for something else in images",
                    fix="Give the environment another name, such as asr",
                )
            )


def _layers(row: Row, lock: Lock) -> Iterator[Layer]:
    """One chain for all environments, so that none of them is written twice while it is built."""
    groups = {part.name: grouped(part.packages, _named(row, part.name)) for part in lock.environments}
    labels = {name: f"{name}-" if len(groups) > 1 else "" for name in groups}
    for name, group in groups.items():
        yield from layers("chain", HOME / name, group, labels[name])
    for part in lock.overlays:
        yield from layers("beside", overlay_folder(part.name), {f"overlay-{part.name}": part.packages})
    for name, group in groups.items():
        yield from layers("beside", HOME / name, group, labels[name])


def _named(row: Row, environment: str) -> frozenset[str]:
    """The packages that the row itself asks for in an environment."""
    if environment not in dict(row.stacks()):  # the lock of what the row once was
        return frozenset()
    demands = (demand for demand in row.demands(environment) if demand.kind == "requirement")
    return frozenset(canonicalize_name(Requirement(demand.requirement).name) for demand in demands)


def _links(lock: Lock, row: Row) -> Iterator[Link]:
    if row.ffmpeg in {"static", "pyav"}:
        prefix = HOME / lock.main.name
        yield from ffmpeg.program(lock.main, prefix, site_packages(prefix, row.python))
    yield from codecs(lock, row)


def _variables(row: Row, prefix: PurePosixPath) -> Iterator[tuple[str, str]]:
    yield "PATH", f"{HOME}/bin:{prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    if row.cuda:
        # What the NVIDIA runtime reads; its own images set the same.
        yield "NVIDIA_VISIBLE_DEVICES", "all"
        yield "NVIDIA_DRIVER_CAPABILITIES", "compute,utility"
        # Any driver of the major version does (minor-version compatibility), so the floor is its first.
        yield "NVIDIA_REQUIRE_CUDA", f"cuda>={row.cuda.split('.', maxsplit=1)[0]}.0"


def _labels(row: Row, lock: Lock) -> Iterator[tuple[str, str]]:
    yield "org.opencontainers.image.title", f"{REPOSITORY} {row.id}"
    yield "org.opencontainers.image.description", row.summary
    yield "cuvee.row", row.id
    yield "cuvee.lock", lock.digest
    yield "cuvee.cuda", row.cuda or "none"
    yield "cuvee.cudnn", " ".join(sorted(_cudnn_versions(lock))) or "none"
    if row.cuda:
        yield "cuvee.driver.minimum", minimum_driver(row.cuda)
    for part in lock.environments:
        of = f"{part.name}." if len(lock.environments) > 1 else ""
        for package in part.packages:
            if package.facts.architectures:
                yield f"cuvee.gpu.{of}{package.name}", " ".join(package.facts.architectures)


def _cudnn_versions(lock: Lock) -> set[str]:
    return {
        ".".join(package.version.split(".")[:3])
        for package in lock.packages()
        if package.name.startswith("nvidia-cudnn")
    }
