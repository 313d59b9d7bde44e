"""What the direct engine takes: as `cuvee` itself, in processes of their own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from builder.project import Project
from builder.report.bench import Amount, Figure
from tests.bench.common import say, with_older_ctranslate2
from tests.bench.process import Ran, cuvee
from tests.bench.servers import registry
from tests.bench.setting import (
    Setting,
    bytes_on_disk,
    fresh_store,
    link_wheels,
    lock_of,
    needed,
    provide,
    read_once,
    rows,
    stored,
)
from tests.bench.theirs import engine

CHANGED_LIMIT_S = 1.8
DISK_LIMIT = 1.05
MEMORY_LIMIT_MB = 300

_DIRECT = ("--engine", "direct", "--no-test")
_MB = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Cold:
    """A row that was built and pushed with nothing but wheels.

    Attributes:
        build: The build.
        push: The push.
        store: The store, which has it now.
        registry: The address of the registry, which has it too.
    """

    build: Ran
    push: Ran
    store: Path
    registry: str

    @property
    def amount(self) -> Amount:
        return Amount.whole(build=self.build.seconds, push=self.push.seconds)


@contextmanager
def cold(setting: Setting) -> Iterator[Cold]:
    """Build and push; the store and the registry are there meanwhile, and deleted at the end."""
    row, project = setting.row.id, setting.copy("cold")
    provide(setting.project, setting.row, needed(setting.lock))
    with _store(setting, "store") as store, registry(setting.scratch / "registry") as address:
        read_once(setting.wheels)
        yield Cold(
            build=_build(row, project, store),
            push=cuvee("push", row, _reference(address, row), project=project, store=store),
            store=store,
            registry=address,
        )
    shutil.rmtree(project.root)


def memory(found: Cold) -> list[Figure]:
    """The most that a process had; the limit is of the largest, whichever it was."""
    return [
        _megabytes("memory of the largest process of `cuvee build`", found.build.peak_mb),
        _megabytes("memory of the largest process that it starts", found.build.child_mb),
        _megabytes("memory of `cuvee push`", found.push.peak_mb),
    ]


def changed(setting: Setting, found: Cold) -> Figure:
    """Another CTranslate2: from a lock whose wheels are there to an image in a registry that has the rest.

    What comes before, resolving and reading the new wheel's facts from the index, is told and not counted.
    """
    row = setting.row.id
    project = setting.copy("changed", with_older_ctranslate2(setting.project, setting.row))
    for command in ("lock", "facts"):
        before = cuvee(command, row, project=project, store=found.store)
        say(f"bench: {command} took {before.seconds:.1f} s, which is not counted")
    lock = lock_of(project, row)
    provide(project, next(one for one in rows(project) if one.id == row), needed(lock))
    link_wheels(found.store, [lock])
    read_once(map(stored, lock.packages()))
    build = _build(row, project, found.store)
    reference = _reference(found.registry, "changed")
    push = cuvee("push", row, reference, project=project, store=found.store)
    say(push.said.rstrip())
    size = sum(one.size for one in lock.packages() if one.name == "ctranslate2") / _MB
    return Figure(
        name=f"another CTranslate2, its wheel of {size:.0f} MB on disk, to a registry that has the rest",
        ours=Amount.whole(build=build.seconds, push=push.seconds),
        limit=CHANGED_LIMIT_S,
    )


def built_and_loaded(setting: Setting, kind: str) -> Amount:
    """From nothing but wheels into an engine that has no image."""
    row, project = setting.row.id, setting.copy(f"loaded-{kind}")
    provide(setting.project, setting.row, needed(setting.lock))
    with (
        engine(kind, setting.project, setting.scratch) as one,
        _store(setting, f"store-{kind}") as store,
    ):
        address = one.environment["DOCKER_HOST"]
        read_once(setting.wheels)
        build = _build(row, project, store)
        load = cuvee("load", row, project=project, store=store, env={"DOCKER_HOST": address})
    return Amount.whole(build=build.seconds, load=load.seconds)


def all_rows(setting: Setting) -> Figure:
    """The disk that a store takes which has built every row, beside the files that are locked."""
    project, chosen = setting.copy("all"), rows(setting.project)
    locks = [lock_of(project, row.id) for row in chosen]
    for row, lock in zip(chosen, locks, strict=True):
        provide(project, row, needed(lock))
    store = fresh_store(setting.scratch / "store-all", locks)
    cuvee("build", *(row.id for row in chosen), *_DIRECT, project=project, store=store)
    files = {one.sha256: one.size for lock in locks for one in lock.packages()}
    taken = bytes_on_disk(store)
    shutil.rmtree(store)
    return Figure(
        name=f"the store when all {len(chosen)} rows are built",
        ours=Amount(unit="MB", value=round(taken / _MB, 1)),
        theirs=Amount(of="their distinct wheels", unit="MB", value=round(sum(files.values()) / _MB, 1)),
        limit=DISK_LIMIT,
    )


@contextmanager
def _store(setting: Setting, name: str) -> Iterator[Path]:
    store = fresh_store(setting.scratch / name, [setting.lock])
    try:
        yield store
    finally:
        shutil.rmtree(store)


def _build(row: str, project: Project, store: Path) -> Ran:
    return cuvee("build", row, *_DIRECT, project=project, store=store)


def _reference(address: str, tag: str) -> str:
    return f"{address}/cuvee:{tag}"


def _megabytes(name: str, value: float) -> Figure:
    return Figure(name=name, ours=Amount(unit="MB", value=value), limit=MEMORY_LIMIT_MB)
