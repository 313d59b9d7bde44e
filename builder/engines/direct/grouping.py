"""Which packages share a layer, so that rows share as many layers as they can.

Pure. A heavy wheel has a layer of its own. Small ones are together with those that the same rows have. What
more rows have comes first: a registry shares blobs in any order, a Docker engine only a common beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from builder.lock.record import Environment, Lock, Package

HEAVY = 20_000_000
"""Bytes of a wheel from which on it has a layer of its own: one of ten megabytes costs less than a request
more on a slow line, and of the 149 files that the rows lock 22 are heavier and make 96 % of the bytes.
"""

MOST = 60
"""Layers of an image. Docker's graph drivers stop at 125 (moby, layer/layer_store.go)."""

OTHERS = 4
"""The base, the environments, the loader's configuration and the launcher."""

_Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Packages that make one layer.

    Attributes:
        part: The environment's or the overlay's name.
        is_overlay: Which of both.
        packages: Sorted by name.
        rows: The rows that have all of these, sorted.
    """

    part: str
    is_overlay: bool = False
    packages: tuple[Package, ...]
    rows: tuple[str, ...]

    @property
    def size(self) -> int:
        """The bytes of its wheels."""
        return sum(package.size for package in self.packages)

    @property
    def names(self) -> tuple[str, ...]:
        """Its packages, each as `torch 2.4.1`."""
        return tuple(f"{package.name} {package.version}" for package in self.packages)

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self.names[0] if len(self.packages) == 1 else f"{len(self.packages)} packages"


def groups(lock: Lock, locks: Iterable[Lock]) -> tuple[Group, ...]:
    """The groups of a row, in the order of its layers.

    Args:
        lock: The row's lock.
        locks: Those of all rows of the matrix; whether the row's own is among them does not matter.
    """
    users = _users([*(other for other in locks if other.row != lock.row), lock])
    found = [
        group
        for part, is_overlay in _parts(lock)
        for group in _of_part(lock, part, users, is_overlay=is_overlay)
    ]
    return tuple(sorted(_at_most(found, MOST - OTHERS), key=_order))


def _parts(lock: Lock) -> Iterable[tuple[Environment, bool]]:
    yield from ((environment, False) for environment in lock.environments)
    yield from ((overlay, True) for overlay in lock.overlays)


def _users(locks: Sequence[Lock]) -> Mapping[_Key, tuple[str, ...]]:
    """By package and place the rows that have it there."""
    users: dict[_Key, set[str]] = {}
    for lock in locks:
        for part, _ in _parts(lock):
            for package in part.packages:
                users.setdefault(_key(lock, part, package), set()).add(lock.row)
    return {key: tuple(sorted(rows)) for key, rows in users.items()}


def _key(lock: Lock, part: Environment, package: Package) -> _Key:
    """What a package's files depend on: itself, where it lies, and the Python that compiles it."""
    return lock.base, lock.python, part.name, package.sha256


def _of_part(
    lock: Lock, part: Environment, users: Mapping[_Key, tuple[str, ...]], *, is_overlay: bool
) -> Iterable[Group]:
    small: dict[tuple[str, ...], list[Package]] = {}
    for package in part.packages:
        rows = users[_key(lock, part, package)]
        if package.size >= HEAVY:
            yield Group(part=part.name, is_overlay=is_overlay, packages=(package,), rows=rows)
        else:
            small.setdefault(rows, []).append(package)
    for rows, packages in small.items():
        yield Group(part=part.name, is_overlay=is_overlay, packages=_by_name(packages), rows=rows)


def _at_most(found: Sequence[Group], most: int) -> Sequence[Group]:
    """Groups joined until they are few enough: always the smallest two that go to one place."""
    groups = sorted(found, key=_smallest_first)
    while len(groups) > most:
        first = next(one for one in groups if sum(_place(one) == _place(other) for other in groups) > 1)
        groups.remove(first)
        second = next(one for one in groups if _place(one) == _place(first))
        groups.remove(second)
        packages = _by_name((*first.packages, *second.packages))
        rows = tuple(sorted({*first.rows} & {*second.rows}))
        groups.append(replace(first, packages=packages, rows=rows))
        groups.sort(key=_smallest_first)
    return groups


def _smallest_first(group: Group) -> tuple[object, ...]:
    return group.size, group.names, _place(group)


def _place(group: Group) -> tuple[str, bool]:
    return group.part, group.is_overlay


def _by_name(packages: Iterable[Package]) -> tuple[Package, ...]:
    return tuple(sorted(packages, key=lambda package: package.name))


def _order(group: Group) -> tuple[object, ...]:
    return -len(group.rows), group.rows, -group.size, group.names, _place(group)
