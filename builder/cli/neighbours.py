"""The order in which rows are unpacked: those that share the most bytes come one after the other.

Where such neighbours would fill the disk together, a row moves to smaller ones; and since nobody knows how
long a row takes, one that does not fit beside those under way waits.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence

NEAR = 2
"""The rows before a row whose layers lie unpacked when its turn comes: they run beside it, or just did."""

SPARE = 1.02
"""How much more may be unpacked, of the least, for a smaller peak on the disk. More than this won next to
nothing on this project's matrix."""

Layers = Mapping[str, int]
"""The layers of a row's image by their `diff_id`, each with its bytes; empty for a row without one."""


class Queue:
    """Rows that are taken in that order, several at a time, and never more than the disk is meant for.

    Attributes:
        order: Their order. A row that does not fit beside those under way lets the next one that does go
            first.
        most: The bytes of layers that may lie there at a time.
    """

    def __init__(self, rows: Mapping[str, Layers], at_once: int) -> None:
        self.order = in_order(rows)
        self.most = peak(rows, self.order)
        self._rows = rows
        self._at_once = at_once
        self._waiting = list(self.order)
        self._running: list[str] = []
        self._ended: list[str] = []
        self._there: Layers = {}
        self._changed = threading.Condition()

    def take(self) -> str | None:
        """The next row, as soon as it fits; None when there is no other."""
        with self._changed:
            while self._waiting and (row := self._next()) is None:
                self._changed.wait()
            if not self._waiting:
                return None
            assert row is not None  # noqa: S101 - the loop ended for it
            self._waiting.remove(row)
            self._running.append(row)
            self._there = {**self._there, **self._rows[row]}
            return row

    def end(self, row: str) -> None:
        """A row is done with; its layers still lie there."""
        with self._changed:
            self._running.remove(row)
            self._ended.append(row)
            self._changed.notify_all()

    def wanted(self) -> frozenset[str]:
        """The layers of the rows that are under way, and of those that come next."""
        with self._changed:
            return frozenset(_all(self._rows, (*self._running, *self._waiting[: self._at_once])))

    def gone(self, row: str, kept: Collection[str]) -> None:
        """What was unpacked of a row is deleted, but for these layers and those of others."""
        with self._changed:
            self._ended.remove(row)
            stay = {*kept, *_all(self._rows, (*self._running, *self._ended))}
            self._there = {layer: size for layer, size in self._there.items() if layer in stay}
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more is taken."""
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()

    def _next(self) -> str | None:
        """The first one that fits; where nothing lies there that could go, the first one in any case."""
        for row in self._waiting:
            if sum({**self._there, **self._rows[row]}.values()) <= self.most:
                return row
        return None if self._running or self._ended else self._waiting[0]


def in_order(rows: Mapping[str, Layers]) -> tuple[str, ...]:
    """The rows, each followed by that which shares the most bytes with it and the one before it.

    Of the orders that begin with one of the rows, the one that unpacks the fewest bytes is taken, and changed
    by moving rows one at a time as long as that makes the peak on the disk smaller and costs little. Where
    nothing else decides, it is the order of `rows`.
    """
    near = min((_from(rows, first) for first in rows), key=lambda order: to_unpack(rows, order), default=())
    return _flattened(rows, near, round(to_unpack(rows, near) * SPARE))


def peak(rows: Mapping[str, Layers], order: Sequence[str]) -> int:
    """The most bytes of layers that lie there at a time: of a row and of those near before it."""
    of_some = [row for row in order if rows[row]]  # one without an image gives the others no time to go
    there = (_all(rows, of_some[max(number - NEAR, 0) : number + 1]) for number in range(len(of_some)))
    return max((sum(layers.values()) for layers in there), default=0)


def to_unpack(rows: Mapping[str, Layers], order: Sequence[str]) -> int:
    """The bytes of all layers that do not lie there already when their row's turn comes."""
    shared = (_shared(rows[row], _near(rows, order[:number])) for number, row in enumerate(order))
    return sum(sum(rows[row].values()) for row in order) - sum(shared)


def _from(rows: Mapping[str, Layers], first: str) -> tuple[str, ...]:
    order, left = [first], [row for row in rows if row != first]
    while left:
        shared = {row: _shared(rows[row], _near(rows, order)) for row in left}
        order.append(max(left, key=shared.__getitem__))
        left.remove(order[-1])
    return tuple(order)


def _flattened(rows: Mapping[str, Layers], order: tuple[str, ...], most: int) -> tuple[str, ...]:
    """The order with rows moved to where the peak is smaller, while no more than `most` is unpacked."""

    def cost(one: tuple[str, ...]) -> tuple[int, int]:
        return peak(rows, one), to_unpack(rows, one)

    best, before = cost(order), None
    while best != before:
        before = best
        for row in rows:
            for moved in _moved(order, row):
                if (now := cost(moved)) < best and now[1] <= most:
                    best, order = now, moved
    return order


def _moved(order: tuple[str, ...], row: str) -> Iterator[tuple[str, ...]]:
    others = tuple(other for other in order if other != row)
    return ((*others[:place], row, *others[place:]) for place in range(len(order)))


def _all(rows: Mapping[str, Layers], some: Sequence[str]) -> Layers:
    return {layer: size for row in some for layer, size in rows[row].items()}


def _near(rows: Mapping[str, Layers], before: Sequence[str]) -> frozenset[str]:
    return frozenset(_all(rows, before[-NEAR:]))


def _shared(layers: Layers, there: Collection[str]) -> int:
    return sum(size for layer, size in layers.items() if layer in there)
