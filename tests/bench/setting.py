"""What is measured, and where: a row, a scratch copy of its project, and stores with nothing but wheels."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder import matrix
from builder.engines.direct import base
from builder.engines.direct.store import default_store
from builder.lock import record
from builder.lock.record import Lock, Package
from builder.matrix import Row
from builder.plan import Plan, plan
from builder.project import MATRIX, Project, find
from builder.shell import SYSTEM
from builder.wheels.fetch import fetch_all
from tests.bench.common import say

_COPIED = ("images", "facts", "bases")
_PIECE = 4 * 1024 * 1024
_BLOCK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where one run of the benchmark works.

    Attributes:
        row: The row that is measured.
        project: The project itself.
        scratch: A folder for all else; it is deleted at the end.
    """

    row: Row
    project: Project
    scratch: Path

    @property
    def lock(self) -> Lock:
        return lock_of(self.project, self.row.id)

    @property
    def plan(self) -> Plan:
        return plan(self.row, self.lock)

    @property
    def wheels(self) -> list[Path]:
        """The row's files in the user's store."""
        return [stored(one) for one in self.lock.packages()]

    def copy(self, name: str, text: str | None = None) -> Project:
        """A copy of the project in which locks may change, with another matrix where one is given."""
        root = self.scratch / name
        root.mkdir()
        for folder in _COPIED:
            shutil.copytree(self.project.root / folder, root / folder)
        (root / MATRIX).write_text(text or self.project.matrix.read_text(encoding="utf-8"), encoding="utf-8")
        return Project(root)


def rows(project: Project) -> tuple[Row, ...]:
    return matrix.load(project.matrix).rows


def lock_of(project: Project, row: str) -> Lock:
    return record.read(project.image(row) / record.FILE)


def stored(file: Package) -> Path:
    """Where a locked file is in the user's store."""
    return default_store().wheels / file.sha256 / file.file


def needed(lock: Lock) -> list[Package]:
    """What the direct engine takes of a lock: its files, and what builds source archives."""
    return [*lock.packages(), *(tool for tool in lock.tools if tool.file.endswith("-any.whl"))]


def provide(project: Project, row: Row, files: Iterable[Package]) -> None:
    """See that files, and the row's base, are in the user's store, so that nothing is downloaded later on."""
    store = default_store()
    fetch_all(list(files), store.wheels, say)
    also = plan(row, lock_of(project, row.id)).system_packages
    base.provide(project.bases, row.base, also, store.root, SYSTEM, say)


def fresh_store(root: Path, locks: Sequence[Lock]) -> Path:
    """A store that has the wheels and the bases of locks, as links into the user's own, and nothing else."""
    own = default_store()
    for folder in ("wheels", "bases"):
        (root / folder).mkdir(parents=True)
    link_wheels(root, locks)
    for name in {lock.base for lock in locks}:
        told = json.loads((find(Path.cwd()).bases / f"{name}.json").read_text(encoding="utf-8"))
        digest = told["layer"]["digest"].removeprefix("sha256:")
        (root / "bases" / digest).symlink_to(own.bases / digest)
    return root


def link_wheels(root: Path, locks: Sequence[Lock]) -> None:
    """Give a store the wheels of locks too."""
    for sha256 in {one.sha256 for lock in locks for one in needed(lock)}:
        link = root / "wheels" / sha256
        if not link.exists():
            link.symlink_to(default_store().wheels / sha256)


def bytes_on_disk(store: Path) -> int:
    """The bytes that a store takes, those behind its links included, and unpacked images left out."""
    total = 0
    for folder, folders, names in os.walk(store, followlinks=True):
        if Path(folder) == store and "roots" in folders:
            folders.remove("roots")
        total += sum((Path(folder) / name).stat().st_blocks * _BLOCK for name in names)
    return total


def read_once(files: Iterable[Path]) -> int:
    """Read files into the page cache, as `cat` to nowhere does; returns their bytes."""
    buffer, total = memoryview(bytearray(_PIECE)), 0
    for path in files:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                total += count
    return total
