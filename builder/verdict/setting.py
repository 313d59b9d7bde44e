"""An environment laid out as it will be installed: which file lies where, and what the loader knows."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath

from builder.abi import ldconfig
from builder.abi.facts import BaseFacts, Binary, WheelFacts
from builder.abi.library import Library
from builder.abi.loader import Process, World
from builder.errors import BadInputError, Fault
from builder.left_out import NOTHING, LeftOut
from builder.lock.record import Environment, Lock, Package
from builder.matrix import MAIN, Row
from builder.places import roots
from builder.probe import rules
from builder.searching import codecs, library_folders, loader

_NO_LINKS: Mapping[str, str] = {}

DRIVER = frozenset(
    name for versioned in rules.DRIVER_LIBRARIES for name in (versioned, versioned.removesuffix(".1"))
)
"""What the host's driver brings into a container, with and without its version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Wheels under one folder.

    Attributes:
        name: `main`, or an overlay's name.
        root: Its site-packages, or the overlay's folder.
        packages: What is installed there, each with its facts; None for what has no binaries to account for.
    """

    name: str
    root: PurePosixPath
    packages: tuple[tuple[Package, WheelFacts | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a verdict looks at: one environment, and the image that it is in.

    Attributes:
        environment: The environment's name, `main` in an ordinary row.
        parts: It, and before it the overlays.
        base: The system below.
        world: The same as the loader sees it.
        blank: A process in it that has loaded nothing yet; `process` gives one to use.
        owners: The package that each binary belongs to, by its absolute path.
        roots: The folder that each binary's path is told relative to, by its absolute path.
    """

    environment: str
    parts: tuple[Part, ...]
    base: BaseFacts
    world: World
    blank: Process
    owners: Mapping[str, Package]
    roots: Mapping[str, PurePosixPath]

    def process(self) -> Process:
        """A process that has loaded nothing yet."""
        return self.blank.fork()

    def relative(self, path: str) -> str:
        """A binary's path as people know it: relative to its site-packages."""
        root = self.roots.get(path)
        return _relative(path, str(root)) if root else path

    def relative_folder(self, folder: str) -> str:
        """The same of a folder, with the part that it belongs to: `main: nvidia/cudnn/lib`."""
        for part in self.parts:
            if folder.startswith(f"{part.root}/"):
                return f"{part.name}: {_relative(folder, str(part.root))}"
        return folder

    def versions(self) -> dict[str, str]:
        """The version of every package of the environment, by its normalised name; overlays are beside."""
        return {
            package.name: package.version
            for part in self.parts
            if part.name == self.environment
            for package, _ in part.packages
        }


def settings_of_row(row: Row, lock: Lock, library: Library) -> tuple[Setting, ...]:
    """A row's environments in its image, in order.

    An ordinary row's is judged as whoever starts its Python gets it. Where there are several, each is judged
    as `transcribe` starts it: with its own folders on the library path, and the others' files in the image.

    Raises:
        BadInputError: Facts of its wheels or of its base are not recorded; all that lack them are told.
    """
    facts = _facts(lock, library)
    parts = [_part(part, root, facts) for part, root in roots(lock, row.python)]
    overlays, own = parts[: len(lock.overlays)], parts[len(lock.overlays) :]
    base = library.base(row.base_variant)
    cache = [str(folder) for folder in loader(lock, row)]
    links = {str(link.path): str(link.target) for link in codecs(lock, row)}
    paths = {one.name: library_folders(lock, one, row.python) for one in lock.environments}
    return tuple(
        lay_out(
            (*overlays, part),
            base,
            cache,
            environment=part.name,
            beside=[other for other in own if other is not part],
            library_path=map(str, paths[part.name] if len(own) > 1 else ()),
            links=links,
            left_out=LeftOut.of(row.leave_out),
        )
        for part in own
    )


