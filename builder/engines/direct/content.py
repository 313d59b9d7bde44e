"""The content of layers of packages: the wheels, their bytecode, and the entries that they come to.

What is lacking is brought first, for all layers together: wheels from the index, source archives turned into
wheels, bytecode from the base's own Python.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from builder.engines.direct import gz
from builder.engines.direct.bytecode import SCRIPT, Job, compile_wheels
from builder.engines.direct.entry import Entry
from builder.engines.direct.grouping import Group
from builder.engines.direct.image import canonical, sha256
from builder.engines.direct.install import Target, bytecode_entries, compiled, install
from builder.engines.direct.sources import build_wheel
from builder.engines.direct.store import Store, touch
from builder.engines.direct.stream import opened
from builder.engines.direct.tar import Node, parents
from builder.engines.direct.workshop import Workshop
from builder.left_out import LeftOut
from builder.lock.record import Lock, Package
from builder.places import HOME, overlay_folder, site_packages
from builder.wheels.fetch import fetch_all
from builder.wheels.members import Archive, opened_wheel

FORMAT = 2
"""To be raised when the same wheels come to other entries: each recorded digest is of another recipe then."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pantry:
    """Where the packages of one lock come from.

    Attributes:
        lock: The lock.
        left_out: What of its wheels is not wanted.
        store: Where wheels and bytecode are kept.
        workshop: What runs the base's programs.
        python: The full version of the base's Python, as Debian has it: bytecode is of one Python.
        say: Told what takes long.
        extra: Tells the address of the row's own index, if it has one.
    """

    lock: Lock
    left_out: LeftOut
    store: Store
    workshop: Workshop
    python: str
    say: Say
    extra: Callable[[], str] | None = None

    def provide(self, groups: Sequence[Group]) -> None:
        """See that all that groups are made of is in the store: their wheels, and bytecode.

        Raises:
            CuveeError: A file cannot be had, is damaged, or cannot be built.
        """
        self.provide_wheels(groups)
        self._compile(groups)

    def provide_wheels(self, groups: Sequence[Group]) -> None:
        """See that the wheels of groups are in the store.

        Raises:
            CuveeError: A file cannot be had, or cannot be built.
        """
        packages = [package for group in groups for package in group.packages]
        self._fetch(packages)
        self._build([package for package in packages if package.is_source])
        for package in packages:
            touch(self.store.path("wheels", package.sha256))
            if package.is_source:
                touch(self.store.path("built", self._built_key(package)))

    def named_entries(self, group: Group) -> Iterator[tuple[str, Entry]]:
        """The entries of a group's wheels, bytecode aside, each with the name of its wheel."""
        target = self.target(group)
        for package in group.packages:
            with opened_wheel(self.wheel(package)) as archive:
                for entry in install(archive, 0, target, (), left_out=self.left_out):
                    yield package.file, entry

    def key(self, group: Group) -> str:
        """What a layer of packages follows from, as a hash."""
        facts = {
            "code": code(),
            "compressor": gz.COMPRESSOR,
            "target": str(self.target(group).site),
            "left out": self.left_out.patterns,
            "packages": [self._identity(package, group) for package in group.packages],
        }
        return sha256(canonical(facts)).removeprefix("sha256:")

    @contextmanager
    def entries(self, group: Group) -> Iterator[tuple[list[Entry], list[Archive]]]:
        """The entries of a group in order, with the zip files that they refer to, open.

        Raises:
            BadInputError: A wheel is damaged, or is no sound wheel.
        """
        files = list(self._files(group))
        for _, bytecode in files:
            touch(bytecode)
        with opened([path for pair in files for path in pair if path.stat().st_size]) as archives:
            yield _ordered(self._entries(group, files, archives)), archives

    def target(self, group: Group) -> Target:
        """Where the packages of a group are installed."""
        version = self.lock.python
        if group.is_overlay:
            folder = overlay_folder(group.part)
            python = PurePosixPath("/usr/bin") / f"python{version}"
            return Target(prefix=folder, site=folder, python=python, version=version)
        prefix = HOME / group.part
        site = site_packages(prefix, version)
        return Target(prefix=prefix, site=site, python=prefix / "bin" / "python", version=version)

    def wheel(self, package: Package) -> Path:
        """The wheel of a package: the locked file, or what was built of it."""
        if not package.is_source:
            return self.store.wheels / package.sha256 / package.file
        folder = self.store.path("built", self._built_key(package))
        return next(folder.glob("*.whl"), folder / "none.whl")

    def _entries(
        self, group: Group, files: Sequence[tuple[Path, Path]], archives: Sequence[Archive]
    ) -> Iterator[Entry]:
        target, position = self.target(group), 0
        for package, (_, bytecode) in zip(group.packages, files, strict=True):
            wheel, position = position, position + 1
            has_bytecode = bool(bytecode.stat().st_size)
            members = archives[position].members if has_bytecode else ()
            wanted = [member for member in members if not self.left_out.holds(member.path)]
            names = [member.path for member in wanted]
            made, left_out = package.is_source, self.left_out
            yield from install(archives[wheel], wheel, target, names, made=made, left_out=left_out)
            if has_bytecode:
                yield from bytecode_entries(wanted, position, target)
                position += 1

    def _files(self, group: Group) -> Iterator[tuple[Path, Path]]:
        for package in group.packages:
            yield self.wheel(package), self._bytecode(package, group)

    def _fetch(self, packages: Sequence[Package]) -> None:
        tools = [tool for tool in self.lock.tools if tool.file.endswith("-any.whl")]
        sources = [one for one in packages if one.is_source and not self.wheel(one).is_file()]
        there = [one for one in packages if one.is_source and one not in sources]
        wanted = [one for one in packages if one not in there]
        fetch_all([*wanted, *(tools if sources else ())], self.store.wheels, self.say, self.extra)

    def _build(self, packages: Sequence[Package]) -> None:
        tools = [
            self.store.wheels / tool.sha256 / tool.file
            for tool in self.lock.tools
            if tool.file.endswith("-any.whl")
        ]
        for package in packages:
            if not self.wheel(package).is_file():
                self.say(f"{package.name} {package.version}: building a wheel of its source archive")
                source = self.store.wheels / package.sha256 / package.file
                folder = self.store.path("built", self._built_key(package))
                build_wheel(package, source, tools, self.workshop.interpreter, folder)

    def _compile(self, groups: Sequence[Group]) -> None:
        jobs = [
            self._job(package, group)
            for group in groups
            for package in group.packages
            if not self._bytecode(package, group).is_file()
        ]
        if any(job.files for job in jobs):
            count = sum(len(job.files) for job in jobs)
            self.say(f"bytecode: compiling {count} files of {len(jobs)} packages")
        if jobs:
            compile_wheels(jobs, self.workshop.interpreter)

    def _job(self, package: Package, group: Group) -> Job:
        wheel, target = self.wheel(package), self.target(group)
        files: Mapping[str, str] = {}
        if not group.is_overlay:  # `uv pip install --target` compiles nothing, nor does the Dockerfile
            with opened_wheel(wheel) as archive:
                files = compiled(archive, target)
        return Job(wheel=wheel, target=self._bytecode(package, group), site=target.site, files=files)

    def _bytecode(self, package: Package, group: Group) -> Path:
        return self.store.path("bytecode", f"{self._bytecode_key(package, group)}.zip")

    def _bytecode_key(self, package: Package, group: Group) -> str:
        script = hashlib.sha256(SCRIPT.read_bytes()).hexdigest()
        parts = (self._source_key(package), str(self.target(group).site), self.python, script, gz.COMPRESSOR)
        return hashlib.sha256("\n".join((*parts, str(group.is_overlay))).encode()).hexdigest()

    def _identity(self, package: Package, group: Group) -> list[str]:
        return [self._source_key(package), self._bytecode_key(package, group)]

    def _source_key(self, package: Package) -> str:
        return self._built_key(package) if package.is_source else package.sha256

    def _built_key(self, package: Package) -> str:
        tools = [tool.sha256 for tool in self.lock.tools if tool.file.endswith("-any.whl")]
        parts = (package.sha256, self.python, *tools, gz.COMPRESSOR)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@cache
def code() -> str:
    """The hash of the sources that make layers: what other sources made is not taken for what these make."""
    found = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def _ordered(entries: Iterator[Entry]) -> list[Entry]:
    """Entries by path, each once, with the folders above them: those of all layers are the same."""
    found: dict[str, Entry] = {}
    for entry in entries:
        found.setdefault(entry.node.path, entry)
    folders = [Entry(Node(path, "directory", 0o755), made=False) for path in parents(found)]
    return sorted([*folders, *found.values()], key=lambda entry: entry.node.path)