def lay_out(  # noqa: PLR0913 - what is judged, where, beside what, and how it is started
    parts: Iterable[Part],
    base: BaseFacts,
    folders: Sequence[str],
    *,
    environment: str = MAIN,
    beside: Iterable[Part] = (),
    library_path: Iterable[str] = (),
    links: Mapping[str, str] = _NO_LINKS,
    left_out: LeftOut = NOTHING,
) -> Setting:
    """Parts on a base.

    Args:
        parts: Overlays and the environment.
        base: The system below.
        folders: What the loader's cache offers.
        environment: The name of the part that is the environment.
        beside: Parts that are in the image too, and of which nothing is judged.
        library_path: Of its processes.
        links: Links to libraries that the image has beyond those of the base and of ldconfig.
        left_out: Files of the wheels that the image does not have.
    """
    parts = tuple(parts)
    files: dict[str, Binary] = {binary.path: binary for binary in base.binaries}
    owners: dict[str, Package] = {}
    under: dict[str, PurePosixPath] = {}
    for part in parts:
        for path, binary, package in _installed(part, left_out):
            files[path], owners[path], under[path] = binary, package, part.root
    for part in beside:
        files |= {path: binary for path, binary, _ in _installed(part, left_out)}
    searched = set(folders)
    inside = {path: binary for path, binary in files.items() if posixpath.dirname(path) in searched}
    world = World(
        files=files,
        links={
            **base.links,
            **_made_of(base),
            **ldconfig.made(inside, links, [*folders, *map(posixpath.dirname, links)], defaults=()),
            **links,
        },
        cache={**_cache_of(base), **ldconfig.cache(inside, {}, folders, defaults=())},
        glibc=base.glibc,
        absent=DRIVER,
        library_path=tuple(library_path),
    )
    return Setting(
        environment=environment,
        parts=parts,
        base=base,
        world=world,
        blank=Process(world),
        owners=owners,
        roots=under,
    )


def _installed(part: Part, left_out: LeftOut) -> Iterator[tuple[str, Binary, Package]]:
    """The binaries of a part that are in the image, each with its path and its package."""
    for package, facts in part.packages:
        for binary in facts.binaries if facts else ():
            if not left_out.holds(binary.path):
                yield posixpath.normpath(f"{part.root}/{binary.path}"), binary, package


@cache
def _cache_of(base: BaseFacts) -> Mapping[str, str]:
    """What ldconfig writes for the base alone, once for all that is laid on it: what is added to it wins."""
    return ldconfig.cache({one.path: one for one in base.binaries}, base.links, ())


@cache
def _made_of(base: BaseFacts) -> Mapping[str, str]:
    return ldconfig.made({one.path: one for one in base.binaries}, base.links, ())


def has_binaries(package: Package) -> bool:
    """Whether a package may have binaries: a wheel for any platform says that it has none."""
    return not package.is_source and not package.file.endswith("-any.whl")


def to_account(lock: Lock) -> tuple[Package, ...]:
    """The wheels of a lock whose facts a verdict needs, each once."""
    found = {package.sha256: package for package in lock.packages() if has_binaries(package)}
    return tuple(found.values())


def _part(part: Environment, root: PurePosixPath, facts: Mapping[str, WheelFacts]) -> Part:
    packages = tuple((package, facts.get(package.sha256)) for package in part.packages)
    return Part(name=part.name, root=root, packages=packages)


def _facts(lock: Lock, library: Library) -> dict[str, WheelFacts]:
    """The facts of all wheels of a lock, by their hash."""
    found = {package: library.wheel(package.file, package.sha256) for package in to_account(lock)}
    lacking = [package for package, facts in found.items() if not facts or not facts.complete]
    if lacking:
        raise BadInputError(
            *(
                Fault(
                    place=package.file,
                    cause="what its binaries say is not recorded",
                    fix=f"Run `cuvee facts {lock.row}`",
                )
                for package in lacking
            )
        )
    return {package.sha256: facts for package, facts in found.items() if facts}


def _relative(path: str, root: str) -> str:
    below = f"{root}/"
    return path[len(below) :] if path.startswith(below) else posixpath.relpath(path, root)
